"""The SQLite log keeps the contract of every log store, alone and in the file of a relay's store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from placet.adapters.sqlite.log import SqliteLog
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.core.tlog.note import NoteSigner
from placet.ports.log_store import LogStore
from placet.testing.contracts.log_store import LogStoreContract


def flip(table: str, column: str, row: str) -> str:
    return f"UPDATE {table} SET {column} = CAST(X'00' || substr({column}, 2) AS BLOB) WHERE {row}"


class TestSqliteLog(LogStoreContract):
    async def open_log(self, place: Path, key: NoteSigner) -> LogStore:
        return SqliteLog.open(place / "log.sqlite3", key)

    def damage(self, place: Path, what: str) -> None:
        newest = "first_index = (SELECT max(first_index) FROM log_entries)"
        statement = {
            "leaf": flip("log_entries", "leaves", "first_index = 0"),
            "record": flip("log_entries", "records", "first_index = 0"),
            # The hashes of the leaves are not kept: another row of leaves makes another tile.
            "tile": flip("log_entries", "leaves", "first_index = 0"),
            "checkpoint": flip("log", "checkpoint", "id = 1"),
            "lost": f"DELETE FROM log_entries WHERE {newest}",
        }[what]
        with closing(sqlite3.connect(place / "log.sqlite3", isolation_level=None)) as connection:
            assert connection.execute(statement).rowcount == 1


class TestSqliteLogOfAStore(TestSqliteLog):
    async def open_log(self, place: Path, key: NoteSigner) -> LogStore:
        store = SqliteRequestStore.open(place / "log.sqlite3", log_signer=key)
        assert store.log is not None
        # What a relay does: it closes the store, and the log with it.
        store.log.close = store.close  # type: ignore[method-assign]
        return store.log
