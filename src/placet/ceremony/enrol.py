"""Enrolment: a new key proves that it is held by the person whom an administrator invited.

The administrator gives an invite to the person out of band (spoken, on paper).  On the person's own terminal
the new key signs the enrolment statement:

    {"_type", "aaguid", "attestationSha256", "deployment", "inviteMac", "kind", "person", "publicKey",
     "rootSha256"}

``inviteMac`` is HMAC-SHA256 under the invite over the statement without it.  So

- the invite is in no file, and the file may travel over anything;
- whoever knows the invite knows that the person (and nobody who carries the file) chose this very key: the
  code covers the key, so another genuine key needs another code, which only the invite gives;
- whoever does not know it, as the other administrators who sign, still verifies everything else in the
  statement by the new key's own signature, and goes by the fingerprint that the person reads aloud.

A mere digest of the invite would not do: the honest file would show it, and a key of the courier's own could
sign a statement that names it.

    *.enrolment.json
    {"mediaType", "person", "deployment", "publicKey", "kind", "rootSha256", "inviteMac", "sig", "aaguid"?,
     "attestation"?: {"kind": "webauthn"|"ssh-sk", "object", "clientData"}}

The signature is an SSHSIG in namespace ``enrol-v1@placet.dev``, so it can never be taken for an approval.
Administrators keep the file and never publish it: the attestation object holds the credential ID.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from typing import Any, NamedTuple

from placet.ceremony.enrol_evidence import EVIDENCE_KINDS
from placet.core.decode import read_ascii, read_choice, read_hex_digest, read_name, read_object, read_string
from placet.core.encoding import Digest, b64decode_strict, b64encode, encode_canonical, parse_json, sha256_hex
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.people import KINDS, Deployment
from placet.core.signature import SignatureFacts, verify_sshsig
from placet.core.sshsig import NAMESPACE_ENROL, PublicKey, parse_public_key
from placet.documents.models import SOFTWARE_AAGUIDS
from placet.ports.attestation_verifier import AttestationEvidence

MEDIA_TYPE = "application/vnd.placet.enrolment.v1+json"
STATEMENT_TYPE = "https://placet.dev/enrolment/v1"
MAX_ENROLMENT_BYTES = 128 * 1024
_MAX_OBJECT_TEXT = 64 * 1024
# Whoever carries the file can try invites against the code at leisure; 16 random letters outlast that.
MIN_INVITE = 16
# Random letters are never this few; words that somebody made up, or sixteen times the same, can be.
MIN_DISTINCT = 6
# Without letters and digits that are taken for each other, in writing or by ear.
_INVITE_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_INVITE_GROUPS, _INVITE_GROUP_LENGTH = 5, 4

# OpenSSH's test provider sk-dummy signs with this counter, always; a real key would need 300 million touches.
SK_DUMMY_COUNTER = 0x12345678


class Enrolment(NamedTuple):
    """A new key's proof.  `sig` is a binary SSHSIG, `root_sha256` the digest of the root that was pinned."""

    person: str
    deployment: str
    public_key: PublicKey
    kind: str
    root_sha256: Digest
    aaguid: str
    evidence: AttestationEvidence | None
    invite_mac: Digest
    sig: bytes


def draft_enrolment(
    *,
    person: str,
    deployment: str,
    public_key: PublicKey,
    kind: str,
    root_sha256: Digest,
    invite: str,
    aaguid: str = "",
    evidence: AttestationEvidence | None = None,
) -> Enrolment:
    """Returns an enrolment that the new key has yet to sign: its `enrolment_message`, into `sig`.

    Args:
        person: the person's ID.
        deployment: the deployment's name.
        public_key: the new key.
        kind: how it signs, ``webauthn`` or ``sk``.
        root_sha256: digest of the root that the person's terminal was told.
        invite: the words that the administrator gave to the person.
        aaguid: the authenticator's model, "" where it is not known.
        evidence: what the authenticator said about itself.
    """
    none_yet = Digest("")
    made = Enrolment(person, deployment, public_key, kind, root_sha256, aaguid, evidence, none_yet, b"")
    return made._replace(invite_mac=invite_code(_claim(made), invite))


def enrolment_message(enrolment: Enrolment) -> bytes:
    """Returns the bytes that the new key signs in namespace ``enrol-v1@placet.dev``."""
    return encode_canonical(_claim(enrolment) | {"inviteMac": enrolment.invite_mac})


