"""Reading from a SQLite file beside its writer: each read sees one moment, and never waits for a write."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from placet.adapters.sqlite.database import connect
from placet.adapters.sqlite.errors import is_damage, translate
from placet.ports.request_store import StoreFailedError

T = TypeVar("T")

# Reads take microseconds; more threads would only raise the memory of an idle relay.
_READERS = 2


class Readers:
    """A few threads, each with a connection of its own.

    Args:
        path: the database file.
        on_damage: told when a read finds the structure of the database damaged.
    """

    def __init__(self, path: str, on_damage: Callable[[sqlite3.Error], None]) -> None:
        self._path = path
        self._on_damage = on_damage
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="placet-store-reader")
        self._closed = False

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `job` inside a reading transaction.

        Raises:
            RequestStoreError: what became of the database; and what the job raises.
        """

        def snapshot() -> T:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return job(connection)
            finally:
                connection.execute("ROLLBACK")

        if self._closed:
            raise StoreFailedError("The store is closed.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, snapshot)
        except sqlite3.Error as e:
            if is_damage(e):
                self._on_damage(e)
            raise translate(e, self._path) from e

    async def close(self) -> None:
        """Finishes the reads that run and closes the connections."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        """Returns the connection of the thread that calls."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        connection = connect(Path(self._path))
        self._connections.append(connection)
        connection.execute("PRAGMA query_only = ON")
        self._local.connection = connection
        return connection
