"""The public keys by which gates sign: ECDSA on P-256, as DER SubjectPublicKeyInfo (VSA-09, PPL-07).

A gate signs verdicts with its verdict keys and records of uses with its use keys.  Both have this one form,
and no key is both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from placet.core.decode import read_list, read_string
from placet.core.encoding import Digest, b64decode_strict, sha256_hex
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.signature import _ECDSA_SHA256, _load_p256

# One in use, one that comes, one that goes, and some for replicas that have a key each.
MAX_GATE_KEYS = 8
# id-ecPublicKey, prime256v1, an uncompressed point: the one DER spelling of a P-256 key (RFC 5480).
_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_POINT_BYTES = 65


class GatePublicKey(NamedTuple):
    """A gate's key; `der` is its SubjectPublicKeyInfo."""

    der: bytes

    @property
    def digest(self) -> Digest:
        """SHA-256 of the SubjectPublicKeyInfo: what logs and bundles call the key."""
        return sha256_hex(self.der)

    def verify(self, signature: bytes, message: bytes, *, what: str = "verdict") -> None:
        """Verifies a DER-encoded ECDSA signature with SHA-256.

        Args:
            what: what is signed, for the refusal.

        Raises:
            VerificationError: SIGNATURE_INVALID.
        """
        try:
            self._load().verify(signature, message, _ECDSA_SHA256)
        except (InvalidSignature, ValueError) as e:
            raise VerificationError(
                Reason.SIGNATURE_INVALID,
                f"The {what} is not signed by this key.",
                hint="Take the gate's key from the trust root: `placet trust show`.",
            ) from e

    def _load(self) -> ec.EllipticCurvePublicKey:
        return _load_p256(self.der[len(_SPKI_PREFIX) :])


def parse_gate_key(der: bytes, path: str = "") -> GatePublicKey:
    """Reads a DER SubjectPublicKeyInfo.

    Raises:
        MalformedError: BAD_KEY for anything but an uncompressed point of P-256.
    """
    key = GatePublicKey(der)
    if der.startswith(_SPKI_PREFIX) and len(der) == len(_SPKI_PREFIX) + _POINT_BYTES:
        try:
            key._load()
            return key
        except ValueError:
            pass  # No point of the curve: the same refusal as for any other key.
    raise MalformedError(
        Reason.BAD_KEY,
        "A gate's key is an ECDSA key on P-256.",
        path=path,
        hint="`placet verdict init` makes one for verdicts, `placet ledger use-key` one for the log.",
    )


def read_gate_keys(value: Any, path: str) -> tuple[GatePublicKey, ...]:
    """Reads a gate's ``verdictKeys`` or ``useKeys``: base64 of DER SubjectPublicKeyInfo (VSA-09, PPL-07).

    Raises:
        MalformedError: WRONG_TYPE, TOO_MANY, BAD_BASE64, BAD_KEY, DUPLICATE_VALUE.
    """
    keys = []
    for i, item in enumerate(read_list(value, path, max_items=MAX_GATE_KEYS)):
        at = f"{path}/{i}"
        keys.append(parse_gate_key(b64decode_strict(read_string(item, at), at), at))
    if len(set(keys)) != len(keys):
        raise MalformedError(Reason.DUPLICATE_VALUE, "A gate has one key twice.", path=path)
    return tuple(keys)
