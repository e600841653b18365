"""Who asked, as a fact: the requester's proof (spec/12-requester.md).

``requestedBy`` is a claim.  The requester *is* the person whose enrolled key signed the
request, or to whom an OIDC issuer gave a token for it.  The proof travels as evidence of the
statement and cannot cover its own digest, so it covers the statement without that one entry.

A token's audience holds the request's nonce, and the nonce is a salted digest of everything
else in the statement: so a token proves who asked for these words, not only that somebody
asked for something.  The token's own signature is checked by the caller (`EvidenceFact`).
"""

from __future__ import annotations

from typing import Any

from placet.core.decode import read_ascii, read_key_id, read_object, read_string
from placet.core.dsse import MAX_SIGNATURE_BYTES, pae
from placet.core.encoding import (
    b64decode_strict,
    b64encode,
    encode_canonical,
    parse_canonical_json,
    sha256_hex,
)
from placet.core.errors import IndeterminateError, PlacetError, Reason, VerificationError
from placet.core.evidence.facts import Evidence, EvidenceFact
from placet.core.signature import verify_sshsig
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.core.statement import IntentStatement
from placet.core.trust import Trust

PROOF_NAME = "requester-proof"
PROOF_MEDIA_TYPE = "application/vnd.placet.request-proof.v1+json"
TOKEN_NAME = "requester-token"  # noqa: S105 -- a name, not a secret
TOKEN_MEDIA_TYPE = "application/vnd.placet.request-token.v1+json"  # noqa: S105
SIGNED_TYPE = "application/vnd.placet.request.v1+json"
AUDIENCE_PREFIX = "placet:request:"
MAX_TOKEN_BYTES = 16 * 1024  # issuers keep tokens below the 8 KiB that web servers take in a header
_NAMES = {PROOF_MEDIA_TYPE: PROOF_NAME, TOKEN_MEDIA_TYPE: TOKEN_NAME}


def proof_message(value: Any) -> bytes:
    """Returns what a requester signs: the PAE of the statement without the proof's own entry (REQ-01).

    Args:
        value: the statement's JSON object, with or without the proof's entry.
    """
    predicate = value["predicate"]
    others = [item for item in predicate["evidence"] if item["mediaType"] not in _NAMES]
    return pae(SIGNED_TYPE, encode_canonical({**value, "predicate": {**predicate, "evidence": others}}))


def token_nonce(value: Any, salt: bytes) -> bytes:
    """Returns the nonce of a request that a token proves (REQ-04).

    Args:
        value: the statement's JSON object; its nonce and the proof's own entry do not matter.
        salt: 32 fresh random bytes; they keep the nonce from being guessed.
    """
    predicate = value["predicate"]
    request = {**predicate["request"], "nonce": ""}
    message = proof_message({**value, "predicate": {**predicate, "request": request}})
    return bytes.fromhex(sha256_hex(salt + message))


def parse_token(content: bytes) -> tuple[bytes, str]:
    """Reads the content of a token's evidence: the salt and the compact JWS.

    Raises:
        MalformedError: it is something else.
    """
    value = parse_canonical_json(content, max_bytes=2 * MAX_TOKEN_BYTES, what="request token")
    members = read_object(value, "", required=["salt", "token"])
    salt = b64decode_strict(read_string(members["salt"], "/salt", max_length=64), "/salt")
    return salt, read_ascii(members["token"], "/token", max_length=MAX_TOKEN_BYTES)


def verify_requester(
    statement: IntentStatement,
    evidence: tuple[Evidence, ...],
    *,
    trust: Trust,
    at: int,
    facts: tuple[EvidenceFact, ...] = (),
) -> str | None:
    """Returns the ID of the person who asked, or None where nothing proves it.

    Args:
        facts: what the caller verified of the evidence; a token's signature is looked up here.

    Raises:
        VerificationError: REQUEST_PROOF_INVALID; a proof that does not verify is never ignored (REQ-02).
        IndeterminateError: EVIDENCE_NOT_VERIFIED: there is a token, and the caller checked none.
    """
    named = [e for e in statement.evidence if e.media_type in _NAMES]
    if not named:
        return None
    carried = [e for e in evidence if e.digest == named[0].digest]
    try:
        if len(named) != 1 or len(carried) != 1:
            raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The proof is missing, or there are two.")
        # REQ-03: it does not cover its own entry, which has one spelling.
        if named[0].name != _NAMES[named[0].media_type]:
            raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The proof stands under another name.")
        if named[0].media_type == TOKEN_MEDIA_TYPE:
            return _verify_token(statement, carried[0], trust, facts)
        return _verify_proof(statement, carried[0].content, trust, at)
    except IndeterminateError:
        raise
    except PlacetError as e:
        raise VerificationError(
            Reason.REQUEST_PROOF_INVALID,
            f"The requester's proof does not hold: {e.message}",
            hint=e.hint or "Ask again; sign the request with a key that is enrolled today.",
        ) from e


def _verify_proof(statement: IntentStatement, content: bytes, trust: Trust, at: int) -> str:
    value = parse_canonical_json(content, max_bytes=2 * MAX_SIGNATURE_BYTES, what="request proof")
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
    return person.id


def _verify_token(
    statement: IntentStatement, carried: Evidence, trust: Trust, facts: tuple[EvidenceFact, ...]
) -> str:
    nonce = statement.value["predicate"]["request"]["nonce"]
    salt, _ = parse_token(carried.content)
    # REQ-04: or a token for one request could be put on another that only has its nonce.
    if len(salt) != 32 or b64encode(token_nonce(statement.value, salt)) != nonce:
        raise VerificationError(
            Reason.REQUEST_PROOF_INVALID, "The token was asked for another request than this one."
        )
    identity = next((f.identity for f in facts if f.digest == carried.digest and f.identity), None)
    if identity is None:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            "A token says who asks, and nothing here verified it.",
            hint="Refresh trust here: `placet trust refresh` fetches the issuers' keys.",
        )
    if identity.audience != AUDIENCE_PREFIX + nonce:  # REQ-05: a token for anything else proves nothing here.
        raise VerificationError(Reason.REQUEST_PROOF_INVALID, "The token was made for something else.")
    for person in trust.people:  # REQ-06; PPL-01: an account belongs to one person.
        if (identity.issuer, identity.subject) in person.accounts:
            return person.id
    raise VerificationError(
        Reason.REQUEST_PROOF_INVALID,
        f"No person has the account {identity.subject!r} at {identity.issuer}.",
        hint="An administrator links accounts to people; or ask without a token, as nobody in particular.",
    )
