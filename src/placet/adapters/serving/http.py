"""The HTTP side of a service's handlers: bounded bodies, strict queries, plain JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from placet.adapters.serving.refusals import CallRefused
from placet.core.errors import Reason

T = TypeVar("T")

CONTENT_TYPE = "application/json"
# The largest body takes this long at 280 kbit/s; slower than that is somebody holding a door open.
BODY_SECONDS = 30.0
# Proxies commonly cut silent connections after a minute.
MAX_WAIT_SECONDS = 60
DEFAULT_WAIT_SECONDS = 30
DEFAULT_PAGE = 50
# Each waiter holds a connection and a task of some 20 KiB; hundreds of terminals and pipelines fit.
MAX_WAITERS = 512
# Browsers send 1 or 2 KiB; proxies add a little.
MAX_HEAD_BYTES = 16 * 1024


class JsonResponse(Response):
    """A JSON answer that nobody may keep: what it says changes without notice."""

    def __init__(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        fixed = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        super().__init__(body, status, {**fixed, **(headers or {})}, CONTENT_TYPE)


def encode(value: object) -> bytes:
    """Encodes a small answer; everything beyond ASCII is escaped, so it prints safely anywhere."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def check_head(request: Request) -> None:
    """Checks that path, query and headers together stay within bounds.

    Raises:
        CallRefused: they do not.
    """
    size = len(request.scope["raw_path"]) + len(request.scope["query_string"])
    size += sum(len(name) + len(value) for name, value in request.scope["headers"])
    if size > MAX_HEAD_BYTES:
        raise CallRefused(
            "head-too-large",
            f"The address and headers have {size} bytes; at most {MAX_HEAD_BYTES} are accepted.",
        )


async def read_body(request: Request, max_bytes: int, *, hint: str = "") -> bytes:
    """Reads a JSON body of at most `max_bytes`; `hint` says what to do about a larger one.

    Raises:
        CallRefused: wrong content type, too large, or too slow.
    """
    # Browsers send foreign pages' requests with this type only after asking, and no service agrees.
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != CONTENT_TYPE or request.headers.get("content-encoding", "identity") != "identity":
        raise CallRefused(
            "wrong-content-type",
            f"The body must be sent as Content-Type: {CONTENT_TYPE}, without Content-Encoding.",
        )
    return await read_bytes(request, max_bytes, hint=hint)


async def read_bytes(request: Request, max_bytes: int, *, hint: str = "") -> bytes:
    """Reads a body of whatever type, of at most `max_bytes`; `hint` says what to do about a larger one.

    Raises:
        CallRefused: too large, or too slow.
    """
    declared = request.headers.get("content-length", "")
    # Refused before it is read; a body that declares less than it has, or nothing, is counted below.
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes, hint)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes, hint)
    except TimeoutError as e:
        raise CallRefused("slow-body", f"The body did not arrive within {BODY_SECONDS:g} seconds.") from e
    return bytes(body)


def _too_large(max_bytes: int, hint: str) -> CallRefused:
    return CallRefused(
        Reason.TOO_LARGE, f"The body is larger than the {max_bytes} bytes that are accepted here.", hint=hint
    )


def read_query(request: Request, *names: str) -> dict[str, str]:
    """Reads the query; each of `names` may appear once, and nothing else.

    Raises:
        CallRefused: an unknown or repeated name.
    """
    items = request.query_params.multi_items()
    found = dict(items)
    if len(found) != len(items) or not found.keys() <= set(names):
        raise CallRefused("bad-query", f"The query may have {', '.join(names)}, each once, and nothing else.")
    return found


def read_number(query: Mapping[str, str], name: str, *, default: int, minimum: int, maximum: int) -> int:
    """Reads a whole number from the query.

    Raises:
        CallRefused: not a number, or out of bounds.
    """
    text = query.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) < 10 and minimum <= int(text) <= maximum:
        return int(text)
    raise CallRefused("bad-query", f"{name} must be a whole number from {minimum} to {maximum}.")


async def unless_gone(request: Request, waiting: Coroutine[Any, Any, T]) -> T:
    """Awaits `waiting`, and gives up when the client hangs up: its place is for somebody else.

    Raises:
        ClientDisconnect: the client hung up.
    """

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    wait, gone = asyncio.ensure_future(waiting), asyncio.ensure_future(hang_up())
    try:
        await asyncio.wait({wait, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not wait.done():
            raise ClientDisconnect
        return wait.result()
    finally:
        wait.cancel()
        gone.cancel()
        # Awaited so that the place is free again before anybody is told.
        await asyncio.gather(wait, gone, return_exceptions=True)
