"""Opens a store or a ledger where the user said: a path means SQLite, an address means PostgreSQL.

What only one of them needs is imported only for it: a gate with a file pays nothing for a driver.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import state_dir
from placet.adapters.postgres.address import MISSING_DRIVER, is_postgres, show_address
from placet.core.errors import IndeterminateError, Reason
from placet.ports.request_store import RequestStore, StoreFailedError
from placet.ports.use_ledger import Birth, UseLedger

if TYPE_CHECKING:
    from placet.core.tlog.note import NoteSigner

_NO_DRIVER = "PostgreSQL needs the Python packages psycopg and psycopg-pool, which are not installed."


def missing_driver(place: str | Path) -> tuple[str, str] | None:
    """Returns what to say, and the next step, where a place needs a driver that is not installed."""
    if is_postgres(place) and not (find_spec("psycopg") and find_spec("psycopg_pool")):
        return _NO_DRIVER, MISSING_DRIVER
    return None


def show_place(place: str | Path) -> str:
    """Returns a place as it may be printed: an address loses its secrets."""
    return show_address(str(place)) if is_postgres(place) else str(place)


def open_store(
    place: str | Path, *, max_bytes: int | None = None, log_signer: NoteSigner | None = None
) -> RequestStore:
    """Opens the relay's store, making it where there is none.

    Args:
        place: a file's path, or ``postgresql://…``.
        max_bytes: how large a file may grow; a server has its own limits.
        log_signer: the key of the log that a file is to keep, too.

    Raises:
        StoreFailedError: it cannot be used; an operator is needed.
        StoreBusyError: it cannot be reached, or is locked, now.
        IndeterminateError: LOG_DAMAGED, LOG_UNAVAILABLE.
    """
    if problem := missing_driver(place):
        raise StoreFailedError(problem[0], hint=problem[1])
    if is_postgres(place):
        from placet.adapters.postgres.store import PostgresRequestStore

        return PostgresRequestStore.open(str(place))
    from placet.adapters.sqlite.database import DEFAULT_MAX_BYTES
    from placet.adapters.sqlite.store import SqliteRequestStore

    return SqliteRequestStore.open(
        Path(place), max_bytes=max_bytes or DEFAULT_MAX_BYTES, log_signer=log_signer
    )


def open_ledger(place: str | Path) -> UseLedger:
    """Opens a gate's ledger, which must exist.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    _require_driver(place)
    if is_postgres(place):
        from placet.adapters.postgres.ledger import PostgresLedger

        return PostgresLedger(str(place), stamps=state_dir() / "gate" / "stamps")
    from placet.adapters.sqlite.ledger import SqliteLedger

    return SqliteLedger(Path(place))


def ledger_exists(place: str | Path) -> bool:
    """Tells whether there is a ledger.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    _require_driver(place)
    if not is_postgres(place):
        return Path(place).exists()
    from placet.adapters.postgres import ledger_tables as postgres_ledger_tables

    return postgres_ledger_tables.ledger_exists(str(place))


def declare_birth(place: str | Path, *, now: int, clock_was_wrong: bool = False) -> Birth:
    """Makes a ledger, or declares that one starts anew.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE, TIME_UNPROVEN.
    """
    _require_driver(place)
    if is_postgres(place):
        from placet.adapters.postgres import ledger_tables as postgres_ledger_tables

        return postgres_ledger_tables.declare_birth(str(place), now=now, clock_was_wrong=clock_was_wrong)
    from placet.adapters.sqlite.ledger import declare_new_birth

    return declare_new_birth(Path(place), now=now, clock_was_wrong=clock_was_wrong)


def migrate_ledger(place: str | Path) -> tuple[int, int]:
    """Upgrades a ledger that an earlier version made; returns the version before and after.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    _require_driver(place)
    if is_postgres(place):
        from placet.adapters.postgres import ledger_tables as postgres_ledger_tables

        return postgres_ledger_tables.migrate_ledger(str(place))
    from placet.adapters.sqlite import ledger as sqlite_ledger

    return sqlite_ledger.migrate_ledger(Path(place))


def migrate_store(address: str) -> tuple[int, int]:
    """Makes or upgrades the relay's tables in PostgreSQL; returns the version before and after.

    A file is upgraded when the relay opens it: nobody else uses it.

    Raises:
        StoreFailedError: it cannot be used; an operator is needed.
        StoreBusyError: it cannot be reached now.
    """
    if problem := missing_driver(address):
        raise StoreFailedError(problem[0], hint=problem[1])
    from placet.adapters.postgres import store as postgres_store

    return postgres_store.migrate_store(address)


def _require_driver(place: str | Path) -> None:
    if problem := missing_driver(place):
        raise IndeterminateError(Reason.LEDGER_UNAVAILABLE, problem[0], hint=problem[1])
