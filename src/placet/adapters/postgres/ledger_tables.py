"""The tables of the PostgreSQL ledger: how it is born, found, upgraded and locked.

`placet.adapters.postgres.ledger` judges uses in them.  Every failure leaves here as `IndeterminateError`,
so that no gate can mistake it for an answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from placet.adapters._ledger_rules import check_birth_time
from placet.adapters.postgres.address import show_address
from placet.adapters.postgres.connection import (
    Kind,
    PostgresError,
    Trouble,
    check_durable,
    connect,
    describe,
)
from placet.adapters.postgres.place import find_place
from placet.adapters.postgres.schema import LEDGER, check_version, latest_version, migrate, read_version
from placet.adapters.postgres.trouble import ledger_error
from placet.core.errors import IndeterminateError, Reason
from placet.ports.use_ledger import Birth

Connection = psycopg.Connection[tuple[Any, ...]]

REBORN_HINT = (
    "If the database was restored, copied or failed over, say so with `placet ledger reborn`; older approvals"
    " then expire."
)

_LOCK = """
SELECT current_setting('synchronous_commit'), current_setting('fsync'),
       (SELECT max(number) FROM placet_ledger.migrations)
FROM placet_ledger.judgement FOR UPDATE
"""
_HERE = "concat({}, ' table:', 'placet_ledger.uses'::regclass::oid::text)"
_HEAD = f"""
SELECT number, ledger_id, born_at, place, {_HERE},
       (SELECT coalesce(max(use_id), 0) FROM placet_ledger.uses),
       (SELECT max(used_at) FROM placet_ledger.uses WHERE birth = number)
FROM placet_ledger.birth ORDER BY number DESC LIMIT 1
"""  # noqa: S608 (constant)
_LATEST_TIME = """
SELECT greatest((SELECT max(used_at) FROM placet_ledger.uses), (SELECT max(born_at) FROM placet_ledger.birth))
"""
_BEAR = f"""
INSERT INTO placet_ledger.birth (ledger_id, born_at, place) VALUES (%s, %s, {_HERE})
RETURNING number, ledger_id, born_at, place
"""  # noqa: S608 (constant)


class Head(NamedTuple):
    """What each judgement begins with.

    Args:
        here: the place where the ledger is now, to be compared with that of its birth.
        latest_use: the highest number of a use; 0 if there is none.
        latest_time: of a use since the latest birth.
    """

    birth: Birth
    here: str
    latest_use: int
    latest_time: int | None


def declare_birth(address: str, *, now: int, clock_was_wrong: bool = False) -> Birth:
    """Makes the ledger at `address`, or declares that a restored, copied or promoted one starts anew.

    Recorded uses and counters are kept.  Every statement issued up to `now` is refused from here on.

    Args:
        now: the time of birth, Unix seconds.
        clock_was_wrong: accept a time before the latest one that the ledger has seen.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE, TIME_UNPROVEN.
    """
    with named_failures(address), connect(address) as connection:
        if read_version(connection, LEDGER) == 0:
            migrate(connection, LEDGER, address)
        check_version(connection, LEDGER, address)
        bear = _BEAR.format(find_place(connection))
        with connection.transaction():
            lock_judgement(connection, address)
            row = connection.execute(_LATEST_TIME).fetchone()
            if not clock_was_wrong:
                check_birth_time(now, row[0] if row else None)
            born = connection.execute(bear.encode(), (secrets.token_hex(16), now)).fetchone()
        return Birth._make(born or ())


def ledger_exists(address: str) -> bool:
    """Tells whether there is a ledger that was born.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    with named_failures(address), connect(address) as connection:
        if read_version(connection, LEDGER) == 0:
            return False
        return connection.execute("SELECT 1 FROM placet_ledger.birth LIMIT 1").fetchone() is not None


def migrate_ledger(address: str) -> tuple[int, int]:
    """Makes or upgrades the ledger's tables; what it knows stays as it is.

    Returns:
        The version before and after.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    with named_failures(address), connect(address) as connection:
        return migrate(connection, LEDGER, address)


def lock_judgement(connection: Connection, address: str) -> None:
    """Takes the ledger's one lock until the end of the transaction.

    Raises:
        PostgresError: the ledger was upgraded or emptied meanwhile, or the server is no longer durable.
        psycopg.Error: the database failed.
    """
    row = connection.execute(_LOCK).fetchone()
    if row is None or row[2] != latest_version(LEDGER):
        raise PostgresError(
            Trouble(
                Kind.FAILED,
                f"The ledger's tables in {show_address(address)} were upgraded or emptied meanwhile.",
                "Start the gate again, in the version that fits the tables.",
            )
        )
    check_durable(row[0], row[1], address)


def check_tables(connection: Connection, address: str) -> None:
    """Makes sure that there are tables of a ledger, and of this version.

    Raises:
        PostgresError: there are not.
        psycopg.Error: the database failed.
    """
    if read_version(connection, LEDGER) == 0:
        raise missing_ledger(address)
    check_version(connection, LEDGER, address)


def missing_ledger(address: str) -> PostgresError:
    """Returns the error for a database without a ledger."""
    return PostgresError(
        Trouble(
            Kind.FAILED,
            f"There is no use ledger at {show_address(address)}, so single use cannot be checked.",
            "`placet ledger create` makes one; only approvals requested afterwards can be used.",
        )
    )


def read_head(connection: Connection, place: str, address: str) -> Head:
    """Reads what a judgement begins with.

    Args:
        place: the SQL expression of `find_place`.

    Raises:
        PostgresError: there is no birth.
        psycopg.Error: the database failed.
    """
    row = connection.execute(_HEAD.format(place).encode()).fetchone()
    if row is None:
        raise missing_ledger(address)
    return Head(Birth._make(row[:4]), *row[4:])


@contextmanager
def named_failures(address: str, *, in_doubt: bool = False) -> Iterator[None]:
    """Turns every failure of the database or the disk into one that gates deny on."""
    try:
        yield
    except (psycopg.Error, PostgresError) as error:
        trouble = describe(error, address, migrate=LEDGER.command)
        raise ledger_error(trouble, in_doubt=in_doubt) from error
    except OSError as error:
        raise IndeterminateError(
            Reason.LEDGER_UNAVAILABLE,
            f"The folder for the ledger's stamps cannot be used: {error.strerror or error}.",
            hint="Check the gate's state folder, its owner and mode, and the disk.",
        ) from error
