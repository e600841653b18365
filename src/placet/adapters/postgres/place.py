"""Where a database is, so that another one is told from it that holds the same rows.

A backup that was restored, a standby that was promoted and a copy all carry the rows of the original,
and may have lost the latest.  What tells them apart lies outside the rows:

* the **system** identifier of the cluster, made by initdb: a dump restored elsewhere has another;
* the **timeline**: each promotion and each recovery to a point in time begins a new one;
* the **database** and the **table** by their OIDs: a dump restored into the same cluster has others.

Leaves out: a data directory put back from a snapshot of the disk while nobody looked carries all four.
Where a hosting company hides one of them, it reads "?", and the others remain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import psycopg

_UNKNOWN = "'?'"
_BETWEEN = ", ' ', "
_PARTS = {
    "system": "(SELECT system_identifier::text FROM pg_control_system())",
    # The file that is being written now: the control file names the new timeline only after a checkpoint.
    "timeline": "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)",
    "database": "(SELECT oid::text FROM pg_database WHERE datname = current_database())",
}


def find_place(connection: psycopg.Connection[Any]) -> str:
    """Returns the SQL expression for the place of the database behind a connection in autocommit mode.

    It names every part that may be read there.

    Raises:
        psycopg.Error: the connection is lost.
    """
    readable = set()
    for name, part in _PARTS.items():
        try:
            connection.execute(f"SELECT {part}".encode())
            readable.add(name)
        except psycopg.Error:
            if connection.closed:
                raise
    return _expression(readable)


async def find_place_async(connection: psycopg.AsyncConnection[Any]) -> str:
    """Returns what `find_place` returns, on the running event loop.

    Raises:
        psycopg.Error: the connection is lost.
    """
    readable = set()
    for name, part in _PARTS.items():
        try:
            await connection.execute(f"SELECT {part}".encode())
            readable.add(name)
        except psycopg.Error:
            if connection.closed:
                raise
    return _expression(readable)


def _expression(readable: Collection[str]) -> str:
    parts = [f"'{name}:', {part if name in readable else _UNKNOWN}" for name, part in _PARTS.items()]
    return f"concat({_BETWEEN.join(parts)})"


def short_place(*parts: str) -> str:
    """Returns sixteen characters that stand for a place, as part of a cursor."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
