"""Administrators on machines of their own: what a courier, or one of them, cannot have the others sign."""

from __future__ import annotations

import json
import os
import resource
import sys
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld, administrator

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.ceremony_box import FolderBox, open_box, signatures_name
from placet.adapters.tuf.exchange import attach_signatures, encode_challenge, encode_signatures
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import pending_roles, root_digests
from placet.ceremony import trust_edit
from placet.ceremony.enrol import Enrolment, evidence_digest, parse_enrolment
from placet.ceremony.fingerprint import fingerprint_digits, fingerprint_words
from placet.ceremony.models import put_models
from placet.core.encoding import KeyId, b64decode_strict, b64encode
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason
from placet.core.sshsig import NAMESPACE_TRUST, parse_public_key
from placet.documents.models import Model
from placet.terminal.trust_session import TrustSession
from placet.testing.authenticator import SoftSk
from placet.testing.ctap import AttestationCa, SoftAuthenticator
from placet.testing.registration import SoftEnrolment
from placet.testing.world import DEFAULT_POLICY

ZOE, INVITE = "zoe@example.com", "kv7w-93hd-qq2x-8mzt-4bnc"
MODEL = uuid.UUID("a0a0a0a0-0000-4000-8000-000000000007")
VENDOR = AttestationCa("Acme Keys")
STRICTER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 3")


class Ceremony(TrustWorld):
    """A published trust root that allows one model of key; what is drafted next is attacked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        allowed = Model(str(MODEL), (), "Acme Key 7", "allowed", (VENDOR.root_der,))
        self.repository.stage(put_models(self.files(), [allowed]), now=self.now)
        self.repository.stage(trust_edit.add_person(self.files(), ZOE, groups=["release"]), now=self.now)
        self.publish(ANNA, BEN)
        self.terminal()  # every machine here knows what is published

    def files(self) -> dict[str, bytes]:
        return dict(self.repository.draft_files())

    def terminal(self, repository: TrustRepository | None = None, person: str | None = CLEO) -> TrustSession:
        """What an administrator is shown on a machine of their own, where a challenge came."""
        return TrustSession(
            self.carry() if repository is None else repository,
            person,
            anchors=self.anchors,
            verifier=FidoAttestationVerifier(),
            now=self.now,
        )

    def person(self, **told: Any) -> SoftEnrolment:
        key = SoftAuthenticator(aaguid=MODEL.bytes, attestation_ca=VENDOR, verify_user=lambda: True)
        digest = sorted(root_digests(self.repository))[0]
        return SoftEnrolment(key, **({"person": ZOE, "root_sha256": digest, "invite": INVITE} | told))

    def enroll(self, data: bytes, assurance: str = "attested") -> Enrolment:
        """An administrator puts a key into the draft without asking anything."""
        made = parse_enrolment(data)
        attested = evidence_digest(made.evidence) if made.evidence and assurance == "attested" else None
        changes = trust_edit.add_credential(
            self.files(),
            ZOE,
            key=made.public_key,
            kind=made.kind,
            uv=True,
            assurance=assurance,
            aaguid=made.aaguid,
            attestation=attested,
            not_before=self.now,
            not_after=self.now + 86_400,
        )
        self.repository.keep_enrolment(made.public_key.keyid, data)
        self.repository.stage(changes, now=self.now)
        return made

    def carried(self, **changes: bytes | None) -> TrustRepository:
        """The challenge after a courier changed files in it; None takes one out."""
        value = json.loads(encode_challenge(self.repository))
        for name, data in changes.items():
            if data is None:
                del value["files"][name]
            else:
                value["files"][name] = b64encode(data)
        return self.carry(json.dumps(value).encode())


@pytest.fixture
def trust(tmp_path: Path) -> Ceremony:
    return Ceremony(tmp_path)


def words(keyid: KeyId) -> str:
    return " ".join(fingerprint_words(keyid))


def refusal(action: Any) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        action()
    return caught.value


# -- fingerprints


def test_a_key_of_the_couriers_own_is_caught_by_the_fingerprint_that_is_read_aloud(trust: Ceremony) -> None:
    """It is genuine, of the allowed model, and even answers an invite; it is not the key that Zoe holds."""
    honest, thief = trust.person(), trust.person()
    trust.enroll(thief.file())
    session = trust.terminal()
    (key,) = session.fingerprints.keys
    assert key.holder == ZOE
    error = refusal(lambda: session.fingerprints.type(key, words(honest.public_key.keyid)))
    assert error.reason is Reason.KEY_MISMATCH
    assert "sign nothing" in error.hint
    error = refusal(lambda: session.sign(trust.keys[CLEO]))
    assert (error.reason, ZOE in str(error)) == (Reason.KEY_MISMATCH, True)
    assert not any(item.signed_keys for item in session.pending())


def test_nothing_is_signed_while_one_fingerprint_is_missing(trust: Ceremony) -> None:
    made = trust.enroll(trust.person().file())
    session = trust.terminal()
    item, key = session.review.pending[0], trust.keys[CLEO]
    signed = key.sign(NAMESPACE_TRUST, item.message)
    assert "not typed yet" in str(refusal(lambda: session.keep(item, key.keyid, signed)))
    assert "not typed yet" in str(refusal(lambda: session.check_may_sign(key.keyid)))
    session.fingerprints.type(session.fingerprints.keys[0], fingerprint_digits(made.public_key.keyid))
    assert session.sign(key) == ("targets",)


def test_the_words_cannot_be_copied_from_the_screen_on_which_they_are_typed(trust: Ceremony) -> None:
    made = trust.enroll(trust.person().file())
    keyid = made.public_key.keyid
    session = trust.terminal()

    def shown() -> str:
        rows = [text for change in session.changes() for text in change]
        evidence = [text for found in session.evidence.values() for text in (found.kind, *found.sentences)]
        return "\n".join(
            [*rows, *evidence, *map(session.fingerprints.show, session.fingerprints.keys)]
        ).lower()

    groups = fingerprint_digits(keyid).split()
    for pair in pairwise(groups):
        assert " ".join(pair) not in shown()
    assert keyid[:20] not in shown().replace(" ", "")
    # One or the other word of the list stands in ordinary sentences as well.
    assert sum(word.lower() in shown().split() for word in fingerprint_words(keyid)) <= 2
    session.fingerprints.type(session.fingerprints.keys[0], words(keyid))
    assert fingerprint_digits(keyid) in shown()


def test_a_renewal_asks_for_nothing(trust: Ceremony) -> None:
    trust.repository.renew(now=trust.now + 60)
    session = trust.terminal()
    assert session.fingerprints.keys == ()
    assert session.sign(trust.keys[CLEO]) == ("root", "targets")


def test_a_known_key_under_another_name_is_asked_for(trust: Ceremony) -> None:
    """Alice's key is given to Zoe: the key is not new, that it is hers is."""
    files = trust.files()
    value = json.loads(files["people.json"])
    alice, zoe = value["people"][0], next(p for p in value["people"] if p["id"] == ZOE)
    zoe["credentials"], alice["credentials"] = alice["credentials"], []
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    trust.repository.stage({"people.json": data}, now=trust.now)
    assert [key.holder for key in trust.terminal().fingerprints.keys] == [ZOE]


