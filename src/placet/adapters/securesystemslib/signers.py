"""securesystemslib signers that wait for a person's touch.

A signer signs for the one namespace that its public key states (see `placet.adapters.securesystemslib.keys`),
and holds its own signature against that key before it hands it out: what would not verify is never written.

``ssh-sk:PATH`` names the file of an OpenSSH FIDO key, percent-encoded where needed; ``~`` is the home folder.
ssh-keygen itself shows nothing of what it signs: it is for machines that you trust, and a terminal's page
(``webauthn:``) for reading first.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

from securesystemslib.signer import (  # type: ignore[attr-defined]  # re-exported without saying so
    Key,
    SecretsHandler,
    Signature,
    Signer,
)

from placet.adapters.fido.ssh_keygen import SshKeygenAuthenticator, read_public_key_file
from placet.adapters.securesystemslib.keys import SkKey
from placet.core.errors import PlacetError
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_TRUST
from placet.ports.authenticator import Authenticator, AuthenticatorError


class AuthenticatorSigner(Signer):
    """Signs with a person's authenticator, however it is reached."""

    def __init__(self, authenticator: Authenticator, public_key: Key) -> None:
        """Takes an authenticator and the key that it must be.

        Raises:
            ValueError: it is another key, or one whose purpose is approving.
        """
        self._key = check_signing_key(public_key)
        if authenticator.wire != self._key.wire:
            raise ValueError(f"This authenticator is not the key {self._key.keyid[:16]}.")
        self._authenticator = authenticator

    @property
    def public_key(self) -> SkKey:
        """The key that verifies what this signs."""
        return self._key

    def sign(self, payload: bytes) -> Signature:
        """Asks for a touch and returns the SSHSIG over `payload` in hexadecimal.

        Raises:
            AuthenticatorError: nothing was signed, or what was signed would not verify.
        """
        blob = self._authenticator.sign(self._key.namespace, payload)
        try:
            self._key.check_sshsig(blob, payload)
        except PlacetError as e:
            raise AuthenticatorError(f"The signature would not count: {e} {e.hint}".strip()) from e
        return Signature(self._key.keyid, blob.hex())

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Refuses: this class takes an authenticator, its descendants take URIs.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"No signer for {priv_key_uri!r}.")


class SshSkSigner(AuthenticatorSigner):
    """Signs with an OpenSSH FIDO key, through ``ssh-keygen -Y sign``."""

    SCHEME = "ssh-sk"

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> SshSkSigner:
        """Makes a signer from ``ssh-sk:PATH``.

        Args:
            priv_key_uri: the URI.
            public_key: an `SkKey`; it states the namespace.
            secrets_handler: not asked: ssh-keygen asks for the PIN itself, on the person's terminal.

        Raises:
            ValueError: the URI is another, or the file holds another key.
            AuthenticatorError: the file cannot be read.
        """
        scheme, _, path = priv_key_uri.partition(":")
        if scheme != cls.SCHEME or not path:
            raise ValueError(f"{priv_key_uri!r} is not {cls.SCHEME}:PATH.")
        return cls(SshKeygenAuthenticator(Path(unquote(path)).expanduser()), public_key)

    @classmethod
    def import_(
        cls, key_file: Path, *, namespace: str = NAMESPACE_TRUST, uv: bool = True
    ) -> tuple[str, SkKey]:
        """Reads an OpenSSH FIDO key; returns its URI and its public key, touching nothing.

        Args:
            key_file: the key handle's file, or the ``.pub`` beside it.
            namespace: the purpose for which it signs.
            uv: whether the user must have been verified; such keys are made with ``-O verify-required``.

        Raises:
            AuthenticatorError: there is no such key, or it is not a FIDO key.
            MalformedError: the namespace is none of ours.
        """
        private = key_file.with_suffix("") if key_file.suffix == ".pub" else key_file
        wire = read_public_key_file(private.with_name(f"{private.name}.pub"))
        key = SkKey.from_wire(wire, kind="sk", uv=uv, namespace=namespace)
        return f"{cls.SCHEME}:{quote(str(private.absolute()))}", key


def check_signing_key(public_key: Key) -> SkKey:
    """Returns the key, where signers may sign with it.

    Raises:
        ValueError: it is no FIDO key, or its purpose is approving.
    """
    if not isinstance(public_key, SkKey):
        raise ValueError(
            f"The key {public_key.keyid[:16]} is no FIDO key; call register() before reading it."
        )
    if public_key.namespace == NAMESPACE_INTENT:
        # An approval is made where it is shown, row by row: by `placet approve` or on the page.
        raise ValueError("Approvals are signed on a placet terminal, never through a signer.")
    return public_key
