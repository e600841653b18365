"""`placet trust` as administrators and gates meet it, with stock ssh-keygen and no hardware."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from read_aloud import read_aloud

from placet.adapters.paths import snapshot_path
from placet.ceremony.enrol import draft_enrolment, encode_enrolment, enrolment_message
from placet.cli import main
from placet.cli.trust.shared import default_repository
from placet.core.encoding import Digest
from placet.core.sshsig import NAMESPACE_ENROL, parse_public_key
from placet.core.trust import parse_trust
from placet.testing import ToolMissing
from placet.testing.authenticator import SoftTerminalKey, SoftWebAuthn
from placet.testing.openssh import generate_sk_key, sk_dummy
from placet.testing.registration import registration_of
from placet.testing.world import DEFAULT_POLICY

ANNA, BEN, CLEO = "anna@example.com", "ben@example.com", "cleo@example.com"
ALICE, BOB = "alice@example.com", "bob@example.com"
INVITE = "kv7w-93hd-qq2x-8mzt"


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Placet = Callable[..., Said]


@pytest.fixture
def placet(capfd: pytest.CaptureFixture[str]) -> Placet:
    def run(*arguments: object) -> Said:
        capfd.readouterr()
        code = main(["trust", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return run


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everybody's OpenSSH security keys, which ssh-keygen's dummy provider answers for."""
    try:
        provider = sk_dummy()
        for name in ("anna", "ben", "cleo", "alice"):
            generate_sk_key(provider, tmp_path / name, sk_type="ed25519", verify_required=True)
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))
    for name, value in provider.variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "good.toml").write_text(DEFAULT_POLICY)
    return tmp_path


def init(placet: Placet, keys: Path, *more: object) -> Said:
    administrators = [f"{p}@example.com={keys / p}.pub" for p in ("anna", "ben", "cleo")]
    return placet("init", "--deployment", "demo", "--admin", *administrators, "--threshold", 2, *more)


def sign(placet: Placet, keys: Path, name: str) -> Said:
    person = f"{name}@example.com"
    return placet("sign", "--as", person, "--key", keys / name, "--yes", *read_aloud())


def fill(placet: Placet, keys: Path) -> None:
    terminal = keys / "t1.pub"
    terminal.write_bytes(b"ssh-ed25519 " + _base64(SoftTerminalKey().wire) + b" t1\n")
    for arguments in (
        ("add-person", ALICE, "--group", "release", "sre", "--account", "https://issuer.example", "alice"),
        ("enroll", ALICE, "--key", keys / "alice.pub", "--assurance", "software"),
        ("add-terminal", "t1", "--key", terminal),
        ("add-gate", "prod-eu", "--ledger", "ledger-1"),
        ("set-policy", keys / "good.toml", "--scope", "default"),
    ):
        said = placet(*arguments)
        assert said.code == 0, said.err
        assert "Next:" in said.out


def _base64(data: bytes) -> bytes:
    import base64

    return base64.b64encode(data)


def test_from_init_to_a_gate_that_decides(placet: Placet, keys: Path) -> None:
    said = init(placet, keys)
    assert said.code == 0, said.err
    assert "2 of 3 administrators sign" in said.out
    fill(placet, keys)

    said = placet("publish")
    assert said.code == 1
    assert "needs 2 more" in said.err
    assert ANNA in said.err

    said = sign(placet, keys, "anna")
    assert said.code == 0, said.err
    for shown in (
        f"+ person {ALICE}",
        "software",
        "+ rule in default",
        "+ gate prod-eu",
        "signs root, targets",
    ):
        assert shown in said.out
    assert f"root 1: signed by {ANNA}; 1 more needed of {BEN}, {CLEO}." in said.out
    assert "1 more" in placet("publish").err

    said = sign(placet, keys, "cleo")
    assert "Next: `placet trust publish`." in said.out
    said = placet("publish", "--to", keys / "web", "--json")
    published = json.loads(said.out)
    assert published["versions"] == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}

    said = placet("refresh", "--from", keys / "web", "--root-sha256", published["rootSha256"])
    assert said.code == 0, said.err
    trust = parse_trust(snapshot_path().read_bytes())
    assert [person.id for person in trust.people] == [ALICE]
    assert trust.gates["prod-eu"].ledger == "ledger-1"

    assert "is published" in placet("show").out
    assert ALICE in placet("show", "--snapshot", snapshot_path()).out
    said = placet("verify", "--root-sha256", published["rootSha256"])
    assert (said.code, "A fresh gate accepts" in said.out) == (0, True)
    assert "Nothing waits" in placet("sign").out


