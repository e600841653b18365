"""The gate's verdict key in a file of its own: ECDSA on P-256, PKCS #8 in PEM, mode 0600.

It is a software key of a machine.  It says what this gate decided, never that a person approved: so it signs
verdicts and nothing else, and its public half stands in ``gates.json`` for exactly one gate.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from placet.adapters.paths import state_dir
from placet.adapters.private_file import write_atomically
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.core.verdict.envelope import encode_verdict, encode_verdict_bundle, verdict_message
from placet.core.verdict.keys import VerdictPublicKey, parse_verdict_key

_MAX_BYTES = 64 * 1024


def verdict_key_path() -> Path:
    """Returns where this machine's gate keeps its verdict key."""
    return state_dir() / "gate" / "verdict.pem"


class VerdictKey:
    """A gate's private verdict key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls, path: Path) -> VerdictKey:
        """Makes a new key; writes it to `path`, and its public half beside it as ``.pub``.

        Raises:
            IndeterminateError: BAD_VALUE where a key is already there; it is never overwritten.
            OSError: the files cannot be written.
        """
        if path.exists():
            raise IndeterminateError(
                Reason.BAD_VALUE,
                f"There is already a verdict key in {path}.",
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
    def load(cls, path: Path) -> VerdictKey:
        """Reads the key at `path`.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE: there is none, or others can read it.
            MalformedError: BAD_KEY.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise IndeterminateError(
                    Reason.TRUST_UNAVAILABLE,
                    f"Others can read the verdict key {path}, so its verdicts say nothing.",
                    hint=f"If nobody did, run: chmod 600 {path}. Otherwise make a new one.",
                )
            pem = path.read_bytes()[:_MAX_BYTES]
        except OSError as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"This gate has no verdict key ({path}: {e.strerror}).",
                hint="Make one: `placet verdict init`.",
            ) from e
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise MalformedError(Reason.BAD_KEY, f"The file {path} holds no private key in PEM.") from e
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise MalformedError(
                Reason.BAD_KEY,
                f"The key in {path} is not an ECDSA key on P-256.",
                hint="Make one: `placet verdict init`.",
            )
        return cls(key)

    @property
    def public(self) -> VerdictPublicKey:
        """The public half."""
        public = self._key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return parse_verdict_key(der)

    @property
    def public_pem(self) -> bytes:
        """The public half in PEM, as other tools take it."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, statement: dict[str, object], *, as_bundle: bool = False) -> bytes:
        """Signs a verdict's statement.

        Returns:
            The DSSE envelope, or the Sigstore bundle around it.
        """
        payload, message = verdict_message(statement)
        signature = self._key.sign(message, ec.ECDSA(hashes.SHA256()))
        if not as_bundle:
            return encode_verdict(payload, signature)
        hint = base64.b64encode(bytes.fromhex(self.public.digest)).decode("ascii")
        return encode_verdict_bundle(payload, signature, key_hint=hint)


def read_public_key(path: Path) -> VerdictPublicKey:
    """Reads a public verdict key in PEM.

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
    return parse_verdict_key(der)
