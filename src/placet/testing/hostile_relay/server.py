"""The server: each call goes to the first lie that takes it up, else to the real relay."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

_JSON = (("Content-Type", "application/json"),)
_ONE = re.compile("/v1/requests/([^/]+)(/wait|/answers|/withdraw)?")
_KINDS = {"": "request", "/wait": "request", "/answers": "answer", "/withdraw": "withdraw"}
_UPSTREAM_SECONDS = 90.0


class Seen(NamedTuple):
    """A call, as the relay sees it."""

    who: str
    """The caller's bearer token, or ""."""
    method: str
    path: str
    query: dict[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """One of submit, listing, request, answer, withdraw, health and other."""
        if self.path == "/v1/requests":
            return "submit" if self.method == "POST" else "listing"
        if self.path in ("/v1/wait", "/healthz"):
            return "listing" if self.path == "/v1/wait" else "health"
        found = _ONE.fullmatch(self.path)
        return _KINDS[found[2] or ""] if found else "other"

    @property
    def request_id(self) -> str:
        """The request that the call names, or ""."""
        found = _ONE.fullmatch(self.path)
        return found[1] if found else ""


class Reply(NamedTuple):
    """An HTTP response that is well-formed, whatever it says."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = _JSON


class Raw(NamedTuple):
    """Whatever `send` writes to the connection, which is then closed."""

    send: Callable[[Callable[[bytes], object]], None]


Forward = Callable[[], Reply]
Lie = Callable[[Seen, Forward], Reply | Raw | None]
"""Answers a call, or returns None to leave it to the next lie or to the real relay."""


class HostileRelay:
    """A relay that lies.  Use it as a context manager.

    Args:
        upstream: the real relay's address.
        lies: tried in this order.
        hold: let callers wait who ask for it; otherwise they are answered at once, which saves a test time.

    Attributes:
        lies: may be changed at any time.
        seen: the calls so far.
    """

    def __init__(self, upstream: str, *lies: Lie, hold: bool = True) -> None:
        self._upstream, self._hold = urlsplit(upstream), hold
        self.lies: list[Lie] = list(lies)
        self.seen: list[Seen] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def turn(self, *lies: Lie) -> None:
        """Tells these lies from now on; with none, it is honest."""
        self.lies = list(lies)

    def answer(self, seen: Seen) -> Reply | Raw:
        """Answers one call."""
        self.seen.append(seen)
        for lie in tuple(self.lies):
            told = lie(seen, lambda: self.forward(seen))
            if told is not None:
                return told
        return self.forward(seen)

    def forward(self, seen: Seen) -> Reply:
        """Asks the real relay."""
        line = http.client.HTTPConnection(str(self._upstream.netloc), timeout=_UPSTREAM_SECONDS)
        asked = seen.query if self._hold or "timeout" not in seen.query else {**seen.query, "timeout": "0"}
        query = "&".join(f"{name}={value}" for name, value in asked.items())
        headers = {"Content-Type": "application/json"} if seen.body else {}
        try:
            line.request(
                seen.method, f"{seen.path}?{query}" if query else seen.path, seen.body or None, headers
            )
            response = line.getresponse()
            return Reply(response.status, response.read())
        finally:
            line.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, relay: HostileRelay) -> None:
        self.relay = relay
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: callers hang up on a relay like this one."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        seen = Seen(
            self.headers.get("Authorization", "").removeprefix("Bearer "),
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        told = self.server.relay.answer(seen)
        self.close_connection = True
        # The caller may have hung up, which is the wisest thing to do.
        with contextlib.suppress(OSError):
            if isinstance(told, Raw):
                told.send(self.connection.sendall)
            else:
                self.connection.sendall(head(told.status, *told.headers, length=len(told.body)) + told.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class names it so
        """Logs nothing."""


def head(status: int, *headers: tuple[str, str], length: int | None = None) -> bytes:
    """Returns the head of an HTTP response."""
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Odd')}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
