"""DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1.0.2), read strictly (spec/04-envelope.md).

Nothing but ``keyid`` and ``sig`` stands in a signature object: the experimental
``extension`` member makes strict parsers elsewhere refuse the whole envelope (ENV-07).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.decode import Object, read_ascii, read_key_id, read_list, read_object, read_string
from placet.core.encoding import Digest, KeyId, b64decode_strict, b64encode, encode_canonical, sha256_hex
from placet.core.errors import MalformedError, Reason

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ENVELOPE = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE = frozenset({"keyid", "sig"})
# More signatures than any quorum needs; bounds the cryptographic work of a hostile envelope.
MAX_SIGNATURES = 16
# A WebAuthn SSHSIG has about 700 bytes; extensions and long origins fit many times over.
MAX_SIGNATURE_BYTES = 8192
MAX_PAYLOAD_BYTES = 64 * 1024


class Signature(NamedTuple):
    """One DSSE signature: `sig` is a binary SSHSIG, `keyid` a hint."""

    keyid: KeyId
    sig: bytes


class Envelope(NamedTuple):
    """A DSSE envelope; `payload` are the very bytes that were signed."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Returns DSSE's pre-authentication encoding: what is signed (ENV-01)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse_envelope(value: Any, path: str = "", *, max_signatures: int = MAX_SIGNATURES) -> Envelope:
    """Reads a decoded DSSE JSON object.

    Raises:
        MalformedError: wrong members, too many or duplicate signatures, bad base64 (ENV-02 to ENV-05).
    """
    members = read_object(value, path, _ENVELOPE)
    payload = b64decode_strict(
        read_string(members["payload"], f"{path}/payload", max_length=2 * MAX_PAYLOAD_BYTES),
        f"{path}/payload",
    )
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MalformedError(Reason.TOO_LARGE, "The payload is larger than 64 KiB.", path=f"{path}/payload")
    if members["payloadType"] != PAYLOAD_TYPE:  # ENV-02
        payload_type = read_ascii(members["payloadType"], f"{path}/payloadType")
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "The envelope's payload type is not in-toto's.",
            path=f"{path}/payloadType",
            expected=PAYLOAD_TYPE,
            actual=payload_type,
        )
    items = read_list(members["signatures"], f"{path}/signatures", max_items=max_signatures)  # ENV-03
    signatures = []
    for i, item in enumerate(items):
        at = f"{path}/signatures/{i}"
        members = read_object(item, at, _SIGNATURE)
        text = read_string(members["sig"], f"{at}/sig", max_length=2 * MAX_SIGNATURE_BYTES)
        sig = b64decode_strict(text, f"{at}/sig")
        if len(sig) > MAX_SIGNATURE_BYTES:  # ENV-06
            raise MalformedError(Reason.TOO_LARGE, "The signature is larger than 8 KiB.", path=f"{at}/sig")
        signatures.append(Signature(read_key_id(members["keyid"], f"{at}/keyid"), sig))
    if len({signature.keyid for signature in signatures}) != len(signatures):  # ENV-05
        raise MalformedError(
            Reason.DUPLICATE_VALUE, "Two signatures name the same key.", path=f"{path}/signatures"
        )
    return Envelope(payload, PAYLOAD_TYPE, tuple(signatures))


def envelope_to_object(envelope: Envelope) -> Object:
    """Returns the envelope as a JSON object."""
    return {
        "payload": b64encode(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": [{"keyid": s.keyid, "sig": b64encode(s.sig)} for s in envelope.signatures],
    }


def encode_envelope(envelope: Envelope) -> bytes:
    """Encodes the envelope as canonical JSON."""
    return encode_canonical(envelope_to_object(envelope))


def envelope_digest(envelope: Envelope) -> Digest:
    """Returns the SHA-256 of the RFC 8785 form of the DSSE object."""
    return sha256_hex(encode_envelope(envelope))
