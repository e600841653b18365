"""A copy of a log that runs elsewhere, as static files; nothing is taken that its checkpoint does not prove.

What is fetched is held against the log's signature before the first file is written: whoever serves the copy
vouches for nothing, but must not spread what was made up on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from placet.core.errors import IndeterminateError, Reason, VerificationError
from placet.core.tlog.checkpoint import Checkpoint
from placet.core.tlog.merkle import CompactRange, consistency_proof, extend, hash_leaf, read_range
from placet.core.tlog.tiles import (
    TILE_WIDTH,
    entries_path,
    parse_entries,
    parse_tile,
    parse_tile_path,
    read_node_from_tiles,
    tile_path,
)

# For one run, as monitors have it: ten million leaves, and eight gigabytes.  Whoever holds a log's key can
# sign a tree of any size, and serve it from a few equal tiles.
MAX_TILES = 40_000
MAX_BYTES = 8 * 1024**3


class MirrorSource:
    """Where `placet.log.tiles_export` gets the tiles of a log elsewhere.

    Args:
        fetch_tile: returns the bytes at a tile's path.
        note: the log's checkpoint, verified.
        checkpoint: what it says.
    """

    def __init__(self, fetch_tile: Callable[[str], bytes], note: bytes, checkpoint: Checkpoint) -> None:
        self._fetch = fetch_tile
        self._note = note
        self._checkpoint = checkpoint
        self._tiles: dict[str, bytes] = {}
        self._room = MAX_BYTES

    async def checkpoint(self) -> bytes:
        """Returns the checkpoint that was verified."""
        return self._note

    async def export_tile(self, path: str) -> bytes:
        """Returns a tile that the checkpoint proves, or a bundle of entries that its tile does.

        Raises:
            VerificationError: LOG_PROOF_INVALID: the log serves something else than it signed.
            PlacetError: it cannot be asked.
        """
        return await asyncio.to_thread(self._proven, path)

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Returns the proof, made of the log's tiles.

        Raises:
            PlacetError: the log cannot be asked.
        """
        read = read_node_from_tiles(self._read, new_size)
        return await asyncio.to_thread(consistency_proof, old_size, new_size, read)

    def check_root(self) -> None:
        """Checks that the tiles at the growing edge are those that the checkpoint signs.

        Raises:
            VerificationError: LOG_PROOF_INVALID.
            PlacetError: the log cannot be asked.
        """
        size = self._checkpoint.tree_size
        read = read_node_from_tiles(self._read, size)
        if read_range(size, read).root() != self._checkpoint.root_hash:
            raise _not_proven("its tiles do not lead to the root hash that it signed")

    def _read(self, level: int, index: int, width: int) -> bytes:
        path = tile_path(level, index, width)
        if path not in self._tiles:
            if len(self._tiles) >= MAX_TILES:
                raise _too_large(self._checkpoint)
            self._tiles[path] = self._take(path)
        return self._tiles[path]

    def _take(self, path: str) -> bytes:
        data = self._fetch(path)
        self._room -= len(data)
        if self._room < 0:
            raise _too_large(self._checkpoint)
        return data

    def _proven(self, path: str) -> bytes:
        level, index, width = parse_tile_path(path)
        if level is None:
            data = self._take(entries_path(index, width))
            leaves = parse_tile(self._read(0, index, width), width)
            if tuple(map(hash_leaf, parse_entries(data))) != leaves:
                raise _not_proven(f"{path} does not hold the leaves of its tile")
            return data
        data = self._read(level, index, width)
        if width == TILE_WIDTH:
            self._check_parent(level, index, data)
        return data

    def _check_parent(self, level: int, index: int, data: bytes) -> None:
        """Checks a full tile against the hash of it in the tile above, up to the growing edge."""
        root = extend(CompactRange(0, ()), parse_tile(data, TILE_WIDTH))[0].root()
        parent, row = divmod(index, TILE_WIDTH)
        width = min(TILE_WIDTH, (self._checkpoint.tree_size >> 8 * (level + 1)) - parent * TILE_WIDTH)
        if parse_tile(self._read(level + 1, parent, width), width)[row] != root:
            raise _not_proven(f"{tile_path(level, index)} is not what the tile above it says")


def _too_large(checkpoint: Checkpoint) -> IndeterminateError:
    return IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        f"The log claims to have {checkpoint.tree_size} leaves: they are too large to be copied in one run.",
        hint="Ask the log's operator what happened.",
    )


def _not_proven(what: str) -> VerificationError:
    return VerificationError(
        Reason.LOG_PROOF_INVALID,
        f"The log serves something else than it signed: {what}.",
        hint="Nothing of it was shown. Keep the checkpoint, and tell the log's operator and witnesses.",
    )
