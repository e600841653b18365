"""Group commit: one sync to disk for all the writes that were waiting for it.

A single thread owns the writing connection.  It takes whatever is queued, runs it in one
transaction and commits.  While it waits for the disk, the next group gathers by itself; so
there is no timer, a lone write is not delayed, and a slower disk only makes larger groups.

Each write stands alone all the same: one that fails takes no neighbour with it, and none
is acknowledged before the commit that holds it has returned.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeVar

from placet.adapters.sqlite.errors import leaves_doubt, translate
from placet.core.errors import PlacetError
from placet.ports.request_store import RequestStoreError, StoreFailedError

T = TypeVar("T")

# Bounds how long a reader's view and the write-ahead log lag behind; far above any group seen.
MAX_GROUP = 1024


CommitObserver = Callable[[int, float], None]


def _observe_nothing(writes: int, seconds: float) -> None:
    """Where nobody measures."""


class CommitHook(Protocol):
    """What takes part in every commit; called on the writing thread."""

    def before_commit(self, connection: sqlite3.Connection) -> None:
        """Adds to the group's transaction.  What it raises fails the group, as an error of a job would."""
        ...

    def after_commit(self) -> None:
        """Learns that the group is durable, before anybody else does.  It never raises."""
        ...

    def after_rollback(self) -> None:
        """Learns that nothing of the group was stored."""
        ...


class _NoHook:
    def before_commit(self, connection: sqlite3.Connection) -> None:
        pass

    def after_commit(self) -> None:
        pass

    def after_rollback(self) -> None:
        pass


class _Write(NamedTuple):
    job: Callable[[sqlite3.Connection], Any]
    on_commit: Callable[[], None] | None
    future: asyncio.Future[Any]


class _Refused(NamedTuple):
    error: Exception


class _WroteBeforeRefusing(Exception):
    """A job changed rows and then refused; its group is rolled back so that nothing is stored in part."""

    def __init__(self, refusal: RequestStoreError | PlacetError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class GroupCommit:
    """Runs writing jobs on one connection, as many per commit as are waiting.

    Args:
        connection: in autocommit mode, usable from other threads; owned from now on.
        path: the database's name in error messages.
        max_group: the largest number of writes in one commit; 1 turns grouping off.
        hook: takes part in every commit.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        *,
        max_group: int = MAX_GROUP,
        hook: CommitHook | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._max_group = max_group
        self._hook: CommitHook = _NoHook() if hook is None else hook
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._closed = False
        self._failure: StoreFailedError | None = None
        self.observe: CommitObserver = _observe_nothing
        """Called on the writing thread after each commit, with its number of writes and its seconds."""
        self._thread = threading.Thread(target=self._work, name="placet-store-writer", daemon=True)
        self._thread.start()

    async def run(
        self, job: Callable[[sqlite3.Connection], T], *, on_commit: Callable[[], None] | None = None
    ) -> T:
        """Runs `job` inside a transaction and returns its result once that is durable.

        Args:
            job: reads, then writes.  It may raise `RequestStoreError` or `PlacetError` as long as it has
                not written.
            on_commit: called on the event loop after a successful commit, even if this call was
                cancelled meanwhile.

        Raises:
            RequestStoreError, PlacetError: what the job refused with, or what became of the database.
        """
        self.check_health()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(job, on_commit, future))
        try:
            return await future
        except sqlite3.Error as e:
            raise translate(e, self._path) from e

    def check_health(self) -> None:
        """Makes sure that writes are still taken.

        Raises:
            StoreFailedError: the store was closed, or an earlier failure left its state in doubt.
        """
        if self._failure is not None:
            raise StoreFailedError(self._failure.message, hint=self._failure.hint)
        if self._closed:
            raise StoreFailedError("The store is closed.")

    def stop_writing(self, error: sqlite3.Error) -> None:
        """Takes no more writes: a reader found the database damaged, and writing would damage more of it."""
        self._note_doubt(error)

    async def close(self) -> None:
        """Finishes what is queued and closes the connection."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            while (first := self._queue.get()) is not None:
                writes, closing = self._gather(first)
                _deliver_on_loop(writes, self._settle(writes))
                if closing:
                    break
        finally:
            self._connection.close()

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        writes = [first]
        while len(writes) < self._max_group:
            try:
                write = self._queue.get_nowait()
            except Empty:
                break
            if write is None:
                return writes, True
            writes.append(write)
        return writes, False

    def _settle(self, writes: Sequence[_Write]) -> list[Any]:
        """Commits `writes` together, or each alone if together is impossible; returns their outcomes."""
        if self._failure is not None:
            return [_Refused(self._failure) for _ in writes]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as e:
            self._note_doubt(e)
            return [_Refused(e) for _ in writes]
        start = time.perf_counter()
        try:
            outcomes = self._commit(writes)
            self.observe(len(writes), time.perf_counter() - start)
            return outcomes
        except Exception as e:
            self._roll_back()
            if isinstance(e, sqlite3.Error) and self._note_doubt(e):
                return [_Refused(e) for _ in writes]
            if len(writes) == 1:
                return [_Refused(e.refusal if isinstance(e, _WroteBeforeRefusing) else e)]
        return [outcome for write in writes for outcome in self._settle([write])]

    def _commit(self, writes: Sequence[_Write]) -> list[Any]:
        outcomes: list[Any] = []
        for write in writes:
            changes = self._connection.total_changes
            try:
                outcomes.append(write.job(self._connection))
            except (RequestStoreError, PlacetError) as e:
                if self._connection.total_changes != changes:
                    raise _WroteBeforeRefusing(e) from e
                outcomes.append(_Refused(e))
        self._hook.before_commit(self._connection)
        self._connection.execute("COMMIT")
        self._hook.after_commit()
        return outcomes

    def _roll_back(self) -> None:
        self._hook.after_rollback()
        # SQLite rolls back by itself on some errors; a second rollback would be an error of its own.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as e:
                self._failure = StoreFailedError(translate(e, self._path).message)

    def _note_doubt(self, error: sqlite3.Error) -> bool:
        if leaves_doubt(error):
            described = translate(error, self._path)
            self._failure = StoreFailedError(described.message, hint=described.hint)
        return self._failure is not None


def _deliver_on_loop(writes: Sequence[_Write], outcomes: Sequence[Any]) -> None:
    # One hand-over for the whole group: waking the loop once per write would cost more than the writes.
    try:
        writes[0].future.get_loop().call_soon_threadsafe(_deliver, writes, outcomes)
    except RuntimeError:
        # The loop is gone and with it everybody who waited; what was committed stays committed.
        return


def _deliver(writes: Sequence[_Write], outcomes: Sequence[Any]) -> None:
    for write, outcome in zip(writes, outcomes, strict=True):
        refused = isinstance(outcome, _Refused)
        if not refused and write.on_commit is not None:
            write.on_commit()
        if write.future.done():
            continue
        if refused:
            write.future.set_exception(outcome.error)
        else:
            write.future.set_result(outcome)
