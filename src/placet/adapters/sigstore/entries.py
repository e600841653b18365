"""Whether a log entry is about this signature by this key over this content.

A bundle's parts are each signed on their own, and so could be put together from several bundles
(CVE-2022-36056).  sigstore-python compares what it supports; here are the comparisons for Rekor's
``intoto`` 0.0.2 entries and for plain keys.

Leaves out: whether the log contains the entry.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from sigstore.models import TransparencyLogEntry

from placet.adapters.sigstore.documents import MAX_DOCUMENT_BYTES
from placet.adapters.sigstore.refusals import detail, invalid
from placet.core.encoding import parse_json

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class Signed(NamedTuple):
    """What the entry must be about.

    Args:
        signature: the signature's bytes.
        verifier: the certificate or the public key, in DER.
        digest: SHA-256 of what was signed: of the artifact, or of the envelope's signed encoding.
        payload: the envelope's payload, None for an artifact's signature.
        payload_type: of the envelope.
    """

    signature: bytes
    verifier: bytes
    digest: bytes
    payload: bytes | None = None
    payload_type: str = ""


def check_entry_body(entry: TransparencyLogEntry, signed: Signed) -> None:
    """Checks that the logged body names the signature, the key and the content.

    Raises:
        VerificationError: EVIDENCE_INVALID.
    """
    try:
        matches = _matches(entry, signed)
    except Exception as e:  # whoever made the entry chose its shape
        raise invalid(f"The log entry cannot be read: {detail(e)}.") from e
    if not matches:
        raise invalid("The log entry is about another signature, key or content than the bundle's.")


def _matches(entry: TransparencyLogEntry, signed: Signed) -> bool:
    inner = entry._inner
    body = parse_json(inner.canonicalized_body, max_bytes=MAX_DOCUMENT_BYTES, what="log entry")
    kind, version = inner.kind_version.kind, inner.kind_version.version
    # The bundle's word for the kind is not signed; the logged body is.
    if (body["kind"], body["apiVersion"]) != (kind, version):
        return False
    return _MATCHERS[kind, version](body["spec"], signed)


def _matches_hashedrekord_1(spec: Any, signed: Signed) -> bool:
    logged = spec["signature"]
    return bool(
        spec["data"]["hash"] == {"algorithm": "sha256", "value": signed.digest.hex()}
        and _b64(logged["content"]) == signed.signature
        and _der(_b64(logged["publicKey"]["content"])) == signed.verifier
    )


def _matches_hashedrekord_2(spec: Any, signed: Signed) -> bool:
    record = spec["hashedRekordV002"]
    verifier = record["signature"]["verifier"]
    holder = verifier.get("publicKey") or verifier["x509Certificate"]
    return bool(
        record["data"]["algorithm"] == "SHA2_256"
        and _b64(record["data"]["digest"]) == signed.digest
        and _b64(record["signature"]["content"]) == signed.signature
        and _b64(holder["rawBytes"]) == signed.verifier
    )


def _matches_dsse(spec: Any, signed: Signed) -> bool:
    (logged,) = spec["signatures"]
    return bool(
        spec["payloadHash"] == _payload_hash(signed)
        and _b64(logged["signature"]) == signed.signature
        and _der(_b64(logged["verifier"])) == signed.verifier
    )


def _matches_intoto(spec: Any, signed: Signed) -> bool:
    content = spec["content"]
    (logged,) = content["envelope"]["signatures"]
    return bool(
        content["payloadHash"] == _payload_hash(signed)
        and content["envelope"]["payloadType"] == signed.payload_type
        and _b64(_b64(logged["sig"])) == signed.signature  # the log encodes it twice
        and _der(_b64(logged["publicKey"])) == signed.verifier
    )


_MATCHERS = {
    ("hashedrekord", "0.0.1"): _matches_hashedrekord_1,
    ("hashedrekord", "0.0.2"): _matches_hashedrekord_2,
    ("dsse", "0.0.1"): _matches_dsse,
    ("intoto", "0.0.2"): _matches_intoto,
}


def _payload_hash(signed: Signed) -> dict[str, str]:
    if signed.payload is None:
        raise invalid("The log entry is about an envelope, and an artifact was signed.")
    return {"algorithm": "sha256", "value": hashlib.sha256(signed.payload).hexdigest()}


def _b64(text: str | bytes) -> bytes:
    return base64.b64decode(text, validate=True)


def _der(pem: bytes) -> bytes:
    if pem.lstrip().startswith(_CERTIFICATE):
        return load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    key = serialization.load_pem_public_key(pem)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
