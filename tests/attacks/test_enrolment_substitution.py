"""Whoever carries an enrolment puts in a key of their own: a genuine one, of an allowed model.

The world here is an attacker's best day.  They hold the same model of security key as the person, bought in
the same shop, have seen the honest file, and carry every byte between the person and the administrators.
They do not know the invite, which was spoken.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap2 import Ctap2

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.ceremony import trust_edit
from placet.ceremony.enrol import Enrolment, encode_enrolment, evidence_digest, parse_enrolment
from placet.ceremony.enrol_evidence import registration_challenge
from placet.ceremony.enrol_review import Judged, attestation_digest, judge_enrolment, verify_again
from placet.ceremony.fingerprint import check_typed_fingerprint, spoken_fingerprint
from placet.ceremony.models import downgrade_keys, put_models, revoke_model
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.sshsig import encode_sk_ecdsa_key, parse_public_key
from placet.core.sshwire import ssh_string
from placet.core.trust import compile_trust
from placet.documents.models import Model
from placet.ports.attestation_verifier import AttestationEvidence
from placet.testing.authenticator import DEFAULT_RP_ID, DEFAULT_WEB_ORIGIN, UP, UV
from placet.testing.ctap import SOFTWARE_AAGUID, AttestationCa, SoftAuthenticator, SoftCtapDevice
from placet.testing.registration import SoftEnrolment
from placet.testing.world import NOW, World

ZOE = "zoe@example.com"
INVITE, ROOT = "kv7w-93hd-qq2x-8mzt-4bnc", "ab" * 32
MODEL = uuid.UUID("a0a0a0a0-0000-4000-8000-000000000007")
OTHER_MODEL = uuid.UUID("a0a0a0a0-0000-4000-8000-000000000008")
VENDOR = AttestationCa("Acme Keys")
VERIFIER = FidoAttestationVerifier()


def key(model: uuid.UUID = MODEL, vendor: AttestationCa = VENDOR, **options: Any) -> SoftAuthenticator:
    options = {"verify_user": lambda: True} | options
    return SoftAuthenticator(aaguid=model.bytes, attestation_ca=vendor, **options)


def person(authenticator: SoftAuthenticator | None = None, **told: Any) -> SoftEnrolment:
    told = {"person": ZOE, "root_sha256": ROOT, "invite": INVITE} | told
    return SoftEnrolment(authenticator or key(), **told)


@pytest.fixture(scope="module")
def draft() -> dict[str, bytes]:
    """The administrators' draft: the person without a key, the model allowed."""
    files = World().files()
    files |= trust_edit.add_person(files, ZOE, groups=["release"])
    allowed = Model(str(MODEL), (), "Acme Key 7", "allowed", (VENDOR.root_der,))
    return files | put_models(files, [allowed])


def judge(data: bytes, files: dict[str, bytes], **changes: Any) -> Judged:
    """What the administrator who gave the invite does with a file."""
    asked: dict[str, Any] = {
        "person": ZOE,
        "invite": INVITE,
        "root_digests": [ROOT],
        "require_uv": True,
        "assurance": "attested",
        "verifier": VERIFIER,
        "at": NOW,
    }
    return judge_enrolment(data, files=files, **(asked | changes))


def record(files: dict[str, bytes], enrolment: Enrolment, assurance: str = "attested", **changes: Any) -> Any:
    """The draft after somebody recorded a key in it, without asking anything."""
    digest = evidence_digest(enrolment.evidence) if enrolment.evidence and assurance == "attested" else None
    members: dict[str, Any] = {
        "key": enrolment.public_key,
        "kind": enrolment.kind,
        "uv": True,
        "assurance": assurance,
        "aaguid": enrolment.aaguid,
        "attestation": digest,
        "not_before": NOW,
        "not_after": NOW + 86_400,
    }
    return files | trust_edit.add_credential(files, enrolment.person, **(members | changes))


def compiles(files: dict[str, bytes]) -> bytes:
    return compile_trust(files=files, versions={"root": 1}, expires_at=NOW)


def refusal(action: Any) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        action()
    return caught.value


