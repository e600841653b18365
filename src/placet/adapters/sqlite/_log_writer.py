"""How a log grows inside the transactions of the one thread that writes its database.

A job stages leaves, which gives them their indexes.  Before the group's commit, the tree grows by all that
was staged, and one checkpoint is signed and written with it: one sync makes answers, leaves, tiles and
checkpoint durable together, and one signature covers however many came together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import repeat

from placet.adapters.log_cosigned import CosignedNotes, keep_cosigned
from placet.adapters.log_tree import LogHead, grow_head, log_damaged
from placet.adapters.sqlite._log_index import LogIndex
from placet.adapters.sqlite._log_place import CheckpointFile
from placet.adapters.sqlite._log_tables import write_cosigned, write_entries, write_tiles
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.note import NoteSigner, SignedNote
from placet.ports.log_store import Appended, LogEntry

_ADVANCE = "UPDATE log SET checkpoint = ?, indexed = ? WHERE checkpoint = ?"


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
        if not entries:
            return ()
        # In C wherever it can be: a call for each entry would cost as much as its hash.
        leaves, records = zip(*entries, strict=True)
        hashes = [sha256(b"\0" + leaf).digest() for leaf in leaves]
        known = self.index.find_all(connection, hashes)
        start = self.head.tree_size + len(self._leaves)
        new = dict(zip(hashes, range(start, start + len(hashes)), strict=True))
        if known or len(new) < len(hashes) or not self._staged.keys().isdisjoint(new):
            each = zip(hashes, leaves, records, strict=True)
            return tuple(self._stage_one(known, *one) for one in each)
        self._staged = self._staged | new if self._staged else new
        self._leaves += leaves
        self._records += records
        made = zip(new.values(), hashes, repeat(True), strict=False)
        return tuple(map(tuple.__new__, repeat(Appended), made))

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
        head, full = grow_head(self.head, list(self._staged), self._signer)
        write_entries(connection, self.head.tree_size, self._leaves, self._records)
        write_tiles(connection, full)
        indexed = self.index.grow(connection, len(self._leaves))
        values = (head.checkpoint, indexed, self.head.checkpoint)
        if connection.execute(_ADVANCE, values).rowcount != 1:
            # Another program has put another log, or another state, into the file: going on would fork it.
            self._failure = log_damaged("Another program has changed the log in its database.")
            raise self._failure
        self._grown = head

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
