"""What the tests of the PostgreSQL store share: several relays on one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from placet.adapters.places import open_store
from placet.adapters.postgres.store import PostgresRequestStore
from placet.ports.request_store import (
    RequestStoreError,
)

RELAYS = 3

Scenario = Callable[[list[PostgresRequestStore]], Coroutine[Any, Any, None]]


@asynccontextmanager
async def relays(url: str, count: int = RELAYS) -> AsyncIterator[list[PostgresRequestStore]]:
    stores = [PostgresRequestStore.open(url) for _ in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


def run(url: str, scenario: Scenario, *, count: int = RELAYS) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), relays(url, count) as stores:
            await scenario(stores)

    asyncio.run(main())


def refusal(url: str) -> RequestStoreError:
    with pytest.raises(RequestStoreError) as caught:
        open_store(url)
    return caught.value