def test_the_honest_person_is_attested_and_everybody_can_verify_it(draft: dict[str, bytes]) -> None:
    data = person().file()
    judged = judge(data, draft)
    assert judged.model is not None and judged.model.description == "Acme Key 7"
    assert judged.root_name == "CN=Acme Keys"
    files = record(draft, judged.enrolment, attestation=attestation_digest(judged))
    compiles(files)
    again = verify_again(data, files=files, verifier=VERIFIER, at=NOW)
    assert (again.keyid, again.model) == (judged.keyid, judged.model)
    assert any("Only its inviter" in sentence for sentence in again.sentences)
    assert INVITE.encode() not in data


def test_a12_a_genuine_key_of_the_couriers_own_does_not_answer_the_invite(draft: dict[str, bytes]) -> None:
    """It has the right model and root, and an attestation for the challenge that the honest file shows."""
    seen = parse_enrolment(person().file())
    challenge = registration_challenge(ZOE, "demo", ROOT, INVITE)  # in the honest file's client data
    thief = person(invite="a-guess-of-the-courier", challenge=challenge)
    for stolen in (thief.draft(), thief.draft()._replace(invite_mac=seen.invite_mac)):
        error = refusal(lambda stolen=stolen: judge(thief.sign(stolen), draft))
        assert (error.reason, "does not answer the invite" in str(error)) == (Reason.CHALLENGE_MISMATCH, True)
        assert "by voice" in error.hint


def test_a12_a_substituted_key_has_another_fingerprint_for_those_who_know_no_invite(
    draft: dict[str, bytes],
) -> None:
    """The courier is an administrator and records the thief's key; the others verify without the invite."""
    honest, thief = person(), person(invite="a-guess-of-the-courier")
    stolen = thief.file()
    files = record(draft, parse_enrolment(stolen))
    judged = verify_again(
        stolen, files=files, verifier=VERIFIER, at=NOW
    )  # genuine hardware, and nothing else
    error = refusal(
        lambda: check_typed_fingerprint(
            spoken_fingerprint(honest.public_key.keyid).split(" (")[0], judged.keyid
        )
    )
    assert (type(error), error.reason) == (VerificationError, Reason.KEY_MISMATCH)


def test_a12_the_honest_statement_does_not_cover_another_key(draft: dict[str, bytes]) -> None:
    honest, thief = parse_enrolment(person().file()), parse_enrolment(person().file())
    for swapped in (
        honest._replace(public_key=thief.public_key),
        honest._replace(public_key=thief.public_key, sig=thief.sig),
        honest._replace(public_key=thief.public_key, evidence=thief.evidence),
        honest._replace(sig=thief.sig),
    ):
        assert isinstance(refusal(lambda s=swapped: judge(encode_enrolment(s), draft)), VerificationError)


def test_a10_another_keys_attestation_lifts_no_key(draft: dict[str, bytes]) -> None:
    """The person cheats: a key of no allowed model, with a genuine key's attestation in the file."""
    genuine, cheap = person(), person(key(OTHER_MODEL, AttestationCa()))
    data = cheap.file(evidence=genuine.evidence, aaguid=str(MODEL))
    assert refusal(lambda: judge(data, draft)).reason is Reason.KEY_MISMATCH
    assert refusal(lambda: judge(data, draft, assurance="vouched")).reason is Reason.KEY_MISMATCH


def test_a10_an_attestation_from_another_enrolment_is_worth_nothing(draft: dict[str, bytes]) -> None:
    for told in (
        {"person": "yan@example.com"},
        {"invite": "another-invite-of-old"},
        {"root_sha256": "cd" * 32},
    ):
        made = person(**told)
        drafted = made.draft(person=ZOE, invite=INVITE, root_sha256=ROOT)
        assert refusal(lambda m=made, d=drafted: judge(m.sign(d), draft)).reason is Reason.CHALLENGE_MISMATCH


def test_a9_a_credential_of_a_login_page_is_not_enrolled(draft: dict[str, bytes]) -> None:
    elsewhere = {"rp_id": "login.localhost", "web_origin": "http://login.localhost:8470"}
    assert refusal(lambda: judge(person(**elsewhere).file(), draft)).reason is Reason.ORIGIN_NOT_ALLOWED
    sibling = person(web_origin="http://evil.demo.placet.localhost:8470").file()
    assert refusal(lambda: judge(sibling, draft)).reason is Reason.ORIGIN_NOT_ALLOWED


