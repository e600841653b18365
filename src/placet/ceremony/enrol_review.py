"""What an administrator can know about a new key: at enrolment, and again before signing.

Two readers.  The administrator who gave the invite verifies everything (`judge_enrolment`).  The others, who
sign the change, know no invite; from the enrolment file and the files of the draft alone they verify that the
key signed the statement that names person, deployment and attestation, that the draft records the very same,
and that the model is one that the draft allows (`verify_again`).  That it is the right person's key, they
learn from the fingerprint that the person reads aloud: without the invite nothing in the file could tell
(see `placet.ceremony.enrol`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from placet.ceremony.enrol import (
    Enrolment,
    check_assurance,
    evidence_digest,
    parse_enrolment,
    verify_enrolment,
    verify_statement,
)
from placet.ceremony.enrol_evidence import (
    check_challenge,
    check_registration,
    check_same_key,
    registration_challenge,
)
from placet.ceremony.trust_edit import decode_file, read_deployment, read_terminals
from placet.core.encoding import Digest, KeyId
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.people import Credential, Deployment, Person, parse_people
from placet.core.signature import SignatureFacts
from placet.core.trust import PEOPLE_FILE
from placet.documents.models import Model, find_model, read_models
from placet.ports.attestation_verifier import AttestationFacts, AttestationVerifier

Files = Mapping[str, bytes]


class Judged(NamedTuple):
    """A verified enrolment.

    `model` is set where the attestation proves one that the trust root allows, `root_name` is then the pinned
    root that it leads to, and `not_attested` says otherwise why not.
    """

    enrolment: Enrolment
    keyid: KeyId
    user_verified: bool
    counter: int
    model: Model | None
    root_name: str
    not_attested: str
    sentences: tuple[str, ...]


def judge_enrolment(
    data: bytes,
    *,
    person: str,
    files: Files,
    invite: str,
    root_digests: Collection[str],
    require_uv: bool,
    assurance: str,
    verifier: AttestationVerifier,
    at: int,
) -> Judged:
    """Judges an enrolment file with the invite at hand.

    Args:
        data: the file.
        person: whom the administrator invited.
        files: the files of the draft.
        invite: the words that the administrator gave to the person.
        root_digests: digests of the roots that the person's terminal may have been told.
        require_uv: whether the user must have been verified.
        assurance: what the administrator wants to record.
        verifier: verifies attestation objects.
        at: the time, in Unix seconds.

    Raises:
        PlacetError: it does not answer the invite, does not verify, or `assurance` is not justified.
    """
    enrolment, deployment = parse_enrolment(data), read_deployment(files)
    facts = verify_enrolment(
        enrolment,
        person=person,
        deployment=deployment,
        invite=invite,
        root_digests=root_digests,
        origins=_origins(files),
        require_uv=require_uv,
    )
    if enrolment.evidence is not None:
        challenge = registration_challenge(person, deployment.name, enrolment.root_sha256, invite)
        check_challenge(enrolment.evidence, challenge)
    return _judge(enrolment, facts, files, assurance, verifier, at, "It answers your invite.")


def verify_again(data: bytes, *, files: Files, verifier: AttestationVerifier, at: int) -> Judged:
    """Verifies, without the invite, the enrolment of a key that a draft records.

    Args:
        data: the enrolment file that the administrators keep.
        files: the files of the draft that is to be signed.
        verifier: verifies attestation objects.
        at: the time, in Unix seconds.

    Returns:
        What was verified; its sentences are to be shown, and the fingerprint is still to be asked for.

    Raises:
        PlacetError: the file does not verify, or the draft records something else than it proves.
    """
    enrolment, deployment = parse_enrolment(data), read_deployment(files)
    person, credential = _find(files, deployment, enrolment.public_key.keyid)
    recorded = (person.id, deployment.name, credential.kind, credential.aaguid)
    proven = (enrolment.person, enrolment.deployment, enrolment.kind, enrolment.aaguid)
    if recorded != proven:
        raise PolicyError(
            Reason.BAD_TRUST,
            "The draft records this key otherwise than its enrolment proves.",
            expected=proven,
            actual=recorded,
            hint="Sign nothing. Ask the administrator who enrolled the key.",
        )
    digest = evidence_digest(enrolment.evidence) if enrolment.evidence else None
    if credential.attestation not in (None, digest):
        raise VerificationError(
            Reason.ATTESTATION_INVALID,
            "The draft names another attestation object than the enrolment holds.",
            expected=credential.attestation,
            actual=digest,
        )
    facts = verify_statement(enrolment, origins=_origins(files), require_uv=credential.uv)
    return _judge(
        enrolment, facts, files, credential.assurance, verifier, at, "Only its inviter can check the invite."
    )


def _judge(
    enrolment: Enrolment,
    facts: SignatureFacts,
    files: Files,
    assurance: str,
    verifier: AttestationVerifier,
    at: int,
    invite: str,
) -> Judged:
    check_assurance(assurance, enrolment.aaguid, facts.counter)
    said = _read_evidence(enrolment, files, verifier)
    model, root, refusal = _match_model(said, files, verifier, at)
    if assurance == "attested" and refusal is not None:
        raise refusal
    told = f"{refusal.message} {refusal.hint}".strip() if refusal else ""
    judged = Judged(enrolment, facts.keyid, facts.user_verified, facts.counter, model, root, told, ())
    return judged._replace(sentences=(*_sentences(judged, said, assurance), invite))


def _read_evidence(
    enrolment: Enrolment, files: Files, verifier: AttestationVerifier
) -> AttestationFacts | None:
    """Returns what the authenticator said about itself, checked against what the key signed."""
    evidence = enrolment.evidence
    if evidence is None:
        if enrolment.aaguid:
            raise MalformedError(Reason.ATTESTATION_INVALID, "The enrolment names a model and proves none.")
        return None
    if (evidence.kind == "webauthn") != (enrolment.kind == "webauthn"):
        raise MalformedError(Reason.ATTESTATION_INVALID, "The attestation object is of another kind of key.")
    facts = verifier.read(evidence)
    check_same_key(facts, enrolment.public_key)
    check_registration(facts, evidence, rp_id=enrolment.public_key.application, origins=_origins(files))
    if facts.aaguid != enrolment.aaguid:
        raise VerificationError(
            Reason.ATTESTATION_INVALID,
            "The enrolment names another model than the authenticator did.",
            expected=facts.aaguid,
            actual=enrolment.aaguid,
        )
    return facts


def _match_model(
    said: AttestationFacts | None, files: Files, verifier: AttestationVerifier, at: int
) -> tuple[Model | None, str, PolicyError | None]:
    """Returns the allowed model that an attestation proves, and its root; or what speaks against it."""
    if said is None:
        return None, "", _not_allowed("The file holds no attestation object.", _VOUCH)
    found = find_model(read_models(files), said.aaguid, said.key_identifiers)
    if said.attestation_type == "basic":
        what = f"The model {said.aaguid or said.key_identifiers[0]}"
        if found is None:
            return None, "", _not_allowed(f"{what} is not in the trust root's list.", _ALLOW)
        if found.status != "allowed":
            return None, "", _not_allowed(f"{what} ({found.description}) is revoked.", _REPLACE)
        if not found.aaguid:
            text = f"A U2F key ({found.description}) verifies nobody, so it cannot count as attested."
            return None, "", _not_allowed(text, _VOUCH)
    try:
        root = verifier.check_chain(said, found.roots if found else (), at=at)
    except PolicyError as e:
        return None, "", e
    return found, root, None


_VOUCH = "If you saw the hardware, record it with --assurance vouched."
_ALLOW = "Allow the model first (`placet trust models import` or `allow`), or record the key as vouched."
_REPLACE = "Have them enrol another key."


def _not_allowed(message: str, hint: str) -> PolicyError:
    return PolicyError(Reason.MODEL_NOT_ALLOWED, message, hint=hint)


def _sentences(judged: Judged, said: AttestationFacts | None, assurance: str) -> tuple[str, ...]:
    if said is None:
        return ("The authenticator said nothing about itself.",)
    how = {"basic": "signed by its vendor's certificate", "self": "signed only by itself", "none": "unsigned"}
    name = said.aaguid or "(none named)"
    model = f"It says that it is of model {name}, {how[said.attestation_type]}."
    if judged.model is None:
        return (model, f"It does not count as attested: {judged.not_attested}")
    source = judged.model.source
    since = f"FIDO metadata {source.number}" if source.kind == "fido-mds" else "the vendor"
    named = f'Proven: "{judged.model.description}", under the root {judged.root_name}, pinned from {since}.'
    return (model, named, *(f"Advisory for this model: {text}" for text in judged.model.advisories))


def _origins(files: Files) -> frozenset[str]:
    return frozenset(origin for terminal in read_terminals(files) for origin in terminal.origins)


def _find(files: Files, deployment: Deployment, keyid: KeyId) -> tuple[Person, Credential]:
    for person in parse_people(decode_file(files, PEOPLE_FILE), deployment):
        for credential in person.credentials:
            if credential.keyid == keyid:
                return person, credential
    raise PolicyError(Reason.UNKNOWN_KEY, "The draft does not record the key of this enrolment.")


def attestation_digest(judged: Judged) -> Digest:
    """Returns what ``people.json`` says of an attested key's attestation object."""
    evidence = judged.enrolment.evidence
    if evidence is None or judged.model is None:
        raise PolicyError(Reason.MODEL_NOT_ALLOWED, judged.not_attested)
    return evidence_digest(evidence)
