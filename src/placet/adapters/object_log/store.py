"""The log in a bucket, as a `placet.ports.log_store.LogStore`.  The package's text says how it is kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from placet.adapters.log_cosigned import HandedOut, newest_cosigned
from placet.adapters.log_tree import check_entries, check_tile
from placet.adapters.object_log.address import BucketAddress
from placet.adapters.object_log.bucket import S3Bucket
from placet.adapters.object_log.cosigned import CosignedObjects
from placet.adapters.object_log.journal import JOURNAL
from placet.adapters.object_log.leaves import find_leaf, read_records
from placet.adapters.object_log.probe import check_conditions
from placet.adapters.object_log.rounds import LogState, Owner, check_newest, load_state
from placet.adapters.object_log.sequencer import Sequencer
from placet.adapters.object_log.tiles import TileReader
from placet.adapters.watches import Watches
from placet.core.errors import IndeterminateError
from placet.core.tlog.merkle import consistency_proof, inclusion_proof
from placet.core.tlog.note import NoteSignature, NoteSigner
from placet.core.tlog.tiles import TILE_WIDTH, encode_entries
from placet.ports.log_store import MAX_RECORDS, Appended, LogEntry, NotInLogError

T = TypeVar("T")


class ObjectLog:
    """A log in a bucket.  Make one with `open`.

    It may be opened in one event loop and then used in another one; `append` ties it to its own.
    """

    def __init__(self, bucket: S3Bucket, owner: Owner, state: LogState, cosigned: CosignedObjects) -> None:
        self._bucket = bucket
        self._origin = owner.signer.name
        self._reader = TileReader(bucket)
        self._watches = Watches()
        self._sequencer = Sequencer(bucket, owner, self._reader, state, lambda: self._watches.announce(None))
        self._cosigned = cosigned
        self._handed_out = HandedOut(cosigned.notes)
        self._keeping = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, address: BucketAddress, signer: NoteSigner, *, moved_from: str = "") -> ObjectLog:
        """Opens the log in a bucket, or begins one where there is none.

        Keys, secrets and the region come from the environment (AWS_…).

        Args:
            address: where it is kept.
            signer: signs its checkpoints.
            moved_from: the address that the log had before, where it was moved for good.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, also where the storage does not keep conditions; LOG_DAMAGED.
        """
        bucket = S3Bucket(address)
        try:
            await check_conditions(bucket)
            owner = Owner(signer, secrets.token_hex(8), moved_from)
            state = await load_state(bucket, owner)
            await check_newest(bucket, state)
            cosigned = await CosignedObjects.load(bucket, TileReader(bucket), state.head, signer.verifier_key)
            return cls(bucket, owner, state, cosigned)
        except BaseException:
            await bucket.close()
            raise

    @property
    def log_origin(self) -> str:
        """See `LogStore.log_origin`."""
        return self._origin

    @property
    def _state(self) -> LogState:
        return self._sequencer.state

    async def append(self, entries: Sequence[LogEntry]) -> tuple[Appended, ...]:
        """See `LogStore.append`."""
        check_entries(entries)
        return await self._sequencer.append(entries)

    async def checkpoint(self) -> bytes:
        """See `LogStore.checkpoint`."""
        head = self._state.head
        return self._handed_out.hand_out(head.tree_size, head.checkpoint)

    async def cosigned(self, at_least: int = 1) -> bytes | None:
        """See `LogStore.cosigned`."""
        found = newest_cosigned(self._cosigned.notes, at_least)
        return None if found is None else found[1]

    async def keep_cosignatures(self, tree_size: int, signatures: tuple[NoteSignature, ...]) -> None:
        """See `LogStore.keep_cosignatures`."""
        self._sequencer.check_open()
        note = self._handed_out.cosign(tree_size, signatures)
        async with self._keeping:
            await self._noting(self._cosigned.keep(tree_size, note))
        self._watches.announce(None)

    async def find(self, leaf_hash: bytes) -> int | None:
        """See `LogStore.find`."""
        return await self._noting(find_leaf(self._bucket, self._reader, self._state.head.edge, leaf_hash))

    async def read_tile(self, level: int, index: int, width: int) -> bytes:
        """See `LogStore.read_tile`."""
        return await self._noting(self._reader.read(self._state.head.edge, level, index, width))

    async def read_entries(self, index: int, width: int) -> bytes:
        """See `LogStore.read_entries`."""
        state = self._state
        check_tile(state.head.tree_size, 0, index, width)
        if index == state.head.tree_size // TILE_WIDTH:
            return encode_entries(state.leaves[:width])
        leaves = await self._noting(self._reader.read_leaves(state.head.edge, index))
        return encode_entries(leaves[:width])

    async def read_records(self, start: int, limit: int) -> tuple[tuple[int, bytes], ...]:
        """See `LogStore.read_records`."""
        edge = self._state.head.edge
        end = min(edge.compact.size, start + max(1, min(limit, MAX_RECORDS)))
        if not 0 <= start < end:
            return ()
        return await self._noting(read_records(self._bucket, self._reader, edge, start, end))

    async def prove_inclusion(self, leaf_index: int, tree_size: int) -> tuple[bytes, ...]:
        """See `LogStore.prove_inclusion`."""
        edge = self._state.head.edge
        if not 0 <= leaf_index < tree_size <= edge.compact.size:
            raise NotInLogError(f"The log has no leaf {leaf_index} in a tree of {tree_size}.")
        proof = self._reader.prove(edge, tree_size, lambda read: inclusion_proof(leaf_index, tree_size, read))
        return await self._noting(proof)

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """See `LogStore.prove_consistency`."""
        edge = self._state.head.edge
        if not 0 <= old_size <= new_size <= edge.compact.size:
            raise NotInLogError(f"The log does not have both a tree of {old_size} and one of {new_size}.")
        proof = self._reader.prove(edge, new_size, lambda read: consistency_proof(old_size, new_size, read))
        return await self._noting(proof)

    async def wait_beyond(self, tree_size: int, timeout: float, *, cosignatures: int = 0) -> bool:
        """See `LogStore.wait_beyond`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        with self._watches.watch(None) as watch:
            while not (covered := self._newest_size(cosignatures) > tree_size) and clock() < deadline:
                await watch.changed(deadline - clock())
        return covered

    def _newest_size(self, cosignatures: int) -> int:
        if cosignatures == 0:
            return self._state.head.tree_size
        found = newest_cosigned(self._cosigned.notes, cosignatures)
        return -1 if found is None else found[0]

    async def check_health(self) -> None:
        """See `LogStore.check_health`.

        A server that stands by learns here how far the other one has come.
        """
        self._sequencer.check_open()
        if await self._bucket.read_etag(JOURNAL) != self._state.journal.etag:
            await self._noting(self._sequencer.refresh())

    async def close(self) -> None:
        """See `LogStore.close`."""
        if not self._closed:
            self._closed = True
            await self._sequencer.close()
            await self._bucket.close()

    async def _noting(self, call: Awaitable[T]) -> T:
        """Awaits a call; damage that it meets stops the log."""
        try:
            return await call
        except IndeterminateError as e:
            self._sequencer.note(e)
            raise
