"""Deletes what closed long ago, in small batches between the relay's own work.

Open requests are never touched.  SQLite uses the pages of deleted requests again, so the
file stops growing once as much is deleted as arrives.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from placet.ports.clock import Clock
from placet.ports.request_store import RequestStore, RequestStoreError, StoreFailedError, StoreUsage

log = logging.getLogger("placet.relay")

DAY = 86_400
DEFAULT_KEEP_SECONDS = 30 * DAY
# Also when room is short: whoever waits for the outcome of a request has so long to fetch it.
_KEEP_AT_LEAST_SECONDS = 3600
_BATCH = 20
_SECONDS_BETWEEN_BATCHES = 0.02
_SECONDS_BETWEEN_ROUNDS = 60.0
# With this part of the room in use, closed requests go before their time.
_SHORT_OF_ROOM = 0.7


class Retention(NamedTuple):
    """How long closed requests stay, and how much room there is for everything."""

    keep_seconds: int = DEFAULT_KEEP_SECONDS
    max_kept_bytes: int = 3 * 1024**3


class Janitor:
    """Cleans up until it is cancelled."""

    def __init__(self, store: RequestStore, clock: Clock, retention: Retention) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention
        self._hurry = asyncio.Event()
        self.deleted = 0
        """Requests deleted since the start."""

    def hurry(self) -> None:
        """Lets the next round begin now: somebody was told that there is no room."""
        self._hurry.set()

    async def run(self) -> None:
        """Cleans up for ever."""
        while True:
            try:
                await self.clean()
            except StoreFailedError:
                # Said once by whoever met it first; deleting from a damaged store helps nobody.
                pass
            except RequestStoreError as e:
                if not e.operator_knows:
                    log.warning("closed requests could not be deleted: %s", e)
            try:
                async with asyncio.timeout(_SECONDS_BETWEEN_ROUNDS):
                    await self._hurry.wait()
                # However many are refused at once, cleaning up is no busy loop.
                await asyncio.sleep(1.0)
            except TimeoutError:
                pass
            self._hurry.clear()

    async def clean(self) -> int:
        """Deletes what is due, and more while room is short; returns how many requests went.

        Raises:
            RequestStoreError: as `RequestStore.delete_closed` and `measure`.
        """
        now = self._clock.now()
        count = 0
        while done := await self._delete(now - self._retention.keep_seconds):
            count += done
        early = 0
        while self._is_short_of_room(await self._store.measure(now=now)):
            done = await self._delete(now - min(_KEEP_AT_LEAST_SECONDS, self._retention.keep_seconds))
            if not done:
                break
            early += done
        if early:
            log.warning(
                "room is short: %d closed requests were deleted before their %d days were over",
                early,
                self._retention.keep_seconds // DAY,
            )
        return count + early

    async def _delete(self, closed_before: int) -> int:
        done = await self._store.delete_closed(closed_before=closed_before, limit=_BATCH)
        self.deleted += done
        await asyncio.sleep(_SECONDS_BETWEEN_BATCHES)
        return done

    def _is_short_of_room(self, usage: StoreUsage) -> bool:
        return usage.kept_bytes > self._retention.max_kept_bytes * _SHORT_OF_ROOM