def _claim(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "aaguid": enrolment.aaguid,
        "attestationSha256": evidence_digest(enrolment.evidence) if enrolment.evidence else "",
        "deployment": enrolment.deployment,
        "kind": enrolment.kind,
        "person": enrolment.person,
        "publicKey": b64encode(enrolment.public_key.wire),
        "rootSha256": enrolment.root_sha256,
    }


def invite_code(claim: dict[str, Any], invite: str) -> Digest:
    """Returns the code under the invite over everything else that an enrolment claims."""
    key = invite.encode("utf-8", "surrogatepass")
    return Digest(hmac.new(key, encode_canonical(claim), hashlib.sha256).hexdigest())


def evidence_digest(evidence: AttestationEvidence) -> Digest:
    """Returns what the statement, and later ``people.json``, says of an attestation object."""
    return Digest(sha256_hex(encode_canonical(_evidence_to_object(evidence))))


def _evidence_to_object(evidence: AttestationEvidence) -> dict[str, Any]:
    return {
        "kind": evidence.kind,
        "object": b64encode(evidence.object),
        "clientData": b64encode(evidence.client_data),
    }


def encode_enrolment(enrolment: Enrolment) -> bytes:
    """Encodes the enrolment file."""
    value: dict[str, Any] = {
        "mediaType": MEDIA_TYPE,
        "person": enrolment.person,
        "deployment": enrolment.deployment,
        "publicKey": b64encode(enrolment.public_key.wire),
        "kind": enrolment.kind,
        "rootSha256": enrolment.root_sha256,
        "inviteMac": enrolment.invite_mac,
        "sig": b64encode(enrolment.sig),
    }
    if enrolment.aaguid:
        value["aaguid"] = enrolment.aaguid
    if enrolment.evidence is not None:
        value["attestation"] = _evidence_to_object(enrolment.evidence)
    return encode_canonical(value)


def parse_enrolment(data: bytes) -> Enrolment:
    """Reads an enrolment file; `verify_enrolment` judges it.

    Raises:
        MalformedError: a member is missing or wrong.
    """
    names = ["mediaType", "person", "deployment", "publicKey", "kind", "rootSha256", "inviteMac", "sig"]
    value = parse_json(data, max_bytes=MAX_ENROLMENT_BYTES, what="enrolment file")
    members = read_object(value, "", required=names, optional=["aaguid", "attestation"])
    if members["mediaType"] != MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is no enrolment file.", path="/mediaType")
    wire = b64decode_strict(read_string(members["publicKey"], "/publicKey", max_length=2048), "/publicKey")
    return Enrolment(
        person=read_ascii(members["person"], "/person", max_length=254),
        deployment=read_name(members["deployment"], "/deployment"),
        public_key=parse_public_key(wire),
        kind=read_choice(members["kind"], "/kind", KINDS),
        root_sha256=read_hex_digest(members["rootSha256"], "/rootSha256"),
        aaguid=read_ascii(members["aaguid"], "/aaguid", max_length=36) if "aaguid" in members else "",
        evidence=_read_evidence(members["attestation"]) if "attestation" in members else None,
        invite_mac=read_hex_digest(members["inviteMac"], "/inviteMac"),
        sig=b64decode_strict(read_string(members["sig"], "/sig", max_length=16_384), "/sig"),
    )


def _read_evidence(value: Any) -> AttestationEvidence:
    path = "/attestation"
    members = read_object(value, path, required=["kind", "object", "clientData"])
    texts = [
        read_string(members[name], f"{path}/{name}", max_length=_MAX_OBJECT_TEXT)
        for name in ("object", "clientData")
    ]
    return AttestationEvidence(
        read_choice(members["kind"], f"{path}/kind", EVIDENCE_KINDS),
        b64decode_strict(texts[0], f"{path}/object"),
        b64decode_strict(texts[1], f"{path}/clientData"),
    )


