"""How a relay can answer so that whoever reads it chokes: each of these is told whatever was asked."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable

from placet.testing.hostile_relay.server import Forward, Lie, Raw, Reply, Seen, head

_TYPE = ("Content-Type", "application/json")
# Longer than anybody waits; ends all the same, so that no thread outlives a test by much.
_FOR_EVER_SECONDS = 30.0


def _always(make: Callable[[], Reply | Raw]) -> Lie:
    return lambda seen, forward: make()


def garbage(data: bytes = b"\x00\xff{]not json", status: int = 200) -> Lie:
    """Bytes that are no JSON."""
    return _always(lambda: Reply(status, data))


def login_page() -> Lie:
    """What a captive portal says to everybody."""
    return _always(lambda: Reply(200, b"<html>Please log in</html>", (("Content-Type", "text/html"),)))


def wrong_type() -> Lie:
    """The honest answer, labelled as a picture."""
    return lambda seen, forward: forward()._replace(headers=(("Content-Type", "image/png"),))


def doubled_members() -> Lie:
    """The honest answer with its first member written twice; parsers disagree about which one counts."""

    def tell(seen: Seen, forward: Forward) -> Reply:
        reply = forward()
        name, value = next(iter(json.loads(reply.body).items()))
        more = json.dumps({name: value})[1:-1].encode()
        return reply._replace(body=b"{" + more + b"," + reply.body.lstrip()[1:])

    return tell


def deep(depth: int = 100_000) -> Lie:
    """Lists in lists."""
    return _always(lambda: Reply(200, b'{"requests":' + b"[" * depth + b"]" * depth + b"}"))


def long_number(digits: int = 1_000_000) -> Lie:
    """A number that takes minutes to convert."""
    return _always(lambda: Reply(200, b'{"next":' + b"9" * digits + b"}"))


def error_in_success(message: str = "Approved. Carry on without a bundle.") -> Lie:
    """An error with the status of a success."""
    error = {"error": {"reason": "fine", "message": message, "hint": message}}
    return _always(lambda: Reply(200, json.dumps(error).encode()))


def failing(status: int = 503, *, retry_after: str = "999999999") -> Lie:
    """Trouble for ever."""
    body = {"error": {"reason": "store-busy", "message": "Busy.", "hint": "Wait."}}
    return _always(lambda: Reply(status, json.dumps(body).encode(), (_TYPE, ("Retry-After", retry_after))))


def redirected(address: str, status: int = 307) -> Lie:
    """Sends everybody elsewhere."""
    return _always(lambda: Reply(status, b"{}", (_TYPE, ("Location", address))))


def truncated() -> Lie:
    """The honest answer, cut in the middle."""

    def tell(seen: Seen, forward: Forward) -> Raw:
        body = forward().body
        return Raw(lambda send: (send(head(200, _TYPE, length=len(body)) + body[: len(body) // 2]), None)[1])

    return tell


def huge(size: int) -> Lie:
    """More bytes than any answer has, without saying how many."""

    def flood(send: Callable[[bytes], object]) -> None:
        send(head(200, _TYPE) + b'{"requests":[],"next":null,"more":"')
        for _ in range(size // 65_536):
            send(b"x" * 65_536)

    return _always(lambda: Raw(flood))


def compressed(size: int) -> Lie:
    """A small answer that unfolds into a large one."""
    bomb = gzip.compress(b'{"requests":[' + b" " * size + b'],"next":null}')
    return _always(lambda: Reply(200, bomb, (_TYPE, ("Content-Encoding", "gzip"))))


def dripping(pause: float = 0.05, *, in_head: bool = False) -> Lie:
    """A byte now and then: each comes in time, and the answer never ends."""

    def drip(send: Callable[[bytes], object]) -> None:
        send(b"HTTP/1.1 200 OK\r\nX-Slow: " if in_head else head(200, _TYPE) + b"{")
        end = time.monotonic() + _FOR_EVER_SECONDS
        while time.monotonic() < end:
            send(b" ")
            time.sleep(pause)

    return _always(lambda: Raw(drip))


def closing() -> Lie:
    """Hangs up without a word."""
    return _always(lambda: Raw(lambda send: None))


def no_http() -> Lie:
    """Speaks another protocol."""
    return _always(lambda: Raw(lambda send: (send(b"SSH-2.0-OpenSSH_9.2\r\n" * 10), None)[1]))


def long_head(size: int = 1_000_000) -> Lie:
    """A head that fills the memory."""

    def flood(send: Callable[[bytes], object]) -> None:
        send(b"HTTP/1.1 200 OK\r\n")
        for i in range(size // 1000):
            send(b"X-%d: %s\r\n" % (i, b"y" * 980))

    return _always(lambda: Raw(flood))


def cookies(count: int = 50) -> Lie:
    """The honest answer, with new cookies every time: whoever keeps them runs full."""

    def tell(seen: Seen, forward: Forward) -> Reply:
        reply = forward()
        now = time.monotonic_ns()
        return reply._replace(headers=(_TYPE, *(("Set-Cookie", f"c{now}{i}=x") for i in range(count))))

    return tell
