"""The file of the SQLite ledger: how it is born, opened, checked and locked.

`placet.adapters.sqlite.ledger` judges uses in it.  Every failure of the disk or the database leaves here as
`IndeterminateError`, so that no gate can mistake it for an answer.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from placet.adapters._ledger_rules import check_birth_time
from placet.adapters.sqlite._ledger_place import (
    Stamp,
    read_file_mark,
    stamp_path,
    sync_folder,
    writable_by_others,
    write_stamp,
)
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, Reason
from placet.ports.use_ledger import Birth

# Long enough for a queue of gates that each sync a slow disk, short enough for a person to wait for.
BUSY_SECONDS = 10.0
_FORMAT = 3
_APPLICATION_ID = 0x706C636C  # "plcl", so that `file` and we can tell a ledger from any other database
REBORN_HINT = "If it was restored or copied, say so with `placet ledger reborn`; older approvals then expire."
_SCHEMA = """
CREATE TABLE birth (
  number INTEGER PRIMARY KEY AUTOINCREMENT, ledger_id TEXT NOT NULL UNIQUE,
  born_at INTEGER NOT NULL, file_mark TEXT NOT NULL) STRICT;
CREATE TABLE uses (
  use_id INTEGER PRIMARY KEY AUTOINCREMENT, birth INTEGER NOT NULL REFERENCES birth,
  payload_digest TEXT NOT NULL, use_unit TEXT NOT NULL, ordinal INTEGER NOT NULL,
  used_at INTEGER NOT NULL, event_id TEXT, exit_code INTEGER, finished_at INTEGER,
  summary TEXT NOT NULL DEFAULT '', record BLOB, leaf_index INTEGER,
  UNIQUE (payload_digest, use_unit, ordinal)) STRICT;
CREATE INDEX uses_by_time ON uses (birth, used_at);
CREATE INDEX uses_by_event ON uses (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX uses_unknown ON uses (use_id) WHERE exit_code IS NULL;
CREATE INDEX uses_unlogged ON uses (use_id) WHERE record IS NOT NULL AND leaf_index IS NULL;
CREATE TABLE counters (
  keyid TEXT NOT NULL, earliest INTEGER NOT NULL, latest INTEGER NOT NULL, counter INTEGER NOT NULL,
  PRIMARY KEY (keyid, earliest, latest, counter)) STRICT, WITHOUT ROWID;
"""
# By the format that each starts from.
_MIGRATIONS = {
    1: ("ALTER TABLE uses ADD COLUMN summary TEXT NOT NULL DEFAULT ''",),
    2: (
        "ALTER TABLE uses ADD COLUMN record BLOB",
        "ALTER TABLE uses ADD COLUMN leaf_index INTEGER",
        "CREATE INDEX uses_unlogged ON uses (use_id) WHERE record IS NOT NULL AND leaf_index IS NULL",
    ),
}


def declare_new_birth(path: Path, *, now: int, clock_was_wrong: bool = False) -> Birth:
    """Makes the ledger at `path`, or declares that a restored, copied or damaged one starts anew.

    Recorded uses and counters are kept; a damaged file is set aside, never deleted.  Every statement issued
    up to `now` is refused from here on.

    Args:
        now: the time of birth, Unix seconds.
        clock_was_wrong: accept a time before the latest one that the ledger has seen.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE, TIME_UNPROVEN.
    """
    with named_failures(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and _is_damaged(path):
            _set_aside(path, now)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = connect_ledger(path)
        try:
            with hold_write_lock(connection):
                _create_schema(connection, path)
                if not clock_was_wrong:
                    check_birth_time(now, _latest_time(connection))
                mark, ledger_id = read_file_mark(path), secrets.token_hex(16)
                connection.execute(
                    "INSERT INTO birth (ledger_id, born_at, file_mark) VALUES (?, ?, ?)",
                    (ledger_id, now, mark),
                )
                birth = read_latest_birth(connection, path)
            with hold_write_lock(connection):
                write_stamp(path, Stamp(birth.ledger_id, read_latest_use(connection)))
            sync_folder(path.parent)
            return birth
        finally:
            connection.close()


def _latest_time(connection: sqlite3.Connection) -> int | None:
    latest: int | None = connection.execute(
        "SELECT MAX(time) FROM (SELECT MAX(used_at) AS time FROM uses UNION SELECT MAX(born_at) FROM birth)"
    ).fetchone()[0]
    return latest


def migrate_ledger(path: Path) -> tuple[int, int]:
    """Brings a ledger of an earlier version up to date; uses, births and place stay as they are.

    Returns:
        The format before and after.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    with named_failures(path):
        connection = connect_ledger(path)
        try:
            with hold_write_lock(connection):
                before = int(_pragma(connection, "user_version"))
                if before == 0 or _pragma(connection, "application_id") != _APPLICATION_ID:
                    _fail(path, "is not a ledger", "Check the path; `placet ledger create` makes one.")
                for step in range(before, _FORMAT):
                    for statement in _MIGRATIONS[step]:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {max(before, _FORMAT)}")
            check_format(connection, path)
            return before, _FORMAT
        finally:
            connection.close()


def connect_ledger(path: Path) -> sqlite3.Connection:
    for place in (path.parent, path):
        if writable_by_others(place):
            raise IndeterminateError(
                Reason.LEDGER_UNAVAILABLE,
                f"{place} can be written by other users, who could undo uses.",
                hint=f"Take it for yourself: chmod go-w {place}",
            )
    # mode=rw: a missing ledger is never created in passing.
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    if journal != "wal":
        connection.close()
        _fail(path, "does not support a write-ahead log", "Put the ledger on a local disk.")
    return connection


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    if version == 0:
        _fail(path, "was never finished", "`placet ledger reborn` makes it.")
    if _pragma(connection, "application_id") != _APPLICATION_ID or version > _FORMAT:
        _fail(
            path, "is not a ledger that this version of placet understands", "Check the path and the version."
        )
    if version < _FORMAT:
        _fail(
            path,
            f"was made by an older placet (format {version}, known: {_FORMAT})",
            "`placet ledger migrate` brings it up to date; nothing that it knows is lost.",
        )
    if _pragma(connection, "quick_check") != "ok":
        _fail(path, "is damaged", "`placet ledger reborn` sets it aside and starts a new one.")


def _create_schema(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "user_version") == 0:
        if connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]:
            _fail(path, "belongs to another program", "Choose another path.")
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    check_format(connection, path)


