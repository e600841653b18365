"""Whether a decision that is made on this terminal could count: asked before a person reads and touches."""

from __future__ import annotations

from placet.core.errors import PolicyError, Reason
from placet.core.people import Terminal
from placet.core.sshsig import key_id
from placet.core.trust import Trust
from placet.ports.terminal_identity import TerminalIdentity


def check_terminal(trust: Trust, identity: TerminalIdentity) -> Terminal:
    """Checks that the trust root knows this terminal.

    Raises:
        PolicyError: TERMINAL_UNKNOWN.
    """
    terminal = trust.terminals.get(key_id(identity.wire))
    if terminal is None or terminal.id != identity.terminal_id:
        raise PolicyError(
            Reason.TERMINAL_UNKNOWN,
            f"This terminal ({identity.terminal_id}) is not enrolled, so nothing decided here would count.",
            hint="`placet terminal show` prints the line with which an administrator enrols it; then run "
            "`placet trust refresh` here.",
        )
    return terminal


def check_origin(terminal: Terminal, web_origin: str) -> None:
    """Checks that the terminal's page is the enrolled one.

    Raises:
        PolicyError: ORIGIN_NOT_ALLOWED.
    """
    if web_origin not in terminal.origins:
        raise PolicyError(
            Reason.ORIGIN_NOT_ALLOWED,
            f"This terminal is enrolled with {', '.join(terminal.origins)}, and the page is {web_origin}.",
            hint="Start it with the enrolled port (--port), or have the new origin enrolled.",
        )
