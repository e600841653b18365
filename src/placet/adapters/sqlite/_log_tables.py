"""A log's rows in a SQLite file: how leaves, records and tiles are written, read and checked.

Leaves and records stand in one row for each commit, cut where an entry bundle of C2SP tlog-tiles ends; a row
for each leaf would cost as much as hashing it three times.  Tiles of level 0 have no rows: hashing 256
leaves again takes a tenth of a millisecond, and what is not written cannot differ.  The levels above have
a row for each full tile; the partial ones are made from the leaves when the log is opened, at most 65,535.

Leaves need no checksum: those of a full tile are compared with the level above on every read, those of the
partial one with what this process hashed, and the edge of the tree with the checkpoint when the log is
opened.  Records and rows of tiles carry a CRC-32 against the decay of disks; a record that somebody edited
no longer gives the leaf that stands in the tree, which monitors see.
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
from placet.core.tlog.merkle import HASH_BYTES, CompactRange, grow, hash_leaf
from placet.core.tlog.note import encode_note, parse_note
from placet.core.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, ReadTile, parse_tile

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
_INSERT_ENTRIES = "INSERT INTO log_entries VALUES (?, ?, ?, ?, ?, ?)"
_SELECT_LEAVES = """
SELECT first_index, leaf_lengths, leaves, NULL FROM log_entries
WHERE first_index >= ? AND first_index < ? ORDER BY first_index
"""
_SELECT_RECORDS = """
SELECT first_index, record_lengths, records, records_crc FROM log_entries
WHERE first_index >= ? ORDER BY first_index
"""
_WRITE_TILE = "INSERT INTO log_tiles VALUES (?, ?, ?)"
_SELECT_TILE = "SELECT hashes, crc FROM log_tiles WHERE place = ?"
_SELECT_LEAF = """
SELECT first_index, leaf_lengths, leaves, NULL FROM log_entries
WHERE first_index <= ? ORDER BY first_index DESC LIMIT 1
"""
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
    crc = crc32(record_bytes, crc32(record_lengths))
    values = (first, leaf_lengths, leaf_bytes, record_lengths, crc, record_bytes)
    connection.execute(_INSERT_ENTRIES, values)


def _pack(items: Sequence[bytes]) -> tuple[bytes, bytes]:
    return _little_endian(array("I", map(len, items))).tobytes(), b"".join(items)


def _unpack(first: int, lengths: bytes, data: bytes, crc: int | None) -> Run:
    sizes = array("I")
    if len(lengths) % sizes.itemsize == 0:
        sizes.frombytes(lengths)
    ends = list(accumulate(_little_endian(sizes)))
    if not ends or ends[-1] != len(data) or crc not in (None, crc32(data, crc32(lengths))):
        raise log_damaged(f"The log's entries from {first} on are damaged in its database.")
    return Run(first, [data[start:end] for start, end in zip([0, *ends], ends, strict=False)])


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def read_leaves(connection: sqlite3.Connection, start: int, end: int) -> list[bytes]:
    """Reads the leaves from `start`, where a bundle begins, to before `end`; their hashes show a gap.

    Raises:
        IndeterminateError: LOG_DAMAGED where one is missing or damaged.
    """
    leaves: list[bytes] = []
    for row in connection.execute(_SELECT_LEAVES, (start, end)):
        leaves += _unpack(*row).items
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


def read_leaf(connection: sqlite3.Connection, leaf_index: int) -> bytes:
    """Reads one leaf.

    Raises:
        IndeterminateError: LOG_DAMAGED where it is missing or damaged.
    """
    row = connection.execute(_SELECT_LEAF, (leaf_index,)).fetchone()
    run = _unpack(*row) if row else Run(0, [])
    if leaf_index - run.first_index >= len(run.items):
        raise log_damaged(f"The log's leaf {leaf_index} is missing in its database.")
    return run.items[leaf_index - run.first_index]


def write_tiles(connection: sqlite3.Connection, full: Iterable[FullTile]) -> None:
    """Writes those of the tiles that have rows."""
    rows = [(_place(tile.level, tile.tile_index), tile.data, crc32(tile.data)) for tile in full if tile.level]
    if rows:
        connection.executemany(_WRITE_TILE, rows)


def read_full_tile(connection: sqlite3.Connection, level: int, tile_index: int) -> bytes:
    """Reads a full tile.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    if level == 0:
        start = tile_index * TILE_WIDTH
        return b"".join(map(hash_leaf, read_leaves(connection, start, start + TILE_WIDTH)))
    row = connection.execute(_SELECT_TILE, (_place(level, tile_index),)).fetchone()
    if row is None or len(row[0]) != TILE_WIDTH * HASH_BYTES or crc32(row[0]) != row[1]:
        raise log_damaged(f"The log's tile {tile_index} of level {level} is damaged in its database.")
    hashes: bytes = row[0]
    return hashes


def _place(level: int, tile_index: int) -> int:
    return level << _LEVEL_SHIFT | tile_index


def read_edge(connection: sqlite3.Connection, tree_size: int) -> TreeEdge:
    """Reads the edge of a tree of that size.

    Raises:
        IndeterminateError: LOG_DAMAGED where it is not whole, or is that of another size.
    """
    tiles, level = [], 0
    while count := tree_size >> TILE_HEIGHT * level:
        first = count - count % TILE_WIDTH
        if level == 0:
            hashes = [hash_leaf(leaf) for leaf in read_leaves(connection, first, count)]
        else:
            hashes = [_tile_root(connection, level - 1, below) for below in range(first, count)]
        tiles.append(b"".join(hashes))
        level += 1
    if _count_entries(connection) != tree_size:
        raise log_damaged("The log's database does not have the leaves that its newest checkpoint covers.")
    try:
        return edge_from_tiles(tiles)
    except MalformedError as e:
        raise log_damaged(f"The log's tiles are damaged in its database: {e}") from e


def _tile_root(connection: sqlite3.Connection, level: int, tile_index: int) -> bytes:
    return _root_of(read_full_tile(connection, level, tile_index))


def _root_of(tile: bytes) -> bytes:
    return grow(CompactRange(), parse_tile(tile, TILE_WIDTH))[0].root()


def _count_entries(connection: sqlite3.Connection) -> int:
    select = (
        "SELECT first_index + length(leaf_lengths) / 4 FROM log_entries ORDER BY first_index DESC LIMIT 1"
    )
    (count,) = connection.execute(select).fetchone() or (0,)
    return int(count)


def tile_reader(connection: sqlite3.Connection, edge: TreeEdge) -> ReadTile:
    """Returns a reader of the tiles of the tree with this edge, and of smaller ones.

    It raises LOG_DAMAGED (IndeterminateError) for leaves that the level above was not made from.
    """

    def read(level: int, tile_index: int, width: int) -> bytes:
        partial = read_edge_tile(edge, level, tile_index, width)
        if partial is not None:
            return partial
        tile = read_full_tile(connection, level, tile_index)
        if level == 0 and _root_of(tile) != _above(tile_index)[-HASH_BYTES:]:
            first = tile_index * TILE_WIDTH
            raise log_damaged(f"The log's leaves from {first} on are not those that were hashed.")
        return tile[: width * HASH_BYTES]

    def _above(tile_index: int) -> bytes:
        return read(1, tile_index // TILE_WIDTH, tile_index % TILE_WIDTH + 1)

    return read


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
