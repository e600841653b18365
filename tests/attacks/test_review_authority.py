"""Who may decide: what others cannot smuggle past those who sign, and those who follow."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
sys.path.insert(0, str(Path(__file__).parents[1] / "trust_attacks"))

from scope_world import FILE, OLGA, PIA, ROLE, ScopeWorld, is_closed, rules
from test_audit import Archive
from test_ceremony_on_terminals import ZOE, Ceremony, refusal, words
from tuf.api.metadata import TargetFile, Targets
from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld, administrator

from placet.adapters.git.courier import parse_git_address
from placet.adapters.oidc import keys as oidc_keys
from placet.adapters.tuf.administrators import rotate_online_keys, stage_administrators
from placet.adapters.tuf.audit import attach_trust
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import pending_messages
from placet.adapters.tuf.trust import parse_signed
from placet.ceremony import trust_edit
from placet.ceremony.enrol import evidence_digest
from placet.cli import main
from placet.core.encoding import format_time, sha256_hex
from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.sshsig import parse_public_key
from placet.documents.issuers import Issuer, describe_issuers, encode_issuers
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.oidc import SoftIssuer
from placet.testing.world import ALICE, BOB, NOW, World

# -- attestation


def test_a10_one_genuine_keys_enrolment_attests_no_other_key(tmp_path: Path) -> None:
    """A software key is drafted as attested, and under its ID lies the same person's honest enrolment."""
    trust = Ceremony(tmp_path)
    data = trust.person().file()
    made = trust.enroll(data)
    assert made.evidence is not None
    software = SoftWebAuthn(rp_id=trust.world.rp_id)
    trust.repository.keep_enrolment(software.keyid, data)
    changes = trust_edit.add_credential(
        trust.files(),
        ZOE,
        key=parse_public_key(software.wire),
        kind="webauthn",
        uv=True,
        assurance="attested",
        aaguid=made.aaguid,
        attestation=evidence_digest(made.evidence),
        not_before=trust.now,
        not_after=trust.now + 86_400,
    )
    trust.repository.stage(changes, now=trust.now)
    error = refusal(trust.terminal)
    assert (error.reason, "another key's" in str(error), ZOE in str(error)) == (
        Reason.KEY_MISMATCH,
        True,
        True,
    )


# -- fingerprints


def test_a12_a_fingerprint_read_by_one_holder_does_not_stand_for_another(tmp_path: Path) -> None:
    """Zoe's own key is drafted as that of an administrator, too: she reads it aloud, he never does."""
    trust = Ceremony(tmp_path)
    made = trust.enroll(trust.person().file())
    root = trust.repository.published_root()
    assert root is not None
    root.version += 1
    posing = "dora@example.com"
    key = SoftSk()
    as_dora = administrator(posing, key)._replace(
        key=type(administrator(posing, key).key).from_wire(
            made.public_key.wire,
            kind="webauthn",
            origins=("http://t1.demo.placet.localhost:8470",),
            person=posing,
        )
    )
    root.add_key(as_dora.key, "root")
    root.add_key(as_dora.key, "targets")
    trust.repository.write_draft("root", root)
    session = trust.terminal()
    assert {key.holder for key in session.fingerprints.keys} == {ZOE, posing}
    typed = session.fingerprints.type_for(ZOE, words(made.public_key.keyid))
    assert [key.holder for key in session.fingerprints.left()] == [posing]
    assert posing in str(refusal(lambda: session.sign(trust.keys[CLEO])))
    # Nor can it be copied from this screen for him.
    shown = session.fingerprints.show(typed).lower()
    assert words(made.public_key.keyid).split()[0].lower() not in shown


# -- what is signed rightly and stops every gate, or says more than is shown


def wrong_version(targets: Targets) -> None:
    targets.version = 2**60


def version_that_is_no_number(targets: Targets) -> None:
    targets.version = True


def another_digest_first(targets: Targets) -> None:
    info = next(iter(targets.targets.values()))
    info.hashes = {"blake2b": "dead", "sha256": info.hashes["sha256"]}


def longer(targets: Targets) -> None:
    next(iter(targets.targets.values())).length += 1


def shorter(targets: Targets) -> None:
    next(iter(targets.targets.values())).length -= 1


TRICKS = [wrong_version, version_that_is_no_number, another_digest_first, longer, shorter]
Trick = Callable[[Targets], None]


