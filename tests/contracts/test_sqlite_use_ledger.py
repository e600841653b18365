"""The SQLite ledger keeps the contract of every use ledger."""

from __future__ import annotations

from pathlib import Path

from placet.adapters.sqlite.ledger import Birth, SqliteLedger, declare_new_birth
from placet.testing.contracts.use_ledger import UseLedgerContract


class TestSqliteUseLedger(UseLedgerContract):
    def declare_birth(self, place: Path, *, now: int, clock_was_wrong: bool = False) -> Birth:
        return declare_new_birth(place / "ledger.sqlite3", now=now, clock_was_wrong=clock_was_wrong)

    def open_ledger(self, place: Path) -> SqliteLedger:
        return SqliteLedger(place / "ledger.sqlite3")
