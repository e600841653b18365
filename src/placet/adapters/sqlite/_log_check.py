"""Whether the log in a SQLite file is whole, from its first leaf on, and copying it into another file.

Opening a log looks at the edge of its tree, and reading at what is read; this reads everything.
"""

from __future__ import annotations

import sqlite3

from placet.adapters.log_tree import TreeEdge, grow_edge, log_damaged, open_head
from placet.adapters.sqlite._log_tables import read_full_tile, read_leaves, read_record_runs
from placet.core.errors import PlacetError
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import parse_note, parse_verifier_key
from placet.core.tlog.tiles import TILE_WIDTH

_TABLES = ("log", "log_entries", "log_tiles", "log_index")


def has_log(connection: sqlite3.Connection) -> bool:
    """Tells whether the database has a log; one that no newer relay has opened yet has not even the tables.

    Raises:
        sqlite3.Error: the database failed.
    """
    found = "SELECT count(*) FROM sqlite_master WHERE name = 'log'"
    if not connection.execute(found).fetchone()[0]:
        return False
    return bool(connection.execute("SELECT count(*) FROM log").fetchone()[0])


def check_log(connection: sqlite3.Connection) -> list[str]:
    """Reads the whole log, if there is one, and returns what is wrong with it, as sentences."""
    try:
        if has_log(connection):
            row = connection.execute("SELECT log_key, checkpoint, indexed FROM log").fetchone()
            _check_tree(connection, *row)
    except (sqlite3.Error, PlacetError) as e:
        return [f"the log: {e}"]
    return []


def _check_tree(connection: sqlite3.Connection, log_key: str, checkpoint: bytes, indexed: int) -> None:
    key = parse_verifier_key(log_key)
    size = parse_checkpoint(parse_note(checkpoint).text).tree_size
    edge = TreeEdge()
    for start in range(0, size, TILE_WIDTH):
        leaves = read_leaves(connection, start, min(start + TILE_WIDTH, size))
        edge, full = grow_edge(edge, [hash_leaf(leaf) for leaf in leaves])
        for tile in full:
            if tile.level and read_full_tile(connection, tile.level, tile.tile_index) != tile.data:
                raise log_damaged(
                    f"The tile {tile.tile_index} of level {tile.level} is not that of the leaves."
                )
    open_head(edge, checkpoint, key)
    if size and sum(len(run.items) for run in read_record_runs(connection, 0)) != size:
        raise log_damaged("There are more records or fewer than leaves.")
    # Beyond that there may be some of a move into the index that has not ended.
    count = "SELECT count(*) FROM log_index WHERE leaf_index < ?"
    if connection.execute(count, (indexed,)).fetchone()[0] != indexed:
        raise log_damaged("The index of the leaves has lost some.")


def copy_log(connection: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copies a whole log into a database without one.  Its operator declares it there (`declare_log`)."""
    for table in _TABLES:
        rows = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 (our own names)
        marks = ", ".join("?" * len(rows.description))
        target.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
