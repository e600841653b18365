"""Group commit on PostgreSQL: one transaction for all the writes that were waiting for the last one.

One task owns the writing connection.  It takes whatever is queued and commits it as one group
(`postgres_batch`); meanwhile the next group gathers by itself.  Two trips to the server make a group,
whatever its size: lock and read, then write and commit.

Every writer of every process locks the one row of ``store`` first and holds it until its commit is
durable and visible.  So the numbers of requests are their order of appearance, which a sequence alone
would not give: it numbers rows when they are written, and transactions end in another order.

A connection that is lost in the middle leaves open whether the group was committed.  Writes are
idempotent, so the group is written again on a new connection, and finds itself if it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from placet.adapters.postgres.batch import Batch, Facts, Needs, Submit, Totals, Write, needs_of
from placet.adapters.postgres.connection import Kind, PostgresError, Trouble, connect_async, describe
from placet.adapters.postgres.schema import RELAY, latest_version
from placet.adapters.postgres.trouble import store_error
from placet.ports.request_store import RequestStoreError, StoreBusyError, StoreFailedError

CHANNEL = "placet_relay"
# Bounds the lock's time and the memory of a group; far above what gathers while a commit runs.
MAX_GROUP = 512
_MAX_GROUP_BYTES = 16 * 1024**2
# Writes that wait for a server which does not answer; beyond, nobody gains from waiting longer.
MAX_QUEUED = 2048
# A restarted server is back within this; whoever waits for longer deserves an answer.
RETRY_SECONDS = 5.0
_RETRY_PAUSE = 0.1

_LOCK = """
SELECT change, last_request, last_answer, requests, answers, kept_bytes,
       (SELECT max(number) FROM placet_relay.migrations)
FROM placet_relay.store FOR UPDATE
"""
_REQUESTS = """
SELECT id, seq, caller, withdraw_hash, seal, submitted_at, expires_at, withdrawn_at
FROM placet_relay.requests WHERE id = ANY(%s)
"""
_ANSWERS = """
SELECT request_seq, digest, answers.caller, signer
FROM placet_relay.answers JOIN placet_relay.requests ON requests.seq = request_seq WHERE id = ANY(%s)
"""
_USAGE = """
SELECT caller, requests, answers, kept_bytes, day, requests_that_day
FROM placet_relay.usage WHERE caller = ANY(%s)
"""
_OPEN_BY_CALLER = """
SELECT caller, count(*) FROM placet_relay.requests
WHERE caller = ANY(%s) AND withdrawn_at IS NULL AND expires_at > %s GROUP BY caller
"""
_ALL_OPEN = "SELECT count(*) FROM placet_relay.requests WHERE withdrawn_at IS NULL AND expires_at > %s"
_INSERT_REQUESTS = """
INSERT INTO placet_relay.requests
    (seq, id, withdraw_hash, submitted_at, expires_at, caller, seal, size, container)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[],
                     %b::text[], %b::text[], %b::bigint[], %b::bytea[])
"""
_INSERT_ANSWERS = """
INSERT INTO placet_relay.answers (seq, request_seq, digest, received_at, caller, signer, size, container)
SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::bigint[],
                     %b::text[], %b::text[], %b::bigint[], %b::bytea[])
"""
_WITHDRAW = "UPDATE placet_relay.requests SET withdrawn_at = %s WHERE id = ANY(%s) AND withdrawn_at IS NULL"
_COUNT = """
INSERT INTO placet_relay.usage (caller, requests, answers, kept_bytes, day, requests_that_day)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])
ON CONFLICT (caller) DO UPDATE SET
    requests = excluded.requests, answers = excluded.answers, kept_bytes = excluded.kept_bytes,
    day = excluded.day, requests_that_day = excluded.requests_that_day
"""
_TOTALS = """
UPDATE placet_relay.store SET change = %s, last_request = %s, last_answer = %s,
                              requests = %s, answers = %s, kept_bytes = %s