def test_a9_a_credential_made_on_another_page_is_not_enrolled_by_proving_it_on_ours(
    draft: dict[str, bytes],
) -> None:
    made = person(web_origin="http://evil.demo.placet.localhost:8470")
    made.move_to(DEFAULT_WEB_ORIGIN)
    for assurance in ("attested", "vouched", "software"):
        error = refusal(lambda a=assurance: judge(made.file(), draft, assurance=a))
        assert (error.reason, "made on another page" in str(error)) == (Reason.ORIGIN_NOT_ALLOWED, True)


def test_a10_a_pages_key_does_not_bring_the_attestation_of_a_command_line(draft: dict[str, bytes]) -> None:
    """There neither origin nor user verification stands in what was attested."""
    authenticator = key()
    challenge = registration_challenge(ZOE, "demo", ROOT, INVITE)
    made = Ctap2(SoftCtapDevice(authenticator)).make_credential(
        hashlib.sha256(challenge).digest(),
        {"id": DEFAULT_RP_ID, "name": "placet"},
        {"id": b"zoe", "name": "placet"},
        [{"type": "public-key", "alg": -7}],
        options={"uv": True},
    )
    parts = (made.att_stmt["x5c"][0], made.att_stmt["sig"], cbor.encode(bytes(made.auth_data)))
    blob = ssh_string("ssh-sk-attest-v01") + b"".join(map(ssh_string, parts)) + bytes(4) + ssh_string(b"")
    posing = person(authenticator)
    posing.evidence = AttestationEvidence("ssh-sk", blob, challenge)
    posing.facts = VERIFIER.read(posing.evidence)
    posing.public_key = parse_public_key(encode_sk_ecdsa_key(posing.facts.key_raw, DEFAULT_RP_ID))
    error = refusal(lambda: judge(posing.file(), draft))
    assert (error.reason, "another kind of key" in str(error)) == (Reason.ATTESTATION_INVALID, True)


def test_a10_a_u2f_key_is_named_and_never_attested(draft: dict[str, bytes]) -> None:
    made = person(key(uuid.UUID(int=0)))
    assert (made.facts.aaguid, made.facts.attestation_type) == ("", "basic")
    listed = Model("", made.facts.key_identifiers, "Acme U2F 1", "allowed", (VENDOR.root_der,))
    files = draft | put_models(draft, [listed])
    error = refusal(lambda: judge(made.file(), files))
    assert (error.reason, "U2F key (Acme U2F 1) verifies nobody" in str(error)) == (
        Reason.MODEL_NOT_ALLOWED,
        True,
    )
    assert judge(made.file(), files, assurance="vouched").model is None


@pytest.mark.parametrize(
    ("authenticator", "sentence"),
    [
        (key(attestation="self"), "only its own"),
        (key(attestation="none"), "no attestation that a vendor signed"),
        (key(vendor=AttestationCa("Acme Keys")), "leads to no root that is pinned"),
        (key(OTHER_MODEL), "not in the trust root's list"),
    ],
    ids=["self", "none", "another root of that name", "another model"],
)
def test_a10_what_no_pinned_root_signed_is_attested_by_nobodys_word(
    draft: dict[str, bytes], authenticator: SoftAuthenticator, sentence: str
) -> None:
    data = person(authenticator).file()
    error = refusal(lambda: judge(data, draft))
    assert (error.reason, sentence in str(error)) == (Reason.MODEL_NOT_ALLOWED, True)
    vouched = judge(data, draft, assurance="vouched")
    assert vouched.model is None
    assert sentence in vouched.not_attested
    assert refusal(lambda: attestation_digest(vouched)).reason is Reason.MODEL_NOT_ALLOWED


def test_a10_software_stays_software_even_where_a_list_names_its_model(draft: dict[str, bytes]) -> None:
    model = uuid.UUID(bytes=SOFTWARE_AAGUID)
    named = Model(str(model), (), "Software of tests", "allowed", (VENDOR.root_der,))
    files = draft | put_models(draft, [named])
    data = person(key(model)).file()
    for assurance in ("attested", "vouched"):
        error = refusal(lambda a=assurance: judge(data, files, assurance=a))
        assert "says that it is software" in str(error)
    judged = judge(data, files, assurance="software")
    recorded = record(files, judged.enrolment)
    assert "says that it is software" in str(
        refusal(lambda: verify_again(data, files=recorded, verifier=VERIFIER, at=NOW))
    )


