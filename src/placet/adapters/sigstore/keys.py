"""Plain keys: those that the administrators put into the trust root, and what they signed.

Every target ``keys/*.pub`` is one public key in PEM, as `cosign generate-key-pair` and `openssl` write it.
A key counts because the trust root has it; which of them a rule accepts is the rule's own business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from placet.adapters.sigstore.refusals import detail, not_verified
from placet.core.evidence.facts import Signer

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

# Shorter ones can be factored.
_MIN_RSA_BITS = 2048
_SHA256 = hashes.SHA256()
_CURVE_HASHES: dict[str, hashes.HashAlgorithm] = {"secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}


class PlainKey(NamedTuple):
    """A public key of the trust root; `der` is its SubjectPublicKeyInfo."""

    file: str
    key: PublicKey
    der: bytes

    @property
    def signer(self) -> Signer:
        """The key as a fact names it."""
        return Signer("key", key_digest=hashlib.sha256(self.der).hexdigest())


def load_key(file: str, content: bytes) -> PlainKey:
    """Loads a key of the trust root.

    Raises:
        IndeterminateError: EVIDENCE_NOT_VERIFIED: it is no public key that this version can use.
    """
    try:
        key = serialization.load_pem_public_key(content)
        if not isinstance(key, PublicKey):
            raise ValueError("keys of this kind are not supported")
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
            raise ValueError("the RSA key is too short")
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except Exception as e:  # the library names no closed set of what a bad key can raise
        raise not_verified(
            f"{file} of the trust root is no public key that can be used: {detail(e)}.",
            "An administrator replaces it by a public key in PEM (ECDSA, Ed25519 or RSA).",
        ) from e
    return PlainKey(file, key, der)


def load_verdict_key(gate: str, der: bytes) -> PlainKey:
    """Returns a gate's verdict key, which was read strictly when the trust root was."""
    key = serialization.load_der_public_key(der)
    if not isinstance(key, PublicKey):
        raise not_verified(f"The verdict key of the gate {gate} is no key that can be used.", "")
    return PlainKey(f"the gate {gate}", key, der)


def verifies_message(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Tells whether a key signed a message that is here."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _holds(lambda: key.verify(signature, message))
    # cosign signs with SHA-256 whatever the curve is, others with the curve's own hash.
    algorithms: list[hashes.HashAlgorithm] = [_SHA256]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_HASHES:
        algorithms.append(_CURVE_HASHES[key.curve.name])
    return any(_verifies(key, signature, message, algorithm) for algorithm in algorithms)


def can_verify_digest(key: PublicKey) -> bool:
    """Tells whether a key's signatures can be checked by a digest; Ed25519 signs the message itself."""
    return not isinstance(key, ed25519.Ed25519PublicKey)


def verifies_digest(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Tells whether a key signed a message of which only the SHA-256 is here."""
    return not isinstance(key, ed25519.Ed25519PublicKey) and _verifies(
        key, signature, digest, Prehashed(_SHA256)
    )


def _verifies(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    signature: bytes,
    data: bytes,
    algorithm: hashes.HashAlgorithm | Prehashed,
) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return _holds(lambda: key.verify(signature, data, padding.PKCS1v15(), algorithm))
    return any(
        _holds(partial(key.verify, spelled, data, ec.ECDSA(algorithm)))
        for spelled in _ecdsa_spellings(key, signature)
    )


def _ecdsa_spellings(key: ec.EllipticCurvePublicKey, signature: bytes) -> list[bytes]:
    """Returns a signature in DER; Google's keys write its two numbers one after the other (IEEE P1363)."""
    size = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        return [signature]
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    return [signature, encode_dss_signature(r, s)]


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except (InvalidSignature, ValueError):  # a digest or signature of another length is no signature
        return False
    return True
