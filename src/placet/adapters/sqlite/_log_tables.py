"""A log's rows in a SQLite file: how leaves, records and tiles are written, read and checked.

Leaves and records stand in one row for each commit, cut where an entry bundle of C2SP tlog-tiles ends; a row
for each leaf would cost as much as hashing it three times.  Level 0 has a row for each full tile, since
its hashes come back from the leaves until then; the levels above have one for partial tiles too.

Each row carries a CRC-32 against the decay of disks.  Against people who edit rows there is the tree: leaves
are compared with their hashes on every read, and proofs with the checkpoint by whoever verifies them.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from placet.adapters.log_cosigned import CosignedNotes
from placet.adapters.log_tree import FullTile, TreeEdge, edge_from_tiles, log_damaged, read_edge_tile
from placet.core.errors import MalformedError
from placet.core.tlog.merkle import HASH_BYTES, hash_leaf
from placet.core.tlog.note import encode_note, parse_note
from placet.core.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, ReadTile

LOG_TABLES = """
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    log_key TEXT NOT NULL,
    place TEXT NOT NULL,
    indexed INTEGER NOT NULL,
    checkpoint BLOB NOT NULL
) STRICT;
CREATE TABLE log_entries (
    first_index INTEGER PRIMARY KEY,
    leaf_lengths BLOB NOT NULL,
    leaves BLOB NOT NULL,
    leaves_crc INTEGER NOT NULL,
    record_lengths BLOB NOT NULL,
    records_crc INTEGER NOT NULL,
    records BLOB NOT NULL
) STRICT;
CREATE TABLE log_tiles (
    place INTEGER PRIMARY KEY,
    hashes BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE TABLE log_index (
    hash_start INTEGER NOT NULL,
    leaf_index INTEGER NOT NULL,
    PRIMARY KEY (hash_start, leaf_index)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_cosigned (
    tree_size INTEGER PRIMARY KEY,
    note BLOB NOT NULL
) STRICT;
"""
# Whoever reads one record of a row reads the row; the last entry may go beyond.
_MAX_ROW_BYTES = 1024 * 1024
_INSERT_ENTRIES = "INSERT INTO log_entries VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT_LEAVES = """
SELECT first_index, leaf_lengths, leaves, leaves_crc FROM log_entries
WHERE first_index >= ? AND first_index < ? ORDER BY first_index
"""
_SELECT_RECORDS = """
SELECT first_index, record_lengths, records, records_crc FROM log_entries
WHERE first_index >= ? ORDER BY first_index
"""
_WRITE_TILE = "INSERT OR REPLACE INTO log_tiles VALUES (?, ?, ?)"
_SELECT_TILE = "SELECT hashes, crc FROM log_tiles WHERE place = ?"
_LEVEL_SHIFT = 56


class Run(NamedTuple):
    """Neighbouring leaves, or records, that one commit brought."""

    first_index: int
    items: list[bytes]


def write_entries(
    connection: sqlite3.Connection, start: int, leaves: Sequence[bytes], records: Sequence[bytes]
) -> None:
    """Inserts the entries from the index `start` on."""
    done = 0
    while done < len(leaves):
        end = min(len(leaves), done + TILE_WIDTH - (start + done) % TILE_WIDTH)
        end = done + _fitting(records[done:end])
        _write_row(connection, start + done, leaves[done:end], records[done:end])
        done = end


def _fitting(records: Sequence[bytes]) -> int:
    for count, size in enumerate(accumulate(map(len, records)), 1):
        if size > _MAX_ROW_BYTES:
            return count
    return len(records)


def _write_row(
    connection: sqlite3.Connection, first: int, leaves: Sequence[bytes], records: Sequence[bytes]
) -> None:
    leaf_lengths, leaf_bytes = _pack(leaves)
    record_lengths, record_bytes = _pack(records)
    leaves_crc, records_crc = (
        crc32(leaf_bytes, crc32(leaf_lengths)),
        crc32(record_bytes, crc32(record_lengths)),
    )
    values = (first, leaf_lengths, leaf_bytes, leaves_crc, record_lengths, records_crc, record_bytes)
    connection.execute(_INSERT_ENTRIES, values)


def _pack(items: Sequence[bytes]) -> tuple[bytes, bytes]:
    return _little_endian(array("I", map(len, items))).tobytes(), b"".join(items)


def _unpack(first: int, lengths: bytes, data: bytes, crc: int) -> Run:
    if not isinstance(data, bytes) or crc32(data, crc32(lengths)) != crc:
        raise log_damaged(f"The log's entries from {first} on are damaged in its database.")
    sizes = array("I")
    sizes.frombytes(lengths)
    ends = list(accumulate(_little_endian(sizes)))
    return Run(first, [data[start:end] for start, end in zip([0, *ends], ends, strict=False)])


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def read_leaves(connection: sqlite3.Connection, start: int, end: int) -> list[bytes]:
    """Reads the leaves from `start`, where a bundle begins, to before `end`.

    Raises:
        IndeterminateError: LOG_DAMAGED where one is missing or damaged.
    """
    leaves: list[bytes] = []
    for row in connection.execute(_SELECT_LEAVES, (start, end)):
        run = _unpack(*row)
        if run.first_index != start + len(leaves):
            break
        leaves += run.items
    if len(leaves) < end - start:
        raise log_damaged(f"The log's leaf {start + len(leaves)} is missing in its database.")
    return leaves[: end - start]


def read_record_runs(connection: sqlite3.Connection, start: int) -> Iterator[Run]:
    """Yields the records from the row on in which `start` stands.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    find = "SELECT max(first_index) FROM log_entries WHERE first_index <= ?"
    (first,) = connection.execute(find, (start,)).fetchone()
    expected = first
    for row in connection.execute(_SELECT_RECORDS, (first or 0,)):
        run = _unpack(*row)
        if run.first_index != expected:
            raise log_damaged(f"The log's record {expected} is missing in its database.")
        expected += len(run.items)
        yield run


def write_tiles(connection: sqlite3.Connection, full: Iterable[FullTile], edge: TreeEdge) -> None:
    """Writes the tiles that became full, and the partial ones above them."""
    tiles = list(full)
    if not tiles:
        return
    for level, row in enumerate(edge.tiles):
        if level and row:
            tile_index = edge.compact.size >> TILE_HEIGHT * (level + 1)
            tiles.append(FullTile(level, tile_index, b"".join(row)))
    rows = [(_place(tile.level, tile.tile_index), tile.data, crc32(tile.data)) for tile in tiles]
    connection.executemany(_WRITE_TILE, rows)


def read_tile_row(connection: sqlite3.Connection, level: int, tile_index: int, width: int) -> bytes:
    """Reads the first `width` hashes of a tile that has a row.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    row = connection.execute(_SELECT_TILE, (_place(level, tile_index),)).fetchone()
    if row is None or len(row[0]) < width * HASH_BYTES or crc32(row[0]) != row[1]:
        raise log_damaged(f"The log's tile {tile_index} of level {level} is damaged in its database.")
    hashes: bytes = row[0]
    return hashes[: width * HASH_BYTES]


def _place(level: int, tile_index: int) -> int:
    return level << _LEVEL_SHIFT | tile_index


def read_edge(connection: sqlite3.Connection, tree_size: int) -> TreeEdge:
    """Reads the edge of a tree of that size.

    Raises:
        IndeterminateError: LOG_DAMAGED where it is not whole, or is that of another size.
    """
    tail = tree_size % TILE_WIDTH
    leaves = read_leaves(connection, tree_size - tail, tree_size) if tail else []
    tiles, level = [b"".join(map(hash_leaf, leaves))], 1
    while count := tree_size >> TILE_HEIGHT * level:
        width = count % TILE_WIDTH
        tiles.append(read_tile_row(connection, level, count // TILE_WIDTH, width) if width else b"")
        level += 1
    if _count_entries(connection) != tree_size or _has_tile(connection, tree_size // TILE_WIDTH):
        raise log_damaged("The log's database does not have the leaves that its newest checkpoint covers.")
    try:
        return edge_from_tiles(tiles)
    except MalformedError as e:
        raise log_damaged(f"The log's tiles are damaged in its database: {e}") from e


def _count_entries(connection: sqlite3.Connection) -> int:
    select = (
        "SELECT first_index + length(leaf_lengths) / 4 FROM log_entries ORDER BY first_index DESC LIMIT 1"
    )
    (count,) = connection.execute(select).fetchone() or (0,)
    return int(count)


def _has_tile(connection: sqlite3.Connection, tile_index: int) -> bool:
    return connection.execute(_SELECT_TILE, (_place(0, tile_index),)).fetchone() is not None


def tile_reader(connection: sqlite3.Connection, edge: TreeEdge) -> ReadTile:
    """Returns a reader of the tiles of the tree with this edge, and of smaller ones."""

    def read(level: int, tile_index: int, width: int) -> bytes:
        partial = read_edge_tile(edge, level, tile_index, width)
        return read_tile_row(connection, level, tile_index, width) if partial is None else partial

    return read


def check_leaves(leaves: Sequence[bytes], tile: bytes, bundle: int) -> None:
    """Checks that the leaves of a bundle are those whose hashes stand in its tile.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    if b"".join(map(hash_leaf, leaves)) != tile:
        raise log_damaged(f"The log's leaves from {bundle * TILE_WIDTH} on are not those that were hashed.")


def write_cosigned(connection: sqlite3.Connection, before: CosignedNotes, kept: CosignedNotes) -> None:
    """Brings the table of cosigned checkpoints from one state to the next."""
    gone = [(tree_size,) for tree_size in before.keys() - kept.keys()]
    connection.executemany("DELETE FROM log_cosigned WHERE tree_size = ?", gone)
    new = [(size, encode_note(note)) for size, note in kept.items() if before.get(size) != note]
    connection.executemany("INSERT OR REPLACE INTO log_cosigned VALUES (?, ?)", new)


def read_cosigned(connection: sqlite3.Connection) -> CosignedNotes:
    """Reads the cosigned checkpoints.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    try:
        rows = connection.execute("SELECT tree_size, note FROM log_cosigned").fetchall()
        return {tree_size: parse_note(note) for tree_size, note in rows}
    except MalformedError as e:
        raise log_damaged(f"A cosigned checkpoint of the log is damaged in its database: {e}") from e
