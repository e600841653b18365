"""A gate's private key in a file of its own: ECDSA on P-256, PKCS #8 in PEM, mode 0600.

It is a software key of a machine.  It says what this gate decided or did, never that a person approved: so it
has one purpose, and its public half stands in ``gates.json`` for exactly one gate.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from placet.adapters.private_file import write_atomically
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.core.verdict.keys import GatePublicKey, parse_gate_key

_MAX_BYTES = 64 * 1024


class KeyPurpose(NamedTuple):
    """What a key is for, in the words of its refusals.

    Args:
        name: such as "verdict key".
        signs: such as "its verdicts".
        command: what makes one.
    """

    name: str
    signs: str
    command: str


class GateKey:
    """A gate's private key; a subclass says what for."""

    PURPOSE: KeyPurpose

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls, path: Path) -> Self:
        """Makes a new key; writes it to `path`, and its public half beside it as ``.pub``.

        Raises:
            IndeterminateError: BAD_VALUE where a key is already there; it is never overwritten.
            OSError: the files cannot be written.
        """
        if path.exists():
            raise IndeterminateError(
                Reason.BAD_VALUE,
                f"There is already a {cls.PURPOSE.name} in {path}.",
                hint="Use it, or move it away first; the trust root must then name the new one.",
            )
        made = cls(ec.generate_private_key(ec.SECP256R1()))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = made._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomically(path.with_suffix(".pub"), made.public_pem, mode=0o644)
        write_atomically(path, pem)
        return made

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the key at `path`.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE: there is none, or others can read it.
            MalformedError: BAD_KEY.
        """
        purpose = cls.PURPOSE
        try:
            if path.stat().st_mode & 0o077:
                raise IndeterminateError(
                    Reason.TRUST_UNAVAILABLE,
                    f"Others can read the {purpose.name} {path}, so {purpose.signs} say nothing.",
                    hint=f"If nobody did, run: chmod 600 {path}. Otherwise make a new one.",
                )
            pem = path.read_bytes()[:_MAX_BYTES]
        except OSError as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"This gate has no {purpose.name} ({path}: {e.strerror}).",
                hint=f"Make one: `{purpose.command}`.",
            ) from e
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise MalformedError(Reason.BAD_KEY, f"The file {path} holds no private key in PEM.") from e
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise MalformedError(
                Reason.BAD_KEY,
                f"The key in {path} is not an ECDSA key on P-256.",
                hint=f"Make one: `{purpose.command}`.",
            )
        return cls(key)

    @property
    def public(self) -> GatePublicKey:
        """The public half."""
        public = self._key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return parse_gate_key(der)

    @property
    def public_pem(self) -> bytes:
        """The public half in PEM, as other tools take it."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign_message(self, message: bytes) -> bytes:
        """Returns a DER-encoded ECDSA signature with SHA-256."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def read_public_key(path: Path) -> GatePublicKey:
    """Reads the public half of a gate's key in PEM.

    Raises:
        MalformedError: BAD_KEY.
        IndeterminateError: TRUST_UNAVAILABLE where the file cannot be read.
    """
    try:
        pem = path.read_bytes()[:_MAX_BYTES]
    except OSError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE, f"The key {path} cannot be read: {e.strerror}."
        ) from e
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        hint = "Give the public half, *.pub." if b"PRIVATE KEY" in pem else ""
        raise MalformedError(Reason.BAD_KEY, f"The file {path} holds no public key in PEM.", hint=hint) from e
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return parse_gate_key(der)
