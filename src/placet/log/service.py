"""What a log does, apart from HTTP: verify and append, prove, hand out checkpoints, tiles and records.

One method per call of the API.  The service adds to the store what the store must not know: what may be
logged, the time of day, how long to wait for witnesses, and how many may wait at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from placet.adapters.serving.http import MAX_WAITERS
from placet.adapters.serving.refusals import CallRefused
from placet.ceremony.log_records import VerifyChange, verify_record
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import TlogProof, encode_proof
from placet.core.tlog.tiles import TILE_WIDTH, parse_tile_path
from placet.core.trust import Trust
from placet.ports.clock import Clock
from placet.ports.log_store import Appended, LogStore, NotInLogError

# Witnesses that answer do so within seconds.  Longer silence must not keep monitors from what is new.
PATIENCE_SECONDS = 60.0
# Witnesses' silence has to be noticed, too.
_NEWS_SECONDS = 10.0
# Of the places for those who wait for a proof, one caller has an eighth.
_SHARE = 8


async def no_trust() -> Trust | None:
    """Where a log has no snapshot."""
    return None


def no_changes(metadata: bytes) -> object:
    """Where a log takes no trust changes.

    Raises:
        PolicyError: LOG_REFUSED, always.
    """
    raise PolicyError(Reason.LOG_REFUSED, "This log takes no trust changes.")


class Logged(NamedTuple):
    """Where a record's leaf stands, and the size of a durable checkpoint that covers it."""

    appended: Appended
    tree_size: int


