"""A browser's key for other tools: a page on this machine shows the message, the person touches, a signature.

Satisfies `placet.ports.authenticator.Authenticator`.  The page exists for one message and goes away with it.
"""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable

from placet.adapters.securesystemslib import SkKey
from placet.core.errors import PlacetError
from placet.ports.authenticator import AuthenticatorError
from placet.terminal.credentials import KnownCredential
from placet.terminal.server import DEFAULT_PORT, PortUnavailableError, TerminalServer, bind_loopback
from placet.terminal.sign_desk import SignDesk, create_sign_app
from placet.terminal.web import Guard

# Reading a long document takes longer than a touch.
PATIENCE_SECONDS = 15 * 60


def announce(url: str) -> None:
    """Prints the link away from what programs read, and opens it where there is a browser."""
    sys.stderr.write(f"Read and sign in the browser of this machine:\n\n  {url}\n\n")
    sys.stderr.flush()
    try:
        webbrowser.open(url)
    except webbrowser.Error:
        sys.stderr.write("No browser could be opened; follow the link yourself.\n")


class PageAuthenticator:
    """One key of one terminal, reached through a page."""

    def __init__(
        self,
        key: SkKey,
        known: KnownCredential,
        web_origin: str,
        *,
        port: int = DEFAULT_PORT,
        announce: Callable[[str], None] = announce,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Names the key and its page.

        Args:
            key: a browser's key.
            known: by which the browser finds it.
            web_origin: the page's origin, which the key's document lists.
            announce: brings the person to the page.
            patience_seconds: how long the page waits at most.
        """
        self._key, self._known, self._web_origin, self._port = key, known, web_origin, port
        self._announce, self._patience = announce, patience_seconds

    @property
    def wire(self) -> bytes:
        """The key in SSH wire form."""
        return self._key.wire

    def sign(self, namespace: str, message: bytes) -> bytes:
        """Returns a binary SSHSIG over `message`, which the person read in full.

        Raises:
            AuthenticatorError: nothing was signed.
        """
        if namespace != self._key.namespace:
            raise AuthenticatorError(f"This key signs {self._key.namespace}, not {namespace}.")
        try:
            desk = SignDesk(message, self._key, self._known, self._web_origin)
            sockets = bind_loopback(self._port)
        except PlacetError as e:
            raise AuthenticatorError(f"{e} {e.hint} Nothing was signed.".replace("  ", " ")) from e
        except PortUnavailableError as e:
            raise AuthenticatorError(
                f"{e} Stop `placet terminal` while another tool signs, or name another port."
            ) from e
        guard = Guard(self._web_origin)
        with TerminalServer(create_sign_app(desk, guard), sockets):
            self._announce(guard.launch_url)
            decided = desk.done.wait(self._patience)
        if desk.sshsig is None:
            why = (
                "The person declined." if decided else f"Nobody signed within {int(self._patience)} seconds."
            )
            raise AuthenticatorError(f"{why} Nothing was signed.")
        return desk.sshsig
