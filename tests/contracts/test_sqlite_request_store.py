"""The SQLite store keeps the contract of every request store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from placet.adapters.sqlite.store import SqliteRequestStore
from placet.testing.contracts.request_store import RequestStoreContract


class TestSqliteRequestStore(RequestStoreContract):
    def open_store(self, place: Path) -> SqliteRequestStore:
        return SqliteRequestStore.open(place / "relay.sqlite3")

    def damage(self, place: Path, table: str) -> None:
        with closing(sqlite3.connect(place / "relay.sqlite3", isolation_level=None)) as shell:
            shell.execute(f"UPDATE {table} SET container = CAST('X' || substr(container, 2) AS BLOB)")


class TestSqliteRequestStoreWithoutGroups(TestSqliteRequestStore):
    """One commit per write obeys the same contract: grouping is speed, never meaning."""

    def open_store(self, place: Path) -> SqliteRequestStore:
        return SqliteRequestStore.open(place / "relay.sqlite3", max_group=1)
