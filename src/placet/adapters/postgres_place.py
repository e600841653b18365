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
from typing import Any

import psycopg

_PARTS = (
    ("system", "SELECT system_identifier::text FROM pg_control_system()"),
    # The file that is being written now: the control file names the new timeline only after a checkpoint.
    ("timeline", "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"),
    ("database", "SELECT oid::text FROM pg_database WHERE datname = current_database()"),
)


def read_place(connection: psycopg.Connection[Any]) -> str:
    """Returns the place of the database that a connection in autocommit mode speaks to.

    It stays the same for as long as the connection lasts.

    Raises:
        psycopg.Error: the connection is lost.
    """
    found = []
    for name, query in _PARTS:
        try:
            row = connection.execute(query.encode()).fetchone()
        except psycopg.Error:
            if connection.closed:
                raise
            row = None
        found.append(f"{name}:{row[0] if row else '?'}")
    return " ".join(found)


async def read_place_async(connection: psycopg.AsyncConnection[Any]) -> str:
    """Returns what `read_place` returns, on the running event loop.

    Raises:
        psycopg.Error: the connection is lost.
    """
    found = []
    for name, query in _PARTS:
        try:
            row = await (await connection.execute(query.encode())).fetchone()
        except psycopg.Error:
            if connection.closed:
                raise
            row = None
        found.append(f"{name}:{row[0] if row else '?'}")
    return " ".join(found)


def short_place(*parts: str) -> str:
    """Returns sixteen characters that stand for a place, as part of a cursor."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
