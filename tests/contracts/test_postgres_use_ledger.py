"""The PostgreSQL ledger keeps the contract of every use ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet.adapters.postgres.ledger import PostgresLedger
from placet.adapters.postgres.ledger_tables import declare_birth
from placet.ports.use_ledger import Birth
from placet.testing.contracts.use_ledger import UseLedgerContract


class TestPostgresUseLedger(UseLedgerContract):
    @pytest.fixture(autouse=True)
    def database(self, empty_database: str) -> None:
        self.url = empty_database

    def declare_birth(self, place: Path, *, now: int, clock_was_wrong: bool = False) -> Birth:
        return declare_birth(self.url, now=now, clock_was_wrong=clock_was_wrong)

    def open_ledger(self, place: Path) -> PostgresLedger:
        return PostgresLedger(self.url, stamps=place / "stamps")