def test_a10_nobody_there_or_a_copyable_key_is_not_enrolled(draft: dict[str, bytes]) -> None:
    unlocked = person(key(rewrite_flags=lambda flags: flags & ~UV))
    untouched = person(key(rewrite_flags=lambda flags: flags & ~UP))
    synced = person(key(backup_eligible=True, backed_up=True))
    for made, reason in (
        (unlocked, Reason.USER_VERIFICATION_MISSING),
        (untouched, Reason.USER_PRESENCE_MISSING),
        (synced, Reason.BACKUP_NOT_ALLOWED),
    ):
        assert refusal(lambda m=made: judge(m.file(), draft)).reason is reason


def test_a10_a_revoked_model_counts_nowhere(draft: dict[str, bytes]) -> None:
    data = person().file()
    judged = judge(data, draft)
    recorded = record(draft, judged.enrolment)
    compiles(recorded)
    revoked = recorded | revoke_model(recorded, str(MODEL))
    assert refusal(lambda: compiles(revoked)).reason is Reason.MODEL_NOT_ALLOWED  # no draft, no gate
    error = refusal(lambda: verify_again(data, files=revoked, verifier=VERIFIER, at=NOW))
    assert (error.reason, "is revoked" in str(error)) == (Reason.MODEL_NOT_ALLOWED, True)
    settled = revoked | downgrade_keys(revoked, [judged.keyid], "vouched")
    compiles(settled)
    assert verify_again(data, files=settled, verifier=VERIFIER, at=NOW).model is None


def test_a12_a_draft_that_records_more_than_the_file_proves_is_not_signed(draft: dict[str, bytes]) -> None:
    data = person().file()
    enrolment = parse_enrolment(data)
    for changes in ({"aaguid": str(OTHER_MODEL)}, {"attestation": "cd" * 32}):
        files = record(draft, enrolment, **changes)
        assert isinstance(
            refusal(lambda f=files: verify_again(data, files=f, verifier=VERIFIER, at=NOW)),
            (PolicyError, VerificationError),
        )
    alice = record(draft, enrolment._replace(person="alice@example.com"))
    error = refusal(lambda: verify_again(data, files=alice, verifier=VERIFIER, at=NOW))
    assert "otherwise than its enrolment proves" in str(error)
    assert (
        refusal(lambda: verify_again(data, files=draft, verifier=VERIFIER, at=NOW)).reason
        is Reason.UNKNOWN_KEY
    )
    plain = person(key(attestation="none")).file()
    posing = record(draft, parse_enrolment(plain))
    assert isinstance(
        refusal(lambda: verify_again(plain, files=posing, verifier=VERIFIER, at=NOW)), PolicyError
    )


def test_a_model_without_an_attestation_object_is_no_model(draft: dict[str, bytes]) -> None:
    made = person()
    bare = made.file(evidence=None)
    assert isinstance(refusal(lambda: judge(bare, draft, assurance="vouched")), MalformedError)
    nameless = made.file(evidence=None, aaguid="")
    assert judge(nameless, draft, assurance="vouched").model is None
    assert refusal(lambda: judge(nameless, draft)).reason is Reason.MODEL_NOT_ALLOWED
    other = made.file(evidence=made.evidence._replace(kind="ssh-sk"))
    assert isinstance(refusal(lambda: judge(other, draft)), PlacetError)
    renamed = made.file(aaguid=str(OTHER_MODEL))
    assert refusal(lambda: judge(renamed, draft)).reason is Reason.ATTESTATION_INVALID


def test_every_changed_member_of_a_file_is_noticed(draft: dict[str, bytes]) -> None:
    honest = parse_enrolment(person().file())
    assert honest.evidence is not None
    for changed in (
        honest._replace(person="yan@example.com"),
        honest._replace(deployment="other"),
        honest._replace(kind="sk"),
        honest._replace(root_sha256="cd" * 32),
        honest._replace(aaguid=""),
        honest._replace(evidence=None),
        honest._replace(evidence=honest.evidence._replace(client_data=honest.evidence.client_data + b" ")),
        honest._replace(invite_mac="cd" * 32),
        honest._replace(sig=honest.sig[:-1] + bytes([honest.sig[-1] ^ 1])),
        honest._replace(public_key=parse_public_key(person().public_key.wire)),
    ):
        for assurance in ("attested", "vouched", "software"):
            refusal(lambda c=changed, a=assurance: judge(encode_enrolment(c), draft, assurance=a))
