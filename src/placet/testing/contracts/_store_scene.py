"""What the parts of the request store's contract share: requests, answers, and how a store is opened."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from placet.core.encoding import Digest
from placet.ports.request_store import (
    NewAnswer,
    NewRequest,
    RequestId,
    RequestStore,
)

NOW = 1_800_000_000
LATER = NOW + 3600
DAY = 86_400
NEXT_DAY = NOW - NOW % DAY + DAY
SOON = 0.05
LONG = 20.0


def digest(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def request(
    name: str, *, container: bytes | None = None, expires_at: int = LATER, caller: str = "ci"
) -> NewRequest:
    return NewRequest(
        RequestId(digest(name)), container or name.encode(), digest(f"token {name}"), expires_at, caller
    )


def answer(name: str, *, caller: str = "desk", signer: str = "") -> NewAnswer:
    return NewAnswer(digest(name), name.encode(), caller, signer)


class StoreScene:
    """How a test gets a store: inherit, and implement `open_store` and `damage`."""

    def open_store(self, place: Any) -> RequestStore:
        """Opens the store at `place`, a folder of the test's own; finds what an earlier one there left."""
        raise NotImplementedError

    def damage(self, place: Any, table: str) -> None:
        """Changes one byte of every container in ``requests`` or ``answers`` of a closed store at `place`.

        The store's own words for both tables' containers may be others; the digests stay as they are.
        """
        raise NotImplementedError

    @pytest.fixture
    def with_store(
        self, tmp_path: Any
    ) -> Callable[[Callable[[RequestStore], Coroutine[Any, Any, None]]], None]:
        def run(scenario: Callable[[RequestStore], Coroutine[Any, Any, None]]) -> None:
            async def main() -> None:
                async with self._opened(tmp_path) as store:
                    await scenario(store)

            asyncio.run(main())

        return run

    @asynccontextmanager
    async def _opened(self, place: Any) -> AsyncIterator[RequestStore]:
        store = self.open_store(place)
        try:
            yield store
        finally:
            await store.close()
