"""Where each leaf stands, and its record: one object for each leaf, named by its hash.

    <SHA-256 of the rest> <leaf index, 19 digits>⏎<record>

The head has one length, so that asking for an index fetches no record.  That the index is the leaf's own is
checked against the tree; the record is no part of the tree, so it is checked against its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from placet.adapters.log_tree import TreeEdge, log_damaged
from placet.adapters.object_log.bucket import S3Bucket
from placet.adapters.object_log.tiles import TileReader
from placet.core.tlog.merkle import HASH_BYTES
from placet.core.tlog.tiles import TILE_WIDTH
from placet.ports.log_store import MAX_PAGE_BYTES, MAX_RECORD_BYTES

_DIGITS = 19
_HEAD_BYTES = 64 + 1 + _DIGITS + 1
# Large records are fetched a few at a time, so that a page does not hold many more than it shows.
_AT_ONCE = 16


def leaf_key(leaf_hash: bytes) -> str:
    """Returns the name of a leaf's object."""
    name = leaf_hash.hex()
    return f"private/leaves/{name[:2]}/{name}"


def encode_leaf_object(leaf_index: int, record: bytes) -> bytes:
    """Encodes a leaf's object."""
    rest = f"{leaf_index:0{_DIGITS}}\n".encode() + record
    return hashlib.sha256(rest).hexdigest().encode() + b" " + rest


async def find_leaf(bucket: S3Bucket, reader: TileReader, edge: TreeEdge, leaf_hash: bytes) -> int | None:
    """Returns the index of a leaf of this tree, or None.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
    """
    head = await bucket.read_start(leaf_key(leaf_hash), _HEAD_BYTES)
    if head is None:
        return None
    index = _read_index(head, leaf_hash)
    if index >= edge.compact.size:
        return None  # of a round that no checkpoint covers yet
    if (await _leaf_hashes(reader, edge, index, index + 1))[0] != leaf_hash:
        raise log_damaged(f"The index of the leaf {leaf_hash.hex()} is not the one that the tree gives it.")
    return index


async def read_records(
    bucket: S3Bucket, reader: TileReader, edge: TreeEdge, start: int, end: int
) -> tuple[tuple[int, bytes], ...]:
    """Returns the records from `start` to before `end`, or fewer where they are large.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
    """
    hashes = await _leaf_hashes(reader, edge, start, end)
    found: list[tuple[int, bytes]] = []
    room = MAX_PAGE_BYTES
    while hashes:
        part, hashes = hashes[:_AT_ONCE], hashes[_AT_ONCE:]
        first = start + len(found)
        records = await asyncio.gather(*(_read_record(bucket, one, first + i) for i, one in enumerate(part)))
        for record in records:
            found.append((start + len(found), record))
            room -= len(record)
            if room <= 0:
                return tuple(found)
    return tuple(found)


async def _leaf_hashes(reader: TileReader, edge: TreeEdge, start: int, end: int) -> Sequence[bytes]:
    found: list[bytes] = []
    while start + len(found) < end:
        tile, offset = divmod(start + len(found), TILE_WIDTH)
        width = min(TILE_WIDTH, end - tile * TILE_WIDTH)
        data = await reader.read(edge, 0, tile, width)
        found += [data[i : i + HASH_BYTES] for i in range(offset * HASH_BYTES, len(data), HASH_BYTES)]
    return found


async def _read_record(bucket: S3Bucket, leaf_hash: bytes, leaf_index: int) -> bytes:
    stored = await bucket.read(leaf_key(leaf_hash), max_bytes=_HEAD_BYTES + MAX_RECORD_BYTES)
    data = b"" if stored is None else stored.data
    if (
        hashlib.sha256(data[65:]).hexdigest().encode() != data[:64]
        or _read_index(data, leaf_hash) != leaf_index
    ):
        raise log_damaged(f"The log's record {leaf_index} is missing or damaged.")
    return data[_HEAD_BYTES:]


def _read_index(head: bytes, leaf_hash: bytes) -> int:
    digits = head[65 : 65 + _DIGITS]
    if len(digits) != _DIGITS or not digits.isdigit():
        raise log_damaged(f"What says where the leaf {leaf_hash.hex()} stands is damaged.")
    return int(digits)
