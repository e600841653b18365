"""Where each leaf stands, by its hash: the newest in memory, the others in a table.

The table has one entry for each leaf at a random place, so a commit that wrote one leaf into it would touch
a page of its own for each.  The newest leaves are therefore looked up in a dictionary, and move sorted: then
one page takes several.  Each commit moves a slice, so that none waits for all of it.  Nothing is lost with
the dictionary: it is read back from the leaves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

from placet.adapters.log_tree import log_damaged
from placet.adapters.sqlite._log_tables import read_leaf
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.tiles import TILE_WIDTH

# Some 3 MB of memory.
MAX_RECENT = 16_384
# Of what moves in one commit, at least; a few milliseconds in a log of a million leaves.
_SLICE = 1024
_CHUNK = 256
_FIND = f"SELECT hash_start, leaf_index FROM log_index WHERE hash_start IN ({','.join('?' * _CHUNK)})"  # noqa: S608
# A statement for each leaf would take three times as long.
_INSERT = f"INSERT OR IGNORE INTO log_index VALUES {','.join(['(?, ?)'] * _CHUNK)}"  # noqa: S608


class LogIndex:
    """Finds leaves by their hashes; changes take effect when `settle` is told of the commit."""

    def __init__(self, indexed: int, recent: dict[bytes, int]) -> None:
        self._indexed = indexed
        self._recent = recent
        self._moving: list[tuple[int, int]] = []  # sorted, and all below `_boundary`
        self._boundary = indexed
        self._moved = 0  # of `_moving`, once what is being written is committed

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

    def grow(self, connection: sqlite3.Connection, added: int) -> int:
        """Moves a slice of the newest leaves into the table, where they have become too many.

        Args:
            added: how many leaves this commit adds: more move than are added.

        Returns:
            How many leaves from the first one on the table has then.
        """
        if not self._moving and len(self._recent) >= MAX_RECENT:
            # Whole tiles only: that is what opening the log reads back.
            self._boundary = (self._indexed + len(self._recent)) // TILE_WIDTH * TILE_WIDTH
            below = ((_start(h), index) for h, index in self._recent.items() if index < self._boundary)
            self._moving = sorted(below)
        if not self._moving:
            return self._indexed
        self._moved = max(_SLICE, 2 * added)
        write_index(connection, self._moving[: self._moved])
        return self._indexed if self._moved < len(self._moving) else self._boundary

    def settle(self, added: dict[bytes, int]) -> None:
        """Takes over what was committed."""
        if self._moved:
            del self._moving[: self._moved]
            if not self._moving:
                self._indexed = self._boundary
                # Readers look here first and then into the table, which has them by now.
                self._recent = {h: index for h, index in self._recent.items() if index >= self._boundary}
        self._recent.update(added)
        self._moved = 0

    def forget(self) -> None:
        """Drops what was rolled back."""
        self._moved = 0


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


def write_index(connection: sqlite3.Connection, rows: list[tuple[int, int]]) -> None:
    """Writes sorted entries into the table; some may be there from a move that a restart interrupted."""
    whole = len(rows) // _CHUNK * _CHUNK
    for at in range(0, whole, _CHUNK):
        connection.execute(_INSERT, tuple(chain.from_iterable(rows[at : at + _CHUNK])))
    connection.executemany("INSERT OR IGNORE INTO log_index VALUES (?, ?)", rows[whole:])


def _start(leaf_hash: bytes) -> int:
    return int.from_bytes(leaf_hash[:8], "little", signed=True)
