"""A request store in PostgreSQL, for several relays on one database.

Writes go through `postgres_writer`, one group per commit; reads through a small pool, one statement
each, so that a request and its answers are of one moment; news through `postgres_news`.

A cursor names the place that its number counts in: store, cluster and timeline.  After a failover or a
restored backup the numbers may count something else, so such a cursor means the beginning.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from placet.adapters.postgres.address import show_address
from placet.adapters.postgres.batch import AddAnswer, Submit, Withdraw
from placet.adapters.postgres.connection import (
    Kind,
    PostgresError,
    Trouble,
    connect,
    connection_text,
    describe,
    set_up,
    standby_trouble,
)
from placet.adapters.postgres.news import News
from placet.adapters.postgres.place import find_place_async, short_place
from placet.adapters.postgres.retention import delete_closed
from placet.adapters.postgres.schema import RELAY, check_version, migrate, read_version
from placet.adapters.postgres.trouble import store_error
from placet.adapters.postgres.writer import MAX_GROUP, PostgresWriter
from placet.adapters.stored_requests import damaged_request, is_whole, seal_of, unknown_request
from placet.adapters.watches import Watches
from placet.ports.request_store import (
    MAX_DELETED,
    MAX_PAGE,
    UNLIMITED,
    Cursor,
    Limits,
    NewAnswer,
    NewRequest,
    Page,
    RequestId,
    RequestSummary,
    StateFilter,
    StoredRequest,
    StoreFailedError,
    StoreUsage,
    Watch,
)


class _Reader(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection of the pool, which knows where it leads."""

    place: str = ""


# Reads take less than a millisecond; what more connections would do is crowd the server.
_READERS = 4
# How long a read waits for a connection, and how often it tries again on another.
_READ_SECONDS = 5.0
_MAX_TRIES = _READERS + 2

_FETCH = """
SELECT id, container, withdraw_hash, submitted_at, expires_at, withdrawn_at, seal,
       ARRAY(SELECT a.container FROM placet_relay.answers a WHERE a.request_seq = r.seq ORDER BY a.seq),
       ARRAY(SELECT a.digest FROM placet_relay.answers a WHERE a.request_seq = r.seq ORDER BY a.seq)
FROM placet_relay.requests r WHERE id = %s
"""
# A place that no request has reached yet is one from before a disk was put back: it means the beginning.
_LIST = """
SELECT begin, listed.* FROM (
    SELECT CASE WHEN %(after)s <= last_request THEN %(after)s ELSE 0 END AS begin FROM placet_relay.store
) AS place LEFT JOIN LATERAL (
    SELECT id, submitted_at, expires_at, withdrawn_at,
           (SELECT count(*) FROM placet_relay.answers WHERE request_seq = requests.seq), seq
    FROM placet_relay.requests WHERE seq > begin {} ORDER BY seq LIMIT %(limit)s
) AS listed ON true ORDER BY seq
"""
_LIST_BY_STATE = {
    StateFilter.OPEN: _LIST.format("AND withdrawn_at IS NULL AND expires_at > %(now)s"),
    StateFilter.CLOSED: _LIST.format("AND (withdrawn_at IS NOT NULL OR expires_at <= %(now)s)"),
    StateFilter.ALL: _LIST.format(""),
}
_HEALTH = "SELECT current_setting('transaction_read_only') FROM placet_relay.store"
_MEASURE = """
SELECT requests,
       (SELECT count(*) FROM placet_relay.requests WHERE withdrawn_at IS NULL AND expires_at > %s),
       answers, kept_bytes,
       pg_total_relation_size('placet_relay.requests') + pg_total_relation_size('placet_relay.answers')
FROM placet_relay.store
"""