def test_new_administrators_and_terminals_are_asked_for_too(tmp_path: Path) -> None:
    trust = TrustWorld(tmp_path)
    session = TrustSession(
        trust.carry(), CLEO, anchors=trust.anchors, verifier=FidoAttestationVerifier(), now=trust.now
    )
    own = trust.keys[CLEO].keyid
    holders = {key.holder for key in session.fingerprints.left({own})}
    assert {ANNA, BEN, "t1", "t2", "alice@example.com"} <= holders
    assert CLEO not in holders  # the signature proves it
    for key in session.fingerprints.left({own}):
        if key.holder != BEN:
            session.fingerprints.type(key, words(key.keyid))
    assert BEN in str(refusal(lambda: session.sign(trust.keys[CLEO])))


def test_a_signers_own_key_under_another_name_is_asked_for(trust: Ceremony) -> None:
    """Cleo's own key is drafted as Zoe's: that it signs proves that it is Cleo's, and nothing about Zoe."""
    key = parse_public_key(trust.keys[CLEO].wire)
    changes = trust_edit.add_credential(
        trust.files(),
        ZOE,
        key=key,
        kind="sk",
        uv=True,
        assurance="software",
        aaguid="",
        not_before=trust.now,
        not_after=trust.now + 86_400,
    )
    trust.repository.stage(changes, now=trust.now)
    session = trust.terminal()
    assert [found.holder for found in session.fingerprints.left({key.keyid})] == [ZOE]
    assert ZOE in str(refusal(lambda: session.sign(trust.keys[CLEO])))


