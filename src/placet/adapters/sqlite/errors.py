"""What SQLite's result codes mean to the person who runs a store (https://www.sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3

from placet.ports.request_store import RequestStoreError, StoreBusyError, StoreFailedError, StoreFullError

# The low byte of an extended result code is the primary one.
_PRIMARY = 0xFF
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DENIED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN})


def primary_code(error: sqlite3.Error) -> int:
    """Returns the primary result code, or -1 for an error that does not come from SQLite itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & _PRIMARY


def is_damage(error: sqlite3.Error) -> bool:
    """Tells whether the structure of the database is damaged."""
    return primary_code(error) in _DAMAGED


def leaves_doubt(error: sqlite3.Error) -> bool:
    """Tells whether the state on disk is unknown after `error`.

    After a failed sync the kernel may have dropped the dirty pages and report success the next time, so
    trying again would acknowledge what was never written.  Only a restart, which reads back what is
    really there, may clear the doubt.
    """
    return primary_code(error) == sqlite3.SQLITE_IOERR or is_damage(error)


def translate(error: sqlite3.Error, path: str) -> RequestStoreError:
    """Returns the store error that tells a person what happened to the database at `path`."""
    code = primary_code(error)
    if code in _BUSY:
        return StoreBusyError(
            f"The database {path} is locked by another program.",
            hint="Nothing was stored; try again in a moment. Close any sqlite3 shell that holds it open.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreFullError(
            f"There is no room left for the database {path}.",
            hint="Nothing was stored. Free disk space, or raise the store's size limit, then try again.",
        )
    if code in _DAMAGED:
        return StoreFailedError(
            f"The database {path} is damaged or is not a database.",
            hint="Stop the relay. `placet relay check` says how much is damaged, and saves what is whole "
            "into a new database; or restore a backup.",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreFailedError(
            f"The disk failed while using the database {path}.",
            hint="Look whether it is full (df) or broken (dmesg), then start this again: it reads back what "
            "was really stored.",
        )
    if code in _DENIED:
        return StoreFailedError(
            f"The database {path} cannot be opened for writing.",
            hint="Make the file and its folder belong to the user who runs this.",
        )
    return StoreFailedError(f"The database {path} failed: {error}.")