class PostgresRequestStore:
    """A `placet.ports.request_store.RequestStore` in PostgreSQL.  Make one with `open`."""

    def __init__(self, address: str, *, max_group: int = MAX_GROUP) -> None:
        self._address = address
        self._watches = Watches()
        self._writer = PostgresWriter(address, max_group=max_group)
        self._news = News(address, self._watches)
        self._writer.is_away = lambda: self._news.is_away
        self._pool: AsyncConnectionPool[_Reader] | None = None
        self._closed = False

    @classmethod
    def open(cls, address: str, *, max_group: int = MAX_GROUP) -> PostgresRequestStore:
        """Opens the store at `address`, making its tables where there are none.

        Args:
            address: ``postgresql://USER@HOST/DATABASE``.
            max_group: the largest number of writes in one commit.

        Raises:
            StoreFailedError: no database of ours, another version, not durable, a standby, or no rights.
            StoreBusyError: it cannot be reached now.
        """
        try:
            with connect(address) as connection:
                if read_version(connection, RELAY) == 0:
                    migrate(connection, RELAY, address)
                check_version(connection, RELAY, address)
        except (psycopg.Error, PostgresError) as error:
            raise store_error(describe(error, address, migrate=RELAY.command)) from error
        return cls(address, max_group=max_group)

    async def submit(
        self, request: NewRequest, *, now: int, limits: Limits = UNLIMITED
    ) -> tuple[StoredRequest, bool]:
        """See `RequestStore.submit`."""
        await self._start()
        kept: tuple[StoredRequest, bool] = await self._writer.run(Submit(request, limits), now=now)
        return kept

    async def add_answer(
        self, request_id: RequestId, answer: NewAnswer, *, now: int, limits: Limits = UNLIMITED
    ) -> bool:
        """See `RequestStore.add_answer`."""
        await self._start()
        added: bool = await self._writer.run(AddAnswer(request_id, answer, limits), now=now)
        return added

    async def withdraw(self, request_id: RequestId, *, now: int) -> None:
        """See `RequestStore.withdraw`."""
        await self._start()
        await self._writer.run(Withdraw(request_id), now=now)

    async def fetch(self, request_id: RequestId) -> StoredRequest:
        """See `RequestStore.fetch`."""
        # One statement sees one moment: the request and its answers belong together.
        rows, _ = await self._read(_FETCH, lambda _: (request_id,))
        if not rows:
            raise unknown_request(request_id)
        *columns, seal, answers, digests = rows[0]
        found = StoredRequest._make((*columns, tuple(answers)))
        head = (found.id, found.withdraw_hash, found.submitted_at, found.expires_at)
        if seal_of(*head, found.container) != seal or not all(map(is_whole, answers, digests)):
            raise damaged_request(request_id)
        return found

    async def list_page(self, state: StateFilter, *, after: Cursor | None, limit: int, now: int) -> Page:
        """See `RequestStore.list_page`."""
        limit = max(1, min(limit, MAX_PAGE))

        def values(here: str) -> dict[str, int]:
            # One more than asked for: its presence is what `has_more` says.
            return {"after": _read_cursor(after, here), "now": now, "limit": limit + 1}

        rows, here = await self._read(_LIST_BY_STATE[state], values)
        begin = rows[0][0] if rows else 0
        found = [columns for _, *columns in rows if columns[0] is not None]
        requests = tuple(
            RequestSummary._make((*columns, Cursor(f"{here}-{seq}"))) for *columns, seq in found[:limit]
        )
        position = requests[-1].cursor if requests else Cursor(f"{here}-{begin}")
        return Page(requests, position, len(found) > limit)

    async def delete_closed(self, *, closed_before: int, limit: int = MAX_DELETED) -> int:
        """See `RequestStore.delete_closed`."""
        limit = max(1, min(limit, MAX_DELETED))
        try:
            async with self._reader() as connection:
                return await delete_closed(connection, closed_before, limit)
        except (psycopg.Error, PostgresError) as error:
            trouble = describe(error, self._address, migrate=RELAY.command)
            raise store_error(trouble, is_away=self._news.is_away) from error

    async def measure(self, *, now: int) -> StoreUsage:
        """See `RequestStore.measure`."""
        rows, _ = await self._read(_MEASURE, lambda _: (now,))
        return StoreUsage._make(rows[0])

    @contextlib.contextmanager
    def watch(self, request_id: RequestId | None) -> Iterator[Watch]:
        """See `RequestStore.watch`."""
        with self._watches.watch(request_id) as watch:
            yield watch

    def observe_commits(self, saw_commit: Callable[[int, float], None]) -> None:
        """Has `saw_commit` called after each commit, with the number of writes in it and its seconds."""
        self._writer.saw_commit = saw_commit

    async def check_health(self) -> None:
        """See `RequestStore.check_health`."""
        rows, _ = await self._read(_HEALTH, lambda _: ())
        if not rows or rows[0][0] != "off":
            raise store_error(standby_trouble(show_address(self._address)))

    async def close(self) -> None:
        """See `RequestStore.close`."""
        self._closed = True
        await self._writer.close()
        await self._news.close()
        if self._pool is not None:
            await self._pool.close()

    async def _start(self) -> AsyncConnectionPool[_Reader]:
        """Opens what belongs to the event loop; `open` is called before there is one."""
        if self._closed:
            raise StoreFailedError("The store is closed.")
        if self._pool is None:
            # What its pool and pipelines meet in an outage is told once, in a line of ours (`News`).
            logging.getLogger("psycopg").setLevel(logging.ERROR)
            self._pool = AsyncConnectionPool(
                connection_text(self._address),
                connection_class=_Reader,
                kwargs={"autocommit": True},
                min_size=1,
                max_size=_READERS,
                configure=self._configure,
                timeout=_READ_SECONDS,
                # Short, so that a server that comes back is found again soon: each read starts anew.
                reconnect_timeout=2.0,
                open=False,
                name="placet-store-readers",
            )
            await self._pool.open()
        await self._news.start()
        return self._pool

    async def _configure(self, connection: _Reader) -> None:
        await set_up(connection, self._address)
        place = await find_place_async(connection)
        query = f"SELECT id, {place} FROM placet_relay.store"  # noqa: S608 (our own expression)
        row = await (await connection.execute(query.encode())).fetchone()
        connection.place = short_place(*(row or ("",)))

    async def _read(self, query: str, values: Callable[[str], Any]) -> tuple[list[tuple[Any, ...]], str]:
        """Reads in one statement, with values that may depend on the place; returns rows and place."""
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                async with self._reader() as connection:
                    cursor = await connection.execute(query.encode(), values(connection.place))
                    return await cursor.fetchall(), connection.place
            except (psycopg.Error, PostgresError) as error:
                trouble = describe(error, self._address, migrate=RELAY.command)
                # A restarted server has cut every connection of the pool; each is found out by itself.
                if trouble.kind is not Kind.GONE or attempt == _MAX_TRIES:
                    raise store_error(trouble, is_away=self._news.is_away) from error
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[_Reader]:
        pool = await self._start()
        try:
            async with pool.connection() as connection:
                yield connection
        except (PoolTimeout, TooManyRequests, PoolClosed) as error:
            raise PostgresError(
                Trouble(
                    Kind.BUSY,
                    "The relay's database cannot be reached, or all connections to it are busy.",
                    "Try again in a moment.",
                )
            ) from error


def migrate_store(address: str) -> tuple[int, int]:
    """Makes or upgrades the relay's tables; returns the version before and after.

    Raises:
        StoreFailedError: it cannot be used; an operator is needed.
        StoreBusyError: it cannot be reached now.
    """
    try:
        with connect(address) as connection:
            return migrate(connection, RELAY, address)
    except (psycopg.Error, PostgresError) as error:
        raise store_error(describe(error, address, migrate=RELAY.command)) from error


def _read_cursor(cursor: Cursor | None, here: str) -> int:
    place, _, seq = (cursor or "").partition("-")
    own = place == here and seq.isascii() and seq.isdigit() and len(seq) < 19
    return int(seq) if own else 0
