"""The envelope of a verdict: DSSE with one signature, bare or inside a Sigstore bundle (spec/18-verdicts.md).

Traps of others' tools that this form avoids (VSA-03):

- go-securesystemslib skips a signature whose non-empty ``keyid`` is not the one it computed itself;
- cosign, Kyverno and sigstore-go take exactly one signature in a bundle;
- strict protobuf parsers refuse members of the signature object that they do not know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.decode import Object, read_ascii, read_list, read_map, read_object, read_string
from placet.core.dsse import MAX_PAYLOAD_BYTES, PAYLOAD_TYPE, pae
from placet.core.encoding import b64decode_strict, b64encode, encode_canonical, parse_json
from placet.core.errors import MalformedError, Reason
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE

# A payload of 64 KiB in base64 inside a bundle with a certificate and log entries fits many times.
MAX_VERDICT_BYTES = 512 * 1024
_MAX_SIGNATURE_BYTES = 1024


class SignedVerdict(NamedTuple):
    """A verdict's statement as it was signed, and the one signature on it."""

    payload: bytes
    signature: bytes

    @property
    def message(self) -> bytes:
        """What the signature is over."""
        return pae(PAYLOAD_TYPE, self.payload)


def verdict_message(statement: Object) -> tuple[bytes, bytes]:
    """Returns a statement's bytes, and what is to be signed of it."""
    payload = encode_canonical(statement)
    return payload, pae(PAYLOAD_TYPE, payload)


def encode_verdict(payload: bytes, signature: bytes) -> bytes:
    """Encodes the DSSE envelope: one signature, no key ID (VSA-03)."""
    return encode_canonical(_envelope(payload, signature))


def encode_verdict_bundle(payload: bytes, signature: bytes, *, key_hint: str) -> bytes:
    """Encodes the envelope as a Sigstore bundle v0.3 of a bare key.

    Args:
        key_hint: base64 of the SHA-256 of the key's DER SubjectPublicKeyInfo, as cosign writes it.
    """
    return encode_canonical(
        {
            "mediaType": SIGSTORE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_hint}, "tlogEntries": []},
            "dsseEnvelope": _envelope(payload, signature),
        }
    )


def _envelope(payload: bytes, signature: bytes) -> Object:
    return {
        "payload": b64encode(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": b64encode(signature)}],
    }


def parse_verdict(data: bytes) -> SignedVerdict:
    """Parses a verdict's envelope, bare or in a Sigstore bundle.

    Raises:
        MalformedError: not JSON, not an envelope, another payload type; not exactly one signature, or a key
            ID on it (VSA-03).
    """
    value = parse_json(data, max_bytes=MAX_VERDICT_BYTES, what="verdict")
    top = read_map(value, "", max_items=8)
    if top.get("mediaType") == SIGSTORE_MEDIA_TYPE:
        names = ("mediaType", "verificationMaterial", "dsseEnvelope")
        value, path = read_object(value, "", required=names)["dsseEnvelope"], "/dsseEnvelope"
    else:
        path = ""
    members = read_object(value, path, required=("payload", "payloadType", "signatures"))
    if members["payloadType"] != PAYLOAD_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "The envelope's payload type is not in-toto's.",
            path=f"{path}/payloadType",
            expected=PAYLOAD_TYPE,
            actual=read_ascii(members["payloadType"], f"{path}/payloadType"),
        )
    at = f"{path}/payload"
    payload = b64decode_strict(read_string(members["payload"], at, max_length=2 * MAX_PAYLOAD_BYTES), at)
    return SignedVerdict(payload, _read_signature(members["signatures"], f"{path}/signatures"))


def _read_signature(value: Any, path: str) -> bytes:
    items = read_list(value, path, max_items=1, min_items=1)  # VSA-03
    signature = read_object(items[0], f"{path}/0", required=("sig",), optional=("keyid",))
    if signature.get("keyid", "") != "":  # VSA-03
        raise MalformedError(
            Reason.BAD_VALUE, "A verdict's signature has an empty key ID.", path=f"{path}/0/keyid"
        )
    at = f"{path}/0/sig"
    return b64decode_strict(read_string(signature["sig"], at, max_length=2 * _MAX_SIGNATURE_BYTES), at)
