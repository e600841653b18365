"""Where each leaf stands, by its hash: the newest in memory, the others in a table.

The table has one entry for each leaf at a random place, so a commit that wrote one leaf into it would touch
a page of its own for each.  The newest leaves are therefore looked up in a dictionary, and move in sorted
thousands: then one page takes several.  Nothing is lost with the dictionary: it is read back from the leaves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

from placet.adapters.log_tree import log_damaged
from placet.adapters.sqlite._log_tables import read_leaf
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.tiles import TILE_WIDTH

# Some 3 MB of memory and, in a log of a million leaves, 50 ms for the commit that moves them.
MAX_RECENT = 16_384
_CHUNK = 256
_FIND = f"SELECT hash_start, leaf_index FROM log_index WHERE hash_start IN ({','.join('?' * _CHUNK)})"  # noqa: S608
# A statement for each leaf would take three times as long.
_INSERT = f"INSERT OR IGNORE INTO log_index VALUES {','.join(['(?, ?)'] * _CHUNK)}"  # noqa: S608


class LogIndex:
    """Finds leaves by their hashes; changes take effect when `settle` is told of the commit."""

    def __init__(self, indexed: int, recent: dict[bytes, int]) -> None:
        self._indexed = indexed
        self._recent = recent
        self._moved: int | None = None

    def find_recent(self, leaf_hash: bytes) -> int | None:
        """Returns the index of one of the newest leaves; usable from any thread."""
        return self._recent.get(leaf_hash)

    def find_all(self, connection: sqlite3.Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Returns the indexes of those of the leaves that are in the log."""
        recent = self._recent
        found = {} if recent.keys().isdisjoint(hashes) else {h: recent[h] for h in hashes if h in recent}
        if self._indexed:
            for start in range(0, len(hashes), _CHUNK):
                found |= find_indexed(connection, hashes[start : start + _CHUNK])
        return found

    def grow(self, connection: sqlite3.Connection, tree_size: int) -> int:
        """Moves the newest leaves into the table, where they have become too many.

        Returns:
            How many leaves the table has then.
        """
        if len(self._recent) < MAX_RECENT:
            return self._indexed
        # Whole tiles only: that is what opening the log reads back.
        boundary = (self._indexed + len(self._recent)) // TILE_WIDTH * TILE_WIDTH
        write_index(connection, {h: index for h, index in self._recent.items() if index < boundary})
        self._moved = boundary
        return boundary

    def settle(self, added: dict[bytes, int]) -> None:
        """Takes over what was committed."""
        if self._moved is not None:
            self._indexed = self._moved
            # Readers look here first and then into the table, which has them by now.
            self._recent = {h: index for h, index in self._recent.items() if index >= self._indexed}
        self._recent.update(added)
        self._moved = None

    def forget(self) -> None:
        """Drops what was rolled back."""
        self._moved = None


def find_indexed(connection: sqlite3.Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Returns the indexes of those of at most 256 leaves that stand in the table."""
    wanted: dict[int, list[bytes]] = {}
    for leaf_hash in hashes:
        wanted.setdefault(_start(leaf_hash), []).append(leaf_hash)
    if len(hashes) == 1:
        select = "SELECT hash_start, leaf_index FROM log_index WHERE hash_start = ?"
        rows = connection.execute(select, tuple(wanted)).fetchall()
    else:
        keys = list(wanted)
        rows = connection.execute(_FIND, keys + keys[-1:] * (_CHUNK - len(keys))).fetchall()
    found: dict[bytes, int] = {}
    for start, leaf_index in rows:
        leaf_hash = hash_leaf(read_leaf(connection, leaf_index))
        if _start(leaf_hash) != start:
            # Not found would mean: append it again, to another place.
            raise log_damaged(f"The log's leaf {leaf_index} is not the one that was indexed.")
        # The start of a hash only narrows the search: others can be made to begin like it.
        if leaf_hash in wanted[start]:
            found[leaf_hash] = leaf_index
    return found


def write_index(connection: sqlite3.Connection, leaves: dict[bytes, int]) -> None:
    """Writes leaves into the table, those that are there already too."""
    rows = sorted((_start(leaf_hash), index) for leaf_hash, index in leaves.items())
    whole = len(rows) // _CHUNK * _CHUNK
    for at in range(0, whole, _CHUNK):
        connection.execute(_INSERT, tuple(chain.from_iterable(rows[at : at + _CHUNK])))
    connection.executemany("INSERT OR IGNORE INTO log_index VALUES (?, ?)", rows[whole:])


def _start(leaf_hash: bytes) -> int:
    return int.from_bytes(leaf_hash[:8], "little", signed=True)
