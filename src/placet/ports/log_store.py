"""Where a log keeps its leaves, its tree and its signed checkpoints.

The store numbers leaves, grows the tree and signs: what is acknowledged and what is signed must become
durable together, so no layer above it could do that safely.  It does not read records; whether something
may be logged is decided before it gets here.

Every implementation must pass the contract test `placet.testing.contracts.log_store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from placet.core.tlog.note import NoteSignature

# An entry bundle gives each leaf's length two bytes (C2SP tlog-tiles).
MAX_LEAF_BYTES = 65_535
# A decision with its report takes a few kilobytes; the largest answer that a relay takes fits.
MAX_RECORD_BYTES = 1024 * 1024
# Of one call: bounds how long the others wait for it.
MAX_APPENDED = 1024
# Of one page of records.
MAX_RECORDS = 256
MAX_PAGE_BYTES = 4 * 1024 * 1024
# Checkpoints of other sizes that cosignatures are still taken for, newest first: what was handed out since
# the store was opened.  Witnesses answer within seconds.
MAX_HANDED_OUT = 1024


class NotInLogError(LookupError):
    """The log has no such leaf, tile, size or checkpoint (yet).  Asking later may help."""


class LogEntry(NamedTuple):
    """What is appended."""

    leaf: bytes
    """The leaf as it is hashed (`placet.core.tlog.leaf.encode_leaf`), at most `MAX_LEAF_BYTES`."""
    record: bytes
    """What the leaf is made of, kept for monitors, at most `MAX_RECORD_BYTES`.  Not part of the tree."""


class Appended(NamedTuple):
    """Where a leaf stands."""

    leaf_index: int
    leaf_hash: bytes
    created: bool
    """False where the same leaf was there already; its first record is the one that is kept."""


class LogStore(Protocol):
    """Keeps one log, which one signer signs.

    Obligations:

    - **Durable before acknowledged.**  When `append` returns, the leaves, their records and a signed
      checkpoint that covers them survive the death of the process and, as far as the disk keeps its word,
      of the machine.  When it raises, nothing was appended, except that LOG_UNAVAILABLE and LOG_DAMAGED
      leave the outcome unknown; appending the same again is then always right.
    - **One history.**  Every checkpoint that leaves the store is consistent with every earlier one that it
      signed, in this process or one before.  Where it cannot be sure (a restored or copied store, edited
      tables, changed tiles, another key), it raises LOG_DAMAGED and signs nothing more until its operator
      has declared what happened.  Nothing is readable that no durable checkpoint covers.
    - **Idempotent.**  The same leaf again, also twice in one call, gets the index that it has, and
      `created` is False.
    - **Order.**  Indexes are given without gaps from 0, within a call in the order of its entries.
    - **Whole or not at all.**  The entries of one call are appended all or none.  What is read is what was
      appended: damage raises LOG_DAMAGED and is never served.
    - **Recovery.**  Killed at any moment, the store opens again by itself with every acknowledged leaf and
      with a newest checkpoint that is consistent with all that were ever handed out.
    - **No lost wake-up.**  `wait_beyond` returns at once where what it waits for is there.
    - **Cancellation.**  A cancelled `append` may or may not happen; never in part.

    A store belongs to one event loop.  Sizes and indexes are numbers of leaves.  Every method may raise
    IndeterminateError: LOG_UNAVAILABLE (locked, full, closed, unreachable), LOG_DAMAGED.
    """

    @property
    def log_origin(self) -> str:
        """The name under which the checkpoints are signed."""
        ...

    async def append(self, entries: Sequence[LogEntry]) -> tuple[Appended, ...]:
        """Appends the entries that are new, at most `MAX_APPENDED`, and says where each one stands.

        Raises:
            PolicyError: LOG_REFUSED: too many entries, or one that is too large.
        """
        ...

    async def checkpoint(self) -> bytes:
        """Returns the newest signed checkpoint, without cosignatures; a new log has one of size 0."""
        ...

    async def cosigned(self, at_least: int = 1) -> bytes | None:
        """Returns the newest checkpoint that has at least so many cosignatures, with all that it has."""
        ...

    async def keep_cosignatures(self, tree_size: int, signatures: tuple[NoteSignature, ...]) -> None:
        """Keeps cosignatures, which the caller has verified, of the checkpoint of that size.

        Several calls for one size add up, also where a newer checkpoint has got cosignatures meanwhile; one
        that is there already changes nothing.

        Raises:
            NotInLogError: `checkpoint` did not hand out one of that size, or too long ago.
        """
        ...

    async def find(self, leaf_hash: bytes) -> int | None:
        """Returns the index of the leaf with this hash, or None."""
        ...

    async def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Returns the first `width` hashes of a tile, as C2SP tlog-tiles has it.

        Raises:
            NotInLogError: the newest tree has no such tile of that width.
        """
        ...

    async def read_entries(self, index: int, width: int) -> bytes:
        """Returns the first `width` leaves of an entry bundle, as C2SP tlog-tiles has it.

        Raises:
            NotInLogError: the newest tree has no such bundle of that width.
        """
        ...

    async def read_records(self, start: int, limit: int) -> tuple[tuple[int, bytes], ...]:
        """Returns at most `limit` (1 to `MAX_RECORDS`) records with their indexes, from `start` on.

        Fewer come where `MAX_PAGE_BYTES` are reached, the one that reaches them included; none at the end of
        the log.
        """
        ...

    async def prove_inclusion(self, leaf_index: int, tree_size: int) -> tuple[bytes, ...]:
        """Returns the inclusion proof of a leaf in the tree of that size.

        Raises:
            NotInLogError: the log has no such leaf, or is smaller than `tree_size`.
        """
        ...

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Returns the proof that the tree of `new_size` starts with the tree of `old_size`.

        Raises:
            NotInLogError: the log is smaller than that, or `old_size` is beyond `new_size`.
        """
        ...

    async def wait_beyond(self, tree_size: int, timeout: float, *, cosignatures: int = 0) -> bool:
        """Waits until a checkpoint covers more than `tree_size` leaves, or `timeout` seconds passed.

        Args:
            cosignatures: how many that checkpoint must have.

        Returns:
            False when the time ran out.
        """
        ...

    async def check_health(self) -> None:
        """Makes sure that the log can be read and still grows.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        ...

    async def close(self) -> None:
        """Finishes what was accepted and lets go of every resource.  Closing twice is harmless."""
        ...