def test_a_change_after_signing_voids_signatures_and_says_so(placet: Placet, keys: Path) -> None:
    init(placet, keys)
    sign(placet, keys, "anna")
    said = placet("add-gate", "prod-us")
    assert f"{ANNA} must sign again" in said.out
    assert "says so already" not in said.out
    shown = json.loads(placet("show", "--json").out)
    assert [(item["role"], item["signed"]) for item in shown["pending"]] == [
        ("root", [ANNA]),
        ("targets", []),
    ]
    assert shown["threshold"] == 2


def test_signing_with_somebody_else_s_key_is_refused(placet: Placet, keys: Path) -> None:
    init(placet, keys)
    said = placet("sign", "--as", ANNA, "--key", keys / "ben", "--yes")
    assert said.code == 1
    assert f"belongs to {BEN}, not to the administrator {ANNA}" in said.err
    said = placet("sign", "--as", ALICE, "--key", keys / "alice", "--yes")
    assert "nobody who may sign" in said.err


def test_nothing_is_signed_without_a_word(placet: Placet, keys: Path) -> None:
    init(placet, keys)
    said = placet("sign", "--as", ANNA, "--key", keys / "anna", *read_aloud())
    assert said.code == 2
    assert "confirmation" in said.err
    said = placet("sign", "--as", ANNA, "--key", keys / "anna", "--yes")
    assert said.code == 2
    assert f"fingerprints were not typed: {BEN}, {CLEO}." in said.err
    assert placet("sign", "--key", keys / "anna").code == 2
    assert json.loads(placet("show", "--json").out)["pending"][0]["signed"] == []


def test_enrolment_by_ssh_keygen_answers_the_invite(placet: Placet, keys: Path) -> None:
    digest = init(placet, keys).out.split("first people: ")[1].split()[0]
    placet("add-person", ALICE, "--group", "release")
    proof = keys / "alice.enrolment.json"
    said = placet(
        *("prove", ALICE, "--key", keys / "alice", "--deployment", "demo", "--invite", INVITE),
        *("--root-sha256", digest, "--out", proof),
    )
    assert said.code == 0, said.err
    enroll = ("enroll", ALICE, "--key", proof, "--assurance", "software")
    assert "none was given" in placet(*enroll).err
    assert "does not answer the invite" in placet(*enroll, "--invite", INVITE.upper()).err
    said = placet(*enroll, "--invite", INVITE)
    assert said.code == 0, said.err
    assert "It answers your invite." in said.out


def test_an_invite_comes_from_the_command_and_no_other_is_easy(placet: Placet, keys: Path) -> None:
    said = placet("invite")
    assert (said.code, said.err) == (0, "")
    (invite,) = said.out.split()
    prove = ("prove", ALICE, "--key", keys / "alice", "--deployment", "demo", "--root-sha256", "ab" * 32)
    refused = placet(*prove, "--out", keys / "out", "--invite", "a" * 16)
    assert (refused.code, "fewer than 6 different" in refused.err) == (1, True)
    assert placet(*prove, "--out", keys / "out", "--invite", invite).code == 0


