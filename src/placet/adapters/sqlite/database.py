"""The relay's SQLite file: its lock, its schema, and how a connection is set up.

The file belongs to one process at a time, held by a lock file: two relays on one file would
not wake each other's waiters.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from placet.adapters.sqlite._log_tables import LOG_TABLES
from placet.adapters.sqlite.errors import translate
from placet.adapters.stored_requests import seal_of
from placet.ports.request_store import StoreFailedError

SCHEMA_VERSION = 3
# "plct": tells our file from anybody else's SQLite database.
_APPLICATION_ID = 0x706C6374
# 4 GiB: some four thousand requests of the largest size, millions of usual ones.
DEFAULT_MAX_BYTES = 4 * 1024**3
# Longer than a backup's copy step holds the lock, shorter than a client's patience.
BUSY_TIMEOUT = 5.0
# Folding the log into the file costs two syncs and scattered writes; 16 MiB of log (4,000 pages) pays for
# that with four times the writes of SQLite's default, and is read back in a moment after a crash.
_LOG_PAGES = 4000
# Checking so much takes a second or two; a larger database is checked by `placet relay check`.
_CHECKED_AT_START = 1024**3
# STRICT tables.
_OLDEST_SQLITE = (3, 37, 0)

_SCHEMA = """
CREATE TABLE store (id TEXT NOT NULL) STRICT;
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    withdraw_hash TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    withdrawn_at INTEGER,
    caller TEXT NOT NULL,
    seal TEXT NOT NULL,
    container BLOB NOT NULL
) STRICT;
CREATE INDEX requests_that_may_be_open ON requests (expires_at) WHERE withdrawn_at IS NULL;
CREATE TABLE answers (
    seq INTEGER PRIMARY KEY,
    request_seq INTEGER NOT NULL REFERENCES requests (seq),
    digest TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    caller TEXT NOT NULL,
    signer TEXT NOT NULL,
    container BLOB NOT NULL,
    UNIQUE (request_seq, digest)
) STRICT;
"""
_COUNTING = """
CREATE INDEX open_requests_by_caller ON requests (caller, expires_at) WHERE withdrawn_at IS NULL;
CREATE INDEX requests_by_closing ON requests (min(expires_at, coalesce(withdrawn_at, expires_at)));
CREATE TABLE usage (
    caller TEXT PRIMARY KEY,
    requests INTEGER NOT NULL,
    answers INTEGER NOT NULL,
    kept_bytes INTEGER NOT NULL,
    day INTEGER NOT NULL,
    requests_that_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO usage SELECT '*', (SELECT count(*) FROM requests), (SELECT count(*) FROM answers),
    (SELECT coalesce(sum(length(container)), 0) FROM requests)
    + (SELECT coalesce(sum(length(container)), 0) FROM answers), 0, 0;
"""
# What was kept before callers were told apart belongs to nobody; its bytes count for everybody together.
_FROM_1_TO_2 = """
ALTER TABLE requests ADD COLUMN caller TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN seal TEXT NOT NULL DEFAULT '';
ALTER TABLE answers ADD COLUMN caller TEXT NOT NULL DEFAULT '';
ALTER TABLE answers ADD COLUMN signer TEXT NOT NULL DEFAULT '';
UPDATE requests SET seal = seal_of(id, withdraw_hash, submitted_at, expires_at, container);
"""


def take_lock(path: Path) -> int:
    """Makes the folder and takes the lock file beside the database.

    Returns:
        The lock's file descriptor; closing it, or dying, gives the lock back.

    Raises:
        StoreFailedError: the folder cannot be used, or another relay holds the lock.
    """
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise StoreFailedError(
            f"The folder {path.parent} cannot be used: {e.strerror}.",
            hint="Give a folder that belongs to the user who runs this.",
        ) from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        raise StoreFailedError(
            f"Another relay or log is using {path}.",
            hint="Stop it first, or give this one another folder with --state.",
        ) from e
    return lock


def size_of(path: Path) -> int:
    """Returns a file's size, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def connect(path: Path) -> sqlite3.Connection:
    """Opens one connection in autocommit mode, usable from any thread."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    # Each connection sets its own: none of these is stored in the file.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -1024")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    return connection


def open_database(path: Path, max_bytes: int) -> tuple[sqlite3.Connection, str]:
    """Opens and checks the database, creating its tables where it is new.

    Returns:
        A connection, and the random id that tells this database's cursors from others.

    Raises:
        StoreFailedError: not ours, made by a newer version, damaged or not accessible.
        StoreBusyError: another program holds it locked.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreFailedError(
            f"SQLite {sqlite3.sqlite_version} is too old for the relay's store.",
            hint="Use a Python built with SQLite 3.37 or newer.",
        )
    try:
        # Created by hand because SQLite would let everybody on the machine read it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = connect(path)
    except OSError as e:
        raise StoreFailedError(
            f"The database {path} cannot be opened: {e.strerror}.",
            hint="Make the file and its folder belong to the user who runs this.",
        ) from e
    except sqlite3.Error as e:
        raise translate(e, str(path)) from e
    try:
        return connection, _prepare(connection, path, max_bytes)
    except sqlite3.Error as e:
        connection.close()
        raise translate(e, str(path)) from e
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, path: Path, max_bytes: int) -> str:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not is_new and application != _APPLICATION_ID:
        raise StoreFailedError(
            f"{path} is a database, but not one of a placet relay.", hint="Give another folder with --state."
        )
    if version > SCHEMA_VERSION:
        raise StoreFailedError(
            f"The database {path} was made by a newer placet (schema {version}, known: {SCHEMA_VERSION}).",
            hint="Use that version or a newer one.",
        )
    if _pragma(connection, "journal_mode = WAL") != "wal":
        raise StoreFailedError(
            f"The database {path} cannot use a write-ahead log there.",
            hint="Put the state folder on a local disk: network file systems cannot do this.",
        )
    if size_of(path) <= _CHECKED_AT_START and _pragma(connection, "integrity_check(1)") != "ok":
        # Writing into a damaged database damages more of it.
        raise StoreFailedError(
            f"The database {path} is damaged.",
            hint="A relay's: `placet relay check` says how much of it, and saves what is whole into a new "
            "one. A log's: docs/how-to-run-a-log.md.",
        )
    page_size = _pragma(connection, "page_size")
    _pragma(connection, f"max_page_count = {max(1, max_bytes // page_size)}")
    if is_new or version < SCHEMA_VERSION:
        _create_or_migrate(connection, 0 if is_new else version)
    (store_id,) = connection.execute("SELECT id FROM store").fetchone()
    return str(store_id)


def _create_or_migrate(connection: sqlite3.Connection, version: int) -> None:
    """Makes the tables, or brings those of an earlier version up to date: all of it or nothing."""
    connection.create_function("seal_of", 5, seal_of, deterministic=True)
    name = f"INSERT INTO store VALUES ('{secrets.token_hex(8)}');"  # noqa: S608 (our own random hexadecimal)
    steps = {0: f"{_SCHEMA} {name} {_COUNTING} {LOG_TABLES}", 1: f"{_FROM_1_TO_2} {_COUNTING} {LOG_TABLES}"}
    connection.executescript(
        f"BEGIN IMMEDIATE; {steps.get(version, LOG_TABLES)}"
        f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def _pragma(connection: sqlite3.Connection, text: str) -> Any:
    return connection.execute(f"PRAGMA {text}").fetchone()[0]
