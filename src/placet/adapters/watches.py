"""The watches of one process's readers, whatever tells the process of a change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from placet.ports.request_store import RequestId, Watch


class Watches:
    """Everybody in this process who waits for news from a store; None stands for new requests."""

    def __init__(self) -> None:
        self._by_request: dict[RequestId | None, set[_EventWatch]] = {}

    @contextlib.contextmanager
    def watch(self, request_id: RequestId | None) -> Iterator[Watch]:
        """See `placet.ports.request_store.RequestStore.watch`."""
        watch = _EventWatch()
        watches = self._by_request.setdefault(request_id, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches and self._by_request.get(request_id) is watches:
                del self._by_request[request_id]

    def announce(self, request_id: RequestId | None) -> None:
        """Wakes whoever watches this request, or new requests."""
        for watch in self._by_request.get(request_id, ()):
            watch.note()

    def announce_all(self) -> None:
        """Wakes everybody: something may have changed, and what is not known."""
        for watches in self._by_request.values():
            for watch in watches:
                watch.note()


class _EventWatch:
    def __init__(self) -> None:
        self._event = asyncio.Event()

    def note(self) -> None:
        self._event.set()

    async def changed(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        # Cleared before the caller reads again: a change during that read sets it anew.
        self._event.clear()
        return True