def test_a_virtual_authenticator_is_enrolled_as_software_only(placet: Placet, keys: Path) -> None:
    digest = init(placet, keys).out.split("first people: ")[1].split()[0]
    placet("add-person", BOB)
    placet("add-terminal", "t1", "--key", _base64(SoftTerminalKey().wire).decode())
    browser = SoftWebAuthn()
    model = "01020304-0506-0708-0102-030405060708"
    drafted = draft_enrolment(
        person=BOB,
        deployment="demo",
        public_key=parse_public_key(browser.wire),
        kind="webauthn",
        root_sha256=Digest(digest),
        invite=INVITE,
        aaguid=model,
        evidence=registration_of(browser, "demo", BOB, digest, INVITE, aaguid=model),
    )
    proof = keys / "bob.enrolment.json"
    sig = browser.sign(NAMESPACE_ENROL, enrolment_message(drafted))
    proof.write_bytes(encode_enrolment(drafted._replace(sig=sig)))
    enroll = ("enroll", BOB, "--key", proof, "--invite", INVITE, "--assurance")
    assert "says that it is software" in placet(*enroll, "vouched").err
    whole = proof.read_bytes()
    value = json.loads(whole)
    del value["aaguid"]
    proof.write_text(json.dumps(value))
    assert "does not answer the invite" in placet(*enroll, "vouched").err
    proof.write_bytes(whole)
    assert placet(*enroll, "software", "--kind", "sk").code == 2
    said = placet(*enroll, "software")
    assert said.code == 0, said.err
    shown = json.loads(placet("show", "--json").out)
    assert shown["people"][0]["credentials"][0]["kind"] == "webauthn"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("enroll", ALICE, "--key", "alice.pub", "--assurance", "software"), 1, "no person alice"),
        (("enroll", ALICE, "--key", "none.pub", "--assurance", "software"), 2, "cannot be read"),
        (("enroll", ALICE, "--key", "good.toml", "--assurance", "software"), 2, "not an OpenSSH public key"),
        (("enroll", ALICE, "--key", "alice.pub", "--assurance", "vouched", "--valid", "x"), 2, "duration"),
        (("set-policy", "bad.toml", "--scope", "default"), 1, "starts at line 2"),
        (("set-policy", "worse.toml", "--scope", "default"), 1, "at line 2, column"),
        (("set-policy", "none.toml", "--scope", "default"), 2, "cannot be read"),
        (("set-policy", "good.toml", "--scope", "pay"), 1, "which targets"),
        (("add-terminal", "t1", "--key", "alice.pub"), 1, "plain Ed25519"),
        (("add-terminal", "t1", "--key", "good.toml"), 2, "good.toml holds no public key"),
        (("add-terminal", "t1", "--key", "/none"), 2, "'/none' is neither a file nor a public key"),
        (("init", "--deployment", "demo", "--admin", "x=ben.pub", "--threshold", "1"), 1, "already there"),
        (("refresh", "--from", "nowhere"), 3, "no published trust root"),
        (("refresh",), 2, "Where is"),
        (("add-gate", "prod eu"), 1, "lower-case letters, digits, dots and hyphens"),
        (("set-policy", "walk.toml", "--scope", "default"), 1, "walk.toml has a rule for 'run'"),
        (("set-policy", "walk.toml", "--scope", "default"), 1, "mean https://placet.dev/actions/run/v1?"),
        (("verify",), 3, "Nothing is published"),
        (("verify", "--repository", "nowhere"), 3, "no trust repository"),
        (("show", "--snapshot", "good.toml"), 1, "not JSON"),
        (("collect", "good.toml"), 1, ""),
        (("sign", "--challenge", "good.toml"), 1, "not JSON"),
        (("sign", "--as", ANNA, "--key", "none", "--yes"), 2, "cannot be read"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_goes_wrong_is_a_sentence(
    placet: Placet,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    init(placet, keys)
    monkeypatch.chdir(keys)
    Path("bad.toml").write_text(DEFAULT_POLICY.replace("level = 1", "level = 9", 1))
    Path("worse.toml").write_text("\n[[rule]\n")
    Path("walk.toml").write_text(DEFAULT_POLICY.replace("https://placet.dev/actions/run/v1", "run"))
    said = placet(*arguments)
    assert sentence in said.err
    assert said.code == code


def test_a_key_for_another_deployment_is_refused_with_the_command_for_a_right_one(
    placet: Placet, keys: Path
) -> None:
    administrator = f"{ANNA}={keys / 'anna.pub'}"
    said = placet("init", "--deployment", "other", "--admin", administrator, "--threshold", 1)
    assert said.code == 2
    assert "application=ssh:placet:other" in said.err
    browser = keys / "web.pub"
    browser.write_bytes(b"sk-ecdsa-sha2-nistp256@openssh.com " + _base64(SoftWebAuthn().wire))
    said = placet("init", "--deployment", "demo", "--admin", f"{ANNA}={browser}", "--threshold", 1)
    assert "--admin-origin" in said.err
    said = placet("init", "--deployment", "demo", "--admin", f"{ANNA}", "--threshold", 1)
    assert said.code == 2
    assert not default_repository().exists()


def test_two_keys_of_one_person_are_refused(placet: Placet, keys: Path) -> None:
    pairs = [f"{ANNA}={keys / name}.pub" for name in ("anna", "ben")]
    said = placet("init", "--deployment", "demo", "--admin", *pairs, "--threshold", 2)
    assert said.code == 1
    assert f"Two keys of {ANNA}" in said.err


def test_a_failed_refresh_says_what_is_left(placet: Placet, keys: Path) -> None:
    init(placet, keys)
    sign(placet, keys, "anna")
    sign(placet, keys, "ben")
    digest = json.loads(placet("publish", "--json").out)["rootSha256"]
    said = placet("refresh", "--from", default_repository())
    assert (said.code, "decides nothing yet" in said.err) == (3, True)
    assert placet("refresh", "--from", default_repository(), "--root-sha256", "0" * 64).code == 1
    assert placet("refresh", "--from", default_repository(), "--root-sha256", digest).code == 0
    before = snapshot_path().read_bytes()
    (default_repository() / "published" / "metadata" / "timestamp.json").write_text("{}")
    said = placet("refresh", "--from", default_repository())
    assert said.code == 1
    assert "earlier snapshot is unchanged and valid until" in said.err
    assert snapshot_path().read_bytes() == before


def test_each_administrator_s_machine_is_told_the_root_once(
    placet: Placet, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = init(placet, keys)
    draft_root = said.out.split("Draft root SHA-256, ")[1].split(": ")[1].split()[0]
    said = sign(placet, keys, "anna")
    assert f"Nothing is published yet, so everything is new. Draft root SHA-256: {draft_root}" in said.out
    sign(placet, keys, "ben")
    digest = json.loads(placet("publish", "--json").out)["rootSha256"]
    placet("add-gate", "prod-us")
    said = sign(placet, keys, "anna")
    assert f"Compared with root 1 (SHA-256 {digest}), targets 1.\nWhat changes" in said.out

    repository = default_repository()
    monkeypatch.setenv("XDG_STATE_HOME", str(keys / "another-machine"))
    signing = ("sign", "--as", BEN, "--key", keys / "ben", "--yes", "--repository", repository)
    said = placet(*signing)
    assert (said.code, "--root-sha256 HEX" in said.err) == (3, True)
    said = placet(*signing, "--root-sha256", "0" * 64)
    assert (said.code, "Sign nothing here" in said.err) == (1, True)
    said = placet(*signing, "--root-sha256", digest)
    assert f"{BEN} has signed targets" in said.out, said.err
    assert "Next: `placet trust publish`" in said.out
    placet("publish")
    placet("add-gate", "prod-asia")
    assert "Compared with root 1" in placet("sign").out
    said = init(placet, keys, "--repository", keys / "elsewhere")
    assert "follows a trust root of 'demo' already" in said.err
    assert not (keys / "elsewhere").exists()


def test_renewal_is_signed_and_published_like_any_change(placet: Placet, keys: Path) -> None:
    init(placet, keys)
    for name in ("anna", "ben"):
        sign(placet, keys, name)
    placet("publish")
    said = placet("sign", "--renew", "--as", ANNA, "--key", keys / "anna", "--yes")
    assert "root version 2" in said.out
    assert "~ root expires" in said.out or "nothing but versions" in said.out
    sign(placet, keys, "ben")
    assert json.loads(placet("publish", "--json").out)["versions"]["root"] == 2


def test_an_administrator_key_in_software_alone_is_no_key(placet: Placet, keys: Path) -> None:
    plain = keys / "plain.pub"
    plain.write_bytes(b"ssh-ed25519 " + _base64(SoftTerminalKey().wire))
    said = placet("init", "--deployment", "demo", "--admin", f"{ANNA}={plain}", "--threshold", 1)
    assert said.code == 2
    assert "not a FIDO key" in said.err
