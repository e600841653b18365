"""A person's hardware key, however it is reached."""

from __future__ import annotations

from typing import Protocol


class Authenticator(Protocol):
    """Something that makes one signature for one touch.

    Obligations:

    - Each call to `sign` needs a person's presence; nothing is signed from a cache or an agent's memory.
    - The implementation signs `placet.core.sshsig.signed_data(namespace, message)` and nothing else.
    - A refusal, a time-out or a missing key raises `AuthenticatorError` and leaves nothing signed.
    """

    @property
    def wire(self) -> bytes:
        """The key in SSH wire form."""
        ...

    def sign(self, namespace: str, message: bytes) -> bytes:
        """Returns a binary SSHSIG over `message`.

        Raises:
            AuthenticatorError: nothing was signed; the text says why and what to do.
        """
        ...


class AuthenticatorError(Exception):
    """The authenticator gave no signature; nothing was signed."""