"""
# With a synchronous standby, a time limit would end the wait for it, and COMMIT would report success.
_NO_LIMIT = "SET LOCAL statement_timeout = 0"


class _Queued(NamedTuple):
    write: Write
    now: int
    future: asyncio.Future[Any]

    @property
    def size(self) -> int:
        match self.write:
            case Submit(request, _):
                return len(request.container)
            case _:
                return len(getattr(getattr(self.write, "answer", None), "container", b""))


class _Refused(NamedTuple):
    error: Exception


class PostgresWriter:
    """Writes to the store at `address`, as many writes per commit as are waiting.

    Args:
        max_group: the largest number of writes in one commit; 1 turns grouping off.

    Attributes:
        saw_commit: told after each commit how many writes it held and how many seconds it took.
        is_away: tells whether the operator knows that the database is away.
    """

    def __init__(self, address: str, *, max_group: int = MAX_GROUP) -> None:
        self._address = address
        self._max_group = max_group
        self._known_version = latest_version(RELAY)
        self._queue: asyncio.Queue[_Queued | None] = asyncio.Queue()
        self._held: _Queued | None = None
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.saw_commit: Callable[[int, float], None] = _tell_nobody
        self.is_away: Callable[[], bool] = lambda: False

    async def run(self, write: Write, *, now: int) -> Any:
        """Writes, and returns what the caller is told once that is durable.

        Raises:
            RequestStoreError: the write is refused, or what became of the database.
        """
        if self._closed:
            raise StoreFailedError("The store is closed.")
        if self._queue.qsize() >= MAX_QUEUED:
            raise StoreBusyError(
                "The relay's database takes writes more slowly than they come.",
                hint="Nothing was stored; try again in a moment.",
            )
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._work(), name="placet-store-writer")
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put_nowait(_Queued(write, now, future))
        return await future

    async def close(self) -> None:
        """Finishes what is queued and closes the connection."""
        if not self._closed:
            self._closed = True
            self._queue.put_nowait(None)
        if self._task is not None:
            await self._task
        await self._drop_connection()

    async def _work(self) -> None:
        while (group := await self._gather()) is not None:
            for queued, outcome in zip(group, await self._settle(group), strict=True):
                if queued.future.done():
                    continue
                if isinstance(outcome, _Refused):
                    queued.future.set_exception(outcome.error)
                else:
                    queued.future.set_result(outcome)

    async def _gather(self) -> list[_Queued] | None:
        """Waits for a write, and takes what else is there; None when the store closes."""
        first = self._held or await self._queue.get()
        self._held = None
        if first is None:
            return None
        group, size = [first], first.size
        while len(group) < self._max_group and not self._queue.empty():
            queued = self._queue.get_nowait()
            if queued is None:
                self._queue.put_nowait(None)
                break
            size += queued.size
            # One group has one time: limits are judged by it.
            if queued.now != first.now or size > _MAX_GROUP_BYTES:
                self._held = queued
                break
            group.append(queued)
        return group

    async def _settle(self, group: Sequence[_Queued]) -> list[Any]:
        """Commits a group, or each write alone if together is impossible; returns their outcomes."""
        deadline = asyncio.get_running_loop().time() + RETRY_SECONDS
        in_doubt = False
        while True:
            try:
                return await self._commit(group)
            except (psycopg.Error, PostgresError) as error:
                trouble = describe(error, self._address, migrate=RELAY.command)
                in_doubt |= isinstance(error, _CommitLostError)
                await self._drop_connection()
                if trouble.kind is Kind.GONE and not self._closed:
                    if asyncio.get_running_loop().time() < deadline:
                        await asyncio.sleep(_RETRY_PAUSE)
                        continue
                elif len(group) > 1 and trouble.kind is not Kind.BUSY:
                    break
                away = self.is_away()
                return [_Refused(store_error(trouble, in_doubt=in_doubt, is_away=away)) for _ in group]
            except Exception as error:
                await self._drop_connection()
                return [_Refused(error) for _ in group]
        return [outcome for queued in group for outcome in await self._settle([queued])]

    async def _commit(self, group: Sequence[_Queued]) -> list[Any]:
        now, begun = group[0].now, time.monotonic()
        connection = await self._connected()
        facts = await self._read_facts(connection, needs_of(queued.write for queued in group), now)
        batch = Batch(facts, now=now)
        outcomes: list[Any] = []
        for queued in group:
            try:
                outcomes.append(batch.judge(queued.write))
            except RequestStoreError as refusal:
                outcomes.append(_Refused(refusal))
        if batch.is_empty:
            await connection.execute("ROLLBACK")
        else:
            await self._write(connection, batch, now)
            self.saw_commit(len(group), time.monotonic() - begun)
        return outcomes

    async def _read_facts(
        self, connection: psycopg.AsyncConnection[tuple[Any, ...]], needs: Needs, now: int
    ) -> Facts:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            store = await connection.execute(_LOCK)
            # Each of these takes its snapshot when it starts: after the lock was won.
            requests = await connection.execute(_REQUESTS, (needs.request_ids,))
            answers = await connection.execute(_ANSWERS, (needs.answered_ids,))
            usage = await connection.execute(_USAGE, (needs.callers,))
            open_by_caller = all_open = None
            if needs.counts_open:
                open_by_caller = await connection.execute(_OPEN_BY_CALLER, (needs.callers, now))
                all_open = await connection.execute(_ALL_OPEN, (now,))
            row = await store.fetchone()
            self._check_store(row)
            assert row is not None  # noqa: S101 (just checked)
            return Facts(
                Totals(*row[:-1]),
                await requests.fetchall(),
                await answers.fetchall(),
                await usage.fetchall(),
                await open_by_caller.fetchall() if open_by_caller else (),
                ((await all_open.fetchone()) or (0,))[0] if all_open else 0,
            )

    def _check_store(self, row: tuple[Any, ...] | None) -> None:
        if row is None or row[-1] != self._known_version:
            raise PostgresError(
                Trouble(
                    Kind.FAILED,
                    "The relay's tables were upgraded or emptied while it ran.",
                    "Stop the relay and start it again, in the version that fits the tables.",
                )
            )

    async def _write(
        self, connection: psycopg.AsyncConnection[tuple[Any, ...]], batch: Batch, now: int
    ) -> None:
        batch.totals = batch.totals._replace(change=batch.totals.change + 1)
        try:
            async with connection.pipeline():
                if batch.new_requests:
                    await connection.execute(_INSERT_REQUESTS, _columns(batch.new_requests))
                if batch.new_answers:
                    await connection.execute(_INSERT_ANSWERS, _columns(batch.new_answers))
                if batch.withdrawals:
                    await connection.execute(_WITHDRAW, (now, batch.withdrawals))
                if batch.usage:
                    await connection.execute(_COUNT, _columns(batch.usage))
                await connection.execute(_TOTALS, batch.totals)
                await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, batch.notification()))
                await connection.execute(_NO_LIMIT)
                committed = await connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            if connection.closed:
                raise _CommitLostError(*error.args) from error
            raise
        # A transaction that had failed answers COMMIT with ROLLBACK, and with no error.
        if committed.statusmessage != "COMMIT":
            raise psycopg.OperationalError("the transaction was rolled back")

    async def _connected(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = await connect_async(self._address)
        return self._connection

    async def _drop_connection(self) -> None:
        """Lets go of a connection whose state is not known; the server then rolls back what it had begun."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


class _CommitLostError(psycopg.OperationalError):
    """The connection was lost when a COMMIT may have been under way."""


def _tell_nobody(writes: int, seconds: float) -> None:
    """Until somebody observes."""


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))
