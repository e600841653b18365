"""A request store in one SQLite file: the relay's default.

Write-ahead log with ``synchronous=FULL``: a commit returns after the log was synced, so what
was acknowledged survives SIGKILL and power loss.  One thread writes (`group_commit`); readers
use connections of their own and never wait for it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from placet.adapters.sqlite._ledger_place import read_file_mark
from placet.adapters.sqlite._log_open import open_log_writer
from placet.adapters.sqlite._log_writer import LogWriter
from placet.adapters.sqlite.counting import (
    check_answer_bytes,
    count_answer,
    count_request,
    delete_closed,
    read_present,
    read_present_answers,
    read_usage,
)
from placet.adapters.sqlite.database import (
    DEFAULT_MAX_BYTES,
    open_database,
    size_of,
    take_lock,
)
from placet.adapters.sqlite.group_commit import MAX_GROUP, CommitObserver, GroupCommit
from placet.adapters.sqlite.log import SqliteLog
from placet.adapters.sqlite.readers import Readers
from placet.adapters.stored_requests import (
    closed_request,
    damaged_request,
    is_whole,
    late_request,
    seal_of,
    taken_request,
    unknown_request,
)
from placet.adapters.watches import Watches
from placet.core.encoding import sha256_hex
from placet.core.tlog.note import NoteSigner
from placet.ports.request_limits import check_new_answer, check_new_request
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
    RequestState,
    RequestSummary,
    StateFilter,
    StoredRequest,
    StoreFailedError,
    StoreUsage,
    Watch,
)

_REQUEST_COLUMNS = "id, container, withdraw_hash, submitted_at, expires_at, withdrawn_at"
_SELECT_REQUEST = f"SELECT {_REQUEST_COLUMNS}, seal FROM requests WHERE id = ?"  # noqa: S608 (constant)
_INSERT_REQUEST = """
INSERT INTO requests (id, container, withdraw_hash, submitted_at, expires_at, caller, seal)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_ANSWER = """
INSERT INTO answers (request_seq, digest, received_at, caller, signer, container) VALUES (?, ?, ?, ?, ?, ?)
"""
_SELECT_ANSWERS = """
SELECT answers.container, digest FROM answers JOIN requests ON requests.seq = request_seq
WHERE id = ? ORDER BY answers.seq
"""
_LIST = """
SELECT id, submitted_at, expires_at, withdrawn_at,
       (SELECT count(*) FROM answers WHERE request_seq = requests.seq), seq
FROM requests {} ORDER BY seq LIMIT :limit
"""
_LATEST = "SELECT seq FROM sqlite_sequence WHERE name = 'requests'"
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

    def __init__(
        self, path: Path, store_id: str, writer: GroupCommit, lock: int, log_writer: LogWriter | None = None
    ) -> None:
        self._path = str(path)
        self._id = store_id
        self._writer = writer
        self._lock = lock
        self._watches = Watches()
        self._readers = Readers(self._path, writer.stop_writing)
        self._log_writer = log_writer
        self._log = None if log_writer is None else SqliteLog(writer, self._readers, log_writer)
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_group: int = MAX_GROUP,
        log_signer: NoteSigner | None = None,
    ) -> SqliteRequestStore:
        """Opens the store at `path`, creating it and its folder where they are missing.

        Args:
            path: the database file.  Its folder and file are made readable for the owner only.
            max_bytes: how large the file may grow; beyond, writes raise `StoreFullError`.
            max_group: the largest number of writes in one commit.
            log_signer: the key of the log that the same file is to keep; see `log`.

        Raises:
            StoreFailedError: not a placet store, a newer version, damaged, in use or not accessible.
            StoreBusyError: another program holds the database locked.
            IndeterminateError: LOG_DAMAGED where the log is not the one that the key signed last;
                LOG_UNAVAILABLE.
        """
        lock = take_lock(path)
        try:
            connection, store_id = open_database(path, max_bytes)
            try:
                # A file that was put back from a backup has another mark: cursors of the lost one start over.
                store_id = sha256_hex(f"{store_id} {read_file_mark(path)}".encode())[:16]
                log = None if log_signer is None else open_log_writer(connection, path, log_signer)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            os.close(lock)
            raise
        writer = GroupCommit(connection, str(path), max_group=max_group, hook=log)
        return cls(path, store_id, writer, lock, log)

    @property
    def log(self) -> SqliteLog | None:
        """The log in the same file, if it was opened with a key; it is closed with the store."""
        return self._log

    async def submit(
        self, request: NewRequest, *, now: int, limits: Limits = UNLIMITED
    ) -> tuple[StoredRequest, bool]:
        """See `RequestStore.submit`."""

        def job(connection: sqlite3.Connection) -> tuple[StoredRequest, bool]:
            if (kept := _find_same(connection, request)) is not None:
                return kept, False
            if request.expires_at <= now:
                raise late_request()
            size = len(request.container)
            check_new_request(read_present(connection, request.caller, now, limits), size, limits, now=now)
            stored = StoredRequest(
                request.id, request.container, request.withdraw_hash, now, request.expires_at, None, ()
            )
            connection.execute(_INSERT_REQUEST, (*stored[:5], request.caller, _seal(stored)))
            count_request(connection, request.caller, size, now)
            return stored, True

        return await self._writer.run(job, on_commit=lambda: self._watches.announce(None))

    async def add_answer(
        self, request_id: RequestId, answer: NewAnswer, *, now: int, limits: Limits = UNLIMITED
    ) -> bool:
        """See `RequestStore.add_answer`."""

        def job(connection: sqlite3.Connection) -> bool:
            # One writer, one transaction: nothing can come between these looks and the insert.
            select = "SELECT seq, withdrawn_at, expires_at FROM requests WHERE id = ?"
            row = connection.execute(select, (request_id,)).fetchone()
            if row is None:
                raise unknown_request(request_id)
            seq, withdrawn_at, expires_at = row
            known = "SELECT 1 FROM answers WHERE request_seq = ? AND digest = ?"
            if connection.execute(known, (seq, answer.digest)).fetchone():
                self._stage(connection, answer)  # It may be here from before there was a log.
                return False
            if withdrawn_at is not None or expires_at <= now:
                raise closed_request(RequestState.EXPIRED if withdrawn_at is None else RequestState.WITHDRAWN)
            check_new_answer(read_present_answers(connection, seq, answer), limits)
            check_answer_bytes(connection, answer, now, limits)
            values = (seq, answer.digest, now, answer.caller, answer.signer, answer.container)
            connection.execute(_INSERT_ANSWER, values)
            count_answer(connection, answer.caller, len(answer.container))
            self._stage(connection, answer)
            return True

        def announce() -> None:
            self._watches.announce(request_id)
            if self._log is not None:
                self._log.announce()

        return await self._writer.run(job, on_commit=announce)

    def _stage(self, connection: sqlite3.Connection, answer: NewAnswer) -> None:
        if answer.entry is None:
            return
        if self._log_writer is None:
            raise StoreFailedError("This store keeps no log, and the answer is to be logged.")
        self._log_writer.stage(connection, [answer.entry])

    async def withdraw(self, request_id: RequestId, *, now: int) -> None:
        """See `RequestStore.withdraw`."""

        def job(connection: sqlite3.Connection) -> None:
            update = "UPDATE requests SET withdrawn_at = coalesce(withdrawn_at, ?) WHERE id = ?"
            if connection.execute(update, (now, request_id)).rowcount == 0:
                raise unknown_request(request_id)

        await self._writer.run(job, on_commit=lambda: self._watches.announce(request_id))

    async def fetch(self, request_id: RequestId) -> StoredRequest:
        """See `RequestStore.fetch`."""

        def job(connection: sqlite3.Connection) -> StoredRequest:
            row = connection.execute(_SELECT_REQUEST, (request_id,)).fetchone()
            if row is None:
                raise unknown_request(request_id)
            answers = connection.execute(_SELECT_ANSWERS, (request_id,)).fetchall()
            if not all(is_whole(container, digest) for container, digest in answers):
                raise damaged_request(request_id)
            return _read_whole(row)._replace(answers=tuple(container for container, _ in answers))

        return await self._readers.read(job)

    async def list_page(self, state: StateFilter, *, after: Cursor | None, limit: int, now: int) -> Page:
        """See `RequestStore.list_page`."""
        start = self._parse_cursor(after)
        limit = max(1, min(limit, MAX_PAGE))

        def job(connection: sqlite3.Connection) -> Page:
            # A place that no request has reached yet is one from before a backup was put back.
            (latest,) = connection.execute(_LATEST).fetchone() or (0,)
            after_seq = start if start <= latest else 0
            # One more than asked for: its presence is what `has_more` says.
            values = {"after": after_seq, "now": now, "limit": limit + 1}
            rows = connection.execute(_LIST_BY_STATE[state], values).fetchall()
            requests = tuple(
                RequestSummary._make((*columns, self._cursor(seq))) for *columns, seq in rows[:limit]
            )
            position = requests[-1].cursor if requests else self._cursor(after_seq)
            return Page(requests, position, len(rows) > limit)

        return await self._readers.read(job)

    async def delete_closed(self, *, closed_before: int, limit: int = MAX_DELETED) -> int:
        """See `RequestStore.delete_closed`."""
        limit = max(1, min(limit, MAX_DELETED))
        return await self._writer.run(lambda connection: delete_closed(connection, closed_before, limit))

    async def measure(self, *, now: int) -> StoreUsage:
        """See `RequestStore.measure`."""
        disk_bytes = sum(size_of(Path(self._path + suffix)) for suffix in ("", "-wal", "-shm"))
        return await self._readers.read(lambda connection: read_usage(connection, now, disk_bytes))

    @contextlib.contextmanager
    def watch(self, request_id: RequestId | None) -> Iterator[Watch]:
        """See `RequestStore.watch`."""
        with self._watches.watch(request_id) as watch:
            yield watch

    def observe_commits(self, observer: CommitObserver) -> None:
        """Lets `observer` know the size and the seconds of each commit, from the writing thread."""
        self._writer.observe = observer

    async def check_health(self) -> None:
        """See `RequestStore.check_health`."""
        self._writer.check_health()
        await self._readers.read(lambda connection: connection.execute("SELECT id FROM store").fetchone())

    async def close(self) -> None:
        """See `RequestStore.close`."""
        if self._closed:
            return
        self._closed = True
        await self._readers.close()
        # The writer closes last, so that its connection, the only one left, folds the log into the file.
        await self._writer.close()
        if self._log_writer is not None:
            self._log_writer.close()
        os.close(self._lock)

    def _cursor(self, seq: int) -> Cursor:
        return Cursor(f"{self._id}-{seq}")

    def _parse_cursor(self, cursor: Cursor | None) -> int:
        store_id, _, seq = (cursor or "").partition("-")
        own = store_id == self._id and seq.isascii() and seq.isdigit() and len(seq) < 19
        return int(seq) if own else 0


def _seal(request: StoredRequest) -> str:
    return seal_of(
        request.id, request.withdraw_hash, request.submitted_at, request.expires_at, request.container
    )


def _read_whole(row: Sequence[Any]) -> StoredRequest:
    """Reads a row of `_SELECT_REQUEST`, if it still is what was stored."""
    *columns, seal = row
    request = StoredRequest._make((*columns, ()))
    if not isinstance(request.container, bytes) or _seal(request) != seal:
        raise damaged_request(request.id)
    return request


def _find_same(connection: sqlite3.Connection, request: NewRequest) -> StoredRequest | None:
    row = connection.execute(_SELECT_REQUEST, (request.id,)).fetchone()
    if row is None:
        return None
    kept = _read_whole(row)
    if kept.container != request.container or kept.withdraw_hash != request.withdraw_hash:
        raise taken_request(request.id)
    return kept
