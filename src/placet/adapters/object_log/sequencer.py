"""Gives leaves their places: one round after another, each for all that was waiting.

While a round is under way the next one gathers by itself; so there is no timer, a lone leaf is not
delayed, and slower storage only makes larger rounds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from placet.adapters.log_tree import grow_edge, log_damaged
from placet.adapters.object_log.bucket import Kind, S3Bucket
from placet.adapters.object_log.journal import JOURNAL, Journal, TreeState, encode_journal
from placet.adapters.object_log.leaves import find_leaf
from placet.adapters.object_log.rounds import LogState, Owner, finish_round, load_state
from placet.adapters.object_log.tiles import TileReader, tree_at
from placet.adapters.object_log.writes import OvertakenError, exchange
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.merkle import hash_leaf
from placet.ports.log_store import MAX_APPENDED, Appended, LogEntry

# Bounds the journal; one call may exceed it by itself.
_MAX_ROUND_BYTES = 16 * 1024 * 1024
# Each race is lost to somebody who made progress; more than this is two servers where one belongs.
_RACES = 16
_PAUSE_MS = 40


class _Call(NamedTuple):
    entries: Sequence[LogEntry]
    future: asyncio.Future[tuple[Appended, ...]]

    @property
    def size(self) -> int:
        return sum(len(entry.leaf) + len(entry.record) for entry in self.entries)


class Sequencer:
    """The one who writes the journal, as far as this process is concerned.

    Args:
        state: where the log stands.
        announce: called when it stands elsewhere.
    """

    def __init__(
        self,
        bucket: S3Bucket,
        owner: Owner,
        reader: TileReader,
        state: LogState,
        announce: Callable[[], None],
    ) -> None:
        self.state = state
        self._bucket = bucket
        self._owner = owner
        self._reader = reader
        self._announce = announce
        self._calls: deque[_Call] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._in_doubt = False
        self._closed = False
        self._damage: IndeterminateError | None = None

    async def append(self, entries: Sequence[LogEntry]) -> tuple[Appended, ...]:
        """Appends the entries; see `LogStore.append`."""
        self.check_open()
        if not entries:
            return ()
        call = _Call(entries, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await call.future

    def check_open(self) -> None:
        """Makes sure that nothing stands in the way of the next round.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE where the log is closed, LOG_DAMAGED.
        """
        if self._damage is not None:
            raise log_damaged(self._damage.message)
        if self._closed:
            raise IndeterminateError(Reason.LOG_UNAVAILABLE, "The log is closed.", hint="Open it again.")

    def note(self, error: IndeterminateError) -> None:
        """Takes note of a failure: after damage, nothing more is signed."""
        if error.reason is Reason.LOG_DAMAGED:
            self._damage = self._damage or error

    async def refresh(self) -> None:
        """Reads where the log stands, if somebody else went on with it.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        async with self._turn:
            await self._reload()

    async def close(self) -> None:
        """Finishes what was accepted."""
        self._closed = True
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        while self._calls:
            calls = self._gather()
            try:
                async with self._turn:
                    outcomes = await self._append_all(calls)
            except Exception as e:
                # Whatever it was, the round may be in the journal: the next one begins by reading.
                self._in_doubt = True
                for call in calls:
                    if not call.future.done():
                        call.future.set_exception(self._named(e))
                continue
            for call, outcome in zip(calls, outcomes, strict=True):
                if not call.future.done():
                    call.future.set_result(outcome)

    def _named(self, error: Exception) -> Exception:
        if not isinstance(error, IndeterminateError):
            return error
        self.note(error)
        # Each caller gets one of its own: a traceback that grows with each of them helps nobody.
        return IndeterminateError(error.reason, error.message, hint=error.hint)

    def _gather(self) -> list[_Call]:
        calls = [self._calls.popleft()]
        count, size = len(calls[0].entries), calls[0].size
        while self._calls:
            count, size = count + len(self._calls[0].entries), size + self._calls[0].size
            if count > MAX_APPENDED or size > _MAX_ROUND_BYTES:
                break
            calls.append(self._calls.popleft())
        return calls

    async def _append_all(self, calls: Sequence[_Call]) -> list[tuple[Appended, ...]]:
        if self._damage is not None:
            raise self._damage
        for turn in range(_RACES):
            if self._in_doubt:
                await self._reload()
            base = self.state
            new, outcomes = await self._place(base, calls)
            if not new:
                return outcomes
            try:
                await self._round(base, new)
                return outcomes
            except OvertakenError:
                self._in_doubt = True
                await asyncio.sleep(secrets.randbelow(_PAUSE_MS * (turn + 1)) / 1000)
        raise IndeterminateError(
            Reason.LOG_UNAVAILABLE,
            f"Another server writes to {self._bucket.address} all the time.",
            hint="Run one server for each log.",
        )

    async def _place(
        self, base: LogState, calls: Sequence[_Call]
    ) -> tuple[list[LogEntry], list[tuple[Appended, ...]]]:
        """Returns the entries that the log does not have, and where each one will stand."""
        hashes = [[hash_leaf(entry.leaf) for entry in call.entries] for call in calls]
        distinct = list(dict.fromkeys(one for row in hashes for one in row))
        edge = base.head.edge
        found = await asyncio.gather(*(find_leaf(self._bucket, self._reader, edge, one) for one in distinct))
        places = {one: index for one, index in zip(distinct, found, strict=True) if index is not None}
        new: list[LogEntry] = []
        outcomes = []
        for call, row in zip(calls, hashes, strict=True):
            outcome = []
            for entry, leaf_hash in zip(call.entries, row, strict=True):
                created = leaf_hash not in places
                if created:
                    places[leaf_hash] = base.head.tree_size + len(new)
                    new.append(entry)
                outcome.append(Appended(places[leaf_hash], leaf_hash, created))
            outcomes.append(tuple(outcome))
        return new, outcomes

    async def _round(self, base: LogState, new: Sequence[LogEntry]) -> None:
        edge, _ = grow_edge(base.head.edge, [hash_leaf(entry.leaf) for entry in new])
        journal = Journal(
            key=str(self._owner.signer.verifier_key),
            place=str(self._bucket.address),
            writer=self._owner.writer,
            base=TreeState(base.head.tree_size, base.head.edge.compact.root()),
            tree=TreeState(edge.compact.size, edge.compact.root()),
            entries=tuple(new),
        )
        data = encode_journal(journal)
        stored = await exchange(self._bucket, JOURNAL, data, Kind.PRIVATE, base.journal)
        self.state = await finish_round(self._bucket, self._owner, base._replace(journal=stored), journal)
        self._announce()

    async def _reload(self) -> None:
        old, new = self.state.head, await load_state(self._bucket, self._owner)
        known = (
            await self._reader.prove(new.head.edge, old.tree_size, tree_at(old.tree_size))
            if (old.tree_size <= new.head.tree_size)
            else None
        )
        if known != old.edge.compact.hashes:
            damage = log_damaged(
                f"The log in {self._bucket.address} does not continue what this server signed, of size "
                f"{old.tree_size}: it was put back to an older state, or rewritten."
            )
            self.note(damage)
            raise damage
        self.state = new
        self._in_doubt = False
        self._announce()
