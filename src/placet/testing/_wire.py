"""Write SSH wire values, including ones that no careful writer would produce.

The signature container is assembled here by hand and without checks, after OpenSSH's
PROTOCOL.sshsig and PROTOCOL.u2f, and not with the production encoder: that one has no place
for the wrong bytes that attack tests need, and a parser is tested better against a second
hand. The bytes that are signed come from `placet.core.sshsig.signed_data`, so there is one
definition of those.
"""

import struct
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SSHSIG_MAGIC = b"SSHSIG"
SSHSIG_VERSION = 1


def string(value: bytes) -> bytes:
    """Encode an SSH ``string``: a 32-bit length, then the bytes."""
    return struct.pack(">I", len(value)) + value


def mpint(value: int) -> bytes:
    """Encode a non-negative SSH ``mpint``: minimal, with room for the sign bit."""
    length = (value.bit_length() + 8) // 8 if value else 0
    return string(value.to_bytes(length, "big"))


def ecdsa_pair(der_signature: bytes) -> bytes:
    """Turn a DER ECDSA signature into OpenSSH's pair of mpints."""
    r, s = decode_dss_signature(der_signature)
    return mpint(r) + mpint(s)


def authenticator_data(application: str, flags: int, counter: int, tail: bytes = b"") -> bytes:
    """Assemble authenticator data: what FIDO authenticators sign in front of the client's hash."""
    return sha256(application.encode()).digest() + struct.pack(">BI", flags, counter) + tail


def sk_signature(signature_type: str, raw: bytes, flags: int, counter: int) -> bytes:
    """Assemble the inner signature of an OpenSSH sk key; ``raw`` is its type's own signature field."""
    return string(signature_type.encode()) + string(raw) + struct.pack(">BI", flags, counter)


def sshsig(key_wire: bytes, namespace: str, inner_signature: bytes) -> bytes:
    """Assemble a binary SSHSIG with hash sha512, the only one that placet admits."""
    return (
        SSHSIG_MAGIC
        + struct.pack(">I", SSHSIG_VERSION)
        + string(key_wire)
        + string(namespace.encode())
        + string(b"")
        + string(b"sha512")
        + string(inner_signature)
    )
