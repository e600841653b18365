"""Runs a service on a listening socket until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from placet.adapters.serving.addresses import Network, group_address, parse_address
from placet.adapters.serving.http import MAX_HEAD_BYTES, MAX_WAITERS

# Waiters and as many again that come and go.
_MAX_CONNECTIONS = 2 * MAX_WAITERS
# A head is one packet; whoever needs longer for it is holding a door open.
HEAD_SECONDS = 10.0
# Waiters are sent home at once, so this only bounds a client that does not take its answer.
_GOODBYE_SECONDS = 5
# Whoever takes its answer slower than this (50 kbit/s) makes the service keep megabytes in memory for it.
SEND_SECONDS = 10.0
_MIN_SENT_BYTES = 64 * 1024
# Of one address: the waiters that it may have, and room for the calls in between.  This machine's own
# addresses are excepted: a proxy there brings everybody's connections.
MAX_CONNECTIONS_PER_ADDRESS = 128
# Calls that a client may send before their turn; ours sends none.
_MAX_AHEAD = 8


class ListenError(Exception):
    """The address cannot be listened on; `errno` says why."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.errno = number

    @property
    def in_use(self) -> bool:
        """Whether another program has the port."""
        return self.errno == errno.EADDRINUSE

    @property
    def not_permitted(self) -> bool:
        """Whether the port is reserved for administrators."""
        return self.errno == errno.EACCES


def bind(host: str, port: int) -> socket.socket:
    """Binds a listening socket, before anything else is set up.

    Args:
        host: an IP address or a name.
        port: 0 for any free one.

    Raises:
        ListenError: the port is in use, reserved, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as e:
        raise ListenError(str(e.strerror), None) from e
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Two sockets may bind with SO_REUSEADDR; only listening finds out that somebody else listens.
        listener.listen(2048)
    except OSError as e:
        listener.close()
        raise ListenError(os.strerror(e.errno or 0), e.errno) from e
    return listener


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with what it leaves open: how large a head may be, and how long anything may take.

    Without it, a client that sends header bytes for ever, before its body or after it, or calls by the
    thousand, or never takes its answers, fills the memory; one that sends nothing keeps its connection
    for ever; and one address has all of them.
    """

    trusted: tuple[Network, ...] = ()
    """Proxies, which bring everybody's connections."""
    _open: ClassVar[Counter[str]] = Counter()
    _peer = ""
    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _around_bytes = 0
    """Of the current message, what is no body: its head, the sizes of its chunks, what trails it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = self._count_by()
        self._open[self._peer] += 1
        if self._peer and self._open[self._peer] > MAX_CONNECTIONS_PER_ADDRESS:
            # One machine could otherwise hold every connection, each just short of its time-out.
            transport.abort()
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self._is_between_requests():
            self._expect_head()
        self._around_bytes += len(data)
        super().data_received(data)
        if self._around_bytes > 2 * MAX_HEAD_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._forget_head()
        super().on_headers_complete()
        if len(self.pipeline) > _MAX_AHEAD:
            # Raised: one packet holds thousands, and the parser would go on through all of them.
            self.transport.abort()
            raise ValueError("too many calls before their turn")

    def on_body(self, body: bytes) -> None:
        # Twice: sizes of chunks may take as much as what is in them.
        self._around_bytes -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_lingering()
        self._around_bytes = 0
        if self.cycle is not None:
            # uvicorn leaves this as it is after an early answer; the next head would then be unbounded.
            self.cycle.more_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and self._linger_timer is None:
            # Refused before its body was read: the client may take the answer, and not hold the door open.
            self._linger_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stop_watching_sending()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        self._stop_lingering()
        self._stop_watching_sending()
        self._open[self._peer] -= 1
        if not self._open[self._peer]:
            del self._open[self._peer]
        super().connection_lost(exc)

    def _count_by(self) -> str:
        """Returns by what this connection is counted, or "" where it is not."""
        address = parse_address(self.client[0] if self.client else "")
        if address is None or address.is_loopback or any(address in network for network in self.trusted):
            return ""
        return group_address(address)

    def _watch_sending(self, unsent: int) -> None:
        self._stop_watching_sending()
        self._send_timer = self.loop.call_later(SEND_SECONDS, self._check_sending, unsent)

    def _check_sending(self, unsent: int) -> None:
        rest = self.transport.get_write_buffer_size()
        if rest > unsent - _MIN_SENT_BYTES:
            self.transport.abort()
        else:
            self._watch_sending(rest)

    def _stop_watching_sending(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _is_between_requests(self) -> bool:
        return self.cycle is None or not self.cycle.more_body

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    on_start: Callable[[], None],
    on_stop: Callable[[], None] = lambda: None,
    on_hangup: Callable[[], None] = lambda: None,
    trusted_proxies: Sequence[Network] = (),
) -> None:
    """Serves `app` on `listener` until SIGTERM or SIGINT, then finishes what is under way.

    Args:
        app: the application.
        listener: from `bind`.
        on_start: called once it answers.
        on_stop: called before it finishes what is under way; sends waiters home.
        on_hangup: called on SIGHUP, which stops nothing.
        trusted_proxies: may have any number of connections.
    """
    protocol = type("_Protocol", (BoundedHttpProtocol,), {"trusted": tuple(trusted_proxies)})
    config = uvicorn.Config(
        app,
        http=protocol,
        # uvloop where it is installed; the standard loop does the same at half the speed.
        loop="auto",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
    )
    server = _Server(config, on_start, on_stop)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn repeats the signal once it has shut down.  Ours then takes it: being told to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda number, frame: on_hangup())
    server.run(sockets=[listener])
