"""Connections to PostgreSQL: how they are set up, what is checked, and what their failures mean.

Three things hold for each connection before anything uses it:

* **Durable.**  ``fsync`` and ``synchronous_commit`` are on, and the latter stays on for the session.  With
  either off, a server acknowledges what a crash forgets, so it is refused.
* **Writable.**  It is no standby: a standby is behind, and what it shows may be gone after a failover.
* **Bounded.**  No statement, no wait for a lock and no abandoned transaction lasts for ever.

Errors of libpq and of the server become a `Trouble` here; store and ledger put their own names to it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from placet.adapters.postgres.address import UNCLEAR, show_address

# Longer than any write here takes, shorter than a client's patience.
STATEMENT_SECONDS = 10
LOCK_SECONDS = 5
# A process that died with its machine leaves a transaction that holds a lock; nobody tells the server.
# Shorter than the wait for a lock, so that those who wait get it.
ABANDONED_SECONDS = 4
CONNECT_SECONDS = 5
# The oldest version that is still maintained; older ones were never tried.
_OLDEST_SERVER = 14
_DURABLE = ("on", "remote_apply")

_PREPARE = """
SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
       current_setting('synchronous_commit'), current_setting('fsync'), current_setting('server_encoding'),
       set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
       set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('synchronous_commit', current_setting('synchronous_commit'), false),
       -- Whoever waited for a lock must see what its last holder wrote, whatever the server's default is.
       set_config('default_transaction_isolation', 'read committed', false),
       -- Our statements run for a millisecond; compiling one took three hundred.
       set_config('jit', 'off', false)
"""
_SETTINGS = tuple(f"{seconds}s" for seconds in (STATEMENT_SECONDS, LOCK_SECONDS, ABANDONED_SECONDS))


class Kind(StrEnum):
    """What can be done about a failure."""

    BUSY = "busy"
    """Trying again in a moment makes sense; nothing was written."""
    FULL = "full"
    """There is no room; nothing was written."""
    GONE = "gone"
    """The connection is lost, or none can be made; a COMMIT that was under way may have happened."""
    FAILED = "failed"
    """An operator is needed."""


class Trouble(NamedTuple):
    """A failure, told to a person."""

    kind: Kind
    message: str
    hint: str


class PostgresError(Exception):
    """The database is there, and is not what placet can use."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


def connection_text(address: str) -> str:
    """Returns libpq's connection string for an address, with our time limits where it names none.

    Passwords are libpq's business: from the address, PGPASSFILE, PGPASSWORD or a service.

    Raises:
        PostgresError: it is not an address.
    """
    try:
        given = conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        # libpq's own words repeat parts of the address, which may be the password.
        raise PostgresError(
            Trouble(
                Kind.FAILED,
                "This is not the address of a PostgreSQL database.",
                "Write it like postgresql://USER@HOST:5432/DATABASE; the password belongs into PGPASSFILE.",
            )
        ) from None
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "fallback_application_name": "placet",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * STATEMENT_SECONDS,
    }
    if "," in str(given.get("host", "")):
        # Of several hosts, the one that takes writes; which one that is changes with a failover.
        defaults["target_session_attrs"] = "read-write"
    return make_conninfo("", **{**defaults, **given})


def check_session(row: tuple[Any, ...] | None, address: str) -> None:
    """Judges the row of the statement that sets a session up.

    Raises:
        PostgresError: the server is too old, a standby, not durable, or not in UTF-8.
    """
    version, standby, commits, fsync, encoding = row[:5] if row else (0, False, "", "", "")
    name = show_address(address)
    if version < _OLDEST_SERVER:
        raise PostgresError(
            Trouble(
                Kind.FAILED,
                f"The server of {name} is PostgreSQL {version}; placet needs {_OLDEST_SERVER} or newer.",
                "Upgrade it: older versions are no longer maintained.",
            )
        )
    if standby:
        raise PostgresError(standby_trouble(name))
    check_durable(commits, fsync, address)
    if encoding != "UTF8":
        raise PostgresError(
            Trouble(
                Kind.FAILED,
                f"The database {name} is encoded in {encoding}, not in UTF-8.",
                "Make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
            )
        )


