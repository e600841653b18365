"""How a log grows inside the transactions of the one thread that writes its database.

A job stages leaves, which gives them their indexes.  Before the group's commit, the tree grows by all that
was staged, and one checkpoint is signed and written with it: one sync makes answers, leaves, tiles and
checkpoint durable together, and one signature covers however many came together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat

from placet.adapters.log_cosigned import CosignedNotes, keep_cosigned
from placet.adapters.log_tree import LogHead, grow_head, log_damaged
from placet.adapters.sqlite._log_index import LogIndex
from placet.adapters.sqlite._log_place import CheckpointFile
from placet.adapters.sqlite._log_tables import write_cosigned, write_entries, write_tiles
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import NoteSigner, SignedNote
from placet.ports.log_store import Appended, LogEntry


class LogWriter:
    """A `placet.adapters.sqlite.group_commit.CommitHook` that makes one log grow.

    `head` and `cosigned` are what the newest commit made, readable from any thread; the rest belongs to the
    writing thread.
    """

    def __init__(
        self,
        head: LogHead,
        signer: NoteSigner,
        index: LogIndex,
        beside: CheckpointFile,
        cosigned: CosignedNotes,
    ) -> None:
        self.head = head
        self.index = index
        self.cosigned = cosigned
        self._signer = signer
        self._beside = beside
        self._failure: IndeterminateError | None = None
        self._staged: dict[bytes, int] = {}
        self._leaves: list[bytes] = []
        self._records: list[bytes] = []
        self._grown: LogHead | None = None
        self._more_cosigned: CosignedNotes | None = None

    @property
    def signer_name(self) -> str:
        """The name under which the checkpoints are signed."""
        return self._signer.name

    def check_health(self) -> None:
        """Makes sure that the log still grows.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        if self._failure is not None:
            failure = self._failure
            raise IndeterminateError(failure.reason, failure.message, hint=failure.hint)

    def stage(self, connection: sqlite3.Connection, entries: Sequence[LogEntry]) -> tuple[Appended, ...]:
        """Gives entries their indexes, inside a job, as the last thing that it does.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        self.check_health()
        leaves, records = [entry.leaf for entry in entries], [entry.record for entry in entries]
        hashes = list(map(hash_leaf, leaves))
        start = self.head.tree_size + len(self._leaves)
        known = self.index.find_all(connection, hashes)
        if not known and len(set(hashes)) == len(hashes) and self._staged.keys().isdisjoint(hashes):
            indexes = range(start, start + len(hashes))
            self._staged.update(zip(hashes, indexes, strict=True))
            self._leaves += leaves
            self._records += records
            # In C: a constructor's call for each would cost as much as its hash.
            made = zip(indexes, hashes, repeat(True), strict=False)
            return tuple(map(tuple.__new__, repeat(Appended), made))
        return tuple(self._stage_one(known, *one) for one in zip(hashes, leaves, records, strict=True))

    def _stage_one(self, known: dict[bytes, int], leaf_hash: bytes, leaf: bytes, record: bytes) -> Appended:
        index = known.get(leaf_hash, self._staged.get(leaf_hash))
        if index is not None:
            return Appended(index, leaf_hash, created=False)
        index = self.head.tree_size + len(self._leaves)
        self._staged[leaf_hash] = index
        self._leaves.append(leaf)
        self._records.append(record)
        return Appended(index, leaf_hash, created=True)

    def stage_cosigned(self, connection: sqlite3.Connection, tree_size: int, note: SignedNote) -> None:
        """Writes a checkpoint with its cosignatures, inside a job, as the last thing that it does."""
        before = self.cosigned if self._more_cosigned is None else self._more_cosigned
        kept = keep_cosigned(before, tree_size, note)
        write_cosigned(connection, before, kept)
        self._more_cosigned = kept

    def before_commit(self, connection: sqlite3.Connection) -> None:
        """Grows the tree by what was staged and signs it, in the group's transaction.

        Raises:
            IndeterminateError: LOG_DAMAGED.
        """
        if not self._leaves:
            return
        self._check_untouched(connection)
        head, full = grow_head(self.head, list(self._staged), self._signer)
        write_entries(connection, self.head.tree_size, self._leaves, self._records)
        write_tiles(connection, full, head.edge)
        indexed = self.index.grow(connection, self.head.tree_size)
        connection.execute("UPDATE log SET checkpoint = ?, indexed = ?", (head.checkpoint, indexed))
        self._grown = head

    def _check_untouched(self, connection: sqlite3.Connection) -> None:
        """Refuses to go on where another program has put another log, or another state, into the file."""
        row = connection.execute("SELECT checkpoint FROM log").fetchone()
        if row is None or row[0] != self.head.checkpoint:
            self._failure = log_damaged("Another program has changed the log in its database.")
            raise self._failure

    def after_commit(self) -> None:
        """Takes over what was committed."""
        if self._more_cosigned is not None:
            self.cosigned, self._more_cosigned = self._more_cosigned, None
        if self._grown is None:
            return
        self.head, self._grown = self._grown, None
        self.index.settle(self._staged)
        self._staged, self._leaves, self._records = {}, [], []
        try:
            self._beside.write(self.head.checkpoint)
        except OSError as e:
            # What was committed stays acknowledged; without the mark, no more is signed.
            self._failure = IndeterminateError(
                Reason.LOG_UNAVAILABLE,
                f"The log's newest checkpoint cannot be written beside its database: {e.strerror}.",
                hint="Check the disk, then restart the log.",
            )

    def close(self) -> None:
        """Syncs the mark beside the database; the writing thread has ended."""
        with suppress(OSError):
            self._beside.close()

    def after_rollback(self) -> None:
        """Forgets what was staged."""
        self._staged, self._leaves, self._records = {}, [], []
        self._grown = self._more_cosigned = None
        self.index.forget()
