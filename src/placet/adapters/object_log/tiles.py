"""Reading tiles and entries from a bucket, each held against the tree before anybody sees it.

A full tile is what its hash in the tile above says, up to the edge, whose root is the signed one.  So a
changed byte is noticed wherever it stands, and never served.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from placet.adapters.log_tree import TreeEdge, check_tile, log_damaged, read_edge_tile
from placet.adapters.object_log.bucket import S3Bucket
from placet.core.errors import MalformedError
from placet.core.tlog.merkle import HASH_BYTES, CompactRange, NodeReader, grow, hash_leaf, read_range
from placet.core.tlog.tiles import (
    MAX_BUNDLE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    entries_path,
    parse_entries,
    parse_tile,
    read_node_from_tiles,
    tile_path,
)

TILE_BYTES = TILE_WIDTH * HASH_BYTES
# Four megabytes; the tiles above level 0 of a million leaves, and the newest of level 0, take a twentieth.
_KEPT = 512

Proof = Callable[[NodeReader], tuple[bytes, ...]]
"""Makes a proof, or anything else, of the nodes of a tree."""


class TileReader:
    """The full tiles of one log; those that were read last are kept in memory."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    async def read(self, edge: TreeEdge, level: int, index: int, width: int) -> bytes:
        """Returns the first `width` hashes of a tile of the tree with this edge.

        Raises:
            NotInLogError: the tree has no such tile of that width.
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        partial = read_edge_tile(edge, level, index, width)
        if partial is not None:
            return partial
        known = self._kept.get((level, index))
        if known is None:
            known = await self._fetch(edge, level, index)
            self._kept[level, index] = known
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end((level, index))
        return known[: width * HASH_BYTES]

    async def _fetch(self, edge: TreeEdge, level: int, index: int) -> bytes:
        above, place = divmod(index, TILE_WIDTH)
        stored, row = await asyncio.gather(
            self._bucket.read(tile_path(level, index), max_bytes=TILE_BYTES),
            self.read(edge, level + 1, above, place + 1),
        )
        try:
            hashes = parse_tile(b"" if stored is None else stored.data, TILE_WIDTH)
        except MalformedError:
            hashes = ()
        if stored is None or grow(CompactRange(), hashes)[0].root() != row[-HASH_BYTES:]:
            raise log_damaged(f"The log's tile {index} of level {level} is missing or damaged.")
        return stored.data

    async def read_leaves(self, edge: TreeEdge, index: int) -> tuple[bytes, ...]:
        """Returns the leaves of a full bundle of entries.

        Raises:
            NotInLogError: the tree has none that is full.
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        check_tile(edge.compact.size, 0, index, TILE_WIDTH)
        return await fetch_leaves(
            self._bucket, index, parse_tile(await self.read(edge, 0, index, TILE_WIDTH), TILE_WIDTH)
        )

    async def prove(self, edge: TreeEdge, tree_size: int, make: Proof) -> tuple[bytes, ...]:
        """Returns what `make` makes of the nodes of the tree of that size, which `edge` continues.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        wanted: set[tuple[int, int]] = set()

        def note(level: int, index: int) -> bytes:
            tile_level, row = divmod(level, TILE_HEIGHT)
            wanted.add((tile_level, (index << row) // TILE_WIDTH))
            return bytes(HASH_BYTES)

        make(note)  # Made twice: first to learn which tiles it takes, so that they are fetched together.
        places = sorted(wanted)
        widths = [
            min(TILE_WIDTH, (tree_size >> TILE_HEIGHT * level) - index * TILE_WIDTH)
            for level, index in places
        ]
        read = (self.read(edge, *place, width) for place, width in zip(places, widths, strict=True))
        tiles = dict(zip(places, await asyncio.gather(*read), strict=True))
        return make(read_node_from_tiles(lambda level, index, _: tiles[level, index], tree_size))


async def fetch_leaves(bucket: S3Bucket, index: int, leaf_hashes: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Returns the leaves with these hashes, which are those of a bundle of entries.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
    """
    stored = await bucket.read(entries_path(index, len(leaf_hashes)), max_bytes=MAX_BUNDLE_BYTES)
    try:
        leaves = parse_entries(b"" if stored is None else stored.data)
    except MalformedError:
        leaves = ()
    if tuple(map(hash_leaf, leaves)) != leaf_hashes:
        raise log_damaged(f"The log's leaves from {index * TILE_WIDTH} on are missing or damaged.")
    return leaves


def tree_at(tree_size: int) -> Proof:
    """Returns what reads the largest complete subtrees of a tree, as `CompactRange` has them."""
    return lambda read: read_range(tree_size, read).hashes
