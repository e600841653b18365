"""A relay inside the test's own process, whose clock the test moves and whose callers have any address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx

from placet.adapters.serving.door import Seen
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.relay.app import create_app
from placet.relay.callers import CallerBook, parse_callers
from placet.relay.courier import Courier
from placet.relay.gatekeeper import Gatekeeper
from placet.relay.throttle import Throttle


class Clock:
    """Stands still until it is moved."""

    def __init__(self, time: int) -> None:
        self.time = time

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return float(self.time)


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def saw(self, seen: Seen) -> None:
        self.seen.append(seen)


class Inside:
    """The parts of a relay that a test looks at."""

    def __init__(self, store: SqliteRequestStore, clock: Clock, app: Any, notes: Notes) -> None:
        self.store = store
        self.clock = clock
        self.notes = notes
        self._app = app

    def client(self, address: str = "203.0.113.7", token: str = "", **headers: str) -> httpx.AsyncClient:
        """Returns somebody at this address."""
        transport = httpx.ASGITransport(self._app, client=(address, 4711))
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(transport=transport, base_url="http://relay", headers={**shown, **headers})


def with_relay(
    folder: Path,
    scenario: Callable[[Inside], Coroutine[Any, Any, None]],
    *,
    callers: str | CallerBook = "",
    now: int = 1_800_000_000,
    door: dict[str, Any] | None = None,
    **courier: Any,
) -> None:
    """Runs a scenario against a relay of its own."""

    async def main() -> None:
        store = SqliteRequestStore.open(folder / "relay.sqlite3")
        clock, notes = Clock(now), Notes()
        book = parse_callers(callers.encode()) if isinstance(callers, str) else callers
        gatekeeper = Gatekeeper(book, throttle=Throttle(clock.monotonic), **(door or {}))
        app = create_app(Courier(store, clock, **courier), gatekeeper=gatekeeper, observers=[notes])
        try:
            await scenario(Inside(store, clock, app, notes))
        finally:
            await store.close()

    asyncio.run(main())