# -- evidence


def test_what_the_signing_terminal_verified_is_said(trust: Ceremony) -> None:
    trust.enroll(trust.person().file())
    (found,) = trust.terminal().evidence.values()
    assert found.kind == "attested: Acme Key 7"
    assert any("CN=Acme Keys" in sentence for sentence in found.sentences)


@pytest.mark.parametrize("assurance", ["vouched", "software"])
def test_what_is_not_attested_is_never_said_to_be(trust: Ceremony, assurance: str) -> None:
    trust.enroll(trust.person().file(), assurance)
    (found,) = trust.terminal().evidence.values()
    assert found.kind in ("vouched by word", "software")
    assert "attested:" not in found.kind


def test_a_relay_that_swaps_the_enrolment_has_nothing_signed(trust: Ceremony) -> None:
    made = trust.enroll(trust.person().file())
    name = f"enrolments/{made.public_key.keyid}.enrolment.json"
    honest = (trust.repository.path / name).read_bytes()
    other = parse_enrolment(trust.person().file())
    broken = bytearray(honest)
    broken[honest.index(b'"sig":"') + 60] ^= 1
    for swapped in (None, trust.person().file(), bytes(broken), b"{}", honest[:-10]):
        error = refusal(lambda data=swapped: trust.terminal(trust.carried(**{name: data})))
        assert f"A key of {ZOE} is in the draft as attested" in str(error)
        assert "Sign nothing" in error.hint
    assert other.public_key.keyid != made.public_key.keyid
    trust.terminal(trust.carried(**{name: honest}))


def test_a_key_that_is_only_said_to_be_attested_is_refused(trust: Ceremony) -> None:
    """The coordinator is the attacker, and writes `attested` over a key whose maker nobody allowed."""
    cheap = SoftAuthenticator(aaguid=MODEL.bytes, attestation_ca=AttestationCa(), verify_user=lambda: True)
    digest = sorted(root_digests(trust.repository))[0]
    trust.enroll(SoftEnrolment(cheap, person=ZOE, root_sha256=digest, invite=INVITE).file())
    assert "does not hold on this terminal" in str(refusal(trust.terminal))


def test_an_attestation_under_roots_that_this_draft_does_not_pin_is_refused(trust: Ceremony) -> None:
    trust.enroll(trust.person().file())
    other = Model(str(MODEL), (), "Acme Key 7", "allowed", (AttestationCa("Other").root_der,))
    trust.repository.stage(put_models(trust.files(), [other]), now=trust.now)
    assert "does not hold on this terminal" in str(refusal(trust.terminal))


# -- whose signature


def test_one_administrator_with_two_keys_is_one_voice(trust: Ceremony) -> None:
    """The second key is in no quorum; and a root that gave it a place would be refused."""
    trust.stage_policy(STRICTER)
    trust.sign(ANNA)
    spare = SoftSk("ed25519")
    there = trust.carry()
    session = trust.terminal(there, ANNA)
    assert refusal(lambda: session.sign(spare)).reason is Reason.UNKNOWN_KEY
    value = json.loads(encode_signatures(trust.repository, {trust.keys[ANNA].keyid}))
    item = dict(value["signatures"][0])
    message = trust.repository.draft_bytes("targets") or b""
    item |= {"keyid": spare.keyid, "sig": b64encode(spare.sign(NAMESPACE_TRUST, message))}
    value["signatures"].append(item)
    kept, refused = attach_signatures(trust.repository, json.dumps(value).encode())
    assert kept.refusal is None
    assert refused.refusal is not None and refused.refusal.reason is Reason.UNKNOWN_KEY
    (targets,) = pending_roles(trust.repository)
    assert (targets.signed, targets.missing) == ((ANNA,), 1)
    root = trust.repository.published_root()
    assert root is not None
    root.version += 1
    for role in ("root", "targets"):
        root.add_key(administrator(ANNA, spare).key, role)
    trust.repository.write_draft("root", root)
    assert "Two keys of anna" in str(refusal(lambda: trust.terminal(trust.carry())))


