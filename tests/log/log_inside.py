"""A log inside the test's own process: its store in memory, its clock still, its callers without limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import httpx

from placet.core.bundle import encode_answer
from placet.core.tlog.log_policy import LogPolicy, parse_log_policy
from placet.core.tlog.note import ED25519
from placet.core.trust import Trust
from placet.log.app import create_app
from placet.log.readers import ReaderBook
from placet.log.service import LogService
from placet.ports.log_store import LogStore
from placet.testing.log_store import MemoryLog
from placet.testing.small_log import SmallLog, note_signer
from placet.testing.world import ALICE, NOW, World

ORIGIN = "log.example/demo"
SIGNER = note_signer(ORIGIN, ED25519, b"log")
# Names the same log, with three witnesses of which two are a quorum.
SMALL = SmallLog(log_origin=ORIGIN)
POLICY: LogPolicy = parse_log_policy(SMALL.policy())


class Caller(NamedTuple):
    name: str = ""
    key: str = ""


class Clock:
    def now(self) -> int:
        return NOW + 90


class Inside(NamedTuple):
    """What a scenario looks at."""

    http: httpx.AsyncClient
    store: LogStore
    service: LogService


def with_log(
    scenario: Callable[[Inside], Coroutine[Any, Any, None]],
    *,
    store: LogStore | None = None,
    trust: Trust | None = None,
    readers: ReaderBook = ReaderBook(),  # noqa: B008 (immutable)
    **service: Any,
) -> None:
    """Runs a scenario against a log of its own."""

    async def current() -> Trust | None:
        return trust

    async def main() -> None:
        kept = store or MemoryLog(SIGNER)
        made = LogService(kept, Clock(), trust=current, **service)
        app = create_app(
            made,
            admit=lambda request, wants: Caller(key=request.headers.get("x-caller", "")),
            readers=lambda: readers,
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://log") as http:
            await scenario(Inside(http, kept, made))

    asyncio.run(main())


def decision(world: World, person: str = ALICE, **knobs: Any) -> bytes:
    """Returns the record of a decision that nobody made before."""
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    return encode_answer(world.approve(request, person, **knobs))


def post(http: httpx.AsyncClient, record: bytes) -> Awaitable[httpx.Response]:
    return http.post("/v1/records", content=record, headers={"Content-Type": "application/json"})


def reason(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["reason"]