@pytest.mark.parametrize("trick", TRICKS)
def test_scope_owners_close_their_own_scope_and_stop_no_gate(tmp_path: Path, trick: Trick) -> None:
    trust = ScopeWorld(tmp_path)
    trust.begin()
    trust.publish_as_owners(trick)
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert all(type(version) is int for version in refreshed.versions.values())
    trust.refresh()  # and again, from what is kept


def test_a_source_that_changes_an_owners_file_closes_nothing(tmp_path: Path) -> None:
    trust = ScopeWorld(tmp_path)
    trust.begin()
    trust.publish_as_owners(lambda targets: None)
    for path in (trust.public / "targets" / "policy").glob("*.payments.toml"):
        path.write_bytes(path.read_bytes() + b"#")
    assert refusal(trust.refresh).reason is Reason.TOO_LARGE
    for path in (trust.public / "targets" / "policy").glob("*.payments.toml"):
        path.write_bytes(b"#")
    assert refusal(trust.refresh).reason is Reason.BAD_TRUST


@pytest.mark.parametrize("trick", [t for t in TRICKS if t is not version_that_is_no_number])
def test_what_owners_signed_in_a_strange_way_is_not_published(tmp_path: Path, trick: Trick) -> None:
    trust = ScopeWorld(tmp_path)
    trust.begin()
    trust.stage_rules(rules(threshold=2))
    theirs = cast(Targets, parse_signed(dict(pending_messages(trust.repository))[ROLE], ROLE))
    assert list(theirs.targets) == [FILE]
    trick(theirs)
    trust.repository.write_draft(ROLE, theirs)
    trust.sign_role(ROLE, OLGA, PIA)
    assert isinstance(refusal(trust.publish), PolicyError)
    trust.refresh()


def another_name(targets: Targets) -> None:
    targets.targets["../../../evil/x"] = TargetFile.from_data("../../../evil/x", b"evil", ["sha256"])


@pytest.mark.parametrize("trick", [*TRICKS[2:], another_name])
def test_administrators_sign_no_targets_that_would_stop_every_gate(tmp_path: Path, trick: Trick) -> None:
    """One administrator prepares it; the change looks harmless, since names and digests are right."""
    trust = TrustWorld(tmp_path)
    trust.publish(ANNA, BEN)
    trust.review()
    trust.stage_policy(trust.world.policy.replace("threshold = 2", "threshold = 3"))
    targets = cast(Targets, parse_signed(dict(pending_messages(trust.repository))["targets"], "targets"))
    trust.repository.keep_objects({"x": b"evil"})
    trick(targets)
    trust.repository.write_draft("targets", targets)
    assert refusal(lambda: trust.session(CLEO)).reason is Reason.BAD_TRUST
    trust.sign(ANNA, BEN)  # with tools that do not look
    assert refusal(trust.publish).reason is Reason.BAD_TRUST
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("how", ["a second key of Anna", "a hidden member", "a threshold that nobody meets"])
def test_administrators_sign_no_root_that_every_gate_refuses(tmp_path: Path, how: str) -> None:
    """Gates look at every root on the way: such a root, once published, would end the trust root."""
    trust = TrustWorld(tmp_path)
    trust.publish(ANNA, BEN)
    trust.review()
    root = trust.repository.published_root()
    assert root is not None
    root.version += 1
    if how == "a second key of Anna":
        root.add_key(administrator(ANNA, SoftSk()).key, "targets")
    elif how == "a hidden member":
        root.roles["targets"].unrecognized_fields["note"] = "read this nowhere"
    else:
        root.roles["snapshot"].threshold = 2
    trust.repository.write_draft("root", root)
    assert refusal(lambda: trust.session(CLEO)).reason is Reason.BAD_TRUST


# -- drafts that break the machine on which they are read


VALUES = [b'"\\ud800"', b"1.5", b"NaN", b"1e999", b"9" * 5000, b"[" * 600 + b"]" * 600]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a15_a_draft_that_cannot_be_written_again_is_refused_by_name(tmp_path: Path, value: bytes) -> None:
    trust = TrustWorld(tmp_path)
    trust.publish(ANNA, BEN)
    trust.stage_policy(trust.world.policy.replace("threshold = 2", "threshold = 3"))
    message = dict(pending_messages(trust.repository))["targets"]
    draft = trust.repository.path / "draft" / "targets.json"
    draft.write_bytes(message.replace(b'{"_type"', b'{"AAA":' + value + b',"_type"', 1))
    assert refusal(lambda: trust.session(CLEO)).reason is Reason.BAD_TRUST


OPTIONS = [b"a = 2020-01-01", b"a = inf", b".".join([b"a"] * 3000) + b" = 1"]