def _is_damaged(path: Path) -> bool:
    try:
        connection = connect_ledger(path)
        try:
            return bool(_pragma(connection, "quick_check") != "ok")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if _error_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return True
        raise


def _set_aside(path: Path, now: int) -> None:
    stamp = format_time(now).replace(":", "")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.damaged-{stamp}{suffix}"))
    stamp_path(path).unlink(missing_ok=True)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def read_latest_birth(connection: sqlite3.Connection, path: Path) -> Birth:
    row = connection.execute(
        "SELECT number, ledger_id, born_at, file_mark FROM birth ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if row is None:
        _fail(path, "was never finished", "`placet ledger reborn` makes it.")
    return Birth(*row)


def read_latest_use(connection: sqlite3.Connection) -> int:
    latest: int = connection.execute("SELECT COALESCE(MAX(use_id), 0) FROM uses").fetchone()[0]
    return latest


@contextmanager
def hold_write_lock(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _fail(path: Path, problem: str, hint: str) -> NoReturn:
    raise IndeterminateError(Reason.LEDGER_UNAVAILABLE, f"The use ledger at {path} {problem}.", hint=hint)


_PROBLEMS = (
    ("SQLITE_BUSY", "is locked by another process", "Try again; look for a gate that hangs."),
    ("SQLITE_LOCKED", "is locked by another process", "Try again; look for a gate that hangs."),
    ("SQLITE_FULL", "cannot grow: the disk is full", "Make room on the disk; nothing was executed."),
    ("SQLITE_READONLY", "cannot be written", "Check its owner and mode, and the file system's."),
    (
        "SQLITE_CANTOPEN",
        "cannot be opened",
        "Check the path: it must be a file, not a folder, in a folder that the gate's user may write to; "
        "`placet ledger create` makes a new ledger.",
    ),
    ("SQLITE_CORRUPT", "is damaged", "`placet ledger reborn` sets it aside and starts a new one."),
    ("SQLITE_NOTADB", "is damaged", "`placet ledger reborn` sets it aside and starts a new one."),
)


def _error_name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"


@contextmanager
def named_failures(path: Path) -> Iterator[None]:
    """Turns every failure of the disk or the database into one that gates deny on."""
    try:
        yield
    except sqlite3.Error as error:
        name = _error_name(error)
        for prefix, problem, hint in _PROBLEMS:
            if name.startswith(prefix):
                raise IndeterminateError(
                    Reason.LEDGER_UNAVAILABLE, f"The use ledger at {path} {problem}.", hint=hint
                ) from error
        raise IndeterminateError(
            Reason.LEDGER_UNAVAILABLE,
            f"The use ledger at {path} failed: {error}.",
            actual=name,
            hint="Check the disk and the path; if it stays so, `placet ledger reborn` starts a new one.",
        ) from error
    except OSError as error:
        raise IndeterminateError(
            Reason.LEDGER_UNAVAILABLE,
            f"The use ledger at {path} cannot be used: {error.strerror or error}.",
            hint="Check the path, its owner and mode, and the disk.",
        ) from error
