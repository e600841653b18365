"""What the tests of the SQLite log are played with."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from placet.adapters.sqlite.log import SqliteLog
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError
from placet.core.tlog.note import NoteSigner
from placet.ports.log_store import LogEntry, LogStore
from placet.ports.request_store import (
    NewAnswer,
    NewRequest,
    RequestId,
)
from placet.testing.contracts.log_store import SIGNER, entries

NOW = 1_800_000_000
LATER = NOW + 60

Scenario = Callable[[Any], Coroutine[Any, Any, None]]


def with_log(path: Path, scenario: Scenario, key: NoteSigner = SIGNER) -> None:
    async def main() -> None:
        log = SqliteLog.open(path, key)
        try:
            await scenario(log)
        finally:
            await log.close()

    asyncio.run(main())


def with_store(path: Path, scenario: Scenario, **options: Any) -> None:
    async def main() -> None:
        store = SqliteRequestStore.open(path, log_signer=SIGNER, **options)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


def grow_to(path: Path, start: int, end: int, key: NoteSigner = SIGNER) -> None:
    async def scenario(log: LogStore) -> None:
        await log.append(entries(start, end))

    with_log(path, scenario, key)


def why_not_opened(path: Path, key: NoteSigner = SIGNER) -> IndeterminateError:
    with pytest.raises(IndeterminateError) as refusal:
        SqliteLog.open(path, key)
    assert refusal.value.hint
    return refusal.value


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount > 0


def request(name: str, expires_at: int = LATER) -> NewRequest:
    digest = Digest(hashlib.sha256(name.encode()).hexdigest())
    return NewRequest(RequestId(digest), name.encode(), digest, expires_at)


def answer(name: str) -> NewAnswer:
    digest = Digest(hashlib.sha256(name.encode()).hexdigest())
    return NewAnswer(digest, name.encode(), entry=LogEntry(f"leaf of {name}".encode(), name.encode()))
