"""Reading where a log stands, and finishing the round in its journal: the same for a server that goes on,
for one that starts after another one died, and for one that lost a race.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from placet.adapters.log_tree import (
    LogHead,
    TreeEdge,
    edge_from_tiles,
    grow_edge,
    log_damaged,
    open_head,
    sign_edge,
)
from placet.adapters.object_log.bucket import Kind, S3Bucket, Stored
from placet.adapters.object_log.journal import (
    JOURNAL,
    MAX_JOURNAL_BYTES,
    Journal,
    TreeState,
    encode_journal,
    parse_journal,
)
from placet.adapters.object_log.leaves import encode_leaf_object, leaf_key
from placet.adapters.object_log.tiles import TILE_BYTES, fetch_leaves
from placet.adapters.object_log.writes import OvertakenError, exchange, put_once
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, Reason
from placet.core.tlog.checkpoint import Checkpoint, verify_checkpoint
from placet.core.tlog.merkle import EMPTY_ROOT, hash_leaf
from placet.core.tlog.note import MAX_NOTE_BYTES, NoteSigner
from placet.core.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, encode_entries, parse_tile, tile_path, tiles_of

CHECKPOINT = "checkpoint"
# Another server may finish a round between two of our reads; each of these turns is progress of its own.
_TURNS = 16
_EMPTY = TreeState(0, EMPTY_ROOT)


class LogState(NamedTuple):
    """Where a log stands when no round is under way."""

    head: LogHead
    leaves: tuple[bytes, ...]
    """The leaves of the bundle of entries that is not full."""
    journal: Stored
    checkpoint: Stored


class Owner(NamedTuple):
    """Who writes.

    Args:
        writer: made anew by each process.
        moved_from: the address that the log had before, where its operator says that it was moved.
    """

    signer: NoteSigner
    writer: str
    moved_from: str = ""


async def load_state(bucket: S3Bucket, owner: Owner) -> LogState:
    """Reads where the log stands, finishing the round of whoever did not; a new log is begun.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
    """
    for _ in range(_TURNS):
        stored = await bucket.read(JOURNAL, max_bytes=MAX_JOURNAL_BYTES)
        # Read after the journal: it is as new as the journal's base, or something went back.
        checkpoint = await bucket.read(CHECKPOINT, max_bytes=MAX_NOTE_BYTES)
        if stored is None:
            await _begin(bucket, owner, checkpoint)
            continue
        journal = _parse(stored.data, bucket)
        stored = await _check_owner(bucket, owner, stored, journal)
        if stored is None:
            continue
        if checkpoint is None:
            if journal.tree != _EMPTY:
                raise log_damaged(f"The log's checkpoint in {bucket.address} is gone.")
            head = sign_edge(TreeEdge(), owner.signer)
            await _publish_checkpoint(bucket, owner, head, None)
            continue
        signed = _verify(checkpoint.data, owner.signer)
        if signed.tree_size > journal.tree.tree_size:
            if await bucket.read_etag(JOURNAL) == stored.etag:
                raise log_damaged(f"The log's journal in {bucket.address} is older than its checkpoint.")
            continue
        return await _finish(bucket, owner, signed, LogStateParts(journal, stored, checkpoint))
    raise IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        f"Another server writes to {bucket.address} all the time.",
        hint="Run one server for each log.",
    )


async def check_newest(bucket: S3Bucket, state: LogState) -> None:
    """Makes sure that the log never was larger: tiles of a larger tree are never taken away.

    This finds journals and checkpoints that were put back, unless the tiles were put back with them.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
    """
    tile, width = divmod(state.head.tree_size, TILE_WIDTH)
    folder = tile_path(0, tile, 1).rpartition("/")[0]
    full, widths = await asyncio.gather(
        bucket.read(tile_path(0, tile), max_bytes=TILE_BYTES), bucket.list_names(folder)
    )
    if full is None and all(name.isdigit() and int(name) <= width for name in widths):
        return
    if await bucket.read_etag(JOURNAL) == state.journal.etag:
        raise log_damaged(
            f"The log in {bucket.address} was larger once than its journal says: it was put back to an older "
            "state. Whatever was signed since then would be contradicted."
        )


class LogStateParts(NamedTuple):
    """What was read, and belongs together."""

    journal: Journal
    stored: Stored
    checkpoint: Stored


async def _finish(bucket: S3Bucket, owner: Owner, signed: Checkpoint, parts: LogStateParts) -> LogState:
    journal, stored, checkpoint = parts
    state = TreeState(signed.tree_size, signed.root_hash)
    if state not in (journal.base, journal.tree):
        raise log_damaged(
            f"The log's checkpoint in {bucket.address}, of size {signed.tree_size}, is not one that its "
            "journal knows: one of them was put back to an older state."
        )
    edge = await _read_edge(bucket, signed.tree_size)
    head = open_head(edge, checkpoint.data, owner.signer.verifier_key)
    tail, hashes = signed.tree_size // TILE_WIDTH, edge.tiles[0] if edge.tiles else ()
    leaves = await fetch_leaves(bucket, tail, hashes) if hashes else ()
    opened = LogState(head, leaves, stored, checkpoint)
    return opened if state == journal.tree else await finish_round(bucket, owner, opened, journal)


async def _begin(bucket: S3Bucket, owner: Owner, checkpoint: Stored | None) -> None:
    if checkpoint is not None:
        raise log_damaged(f"The log in {bucket.address} has a checkpoint and no journal.")
    key = str(owner.signer.verifier_key)
    first = Journal(key, str(bucket.address), owner.writer, _EMPTY, _EMPTY, ())
    try:
        await exchange(bucket, JOURNAL, encode_journal(first), Kind.PRIVATE, None)
    except OvertakenError:
        return  # Another server has begun it at the same moment.


async def _check_owner(bucket: S3Bucket, owner: Owner, stored: Stored, journal: Journal) -> Stored | None:
    """Returns the journal, once it is one of this key and place; None where it has to be read again."""
    key, place = str(owner.signer.verifier_key), str(bucket.address)
    if journal.key != key:
        raise log_damaged(f"The log in {place} is signed by {journal.key}, and not by {key}.")
    if journal.place == place:
        return stored
    if journal.place != owner.moved_from:
        raise log_damaged(
            f"The log in {place} was copied from {journal.place}. Two of them would sign two histories; "
            f"where the other one will never run again, say so: --moved-from {journal.place}"
        )
    try:
        moved = journal._replace(place=place, writer=owner.writer)
        await exchange(bucket, JOURNAL, encode_journal(moved), Kind.PRIVATE, stored)
    except OvertakenError:
        pass
    return None


async def _read_edge(bucket: S3Bucket, tree_size: int) -> TreeEdge:
    places = []
    for level in range((tree_size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT):
        tile, width = divmod(tree_size >> TILE_HEIGHT * level, TILE_WIDTH)
        places.append(tile_path(level, tile, width) if width else "")

    async def read(path: str) -> bytes:
        stored = await bucket.read(path, max_bytes=TILE_BYTES) if path else None
        return b"" if stored is None else stored.data

    tiles = await asyncio.gather(*map(read, places))
    try:
        for path, data in zip(places, tiles, strict=True):
            if path:
                parse_tile(data, int(path.rpartition("/")[2]))
        return edge_from_tiles(tiles)
    except MalformedError as e:
        raise log_damaged(f"The log's newest tiles in {bucket.address} are missing or damaged.") from e


async def finish_round(bucket: S3Bucket, owner: Owner, base: LogState, journal: Journal) -> LogState:
    """Puts all that a committed journal adds in its place, and then its signed checkpoint.

    Args:
        base: where the log stood before, with the journal as it is stored now.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
    """
    edge, full = grow_edge(base.head.edge, [hash_leaf(entry.leaf) for entry in journal.entries])
    if TreeState(edge.compact.size, edge.compact.root()) != journal.tree:
        raise log_damaged(f"The log's journal in {bucket.address} does not lead to the tree that it names.")
    start = base.head.tree_size - len(base.leaves)
    leaves = (*base.leaves, *(entry.leaf for entry in journal.entries))
    tiles = {(tile.level, tile.tile_index): tile.data for tile in full}
    puts = []
    for path in tiles_of(base.head.tree_size, edge.compact.size):
        if path.level is None:
            first = path.tile_index * TILE_WIDTH - start
            data = encode_entries(leaves[first : first + path.width])
        elif path.width == TILE_WIDTH:
            data = tiles[path.level, path.tile_index]
        else:
            data = b"".join(edge.tiles[path.level])
        puts.append(put_once(bucket, str(path), data, Kind.TILE))
    for index, entry in enumerate(journal.entries, base.head.tree_size):
        record = encode_leaf_object(index, entry.record)
        puts.append(put_once(bucket, leaf_key(hash_leaf(entry.leaf)), record, Kind.PRIVATE))
    await all_of(puts)
    # Not before all of it is in place: whoever sees a checkpoint finds its tiles.
    head = sign_edge(edge, owner.signer)
    checkpoint = await _publish_checkpoint(bucket, owner, head, base.checkpoint)
    tail = len(leaves) - edge.compact.size % TILE_WIDTH
    return LogState(head, leaves[tail:], base.journal, checkpoint)


async def _publish_checkpoint(bucket: S3Bucket, owner: Owner, head: LogHead, old: Stored | None) -> Stored:
    try:
        return await exchange(bucket, CHECKPOINT, head.checkpoint, Kind.NOTE, old)
    except OvertakenError as e:
        # Another server went on from here; it did so only because it found this round in the journal.
        if e.current is None or _verify(e.current.data, owner.signer).tree_size < head.tree_size:
            raise log_damaged(f"The log's checkpoint in {bucket.address} went back.") from e
        return e.current


async def all_of(calls: Sequence[Awaitable[None]]) -> None:
    """Awaits all of them, and then raises what the first one that failed raised."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _parse(data: bytes, bucket: S3Bucket) -> Journal:
    try:
        return parse_journal(data)
    except MalformedError as e:
        raise log_damaged(f"The log's journal in {bucket.address} is damaged: {e}") from e


def _verify(checkpoint: bytes, signer: NoteSigner) -> Checkpoint:
    try:
        return verify_checkpoint(checkpoint, signer.verifier_key)
    except PlacetError as e:
        raise log_damaged(f"The log's checkpoint does not hold for the key {signer.name}: {e}") from e
