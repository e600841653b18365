"""placet's tables in PostgreSQL: numbered SQL files, each applied once, in order, all or nothing.

Relay and ledger each have a schema of their own in the database, so that they can share one and
still have roles that know nothing of each other.  ``migrations`` in each says what was applied.

A program refuses tables that are newer than itself, and of older ones says which command upgrades
them: to change a database that others use in passing would be a surprise.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

import psycopg

from placet.adapters.postgres.address import show_address
from placet.adapters.postgres.connection import Kind, PostgresError, Trouble

# Upgrading may wait for a long report to finish; a person is looking on.
_PATIENCE = "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0"

# Not to_regclass(): that may answer from the session's cache, which has not heard of another's commit.
_HAS_HISTORY = """
SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s AND relname = 'migrations'
"""


class Schema(NamedTuple):
    """A set of tables with its history."""

    name: str
    """Of the schema in the database."""
    folder: str
    """Of its SQL files, ``NNN_name.sql``, beside this module."""
    command: str
    """What makes and upgrades it."""
    lock: int
    """The advisory lock under which it is upgraded, so that several processes may try at once."""


RELAY = Schema("placet_relay", "relay", "placet relay migrate --store URL", 0x706C6374)
LEDGER = Schema("placet_ledger", "ledger", "placet ledger migrate --ledger URL", 0x706C636C)


class Migration(NamedTuple):
    """One step of a schema's history."""

    number: int
    name: str
    text: bytes


def list_migrations(schema: Schema) -> tuple[Migration, ...]:
    """Returns the steps that this program knows, in order."""
    folder = files("placet.adapters.postgres").joinpath(schema.folder)
    found = [
        Migration(int(file.name[:3]), file.name[4:-4], file.read_bytes())
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found))


def read_version(connection: psycopg.Connection[Any], schema: Schema) -> int:
    """Returns the number of the latest applied step; 0 where there are no tables."""
    if connection.execute(_HAS_HISTORY, (schema.name,)).fetchone() is None:
        return 0
    query = f"SELECT max(number) FROM {schema.name}.migrations"  # noqa: S608 (constant)
    row = connection.execute(query.encode()).fetchone()
    return int(row[0] or 0) if row else 0


def check_version(connection: psycopg.Connection[Any], schema: Schema, address: str) -> None:
    """Makes sure that the tables are there and are those that this program knows.

    Raises:
        PostgresError: they are missing, older or newer.
        psycopg.Error: the database failed.
    """
    version, known, name = read_version(connection, schema), latest_version(schema), show_address(address)
    if version == 0:
        raise _refusal(f"The database {name} does not hold placet's tables.", f"Make them: {schema.command}")
    if version > known:
        raise _newer(name, version, known)
    if version < known:
        raise _refusal(
            f"The database {name} was made by an older placet (schema {version}, known: {known}).",
            f"Upgrade it once every program that uses it has been: {schema.command}",
        )


def migrate(connection: psycopg.Connection[Any], schema: Schema, address: str) -> tuple[int, int]:
    """Makes or upgrades the tables, in one transaction.

    Returns:
        The version before and after.

    Raises:
        PostgresError: they are newer than this program.
        psycopg.Error: the database failed; nothing was changed.
    """
    known = latest_version(schema)
    with connection.transaction():
        connection.execute(_PATIENCE.encode())
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (schema.lock,))
        before = read_version(connection, schema)
        if before > known:
            raise _newer(show_address(address), before, known)
        if before == 0:
            _begin_history(connection, schema)
        for step in list_migrations(schema)[before:]:
            connection.execute(step.text)
            connection.execute(
                f"INSERT INTO {schema.name}.migrations (number, name) VALUES (%s, %s)".encode(),  # noqa: S608
                (step.number, step.name),
            )
    return before, known


def _begin_history(connection: psycopg.Connection[Any], schema: Schema) -> None:
    # Asked first: IF NOT EXISTS wants the right to create schemas even where there is one already.
    if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema.name,)).fetchone() is None:
        connection.execute(f"CREATE SCHEMA {schema.name}".encode())
    connection.execute(
        f"CREATE TABLE {schema.name}.migrations (number int PRIMARY KEY, name text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())".encode()
    )


def latest_version(schema: Schema) -> int:
    """Returns the number of the latest step that this program knows."""
    return list_migrations(schema)[-1].number


def _newer(name: str, version: int, known: int) -> PostgresError:
    return _refusal(
        f"The database {name} was made by a newer placet (schema {version}, known: {known}).",
        "Use that version or a newer one.",
    )


def _refusal(message: str, hint: str) -> PostgresError:
    return PostgresError(Trouble(Kind.FAILED, message, hint))