class LogService:
    """Serves one log.

    Args:
        store: keeps it and signs for it.
        clock: by which credentials are judged.
        trust: returns whose signatures count now, or None.
        verify_change: verifies trust changes.
        cosignatures: how many a proof waits for, where the caller says nothing; 0 without witnesses.
        max_waiters: how many may wait for a proof at once.
    """

    def __init__(
        self,
        store: LogStore,
        clock: Clock,
        *,
        trust: Callable[[], Awaitable[Trust | None]] = no_trust,
        verify_change: VerifyChange = no_changes,
        cosignatures: int = 0,
        max_waiters: int = MAX_WAITERS,
    ) -> None:
        self.store = store
        self.cosignatures = cosignatures
        self._clock = clock
        self._trust = trust
        self._verify_change = verify_change
        self._free_waiters = self._max_waiters = max_waiters
        self._waiting: Counter[str] = Counter()
        self._behind: tuple[int, float] | None = None
        self._stopping = asyncio.Event()

    async def append(self, record: bytes) -> Logged:
        """Verifies a record and appends its leaf; when this returns, a signed checkpoint covers it, durably.

        Raises:
            CallRefused: ``not-admitted``.
            PlacetError: it is no record; or LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        trust = await self._trust()
        try:
            entry = verify_record(
                record, trust=trust, verify_change=self._verify_change, now=self._clock.now()
            )
        except PlacetError as e:
            raise _not_admitted(e) from e
        (appended,) = await self.store.append([entry])
        return Logged(appended, tree_size_of(await self.store.checkpoint()))

    async def prove(
        self, leaf_hash: bytes, wait: float, cosignatures: int | None = None, *, caller: str = ""
    ) -> str:
        """Returns the proof of a leaf under the newest checkpoint with so many cosignatures that covers it.

        Where none comes within `wait` seconds, it is the one with the most that there is, or without any.

        Args:
            leaf_hash: of the leaf.
            wait: seconds.
            cosignatures: how many are waited for; None is as many as the log's policy asks for.
            caller: who asks, of whom not too many calls may wait at once.

        Raises:
            CallRefused: ``unknown-leaf``, ``too-many-waiters``.
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        index = await self.store.find(leaf_hash)
        if index is None:
            raise CallRefused(
                "unknown-leaf",
                "No such leaf is in this log.",
                hint="Hand its record in; the leaf's hash is SHA-256 of a zero byte and the leaf (RFC 6962).",
            )
        wanted = self.cosignatures if cosignatures is None else cosignatures
        if wait > 0 and wanted > 0:
            with self._one_waiter(caller):
                await self._wait_for(index, wait, wanted)
        return await self.prove_now(index, wanted)

    async def prove_now(self, leaf_index: int, cosignatures: int) -> str:
        """Returns the best proof of a leaf that there is at this moment.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        checkpoint = await self._covering(leaf_index, cosignatures)
        hashes = await self.store.prove_inclusion(leaf_index, tree_size_of(checkpoint))
        return encode_proof(TlogProof(leaf_index, hashes, checkpoint))

    async def _covering(self, leaf_index: int, cosignatures: int) -> bytes:
        for at_least in dict.fromkeys((cosignatures, 1)):
            if at_least > 0:
                found = await self.store.cosigned(at_least)
                if found is not None and tree_size_of(found) > leaf_index:
                    return found
        return await self.store.checkpoint()

    async def _wait_for(self, leaf_index: int, wait: float, cosignatures: int) -> None:
        covered = asyncio.ensure_future(self.store.wait_beyond(leaf_index, wait, cosignatures=cosignatures))
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({covered, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            covered.cancel()
            stopped.cancel()
            await asyncio.gather(covered, stopped, return_exceptions=True)

    async def checkpoint(self) -> bytes:
        """Returns the newest cosigned checkpoint, or the newest one where no witness answers or is named.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        newest = await self.store.checkpoint()
        cosigned = await self.store.cosigned(max(1, self.cosignatures)) if self.cosignatures else None
        if cosigned is None:
            return newest
        size, now = tree_size_of(cosigned), asyncio.get_running_loop().time()
        if size == tree_size_of(newest):
            self._behind = None
            return cosigned
        if self._behind is None or self._behind[0] != size:
            self._behind = (size, now)
        return cosigned if now - self._behind[1] < PATIENCE_SECONDS else newest

    async def read_tile(self, path: str) -> tuple[bytes, bool]:
        """Returns a tile or a bundle of entries by its path, and whether it is full.

        Raises:
            CallRefused: ``unknown-path``: there is none.
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        try:
            level, index, width = parse_tile_path(path)
            if level is None:
                return await self.store.read_entries(index, width), width == TILE_WIDTH
            return await self.store.read_tile(level, index, width), width == TILE_WIDTH
        except (MalformedError, NotInLogError) as e:
            raise CallRefused(
                "unknown-path",
                "The log has no such tile (yet).",
                hint="Fetch the checkpoint first; tiles are named as C2SP tlog-tiles says.",
            ) from e

    async def export_tile(self, path: str) -> bytes:
        """Returns a tile by its path, for an export.

        Raises:
            CallRefused: ``unknown-path``: there is none.
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        return (await self.read_tile(path))[0]

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Returns the proof that the tree of one size starts with that of another.

        Raises:
            NotInLogError: the log never had these sizes.
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        return await self.store.prove_consistency(old_size, new_size)

    async def wait_for_news(self, tree_size: int) -> None:
        """Returns when there may be more to show than a checkpoint of that size, or after a while."""
        await self.store.wait_beyond(tree_size, _NEWS_SECONDS, cosignatures=self.cosignatures)

    async def read_records(self, start: int, limit: int) -> tuple[tuple[int, bytes], ...]:
        """Returns records with their indexes.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        return await self.store.read_records(start, limit)

    async def check_health(self) -> None:
        """Makes sure that the log serves.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        await self.store.check_health()

    def stop_waiting(self) -> None:
        """Sends everybody who waits home with what there is, now and from now on."""
        self._stopping.set()

    @contextmanager
    def _one_waiter(self, caller: str) -> Iterator[None]:
        # One caller, who waits for what never comes, must leave places to the others.
        if self._free_waiters <= 0 or self._waiting[caller] >= max(1, self._max_waiters // _SHARE):
            raise CallRefused(
                "too-many-waiters",
                "Too many clients are waiting at this log.",
                hint="Try again in a moment, or ask without waiting.",
            )
        self._free_waiters -= 1
        self._waiting[caller] += 1
        try:
            yield
        finally:
            self._free_waiters += 1
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller]


def tree_size_of(checkpoint: bytes) -> int:
    """Returns the size that a checkpoint of our own store states.

    Raises:
        MalformedError: it is none.
    """
    return parse_checkpoint(parse_note(checkpoint).text).tree_size


def _not_admitted(error: PlacetError) -> Exception:
    """Returns what is said of a record that is not taken; shapes keep their own reason."""
    if not isinstance(error, PolicyError | VerificationError):
        return error
    return CallRefused(
        "not-admitted",
        f"The log takes what enrolled keys signed, and this is not: {error.message}",
        hint=error.hint or "If it was enrolled lately, the log's operator runs `placet trust refresh`.",
    )
