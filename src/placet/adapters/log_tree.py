"""The growing edge of a log's tree and its signed head: what every store of a log needs.

A store keeps the partial tile of each level in memory (at most 8 KiB for each of a few levels); a full tile
never changes again and goes to the store's own place.  Everything here is a value, so a store that fails to
write keeps the head that it had.

Why no head can contradict an earlier one: a head is opened only where the edge has the very root that the
newest signed checkpoint states, and grows only by hashes appended to that edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from placet.core.tlog.merkle import CompactRange, complete_root, grow
from placet.core.tlog.note import NoteSigner, VerifierKey
from placet.core.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, parse_tile
from placet.ports.log_store import MAX_APPENDED, MAX_LEAF_BYTES, MAX_RECORD_BYTES, LogEntry, NotInLogError

# Eight levels of tiles hold the largest tree.
_LEVELS = 8
DAMAGED_HINT = "Its operator is needed: docs/how-to-run-a-log.md says what to do. Nothing more is signed."


class FullTile(NamedTuple):
    """A tile that will never change again."""

    level: int
    tile_index: int
    data: bytes


class TreeEdge(NamedTuple):
    """All of a tree that appending needs."""

    compact: CompactRange = CompactRange()
    tiles: tuple[tuple[bytes, ...], ...] = ()
    """The hashes of the partial tile of each level, the leaves' first; empty where the last one is full."""


class LogHead(NamedTuple):
    """The edge of a tree, and the signed checkpoint of that very tree."""

    edge: TreeEdge
    checkpoint: bytes

    @property
    def tree_size(self) -> int:
        """The number of leaves."""
        return self.edge.compact.size


def log_damaged(message: str) -> IndeterminateError:
    """Returns the refusal to go on with a log that is not what it was."""
    return IndeterminateError(Reason.LOG_DAMAGED, message, hint=DAMAGED_HINT)


def check_entries(entries: Sequence[LogEntry]) -> None:
    """Checks what `LogStore.append` is given.

    Raises:
        PolicyError: LOG_REFUSED.
    """
    if len(entries) > MAX_APPENDED:
        problem, most = "too many entries at once", MAX_APPENDED
    elif max((len(entry.leaf) for entry in entries), default=0) > MAX_LEAF_BYTES:
        problem, most = "a leaf that is too long", MAX_LEAF_BYTES
    elif max((len(entry.record) for entry in entries), default=0) > MAX_RECORD_BYTES:
        problem, most = "a record that is too long", MAX_RECORD_BYTES
    else:
        return
    raise PolicyError(Reason.LOG_REFUSED, f"The log does not take {problem}.", expected=most)


def grow_edge(edge: TreeEdge, leaf_hashes: Sequence[bytes]) -> tuple[TreeEdge, list[FullTile]]:
    """Appends leaves; returns the grown edge and the tiles that became full."""
    compact, rows = grow(edge.compact, leaf_hashes)
    tiles, full = list(edge.tiles), []
    for level, (first, hashes) in enumerate(rows[::TILE_HEIGHT]):
        if level == len(tiles):
            tiles.append(())
        index, row = first // TILE_WIDTH, tiles[level] + hashes
        while len(row) >= TILE_WIDTH:
            full.append(FullTile(level, index, b"".join(row[:TILE_WIDTH])))
            index, row = index + 1, row[TILE_WIDTH:]
        tiles[level] = row
    return TreeEdge(compact, tuple(tiles)), full


def edge_from_tiles(tiles: Sequence[bytes]) -> TreeEdge:
    """Returns the edge whose partial tiles are `tiles`, the leaves' first; `b""` where the last one is full.

    Raises:
        MalformedError: BAD_VALUE where one of them cannot be a partial tile.
    """
    rows, size, edge = [], 0, []
    for level, data in enumerate(tiles):
        row = parse_tile(data, len(data) // 32) if data else ()
        if len(row) == TILE_WIDTH:
            raise MalformedError(Reason.BAD_VALUE, "A full tile is no part of a tree's edge.")
        rows.append(row)
        size += len(row) << TILE_HEIGHT * level
    for row in reversed(rows):
        start = 0
        for height in reversed(range(TILE_HEIGHT)):
            if len(row) >> height & 1:
                edge.append(complete_root(row[start : start + (1 << height)]))
                start += 1 << height
    return TreeEdge(CompactRange(size, tuple(edge)), tuple(rows))


def first_head(signer: NoteSigner) -> LogHead:
    """Signs the checkpoint of an empty log, which a new one starts with."""
    return sign_edge(TreeEdge(), signer)


def open_head(edge: TreeEdge, checkpoint: bytes, key: VerifierKey) -> LogHead:
    """Returns the head of a stored log whose edge is what its newest checkpoint signed.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    try:
        signed = verify_checkpoint(checkpoint, key)
    except PlacetError as e:
        raise log_damaged(f"The log's newest checkpoint does not hold for the key {key.name}: {e}") from e
    if (signed.tree_size, signed.root_hash) != (edge.compact.size, edge.compact.root()):
        raise log_damaged(
            f"The log's leaves and tiles are not those of its newest checkpoint, of size {signed.tree_size}."
        )
    return LogHead(edge, checkpoint)


def grow_head(
    head: LogHead, leaf_hashes: Sequence[bytes], signer: NoteSigner
) -> tuple[LogHead, list[FullTile]]:
    """Appends leaves and signs the new tree; returns its head and the tiles that became full."""
    edge, full = grow_edge(head.edge, leaf_hashes)
    return sign_edge(edge, signer), full


def sign_edge(edge: TreeEdge, signer: NoteSigner) -> LogHead:
    """Signs a tree.  Whoever calls it has made sure that the tree continues what this key signed before."""
    checkpoint = Checkpoint(signer.name, edge.compact.size, edge.compact.root())
    return LogHead(edge, sign_checkpoint(checkpoint, signer))


def check_tile(tree_size: int, level: int, index: int, width: int) -> None:
    """Checks that a tree has this tile, or bundle of entries (level 0), with at least this width.

    Raises:
        NotInLogError: it does not.
    """
    # Guarded before it is shifted: a level comes from outside, and large shifts cost memory.
    have = (tree_size >> TILE_HEIGHT * level) - index * TILE_WIDTH if 0 <= level < _LEVELS else 0
    if index < 0 or not 1 <= width <= min(have, TILE_WIDTH):
        raise NotInLogError(f"The log has no tile {index} of level {level} with {width} hashes.")


def read_edge_tile(edge: TreeEdge, level: int, index: int, width: int) -> bytes | None:
    """Returns the beginning of a tile that is still partial, or None where it is full.

    Raises:
        NotInLogError: the tree has no such tile of that width.
    """
    size = edge.compact.size
    check_tile(size, level, index, width)
    if index < size >> TILE_HEIGHT * (level + 1):
        return None
    return b"".join(edge.tiles[level][:width])
