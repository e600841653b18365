"""A log in a SQLite file: of its own, or in the one that keeps a relay's requests.

How each promise of `placet.ports.log_store` is kept:

* durable: leaves, records, tiles and the signed checkpoint are in one transaction of the group commit
  (`_log_writer`), in a write-ahead log with ``synchronous=FULL``;
* one history: opening compares the tree with the newest checkpoint that was signed, inside the file and
  beside it (`_log_place`), and each commit that the file still holds what this process put there;
* whole: rows carry checksums and are compared with the tree (`_log_tables`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from placet.adapters.log_cosigned import HandedOut, newest_cosigned
from placet.adapters.log_tree import check_entries, check_tile, log_damaged, read_edge_tile
from placet.adapters.sqlite._log_index import find_indexed
from placet.adapters.sqlite._log_open import open_log_writer
from placet.adapters.sqlite._log_tables import (
    read_leaves,
    read_record_runs,
    tile_reader,
)
from placet.adapters.sqlite._log_writer import LogWriter
from placet.adapters.sqlite.database import DEFAULT_MAX_BYTES, open_database, take_lock
from placet.adapters.sqlite.errors import is_damage
from placet.adapters.sqlite.group_commit import CommitObserver, GroupCommit
from placet.adapters.sqlite.readers import Readers
from placet.adapters.watches import Watches
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.tlog.merkle import (
    consistency_proof,
    hash_leaf,
    inclusion_proof,
    verify_inclusion,
)
from placet.core.tlog.note import NoteSignature, NoteSigner
from placet.core.tlog.tiles import TILE_WIDTH, encode_entries, read_node_from_tiles
from placet.ports.log_store import MAX_PAGE_BYTES, MAX_RECORDS, Appended, LogEntry, NotInLogError
from placet.ports.request_store import RequestStoreError

T = TypeVar("T")


class SqliteLog:
    """A `placet.ports.log_store.LogStore` in a SQLite file.  Make one with `open`.

    `SqliteRequestStore.open` makes the one that shares a relay's file; closing that one is the store's.
    """

    def __init__(
        self, writer: GroupCommit, readers: Readers, log: LogWriter, lock: int | None = None
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._log = log
        self._lock = lock
        self._watches = Watches()
        self._handed_out = HandedOut(log.cosigned)

    @classmethod
    def open(cls, path: Path, signer: NoteSigner, *, max_bytes: int = DEFAULT_MAX_BYTES) -> SqliteLog:
        """Opens the log at `path`, creating it and its folder where they are missing.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE where the file cannot be used, LOG_DAMAGED where the log in it
                is not the one that the key signed last.
        """
        with named_failures():
            lock = take_lock(path)
            try:
                connection, _ = open_database(path, max_bytes)
                try:
                    log = open_log_writer(connection, path, signer)
                except BaseException:
                    connection.close()
                    raise
            except BaseException:
                os.close(lock)
                raise
        writer = GroupCommit(connection, str(path), hook=log)
        return cls(writer, Readers(str(path), writer.stop_writing), log, lock)

    @property
    def log_origin(self) -> str:
        """See `LogStore.log_origin`."""
        return self._log.signer_name

    async def append(self, entries: Sequence[LogEntry]) -> tuple[Appended, ...]:
        """See `LogStore.append`."""
        check_entries(entries)

        def job(connection: sqlite3.Connection) -> tuple[Appended, ...]:
            return self._log.stage(connection, entries)

        with named_failures():
            return await self._writer.run(job, on_commit=self.announce)

    def announce(self) -> None:
        """Wakes whoever waits for a new checkpoint; to be called on the event loop."""
        self._watches.announce(None)

    async def checkpoint(self) -> bytes:
        """See `LogStore.checkpoint`."""
        head = self._log.head
        return self._handed_out.hand_out(head.tree_size, head.checkpoint)

    async def cosigned(self, at_least: int = 1) -> bytes | None:
        """See `LogStore.cosigned`."""
        found = newest_cosigned(self._log.cosigned, at_least)
        return None if found is None else found[1]

    async def keep_cosignatures(self, tree_size: int, signatures: tuple[NoteSignature, ...]) -> None:
        """See `LogStore.keep_cosignatures`."""
        note = self._handed_out.cosign(tree_size, signatures)

        def job(connection: sqlite3.Connection) -> None:
            self._log.stage_cosigned(connection, tree_size, note)

        with named_failures():
            await self._writer.run(job, on_commit=self.announce)

    async def find(self, leaf_hash: bytes) -> int | None:
        """See `LogStore.find`."""
        # In this order: leaves move from memory into the table, never back.
        recent = self._log.index.find_recent(leaf_hash)
        if recent is not None:
            return recent
        return await self._read(lambda connection: find_indexed(connection, [leaf_hash]).get(leaf_hash))

    async def read_tile(self, level: int, index: int, width: int) -> bytes:
        """See `LogStore.read_tile`."""
        partial = read_edge_tile(self._log.head.edge, level, index, width)
        if partial is not None:
            return partial
        edge = self._log.head.edge
        return await self._read(lambda connection: tile_reader(connection, edge)(level, index, width))

    async def read_entries(self, index: int, width: int) -> bytes:
        """See `LogStore.read_entries`."""
        edge = self._log.head.edge
        check_tile(edge.compact.size, 0, index, width)

        def job(connection: sqlite3.Connection) -> bytes:
            start = index * TILE_WIDTH
            end = min(start + TILE_WIDTH, edge.compact.size)
            leaves = read_leaves(connection, start, end)
            tile = tile_reader(connection, edge)(0, index, len(leaves))
            if b"".join(map(hash_leaf, leaves)) != tile:
                raise log_damaged(f"The log's leaves from {start} on are not those that were hashed.")
            return encode_entries(leaves[:width])

        return await self._read(job)

    async def read_records(self, start: int, limit: int) -> tuple[tuple[int, bytes], ...]:
        """See `LogStore.read_records`."""
        size = self._log.head.tree_size
        end = min(size, start + max(1, min(limit, MAX_RECORDS)))

        def job(connection: sqlite3.Connection) -> tuple[tuple[int, bytes], ...]:
            found: list[tuple[int, bytes]] = []
            room = MAX_PAGE_BYTES
            for run in read_record_runs(connection, start):
                for index, record in enumerate(run.items, run.first_index):
                    if start <= index < end and (room > 0 or not found):
                        found.append((index, record))
                        room -= len(record)
                if room <= 0 or run.first_index + len(run.items) >= end:
                    return tuple(found)
            raise log_damaged(f"The log's records from {start} on are missing in its database.")

        return await self._read(job) if 0 <= start < size else ()

    async def prove_inclusion(self, leaf_index: int, tree_size: int) -> tuple[bytes, ...]:
        """See `LogStore.prove_inclusion`."""
        edge = self._log.head.edge
        if not 0 <= leaf_index < tree_size <= edge.compact.size:
            raise NotInLogError(f"The log has no leaf {leaf_index} in a tree of {tree_size}.")

        def job(connection: sqlite3.Connection) -> tuple[bytes, ...]:
            read = read_node_from_tiles(tile_reader(connection, edge), tree_size)
            proof = inclusion_proof(leaf_index, tree_size, read)
            if tree_size == edge.compact.size:
                verify_inclusion(read(0, leaf_index), leaf_index, tree_size, proof, edge.compact.root())
            return proof

        return await self._read(job)

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """See `LogStore.prove_consistency`."""
        edge = self._log.head.edge
        if not 0 <= old_size <= new_size <= edge.compact.size:
            raise NotInLogError(f"The log does not have both a tree of {old_size} and one of {new_size}.")

        def job(connection: sqlite3.Connection) -> tuple[bytes, ...]:
            read = read_node_from_tiles(tile_reader(connection, edge), new_size)
            return consistency_proof(old_size, new_size, read)

        return await self._read(job)

    async def wait_beyond(self, tree_size: int, timeout: float, *, cosignatures: int = 0) -> bool:
        """See `LogStore.wait_beyond`."""
        deadline = asyncio.get_running_loop().time() + timeout
        with self._watches.watch(None) as watch:
            while not self._covers(tree_size, cosignatures):
                if not await watch.changed(deadline - asyncio.get_running_loop().time()):
                    return self._covers(tree_size, cosignatures)
        return True

    def _covers(self, tree_size: int, cosignatures: int) -> bool:
        if cosignatures == 0:
            return self._log.head.tree_size > tree_size
        found = newest_cosigned(self._log.cosigned, cosignatures)
        return found is not None and found[0] > tree_size

    def observe_commits(self, observer: CommitObserver) -> None:
        """Lets `observer` know the size and the seconds of each commit, from the writing thread."""
        self._writer.observe = observer

    async def check_health(self) -> None:
        """See `LogStore.check_health`."""
        self._log.check_health()
        with named_failures():
            self._writer.check_health()
        await self._read(lambda connection: connection.execute("SELECT id FROM log").fetchone())

    async def close(self) -> None:
        """See `LogStore.close`."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        await self._readers.close()
        await self._writer.close()
        self._log.close()
        os.close(lock)

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        with named_failures():
            return await self._readers.read(job)


@contextmanager
def named_failures() -> Iterator[None]:
    """Turns what became of the database into a refusal of the log."""
    try:
        yield
    except RequestStoreError as e:
        cause = e.__cause__
        if isinstance(cause, sqlite3.Error) and is_damage(cause):
            raise log_damaged(e.message) from e
        raise IndeterminateError(Reason.LOG_UNAVAILABLE, e.message, hint=e.hint) from e
    except PlacetError as e:
        # A tree that does not prove what it holds was changed in its rows.
        if e.reason in (Reason.LOG_PROOF_INVALID, Reason.BAD_VALUE):
            raise log_damaged(f"The log's tiles are not those of its checkpoint: {e}") from e
        raise