def check_durable(synchronous_commit: str, fsync: str, address: str) -> None:
    """Makes sure that what the server acknowledges survives a crash.

    Raises:
        PostgresError: it does not.
    """
    if synchronous_commit in _DURABLE and fsync == "on":
        return
    off = f"synchronous_commit = {synchronous_commit}" if fsync == "on" else "fsync = off"
    raise PostgresError(
        Trouble(
            Kind.FAILED,
            f"The server of {show_address(address)} has {off}: a crash would forget what it acknowledged.",
            "Set fsync and synchronous_commit to on, for the server, this database and this role.",
        )
    )


def connect(address: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Opens a checked connection in autocommit mode.

    Raises:
        PostgresError: the database cannot be used.
        psycopg.Error: it cannot be reached.
    """
    connection = psycopg.connect(connection_text(address), autocommit=True)
    try:
        check_session(connection.execute(_PREPARE, _SETTINGS).fetchone(), address)
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_async(address: str) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """Opens a checked connection in autocommit mode, on the running event loop.

    Raises:
        PostgresError: the database cannot be used.
        psycopg.Error: it cannot be reached.
    """
    connection = await psycopg.AsyncConnection.connect(connection_text(address), autocommit=True)
    try:
        await set_up(connection, address)
    except BaseException:
        await connection.close()
        raise
    return connection


async def set_up(connection: psycopg.AsyncConnection[tuple[Any, ...]], address: str) -> None:
    """Sets a session up and checks it.

    Raises:
        PostgresError: the database cannot be used.
        psycopg.Error: the connection is lost.
    """
    cursor = await connection.execute(_PREPARE, _SETTINGS)
    check_session(await cursor.fetchone(), address)


def standby_trouble(name: str) -> Trouble:
    """Returns what is wrong with a server that takes no writes."""
    return Trouble(
        Kind.FAILED,
        f"The server of {name} is a standby, or read-only.",
        "Name the primary; with several hosts in the address, libpq finds it by itself.",
    )


def describe(error: psycopg.Error | PostgresError, address: str, *, migrate: str) -> Trouble:
    """Tells what an error means.

    Args:
        migrate: the command that makes or upgrades the tables.
    """
    if isinstance(error, PostgresError):
        return error.trouble
    name, state = show_address(address), error.sqlstate or ""
    match state:
        case "53100":
            return Trouble(Kind.FULL, f"The disk of {name} is full.", "Free disk space on the server.")
        case "25006":
            return standby_trouble(name)
        case "42501":
            return Trouble(
                Kind.FAILED,
                f"The role that connects to {name} may not do this: {_first_line(error)}.",
                "Give it the rights that the guide lists (docs/how-to-postgresql.md), or name another role.",
            )
        case "42P01" | "3F000" | "42703":
            return Trouble(
                Kind.FAILED, f"The database {name} does not hold placet's tables.", f"Make them: {migrate}"
            )
        case "XX001" | "XX002" | "58030" | "58P01":
            return Trouble(
                Kind.FAILED,
                f"The server of {name} reports damaged data or a failing disk: {_first_line(error)}.",
                "Look at the server's log and its disk; restore from a backup if data was lost.",
            )
    if state[:2] == "40" or state in ("55P03", "57014", "53200", "53300", "53400"):
        return Trouble(
            Kind.BUSY, f"The database {name} is busy: {_first_line(error)}.", "Try again in a moment."
        )
    if state in ("28000", "28P01", "3D000"):
        return Trouble(
            Kind.FAILED,
            f"The server of {name} does not let this role in: {_first_line(error)}.",
            "Check role, database and password (PGPASSFILE), and the server's pg_hba.conf.",
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return _unreachable(error, name)
    return Trouble(Kind.FAILED, f"The database {name} failed: {_first_line(error)}.", "See the server's log.")


def _unreachable(error: psycopg.Error, name: str) -> Trouble:
    # libpq names the host that it looked for; where the address is unclear, that may be part of the password.
    detail = "" if name == UNCLEAR else f": {_first_line(error)}"
    return Trouble(
        Kind.GONE,
        f"The database {name} cannot be reached{detail}.",
        "Check that the server runs and that this machine may connect to it.",
    )


def _first_line(error: psycopg.Error) -> str:
    # Only the first line: others quote statements and rows.
    text = error.diag.message_primary or str(error).strip().partition("\n")[0]
    return text.rstrip(".")
