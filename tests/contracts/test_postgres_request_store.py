"""The PostgreSQL store keeps the contract of every request store."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from placet.adapters.postgres.store import PostgresRequestStore
from placet.testing.contracts.request_store import RequestStoreContract


class TestPostgresRequestStore(RequestStoreContract):
    @pytest.fixture(autouse=True)
    def database(self, empty_database: str) -> None:
        self.url = empty_database

    def open_store(self, place: Path) -> PostgresRequestStore:
        return PostgresRequestStore.open(self.url)

    def damage(self, place: Path, table: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(
                f"UPDATE placet_relay.{table} SET container = 'X'::bytea || substr(container, 2)"
            )
