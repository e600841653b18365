"""What the commands that serve a page share: its origin, its server, the browser."""

from __future__ import annotations

import signal
import sys
import threading
import webbrowser

from starlette.types import ASGIApp

from placet.cli import UserError
from placet.core.people import Deployment
from placet.terminal.server import PortUnavailableError, TerminalServer, bind_loopback
from placet.terminal.web import Guard


def origin_of(terminal_id: str, deployment: Deployment, port: int) -> str:
    """Returns the origin of the terminal's page.

    Raises:
        UserError: the deployment's own domain needs TLS, which this page does not speak.
    """
    if not deployment.rp_id.endswith(".localhost"):
        raise UserError(
            f"This deployment's pages live under {deployment.rp_id}, over TLS; this page serves plain "
            "loopback HTTP only.",
            "Use a deployment under .placet.localhost, or decide with `placet approve`.",
        )
    return f"http://{terminal_id}.{deployment.rp_id}:{port}"


def serve_page(
    app: ASGIApp,
    guard: Guard,
    port: int,
    *,
    done: threading.Event,
    quiet: bool,
    started: str = "",
    stopped: str = "The terminal has stopped. What was signed is kept.",
) -> None:
    """Serves a page until `done` or an interrupt.

    Args:
        quiet: open no browser.
        started: said once the port is ours.
        stopped: said after an interrupt.

    Raises:
        UserError: the port is not free.
    """
    try:
        sockets = bind_loopback(port)
    except PortUnavailableError as e:
        hint = "Choose another with --port; the origin must then be enrolled with that port."
        if e.in_use:
            hint = f"`ss -ltnp sport = :{port}` shows which program has it; stop that one. {hint}"
        raise UserError(str(e), hint) from e
    # Whoever stops the service asks it politely; ending is the same as Ctrl-C then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with TerminalServer(app, sockets) as server:
            if started:
                print(started)
            # Flushed: whoever starts the terminal from a script reads the link from a pipe.
            print(f"Open this link in the browser of this machine:\n\n  {guard.launch_url}\n", flush=True)
            if not quiet and not _open(guard.launch_url):
                print("No browser could be opened; follow the link yourself.", file=sys.stderr)
            server.wait(done)
    except KeyboardInterrupt:
        print(f"\n{stopped}", flush=True)


def _open(url: str) -> bool:
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
