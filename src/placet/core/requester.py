"""Who asked, as a fact: the requester's proof (spec/12-requester.md).

``requestedBy`` is a claim.  The requester *is* the person whose enrolled key signed the
request.  The proof travels as evidence of the statement and cannot cover its own digest,
so it signs the statement without that one evidence entry.
"""

from __future__ import annotations

from typing import Any

from placet.core.bundle import Evidence
from placet.core.decode import Object, read_key_id, read_object, read_string
from placet.core.dsse import MAX_SIGNATURE_BYTES, pae
from placet.core.encoding import KeyId, b64decode_strict, b64encode, encode_canonical, parse_canonical_json
from placet.core.errors import PlacetError, Reason, VerificationError
from placet.core.signature import verify_sshsig
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.core.statement import IntentStatement
from placet.core.trust import Trust

PROOF_NAME = "requester-proof"
PROOF_MEDIA_TYPE = "application/vnd.placet.request-proof.v1+json"
SIGNED_TYPE = "application/vnd.placet.request.v1+json"


def proof_message(value: Any) -> bytes:
    """Returns what a requester signs: the PAE of the statement without the proof's own entry (REQ-01).

    Args:
        value: the statement's JSON object, with or without the proof's entry.
    """
    predicate = value["predicate"]
    others = [item for item in predicate["evidence"] if item["mediaType"] != PROOF_MEDIA_TYPE]
    return pae(SIGNED_TYPE, encode_canonical({**value, "predicate": {**predicate, "evidence": others}}))


def encode_proof(keyid: KeyId, sshsig: bytes) -> bytes:
    """Encodes the proof's content."""
    proof: Object = {"keyid": keyid, "sig": b64encode(sshsig)}
    return encode_canonical(proof)


def verify_requester(
    statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust, at: int
) -> str | None:
    """Returns the ID of the person who asked, or None where nothing proves it.

    Raises:
        VerificationError: REQUEST_PROOF_INVALID; a proof that does not verify is never ignored (REQ-02).
    """
    named = [e for e in statement.evidence if e.media_type == PROOF_MEDIA_TYPE]
    if not named:
        return None
    carried = [e for e in evidence if e.digest == named[0].digest]
    try:
        if len(named) != 1 or len(carried) != 1:
            raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The proof is missing, or there are two.")
        if named[0].name != PROOF_NAME:  # REQ-03: it does not cover its own entry, which has one spelling.
            raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The proof stands under another name.")
        value = parse_canonical_json(
            carried[0].content, max_bytes=2 * MAX_SIGNATURE_BYTES, what="request proof"
        )
        members = read_object(value, "", required=["keyid", "sig"])
        found = trust.credentials.get(read_key_id(members["keyid"], "/keyid"))
        if found is None:
            raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The key is not enrolled.")
        person, credential = found
        if not credential.not_before <= at < credential.not_after:
            raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The key is not valid at this time.")
        verify_sshsig(
            b64decode_strict(read_string(members["sig"], "/sig", max_length=2 * MAX_SIGNATURE_BYTES), "/sig"),
            message=proof_message(statement.value),
            namespace=NAMESPACE_REQUEST,
            key=credential.public_key,
            kind=credential.kind,
            origins=trust.origins,
            require_uv=credential.uv,
            allow_backup=credential.backup == "allow",
        )
    except PlacetError as e:
        raise VerificationError(
            Reason.REQUEST_PROOF_INVALID,
            f"The requester's proof does not hold: {e.message}",
            hint="Ask again; sign the request with a key that is enrolled today.",
        ) from e
    return person.id
