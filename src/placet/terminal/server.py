"""Loopback sockets, and the life of a page's server."""

from __future__ import annotations

import errno
import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

DEFAULT_PORT = 8470
_START_SECONDS = 15.0


class PortUnavailableError(Exception):
    """The port cannot be listened on.

    Attributes:
        in_use: another program has it.
    """

    def __init__(self, port: int, error: OSError) -> None:
        self.in_use = error.errno == errno.EADDRINUSE
        said = "is already in use" if self.in_use else f"cannot be used ({error.strerror})"
        super().__init__(f"Port {port} on this machine {said}.")


def bind_loopback(port: int) -> list[socket.socket]:
    """Listens on 127.0.0.1 and, where this machine has it, on ::1.

    Browsers try both for a ``.localhost`` name: were one left free, another program on this machine could
    stand there under our name.

    Args:
        port: 0 takes a free one.

    Raises:
        PortUnavailableError: another program has the port, on either address.
    """
    bound = [_listen(socket.AF_INET, "127.0.0.1", port)]
    try:
        bound.append(_listen(socket.AF_INET6, "::1", bound[0].getsockname()[1]))
    except PortUnavailableError as e:
        if e.in_use:
            bound[0].close()
            raise
        # No IPv6 here, so no browser goes there either.
    return bound


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as e:
        raise PortUnavailableError(port, e) from e
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as e:
        listener.close()
        raise PortUnavailableError(port, e) from e
    return listener


class TerminalServer:
    """Serves a page on loopback sockets, in a thread of its own.  Use it as a context manager."""

    def __init__(self, app: ASGIApp, sockets: list[socket.socket]) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=16 * 1024,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=15,
        )
        self._server = uvicorn.Server(config)
        self._sockets = sockets
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": sockets}, name="placet-terminal", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The page's server did not start.")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the server and closes its sockets."""
        self._server.should_exit = True
        self._thread.join()
        for listener in self._sockets:
            listener.close()

    def wait(self, done: threading.Event) -> None:
        """Waits until `done`; a signal's exception gets through."""
        while not done.wait(0.5):
            if not self._thread.is_alive():
                raise RuntimeError("The page's server ended by itself.")
