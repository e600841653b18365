"""A request store in one SQLite file: the relay's default.

Write-ahead log with ``synchronous=FULL``: a commit returns after the log was synced, so what
was acknowledged survives SIGKILL and power loss.  One thread writes (`group_commit`); readers
use connections of their own and never wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from placet.adapters.group_commit import MAX_GROUP, GroupCommit
from placet.adapters.sqlite_database import DEFAULT_MAX_BYTES, connect, open_database, take_lock
from placet.adapters.sqlite_errors import translate
from placet.ports.request_store import (
    MAX_ANSWERS,
    MAX_PAGE,
    AnswerLimitError,
    Cursor,
    NewAnswer,
    NewRequest,
    Page,
    RequestClosedError,
    RequestConflictError,
    RequestId,
    RequestState,
    RequestSummary,
    StateFilter,
    StoredRequest,
    StoreFailedError,
    UnknownRequestError,
    Watch,
)

T = TypeVar("T")

# Reads take microseconds; more threads would only raise the memory of an idle relay.
_READERS = 2

_REQUEST_COLUMNS = "id, container, withdraw_hash, submitted_at, expires_at, withdrawn_at"
_SELECT_REQUEST = f"SELECT {_REQUEST_COLUMNS} FROM requests WHERE id = ?"  # noqa: S608 (constant)
_INSERT_REQUEST = """
INSERT INTO requests (id, container, withdraw_hash, submitted_at, expires_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
# The open state and the number of answers are judged by the statement that writes: nothing can come between.
_INSERT_ANSWER = """
INSERT INTO answers (request_seq, digest, received_at, container)
SELECT seq, ?, ?, ? FROM requests
WHERE id = ? AND withdrawn_at IS NULL AND expires_at > ?
  AND (SELECT count(*) FROM answers WHERE request_seq = requests.seq) < ?
ON CONFLICT (request_seq, digest) DO NOTHING
"""
_SELECT_ANSWERS = """
SELECT answers.container FROM answers JOIN requests ON requests.seq = request_seq
WHERE id = ? ORDER BY answers.seq
"""
_LIST = """
SELECT id, submitted_at, expires_at, withdrawn_at,
       (SELECT count(*) FROM answers WHERE request_seq = requests.seq), seq
FROM requests {} ORDER BY seq LIMIT :limit
"""
_LIST_BY_STATE = {
    # SQLite would walk the table, whose rows are as large as the requests; the index holds only what was
    # never withdrawn, by expiry, so the cost follows what is open and not what ever was.
    StateFilter.OPEN: _LIST.format(
        "INDEXED BY requests_that_may_be_open "
        "WHERE seq > :after AND withdrawn_at IS NULL AND expires_at > :now"
    ),
    StateFilter.CLOSED: _LIST.format(
        "WHERE seq > :after AND (withdrawn_at IS NOT NULL OR expires_at <= :now)"
    ),
    StateFilter.ALL: _LIST.format("WHERE seq > :after AND :now = :now"),
}


class SqliteRequestStore:
    """A `placet.ports.request_store.RequestStore` in one SQLite file.  Make one with `open`."""

    def __init__(self, path: Path, store_id: str, writer: GroupCommit, lock: int) -> None:
        self._path = str(path)
        self._id = store_id
        self._writer = writer
        self._lock = lock
        self._watches: dict[RequestId | None, set[_EventWatch]] = {}
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="placet-store-reader")
        self._closed = False

    @classmethod
    def open(
        cls, path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES, max_group: int = MAX_GROUP
    ) -> SqliteRequestStore:
        """Opens the store at `path`, creating it and its folder where they are missing.

        Args:
            path: the database file.  Its folder and file are made readable for the owner only.
            max_bytes: how large the file may grow; beyond, writes raise `StoreFullError`.
            max_group: the largest number of writes in one commit.

        Raises:
            StoreFailedError: not a placet store, a newer version, damaged, in use or not accessible.
            StoreBusyError: another program holds the database locked.
        """
        lock = take_lock(path)
        try:
            connection, store_id = open_database(path, max_bytes)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, store_id, GroupCommit(connection, str(path), max_group=max_group), lock)

    async def submit(self, request: NewRequest, *, now: int) -> tuple[StoredRequest, bool]:
        """See `RequestStore.submit`."""

        def job(connection: sqlite3.Connection) -> tuple[StoredRequest, bool]:
            if request.expires_at > now:
                values = (request.id, request.container, request.withdraw_hash, now, request.expires_at)
                if connection.execute(_INSERT_REQUEST, values).rowcount == 1:
                    return StoredRequest(*values, None, ()), True
            return _same_request(connection, request), False

        return await self._writer.run(job, on_commit=lambda: self._announce(None))

    async def add_answer(self, request_id: RequestId, answer: NewAnswer, *, now: int) -> bool:
        """See `RequestStore.add_answer`."""

        def job(connection: sqlite3.Connection) -> bool:
            values = (answer.digest, now, answer.container, request_id, now, MAX_ANSWERS)
            if connection.execute(_INSERT_ANSWER, values).rowcount == 1:
                return True
            _explain_missing_answer(connection, request_id, answer, now)
            return False

        return await self._writer.run(job, on_commit=lambda: self._announce(request_id))

    async def withdraw(self, request_id: RequestId, *, now: int) -> None:
        """See `RequestStore.withdraw`."""

        def job(connection: sqlite3.Connection) -> None:
            update = "UPDATE requests SET withdrawn_at = coalesce(withdrawn_at, ?) WHERE id = ?"
            if connection.execute(update, (now, request_id)).rowcount == 0:
                raise _unknown(request_id)

        await self._writer.run(job, on_commit=lambda: self._announce(request_id))

    async def fetch(self, request_id: RequestId) -> StoredRequest:
        """See `RequestStore.fetch`."""

        def job(connection: sqlite3.Connection) -> StoredRequest:
            row = connection.execute(_SELECT_REQUEST, (request_id,)).fetchone()
            if row is None:
                raise _unknown(request_id)
            answers = connection.execute(_SELECT_ANSWERS, (request_id,)).fetchall()
            return StoredRequest._make((*row, tuple(answer for (answer,) in answers)))

        return await self._read(job)

    async def list_page(self, state: StateFilter, *, after: Cursor | None, limit: int, now: int) -> Page:
        """See `RequestStore.list_page`."""
        start = self._parse_cursor(after)
        limit = max(1, min(limit, MAX_PAGE))

        def job(connection: sqlite3.Connection) -> Page:
            # One more than asked for: its presence is what `has_more` says.
            values = {"after": start, "now": now, "limit": limit + 1}
            rows = connection.execute(_LIST_BY_STATE[state], values).fetchall()
            requests = tuple(
                RequestSummary._make((*columns, self._cursor(seq))) for *columns, seq in rows[:limit]
            )
            position = requests[-1].cursor if requests else self._cursor(start)
            return Page(requests, position, len(rows) > limit)

        return await self._read(job)

    @contextlib.contextmanager
    def watch(self, request_id: RequestId | None) -> Iterator[Watch]:
        """See `RequestStore.watch`."""
        watch = _EventWatch()
        watches = self._watches.setdefault(request_id, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches and self._watches.get(request_id) is watches:
                del self._watches[request_id]

    async def check_health(self) -> None:
        """See `RequestStore.check_health`."""
        self._writer.check_health()
        await self._read(lambda connection: connection.execute("SELECT id FROM store").fetchone())

    async def close(self) -> None:
        """See `RequestStore.close`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._reader_connections:
            connection.close()
        # The writer closes last, so that its connection, the only one left, folds the log into the file.
        await self._writer.close()
        os.close(self._lock)

    def _announce(self, request_id: RequestId | None) -> None:
        for watch in self._watches.get(request_id, ()):
            watch.note()

    def _cursor(self, seq: int) -> Cursor:
        return Cursor(f"{self._id}-{seq}")

    def _parse_cursor(self, cursor: Cursor | None) -> int:
        store_id, _, seq = (cursor or "").partition("-")
        own = store_id == self._id and seq.isascii() and seq.isdigit() and len(seq) < 19
        return int(seq) if own else 0

    def _reader_connection(self) -> sqlite3.Connection:
        """Returns the reading connection of the thread that calls."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        connection = connect(Path(self._path))
        self._reader_connections.append(connection)
        connection.execute("PRAGMA query_only = ON")
        self._local.connection = connection
        return connection

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        def snapshot() -> T:
            connection = self._reader_connection()
            connection.execute("BEGIN")
            try:
                return job(connection)
            finally:
                connection.execute("ROLLBACK")

        if self._closed:
            raise StoreFailedError("The store is closed.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, snapshot)
        except sqlite3.Error as e:
            raise translate(e, self._path) from e


class _EventWatch:
    def __init__(self) -> None:
        self._event = asyncio.Event()

    def note(self) -> None:
        self._event.set()

    async def changed(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        # Cleared before the caller reads again: a change during that read sets it anew.
        self._event.clear()
        return True


def _unknown(request_id: RequestId) -> UnknownRequestError:
    return UnknownRequestError(
        f"There is no request {request_id[:16]}… here.",
        hint="Check the id, and that you ask the relay to which the request was sent.",
    )


def _same_request(connection: sqlite3.Connection, request: NewRequest) -> StoredRequest:
    row = connection.execute(_SELECT_REQUEST, (request.id,)).fetchone()
    if row is None:
        raise RequestClosedError(
            "The request had expired before it arrived.",
            hint="Make a new request; if it was made just now, check the clocks of both machines.",
        )
    kept = StoredRequest._make((*row, ()))
    if kept.container != request.container or kept.withdraw_hash != request.withdraw_hash:
        raise RequestConflictError(
            f"The request {request.id[:16]}… is here already, with other evidence or another withdraw token.",
            hint="Make a new request: each has its own nonce, so two never share an id by accident.",
        )
    return kept


def _explain_missing_answer(
    connection: sqlite3.Connection, request_id: RequestId, answer: NewAnswer, now: int
) -> None:
    """Says why an answer was not inserted; returns if it was there already."""
    row = connection.execute(_SELECT_REQUEST, (request_id,)).fetchone()
    if row is None:
        raise _unknown(request_id)
    known = "SELECT 1 FROM answers JOIN requests ON requests.seq = request_seq WHERE id = ? AND digest = ?"
    if connection.execute(known, (request_id, answer.digest)).fetchone():
        return
    state = StoredRequest._make((*row, ())).state(now)
    if state is not RequestState.OPEN:
        raise RequestClosedError(
            f"The request is {state}; it takes no more answers.",
            hint="If the action is still wanted, ask for it with a new request.",
        )
    raise AnswerLimitError(
        f"The request has {MAX_ANSWERS} answers already; no more are kept.",
        hint="Withdraw it and make a new request.",
    )
