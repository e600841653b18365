"""What ``slsa-verifier verify-vsa`` checks, step by step, written again from its source.

https://github.com/slsa-framework/slsa-verifier (aaf98fd), ``verifiers/internal/vsa/verifier.go`` and
``verifiers/utils/dsse.go``; signatures as ``dsse.EnvelopeVerifier`` of go-securesystemslib checks them.
No package carries that tool; the VSA of its own tests, Google's, is judged by these rules, too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
STATEMENT_TYPES = ("https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1")


class Refused(Exception):
    """slsa-verifier's error, by the name that its `errors` package gives it."""


def verify_vsa(
    attestation: bytes,
    *,
    public_key: bytes,
    key_id: str = "",
    subject_digests: Sequence[str],
    verifier_id: str,
    resource_uri: str,
    verified_levels: Sequence[str] = (),
) -> dict[str, Any]:
    """Verifies a VSA as the tool's command of that name does; returns the statement.

    Raises:
        Refused: it would refuse it.
    """
    envelope = json.loads(attestation)
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise Refused("ErrorInvalidDssePayload: payload type")
    payload = decode(envelope["payload"])
    verify_signatures(envelope, payload, public_key, key_id)
    statement = json.loads(payload)
    if statement.get("_type") not in STATEMENT_TYPES:
        raise Refused("ErrorInvalidDssePayload: statement type")
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise Refused("ErrorInvalidDssePayload: predicate type")
    predicate = statement["predicate"]
    match_subject_digests(statement, subject_digests)
    match_required(predicate.get("verifier", {}).get("id", ""), verifier_id, "ErrorMismatchVerifierID")
    match_required(predicate.get("resourceUri", ""), resource_uri, "ErrorMismatchResourceURI")
    if predicate.get("verificationResult") != "PASSED":
        raise Refused("ErrorInvalidVerificationResult")
    match_verified_levels(predicate.get("verifiedLevels", []), verified_levels)
    return dict(statement)


def decode(text: str) -> bytes:
    """Decodes base64 in the standard or the URL's alphabet, as go-securesystemslib does."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return base64.urlsafe_b64decode(text)


def ssh_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Returns the ID that go-securesystemslib gives a key when nobody names one."""
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    fields = (b"ecdsa-sha2-nistp256", b"nistp256", point)
    wire = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")


def verify_signatures(envelope: dict[str, Any], payload: bytes, pem: bytes, key_id: str) -> None:
    """One good signature is enough; one whose key ID is set and another than the verifier's is skipped."""
    key = serialization.load_pem_public_key(pem)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    own = key_id or ssh_fingerprint(key)
    kind = PAYLOAD_TYPE.encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    if not envelope.get("signatures"):
        raise Refused("ErrorNoValidSignature: no signatures found")
    for signature in envelope["signatures"]:
        stated = signature.get("keyid", "")
        if stated and stated != own:
            continue
        if verifies(key, decode(signature["sig"]), message):
            return
    raise Refused("ErrorNoValidSignature")


def verifies(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """DER, or the two numbers one after the other (IEEE P1363), as sigstore's Go library takes both."""
    candidates = [signature]
    if len(signature) == 64:
        r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
        candidates.append(encode_dss_signature(r, s))
    for candidate in candidates:
        try:
            key.verify(candidate, message, ec.ECDSA(hashes.SHA256()))
            return True
        except InvalidSignature:
            continue
    return False


def match_subject_digests(statement: dict[str, Any], wanted: Sequence[str]) -> None:
    """Every digest that is asked for must be a subject's."""
    if not wanted:
        raise Refused("ErrorEmptyRequiredField: no subject digests provided")
    stated = {
        (algorithm, value)
        for subject in statement.get("subject", [])
        for algorithm, value in subject.get("digest", {}).items()
    }
    if not stated:
        raise Refused("ErrorInvalidDssePayload: no subject digests found in the VSA")
    for digest in wanted:
        algorithm, separator, value = digest.partition(":")
        if not separator:
            raise Refused("ErrorInvalidDssePayload: expected digest is not in the format")
        if (algorithm, value) not in stated:
            raise Refused("ErrorMissingSubjectDigest")


def match_required(stated: str, wanted: str, error: str) -> None:
    """A value that must be there, and equal."""
    if not stated:
        raise Refused("ErrorEmptyRequiredField")
    if stated != wanted:
        raise Refused(error)


def match_verified_levels(stated: Sequence[str], wanted: Sequence[str]) -> None:
    """SLSA tracks at least as high as asked for; anything else literally."""
    wanted_slsa, stated_slsa = slsa_levels(wanted), slsa_levels(stated)
    for track, level in wanted_slsa.items():
        if stated_slsa.get(track, -1) < level:
            raise Refused("ErrorMismatchVerifiedLevels")
    others = {level for level in stated if not level.startswith("SLSA_")}
    if not {level for level in wanted if not level.startswith("SLSA_")} <= others:
        raise Refused("ErrorMismatchVerifiedLevels")


def slsa_levels(levels: Sequence[str]) -> dict[str, int]:
    """Returns track → highest level; any other value that begins with SLSA_ is an error."""
    found: dict[str, int] = {}
    for level in levels:
        if not level.startswith("SLSA_"):
            continue
        parts = level.split("_", 3)
        if len(parts) != 4 or parts[2] != "LEVEL" or not parts[3].lstrip("+-").isdigit():
            raise Refused("ErrorInvalidSLSALevel")
        found[parts[1]] = max(found.get(parts[1], int(parts[3])), int(parts[3]))
    return found