@pytest.mark.parametrize("option", OPTIONS, ids=range(len(OPTIONS)))
def test_a15_a_rule_that_no_screen_can_show_is_refused_by_name(tmp_path: Path, option: bytes) -> None:
    trust = TrustWorld(tmp_path)
    trust.publish(ANNA, BEN)
    trust.review()
    policy = trust.world.policy.encode() + b'evidence = [{ kind = "x", ' + option + b" }]\n"
    trust.repository.keep_objects({"policy": policy})
    targets = trust.repository.current_targets()
    assert targets is not None
    targets.version += 1
    name = "policy/default.toml"
    targets.targets[name] = TargetFile.from_data(name, policy, ["sha256"])
    trust.repository.write_draft("targets", targets)
    assert isinstance(refusal(lambda: trust.session(CLEO)), MalformedError)


# -- couriers


def test_no_part_of_an_address_is_an_option_of_ssh() -> None:
    for address in ("git+ssh://-oProxyCommand@host/path", "git+ssh://-host/path", "git+ssh://-@host/path"):
        assert isinstance(refusal(lambda address=address: parse_git_address(address)), MalformedError)


# -- audits


@pytest.mark.parametrize("name", ["demo", "thieves"])
def test_a12_stolen_keys_of_a_root_that_was_replaced_leave_an_audit_undecided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The thief leaves the newer root out of the bundle, or names another deployment; both are known here."""
    archive = Archive(tmp_path)
    trust, later = archive.trust, NOW + 2 * DAY
    shutil.copytree(trust.repository.path, tmp_path / "stolen")
    old, new = dict(trust.keys), {person: SoftSk() for person in (ANNA, BEN, CLEO)}
    named = [administrator(person, key) for person, key in new.items()]
    stage_administrators(trust.repository, named, threshold=2, now=NOW + DAY)
    rotate_online_keys(trust.repository, now=NOW + DAY)
    trust.sign(ANNA, BEN)
    trust.keys.update(new)
    trust.publish(ANNA, BEN, now=NOW + DAY)
    trust.refresh(now=NOW + DAY)

    trust.keys.update(old)
    trust.repository, archive.world = (
        TrustRepository(tmp_path / "stolen"),
        World(seed=b"thief", deployment=name),
    )
    trust.repository.stage(archive.world.files(), now=later)
    archive.world.versions = trust.publish(ANNA, BEN, now=later).versions
    archive.world.expires_at = NOW + 60 * DAY
    made = archive.approve(ALICE, BOB, now=later)
    source, own = str(trust.repository.public_folder), tmp_path / "thief" / "snapshot.json"
    carried = attach_trust(made, snapshot=own, source=source, root_sha256=archive.root_sha256)
    (tmp_path / "a.intent.json").write_bytes(carried)
    audit = ["verify", str(tmp_path / "a.intent.json"), "--audit", "--at", format_time(later + 120)]
    audit += ["--root-sha256", archive.root_sha256.upper(), "--trust", str(archive.snapshot)]
    assert main(audit) == 3
    said = capsys.readouterr().out
    assert "judged under root 1; this machine follows root 2" in said
    assert "time-unproven" in said and "--accept-replaced-root" in said
    assert main([*audit, "--accept-replaced-root"]) == 0
    assert "Whoever stole keys" in capsys.readouterr().out
    assert main([*audit, "--accept-replaced-root", "--json"]) == 0
    assert "root 2" in json.loads(capsys.readouterr().out)["audit"]["notes"][0]


def test_a12_thieves_of_an_old_root_cannot_make_a_newer_one_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path)
    trust, later = archive.trust, NOW + 2 * DAY
    shutil.copytree(trust.repository.path, tmp_path / "stolen")
    real = trust.repository
    trust.repository.renew(now=NOW + DAY)
    trust.publish(ANNA, BEN, now=NOW + DAY)
    trust.refresh(now=NOW + DAY)

    trust.repository = TrustRepository(tmp_path / "stolen")
    rotate_online_keys(trust.repository, now=later)
    archive.world = World(seed=b"thief")
    trust.repository.stage(archive.world.files(), now=later)
    archive.world.versions = trust.publish(ANNA, BEN, now=later).versions
    archive.world.expires_at = NOW + 60 * DAY
    assert (archive.world.versions["root"], real.published_root().version) == (2, 2)
    made = archive.approve(ALICE, BOB, now=later)
    source, own = str(trust.repository.public_folder), tmp_path / "thief" / "snapshot.json"
    carried = attach_trust(made, snapshot=own, source=source, root_sha256=archive.root_sha256)
    (tmp_path / "a.intent.json").write_bytes(carried)
    audit = ["verify", str(tmp_path / "a.intent.json"), "--audit", "--at", format_time(later + 120)]
    audit += ["--root-sha256", archive.root_sha256, "--trust", str(archive.snapshot)]
    assert main(audit) == 1
    assert "Root 2 in the bundle is not the root 2 that this machine followed" in capsys.readouterr().out


def test_a_root_that_was_only_renewed_leaves_old_approvals_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path)
    made = archive.approve(ALICE, BOB, now=NOW)
    source = str(archive.trust.repository.public_folder)
    own = tmp_path / "own" / "snapshot.json"
    carried = attach_trust(made, snapshot=own, source=source, root_sha256=archive.root_sha256)
    (tmp_path / "a.intent.json").write_bytes(carried)
    archive.trust.repository.renew(now=NOW + DAY)
    archive.trust.publish(ANNA, BEN, now=NOW + DAY)
    assert archive.trust.refresh(now=NOW + DAY).versions["root"] == 2
    audit = ["verify", str(tmp_path / "a.intent.json"), "--audit", "--at", format_time(NOW + 120)]
    audit += ["--root-sha256", archive.root_sha256, "--trust", str(archive.snapshot)]
    assert main(audit) == 0
    assert "VALID THEN" in capsys.readouterr().out


# -- issuers who vouch for requesters


def issuers_file(*issuers: SoftIssuer) -> bytes:
    return encode_issuers([Issuer(i.address, "sub", {}, ("RS256",), None) for i in issuers])


def nested(depth: int) -> Any:
    return [] if depth == 0 else [nested(depth - 1)]


ODD = [float("nan"), 1.5, "\ud800", nested(30), 2**60, {"a": 1.5}]


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("member", ["x5c", "n"])
def test_one_issuers_odd_key_stops_no_refresh_and_no_other_issuer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, member: str
) -> None:
    with SoftIssuer() as good, SoftIssuer() as bad:
        odd = bad.jwks()
        odd["keys"][0][member] = value
        monkeypatch.setattr(bad, "jwks", lambda: odd)
        data, snapshot = issuers_file(bad, good), tmp_path / "snapshot.json"
        oidc_keys.refresh_issuers(snapshot, data, now=int(time.time()))
        known = {k.issuer.issuer: k.keys for k in oidc_keys.load_issuers(snapshot, sha256_hex(data))}
    assert len(known[good.address]) == 1
    assert known[bad.address] == () or member == "x5c"


def test_an_issuer_with_new_keys_every_day_does_not_crowd_out_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SoftIssuer() as good, SoftIssuer() as bad:
        key = bad.jwks()["keys"][0]
        data, snapshot = issuers_file(bad, good), tmp_path / "snapshot.json"
        begun = int(time.time())
        for day in range(20):
            many = [key | {"kid": f"{day}-{i}", "x": "A" * 3500} for i in range(60)]
            monkeypatch.setattr(bad, "jwks", lambda many=many: {"keys": many})
            oidc_keys.refresh_issuers(snapshot, data, now=begun + 86_400 * day)
            known = {k.issuer.issuer: k.keys for k in oidc_keys.load_issuers(snapshot, sha256_hex(data))}
            assert len(known[good.address]) == 1
            assert known[bad.address][0]["kid"] == f"{day}-0"


@contextmanager
def dripping() -> Iterator[str]:
    """A server that says one byte every tenth of a second, for ever."""
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=drip, args=(listener,))
    thread.start()
    try:
        yield address
    finally:
        stop.set()
        thread.join()


def test_an_issuer_that_answers_byte_by_byte_keeps_no_gate_from_its_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(oidc_keys, "_SECONDS", 0.5)
    begun = time.monotonic()
    with dripping() as address:
        error = refusal(lambda: oidc_keys.fetch_keys(address))
    assert (error.reason, "0.5 seconds" in str(error)) == (Reason.EVIDENCE_NOT_VERIFIED, True)
    assert time.monotonic() - begun < 5


def test_a_claims_name_passes_for_no_fact_of_ours() -> None:
    name = "no other claim; signs with RS256; 3 pinned keys"
    issuer = Issuer("https://issuer.example", "sub", {name: "x"}, ("RS256",), None)
    text = describe_issuers(encode_issuers([issuer]))[issuer.issuer]
    assert f"requires {name!r} = 'x'; " in text
    assert json.dumps(name).strip('"') not in text.replace(repr(name), "")