def test_another_administrators_key_signs_in_nobodys_name(trust: Ceremony) -> None:
    trust.stage_policy(STRICTER)
    session = trust.terminal(person=CLEO)
    assert "belongs to anna" in str(refusal(lambda: session.sign(trust.keys[ANNA])))


# -- hidden text


@pytest.mark.parametrize("hidden", ["\u202eelgoog", "ze\u200bro", "z\u043ee", "\x1b[2Jx", "zoe\u0000"])
def test_hidden_text_in_a_name_reaches_no_screen(trust: Ceremony, hidden: str) -> None:
    files = trust.files()
    value = json.loads(files["people.json"])
    value["people"][0]["groups"] = [hidden]
    data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        trust.repository.stage({"people.json": data}, now=trust.now)
    except MalformedError:
        return  # refused before anybody sees it
    for change in trust.terminal().changes():
        assert all(text.isascii() and text.isprintable() for text in change)


@pytest.mark.parametrize(
    ("person", "name"),
    [
        ("ann@example.com", "ann@example.com.signatures.json"),
        ("../../etc/passwd", "_.._etc_passwd.signatures.json"),
        ("/root/x", "_root_x.signatures.json"),
        ("...", "administrator.signatures.json"),
        ("a" * 254, "a" * 100 + ".signatures.json"),
        ("a b\u202e", "a_b_.signatures.json"),
    ],
)
def test_a_persons_name_leads_no_file_elsewhere(person: str, name: str) -> None:
    assert signatures_name(person) == name


# -- places


def test_a_stick_that_is_full_or_pulled_out_leaves_nothing_by_halves(tmp_path: Path) -> None:
    box = FolderBox(tmp_path / "stick")
    box.write_challenge(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(IndeterminateError, match="cannot be written") as refused:
            box.write_challenge(b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "by halves" in refused.value.hint
    assert box.read_challenge(10) == b"old"
    assert [path.name for path in (tmp_path / "stick").iterdir()] == ["challenge.json"]
    (tmp_path / "gone").write_text("no folder any more")
    with pytest.raises(IndeterminateError, match="cannot be written"):
        FolderBox(tmp_path / "gone").write_signatures("x.signatures.json", b"x")


def test_links_and_pipes_in_a_shared_folder_are_not_opened(tmp_path: Path) -> None:
    folder, secret = tmp_path / "shared", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "challenge.json").symlink_to(secret)
    os.mkfifo(folder / "ann.signatures.json")
    box = open_box(str(folder), tmp_path / "cache")
    with pytest.raises(IndeterminateError, match="cannot be read"):
        box.read_challenge(100)
    with pytest.raises(MalformedError, match="no plain file"):
        box.read_signatures(100)
    (folder / "ann.signatures.json").unlink()
    (folder / "ann.signatures.json").write_bytes(b"x" * 101)
    with pytest.raises(MalformedError, match="larger than 100 bytes"):
        box.read_signatures(100)


def test_a_flood_of_signature_files_is_refused(tmp_path: Path) -> None:
    for n in range(257):
        (tmp_path / f"{n}.signatures.json").write_bytes(b"{}")
    with pytest.raises(MalformedError, match="more than 256 signature files"):
        open_box(str(tmp_path), tmp_path / "cache").read_signatures(100)


@pytest.mark.parametrize("place", ["ftp://host/x", "javascript://x", "git+ext::sh", "git+https://u:p@host/x"])
def test_a_place_of_another_kind_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(MalformedError):
        open_box(place, tmp_path)


def test_a_signature_that_a_courier_turned_is_refused(trust: Ceremony) -> None:
    trust.stage_policy(STRICTER)
    there = trust.carry()
    session = trust.terminal(there)
    session.sign(trust.keys[CLEO])
    value = json.loads(encode_signatures(there, {trust.keys[CLEO].keyid}))
    sig = bytearray(b64decode_strict(value["signatures"][0]["sig"]))
    sig[-1] ^= 1
    value["signatures"][0]["sig"] = b64encode(bytes(sig))
    (collected,) = attach_signatures(trust.repository, json.dumps(value).encode())
    assert isinstance(collected.refusal, PlacetError)
    assert collected.person == CLEO
    assert isinstance(refusal(lambda: session.check_key(SoftSk("ed25519").wire)), PolicyError)
    assert parse_public_key(trust.keys[CLEO].wire).keyid == trust.keys[CLEO].keyid
