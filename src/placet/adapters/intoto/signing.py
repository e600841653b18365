"""Signing layouts and links with a private key in PEM form, as in-toto's own tools do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from placet.core.dsse import PAYLOAD_TYPE
from placet.core.errors import IndeterminateError, MalformedError, Reason

_MAX_BYTES = 64 * 1024
_PRIVATE = 0o077


class PemSigner:
    """Signs with a private key that stands in a file.

    Args:
        signer: securesystemslib's, which in-toto takes.
    """

    def __init__(self, signer: object, keyid: str) -> None:
        self.signer, self.keyid = signer, keyid

    def sign_link(self, payload: bytes) -> bytes:
        """Returns the file of a link: a DSSE envelope around these very bytes."""
        from in_toto.models.metadata import Envelope  # type: ignore[import-untyped]

        envelope = Envelope(payload, PAYLOAD_TYPE, {})
        envelope.create_signature(self.signer)
        return json.dumps(envelope.to_dict(), sort_keys=True).encode()


def load_pem_signer(path: Path, ask: Callable[[], str] | None = None) -> PemSigner:
    """Reads a private key: RSA, ECDSA or Ed25519.

    Args:
        ask: asks a person for the key's password; None where nobody is there.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE: it cannot be read, or others can read it.
        MalformedError: BAD_KEY: it is no such key, or the password is wrong or missing.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.exceptions import Error as SecureSystemsLibError
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            pem = file.read(_MAX_BYTES)
    except OSError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE, f"The signing key {path} cannot be read: {e.strerror}."
        ) from e
    if mode & _PRIVATE:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"Others can read the signing key {path}, so its signatures say nothing.",
            hint=f"If nobody did, run: chmod 600 {path}. Otherwise make a new one.",
        )
    try:
        password = ask().encode() if ask is not None and b"ENCRYPTED" in pem else None
        signer = CryptoSigner(load_pem_private_key(pem, password))
    except (ValueError, TypeError, UnsupportedAlgorithm, SecureSystemsLibError) as e:
        raise MalformedError(
            Reason.BAD_KEY,
            f"The file {path} holds no private key that can be used here: {e}.",
            hint="It is an RSA, ECDSA or Ed25519 key in PEM form (PKCS#8); a gate's has no password.",
        ) from e
    return PemSigner(signer, signer.public_key.keyid)