def verify_enrolment(
    enrolment: Enrolment,
    *,
    person: str,
    deployment: Deployment,
    invite: str,
    root_digests: Collection[str],
    origins: Collection[str],
    require_uv: bool,
) -> SignatureFacts:
    """Verifies that the new key answers this invite, for this person, under this trust root.

    What the authenticator said about itself is judged by `placet.ceremony.enrol_review`.

    Args:
        enrolment: the parsed file.
        person: whom the administrator invited.
        deployment: the deployment that the key is for.
        invite: the words that the administrator gave to the person.
        root_digests: digests of the roots that the person's terminal may have been told.
        origins: the web origins of enrolled terminals.
        require_uv: whether the user must have been verified.

    Raises:
        PolicyError: it is for somebody else, or presence, verification or origin are not acceptable.
        VerificationError: it answers another invite or trust root, or the signature does not verify.
        MalformedError: the signature is not an SSHSIG, or the invite can be guessed.
    """
    check_invite(invite)
    _check_addressee(enrolment, person, deployment, root_digests)
    if not hmac.compare_digest(enrolment.invite_mac, invite_code(_claim(enrolment), invite)):
        raise VerificationError(
            Reason.CHALLENGE_MISMATCH,
            f"This key does not answer the invite that {person} was given.",
            hint="Check the invite's spelling. If it is right, somebody changed the file or put in a key of "
            "their own: ask the person, by voice, to enrol again.",
        )
    return verify_statement(enrolment, origins=origins, require_uv=require_uv)


def verify_statement(enrolment: Enrolment, *, origins: Collection[str], require_uv: bool) -> SignatureFacts:
    """Verifies that the new key signed this statement: all that can be said without the invite.

    Raises:
        PolicyError: presence, verification or origin are not acceptable.
        VerificationError: the signature does not verify.
        MalformedError: the signature is not an SSHSIG.
    """
    return verify_sshsig(
        enrolment.sig,
        message=enrolment_message(enrolment),
        namespace=NAMESPACE_ENROL,
        key=enrolment.public_key,
        kind=enrolment.kind,
        origins=origins,
        require_uv=require_uv,
    )


def _check_addressee(
    enrolment: Enrolment, person: str, deployment: Deployment, root_digests: Collection[str]
) -> None:
    if enrolment.person != person or enrolment.deployment != deployment.name:
        raise PolicyError(
            Reason.BAD_VALUE,
            "The enrolment is for somebody else.",
            expected=(person, deployment.name),
            actual=(enrolment.person, enrolment.deployment),
        )
    check_root(enrolment.root_sha256, root_digests)


def check_root(root_sha256: Digest, root_digests: Collection[str]) -> None:
    """Refuses an enrolment, of a person or a terminal, that was made under another trust root.

    Raises:
        VerificationError: CHALLENGE_MISMATCH.
    """
    if root_sha256 not in root_digests:
        raise VerificationError(
            Reason.CHALLENGE_MISMATCH,
            "The enrolment was made under another trust root.",
            expected=tuple(root_digests),
            actual=root_sha256,
        )


def make_invite() -> str:
    """Returns a fresh invite, in groups that can be read aloud; nobody guesses 99 bits."""
    return "-".join(
        "".join(secrets.choice(_INVITE_ALPHABET) for _ in range(_INVITE_GROUP_LENGTH))
        for _ in range(_INVITE_GROUPS)
    )


def check_invite(invite: str) -> None:
    """Refuses an invite that could be guessed from the signature.

    Raises:
        MalformedError: BAD_VALUE.
    """
    if len(invite) < MIN_INVITE:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"An invite has at least {MIN_INVITE} random characters.",
            hint="Make one with: placet trust invite",
        )
    if len(set(invite)) < MIN_DISTINCT:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"This invite can be guessed: it has fewer than {MIN_DISTINCT} different characters.",
            hint="Make one with: placet trust invite",
        )


def check_assurance(assurance: str, aaguid: str, counter: int | None = None) -> None:
    """Refuses an assurance that the authenticator's own words contradict.

    Args:
        assurance: what the administrator wants to record.
        aaguid: the authenticator's model.
        counter: the signature counter of the enrolment, where there is one.

    Raises:
        PolicyError: MODEL_NOT_ALLOWED: a software authenticator is not enrolled as software.
    """
    if assurance == "software":
        return
    says = f"AAGUID {aaguid}" if aaguid.lower() in SOFTWARE_AAGUIDS else ""
    if counter == SK_DUMMY_COUNTER:
        says = "the counter of OpenSSH's test provider sk-dummy"
    if says:
        raise PolicyError(
            Reason.MODEL_NOT_ALLOWED,
            f"The authenticator says that it is software ({says}).",
            hint="Record it with --assurance software; it then reaches intent level 1 at most.",
        )
