"""The SQLite store keeps the contract of every request store."""

from __future__ import annotations

from pathlib import Path

from request_store_contract import RequestStoreContract

from placet.adapters.sqlite_store import SqliteRequestStore


class TestSqliteRequestStore(RequestStoreContract):
    def open_store(self, place: Path) -> SqliteRequestStore:
        return SqliteRequestStore.open(place / "relay.sqlite3")


class TestSqliteRequestStoreWithoutGroups(RequestStoreContract):
    """One commit per write obeys the same contract: grouping is speed, never meaning."""

    def open_store(self, place: Path) -> SqliteRequestStore:
        return SqliteRequestStore.open(place / "relay.sqlite3", max_group=1)
