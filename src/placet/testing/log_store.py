"""A log in memory, for tests of what stands on a log: it keeps every promise of `LogStore` but durability.

What it remembers is in a `MemoryPlace`, so a test can close a log and open it again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from placet.adapters.log_cosigned import CosignedNotes, HandedOut, keep_cosigned, newest_cosigned
from placet.adapters.log_tree import (
    TreeEdge,
    check_entries,
    check_tile,
    edge_from_tiles,
    first_head,
    grow_head,
    log_damaged,
    open_head,
    read_edge_tile,
)
from placet.adapters.watches import Watches
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.merkle import (
    CompactRange,
    NodeReader,
    consistency_proof,
    extend,
    hash_leaf,
    inclusion_proof,
)
from placet.core.tlog.note import NoteSignature, NoteSigner
from placet.core.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, encode_entries, parse_tile, read_node_from_tiles
from placet.ports.log_store import MAX_PAGE_BYTES, MAX_RECORDS, Appended, LogEntry, NotInLogError


class MemoryPlace:
    """What a closed log leaves behind."""

    def __init__(self) -> None:
        self.log_key = ""
        self.checkpoint = b""
        self.leaves: list[bytes] = []
        self.records: list[bytes] = []
        self.record_digests: list[bytes] = []
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.cosigned: CosignedNotes = {}


class MemoryLog:
    """A `placet.ports.log_store.LogStore` in memory.

    Args:
        signer: the log's key.
        place: where an earlier one left its state; a new one where None.

    Raises:
        IndeterminateError: LOG_DAMAGED where the place is not what `signer` signed last.
    """

    def __init__(self, signer: NoteSigner, place: MemoryPlace | None = None) -> None:
        self._signer = signer
        self._place = MemoryPlace() if place is None else place
        if not self._place.log_key:
            self._head = first_head(signer)
            self._place.log_key, self._place.checkpoint = str(signer.verifier_key), self._head.checkpoint
        edge = self._read_edge(len(self._place.leaves))
        self._head = open_head(edge, self._place.checkpoint, signer.verifier_key)
        self._indexes = {hash_leaf(leaf): index for index, leaf in enumerate(self._place.leaves)}
        self._handed_out = HandedOut(self._place.cosigned)
        self._watches = Watches()
        self._closed = False

    def _read_edge(self, size: int) -> TreeEdge:
        tail = self._place.leaves[size - size % TILE_WIDTH :]
        tiles, level = [b"".join(map(hash_leaf, tail))], 1
        while count := size >> TILE_HEIGHT * level:
            below = [self._tile_root(level - 1, i) for i in range(count - count % TILE_WIDTH, count)]
            tiles.append(b"".join(below))
            level += 1
        return edge_from_tiles(tiles)

    def _tile_root(self, level: int, tile_index: int) -> bytes:
        hashes = parse_tile(self._tile(level, tile_index, TILE_WIDTH), TILE_WIDTH)
        return extend(CompactRange(), hashes)[0].root()

    @property
    def log_origin(self) -> str:
        """See `LogStore.log_origin`."""
        return self._signer.name

    async def append(self, entries: Sequence[LogEntry]) -> tuple[Appended, ...]:
        """See `LogStore.append`."""
        check_entries(entries)
        await self.check_health()
        appended, new = [], {}
        for entry in entries:
            leaf_hash = hash_leaf(entry.leaf)
            known = self._indexes.get(leaf_hash)
            if known is None and leaf_hash not in new:
                new[leaf_hash] = entry
                appended.append(Appended(len(self._indexes) + len(new) - 1, leaf_hash, created=True))
            else:
                index = len(self._indexes) + list(new).index(leaf_hash) if known is None else known
                appended.append(Appended(index, leaf_hash, created=False))
        if new:
            self._grow(new)
        return tuple(appended)

    def _grow(self, new: dict[bytes, LogEntry]) -> None:
        place, start = self._place, len(self._indexes)
        self._head, full = grow_head(self._head, list(new), self._signer)
        place.leaves += [entry.leaf for entry in new.values()]
        place.records += [entry.record for entry in new.values()]
        place.record_digests += [hashlib.sha256(entry.record).digest() for entry in new.values()]
        place.tiles.update({(tile.level, tile.tile_index): tile.data for tile in full})
        place.checkpoint = self._head.checkpoint
        self._indexes.update({leaf_hash: start + i for i, leaf_hash in enumerate(new)})
        self._watches.announce(None)

    async def checkpoint(self) -> bytes:
        """See `LogStore.checkpoint`."""
        return self._handed_out.hand_out(self._head.tree_size, self._head.checkpoint)

    async def cosigned(self, at_least: int = 1) -> bytes | None:
        """See `LogStore.cosigned`."""
        found = newest_cosigned(self._place.cosigned, at_least)
        return None if found is None else found[1]

    async def keep_cosignatures(self, tree_size: int, signatures: tuple[NoteSignature, ...]) -> None:
        """See `LogStore.keep_cosignatures`."""
        note = self._handed_out.cosign(tree_size, signatures)
        self._place.cosigned = keep_cosigned(self._place.cosigned, tree_size, note)
        self._watches.announce(None)

    async def find(self, leaf_hash: bytes) -> int | None:
        """See `LogStore.find`."""
        return self._indexes.get(leaf_hash)

    async def read_tile(self, level: int, index: int, width: int) -> bytes:
        """See `LogStore.read_tile`."""
        return self._any_tile(level, index, width)

    def _any_tile(self, level: int, index: int, width: int) -> bytes:
        partial = read_edge_tile(self._head.edge, level, index, width)
        return self._tile(level, index, width) if partial is None else partial

    def _tile(self, level: int, index: int, width: int) -> bytes:
        tile = self._place.tiles[level, index]
        if level == 0:
            leaves = self._place.leaves[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
            whole = tile == b"".join(map(hash_leaf, leaves))
        else:
            roots = (self._tile_root(level - 1, below) for below in range(index * 256, (index + 1) * 256))
            whole = tile == b"".join(roots)
        if not whole:
            raise log_damaged(f"The log's tile {index} of level {level} is damaged.")
        return tile[: width * 32]

    async def read_entries(self, index: int, width: int) -> bytes:
        """See `LogStore.read_entries`."""
        check_tile(self._head.tree_size, 0, index, width)
        leaves = self._place.leaves[index * TILE_WIDTH :][:width]
        if b"".join(map(hash_leaf, leaves)) != await self.read_tile(0, index, width):
            raise log_damaged(f"The log's leaves from {index * TILE_WIDTH} on are damaged.")
        return encode_entries(leaves)

    async def read_records(self, start: int, limit: int) -> tuple[tuple[int, bytes], ...]:
        """See `LogStore.read_records`."""
        end = max(0, start) + max(1, min(limit, MAX_RECORDS))
        found, room = [], MAX_PAGE_BYTES
        for index, record in tuple(enumerate(self._place.records[:end]))[max(0, start) :]:
            if hashlib.sha256(record).digest() != self._place.record_digests[index]:
                raise log_damaged(f"The log's record {index} is damaged.")
            if room > 0:
                found.append((index, record))
            room -= len(record)
        return tuple(found) if start >= 0 else ()

    async def prove_inclusion(self, leaf_index: int, tree_size: int) -> tuple[bytes, ...]:
        """See `LogStore.prove_inclusion`."""
        if not 0 <= leaf_index < tree_size <= self._head.tree_size:
            raise NotInLogError(f"The log has no leaf {leaf_index} in a tree of {tree_size}.")
        return inclusion_proof(leaf_index, tree_size, self._nodes(tree_size))

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """See `LogStore.prove_consistency`."""
        if not 0 <= old_size <= new_size <= self._head.tree_size:
            raise NotInLogError(f"The log does not have both a tree of {old_size} and one of {new_size}.")
        return consistency_proof(old_size, new_size, self._nodes(new_size))

    def _nodes(self, tree_size: int) -> NodeReader:
        return read_node_from_tiles(self._any_tile, tree_size)

    async def wait_beyond(self, tree_size: int, timeout: float, *, cosignatures: int = 0) -> bool:
        """See `LogStore.wait_beyond`."""
        deadline = asyncio.get_running_loop().time() + timeout
        with self._watches.watch(None) as watch:
            while not self._covers(tree_size, cosignatures):
                if not await watch.changed(deadline - asyncio.get_running_loop().time()):
                    return False
        return True

    def _covers(self, tree_size: int, cosignatures: int) -> bool:
        if cosignatures == 0:
            return self._head.tree_size > tree_size
        found = newest_cosigned(self._place.cosigned, cosignatures)
        return found is not None and found[0] > tree_size

    async def check_health(self) -> None:
        """See `LogStore.check_health`."""
        if self._closed:
            raise IndeterminateError(Reason.LOG_UNAVAILABLE, "The log is closed.")

    async def close(self) -> None:
        """See `LogStore.close`."""
        self._closed = True
