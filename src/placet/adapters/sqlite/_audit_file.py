"""The monitor's SQLite file: its lock, its schema, and how it is opened."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from placet.adapters.sqlite._ledger_place import writable_by_others
from placet.adapters.sqlite.errors import is_damage

SCHEMA_VERSION = 1
# "plca": tells our file from anybody else's SQLite database.
_APPLICATION_ID = 0x706C6361
_BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE logs (
    origin TEXT PRIMARY KEY,
    tree_size INTEGER NOT NULL,
    root BLOB NOT NULL,
    nodes BLOB NOT NULL,
    checkpoint BLOB NOT NULL,
    witnessed_at INTEGER NOT NULL,
    checked_at INTEGER NOT NULL
) STRICT;
CREATE TABLE leaves (
    origin TEXT NOT NULL,
    leaf_index INTEGER NOT NULL,
    leaf_hash BLOB NOT NULL,
    leaf BLOB NOT NULL,
    record BLOB,
    state INTEGER NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    unit TEXT NOT NULL,
    happened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (origin, leaf_index)
) STRICT;
CREATE INDEX leaves_by_hash ON leaves (leaf_hash);
CREATE INDEX leaves_by_payload ON leaves (payload, kind, unit);
CREATE INDEX leaves_by_time ON leaves (happened_at);
CREATE INDEX leaves_to_read ON leaves (origin, leaf_index) WHERE state = 0;
CREATE INDEX leaves_to_match ON leaves (origin, leaf_index) WHERE state = 1;
CREATE INDEX leaves_without_record ON leaves (origin, leaf_index) WHERE record IS NULL;
CREATE INDEX approvals_by_expiry ON leaves (expires_at) WHERE kind = 'approved';
CREATE TABLE findings (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    message TEXT NOT NULL,
    origin TEXT NOT NULL,
    leaf_index INTEGER,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    settled_at INTEGER,
    settled_because TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE messages (
    recipient TEXT NOT NULL,
    about TEXT NOT NULL,
    line TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (recipient, about)
) STRICT;
CREATE INDEX messages_to_send ON messages (recipient) WHERE state != 'sent';
CREATE TABLE cosignatures (
    signature BLOB PRIMARY KEY,
    witness TEXT NOT NULL,
    origin TEXT NOT NULL,
    tree_size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
    origin TEXT NOT NULL,
    tree_size INTEGER NOT NULL,
    root BLOB NOT NULL,
    source TEXT NOT NULL,
    checkpoint BLOB NOT NULL,
    PRIMARY KEY (origin, tree_size, root)
) STRICT, WITHOUT ROWID;
CREATE TABLE metadata (
    role TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    data BLOB NOT NULL,
    verified INTEGER NOT NULL,
    PRIMARY KEY (role, version, digest)
) STRICT;
"""


class AuditStateError(Exception):
    """What the monitor remembers cannot be used; the text says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def take_lock(path: Path) -> int:
    """Makes the folder and takes the lock file beside the database; closing it gives the lock back.

    Raises:
        AuditStateError: the folder cannot be used, others can change it, or another audit holds the lock.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_others(path.parent, path)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise AuditStateError(
            f"The folder {path.parent} cannot be used: {e.strerror}.",
            "Give a folder that belongs to the user who runs the audit, with --state.",
        ) from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        raise AuditStateError(
            f"Another audit is using {path}.", "Wait until it has ended, or give this one another --state."
        ) from e
    return lock


def _refuse_others(*places: Path) -> None:
    """Refuses what other users could replace: a monitor that was made to forget sees no fork."""
    for place in places:
        if place.exists() and writable_by_others(place):
            raise AuditStateError(
                f"The monitor's state {place} can be changed by other users.",
                f"Take it for yourself: chmod go-w {place}",
            )


def open_file(path: Path) -> sqlite3.Connection:
    """Opens the database in autocommit mode, and makes its tables where it is new.

    Raises:
        AuditStateError: it cannot be used, is damaged, or is not ours.
    """
    try:
        # Created by hand because SQLite would let everybody on the machine read who approved what.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as e:
        raise AuditStateError(f"The monitor's state {path} cannot be opened: {e}.") from e
    try:
        _prepare(db, path)
    except sqlite3.Error as e:
        db.close()
        if not is_damage(e):
            raise AuditStateError(
                f"The monitor's state {path} cannot be used: {e}.",
                "Look whether the disk is full (df) or broken (dmesg). What is in the file stays.",
            ) from e
        raise AuditStateError(
            f"The monitor's state {path} is damaged or is not a database.",
            "Remove it: the next audit reads the logs from their beginning, and tells people again.",
        ) from e
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA synchronous = FULL")
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise AuditStateError(
            f"The monitor's state {path} cannot use a write-ahead log there.",
            "Put it on a local disk: network file systems cannot do this.",
        )
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        db.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; "
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    elif application != _APPLICATION_ID:
        raise AuditStateError(
            f"{path} is a database, but not a monitor's.", "Give another place with --state."
        )
    elif version != SCHEMA_VERSION:
        raise AuditStateError(
            f"The monitor's state {path} was made by another version of placet (schema {version}).",
            "Use that version, or remove the file: the next audit reads the logs from their beginning.",
        )
