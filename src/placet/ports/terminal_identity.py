"""The terminal's own key, which signs its reports."""

from __future__ import annotations

from typing import Protocol


class TerminalIdentity(Protocol):
    """A terminal that is enrolled in the trust root.

    Obligations:

    - The private key never leaves the implementation; the relay and the pipeline cannot reach it.
    - `sign` is called only after the authenticator has signed, once per decision.
    """

    @property
    def terminal_id(self) -> str:
        """The terminal's ID in ``terminals.json``."""
        ...

    @property
    def wire(self) -> bytes:
        """The ``ssh-ed25519`` public key in SSH wire form."""
        ...

    def sign(self, namespace: str, message: bytes) -> bytes:
        """Returns a binary SSHSIG by the identity key over `message`."""
        ...
