"""The use ledger in PostgreSQL, shared by a gate's replicas (spec/15-use.md; port `placet.ports.use_ledger`).

How each promise is kept:

* durable: ``fsync`` and ``synchronous_commit`` are on, checked with each use; COMMIT returns after the sync;
* atomic: whoever judges holds the lock on the one row of ``judgement`` until the commit, across all
  processes, and a unique index on (statement, unit, ordinal) stands behind it;
* own birth: each birth is a row with a random ledger ID and a time; judgements use the latest;
* restored, copied, promoted: the birth names cluster, timeline, database and table (`postgres_place`); and
  each gate's machine remembers the latest use that it was given, so that a ledger with fewer is found out
  even where a disk was rolled back beneath the server;
* unavailable (gone, busy, full, read-only, damaged, another version): always `IndeterminateError`.

A connection that is lost in a COMMIT leaves a use that may be consumed, and its gate without an answer: it
denies.  Such a use is shown with an unknown outcome and never given back.

One `PostgresLedger` belongs to one thread; processes and threads each open their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psycopg

from placet.adapters._ledger_rules import (
    answer,
    check_clock,
    check_counter,
    check_issued,
    check_unused,
    decided_between,
    find_repeated,
)
from placet.adapters.postgres.address import show_address
from placet.adapters.postgres.connection import Kind, PostgresError, connect, describe
from placet.adapters.postgres.ledger_tables import (
    REBORN_HINT,
    Connection,
    Head,
    check_tables,
    lock_judgement,
    named_failures,
    read_head,
)
from placet.adapters.postgres.place import find_place
from placet.adapters.postgres.schema import LEDGER
from placet.adapters.postgres.trouble import ledger_error
from placet.adapters.sqlite._ledger_place import Stamp, raise_stamp, read_stamp
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, Reason
from placet.ports.use_ledger import (
    ApproverMark,
    Backlog,
    Birth,
    Consumption,
    UnloggedUse,
    Use,
    UseRecord,
)

T = TypeVar("T")

_RECORD = (
    "use_id, payload_digest, use_unit, ordinal, used_at, event_id, exit_code, finished_at, summary,"
    " leaf_index, record IS NOT NULL AND leaf_index IS NULL"
)
_CONFLICT = """
SELECT earliest, counter FROM placet_ledger.counters
WHERE keyid = %s AND ((latest < %s AND counter > %s) OR (earliest > %s AND counter < %s)) LIMIT 1
"""
_CONSUME = f"""
INSERT INTO placet_ledger.uses
    (birth, payload_digest, use_unit, ordinal, used_at, event_id, summary, record)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_RECORD}
"""  # noqa: S608 (constant)
_COUNT = """
INSERT INTO placet_ledger.counters (keyid, earliest, latest, counter) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
# Written again after a lost connection, it changes nothing that it has not written itself.
_OUTCOME = """
UPDATE placet_ledger.uses SET exit_code = %(code)s, finished_at = %(now)s
WHERE use_id = %(use)s AND payload_digest = %(digest)s
  AND (exit_code IS NULL OR (%(again)s AND exit_code = %(code)s AND finished_at = %(now)s))
"""
_UNLOGGED = "FROM placet_ledger.uses WHERE record IS NOT NULL AND leaf_index IS NULL"
_LIST_UNLOGGED = f"SELECT use_id, used_at, record {_UNLOGGED} AND use_id > %s ORDER BY use_id LIMIT %s"
_COUNT_UNLOGGED = f"SELECT count(*), min(used_at) {_UNLOGGED}"
_LOGGED = """
UPDATE placet_ledger.uses SET leaf_index = coalesce(leaf_index, %s) WHERE use_id = %s AND record IS NOT NULL
"""
# Named with each, as a pooler may hand us another session: a snapshot from before the lock would not show
# what the lock's last holder recorded.
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
# With a synchronous standby, a time limit would end the wait for it, and COMMIT would report success.
_NO_LIMIT = b"SET LOCAL statement_timeout = 0"


class PostgresLedger:
    """A `UseLedger` in the database at `address`, which must hold one; see `declare_birth`.

    Args:
        stamps: a folder of this machine where the latest use is remembered.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """

    def __init__(self, address: str, *, stamps: Path) -> None:
        self._address = address
        self._stamps = stamps
        self._place = ""
        with named_failures(address):
            self._connection = self._connect()

    def __enter__(self) -> PostgresLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; what was consumed is already durable."""
        with suppress(psycopg.Error):
            self._connection.close()

    def birth(self) -> Birth:
        """Returns the latest birth.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        return self._retrying(lambda connection, _: read_head(connection, self._place, self._address)).birth

    def check_undisturbed(self) -> None:
        """Checks that this is the very ledger that was born here, with all its uses.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED.
        """
        with self._judging() as connection:
            self._check_place(connection)

    def check_available(self, use: Use) -> None:
        """Checks everything that `consume` checks and consumes nothing.

        Raises:
            PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED, TIME_UNPROVEN.
        """
        with self._judging() as connection:
            head = self._check_place(connection)
            if _find_event(connection, use) is None:
                _judge(connection, use, head)

    def consume(self, use: Use) -> Consumption:
        """Consumes one use durably, or returns the recorded answer of a repeated event.

        Raises:
            PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED, TIME_UNPROVEN.
        """
        with self._judging() as connection:
            head = self._check_place(connection)
            repeated = _find_event(connection, use)
            if repeated is not None:
                return answer(repeated, head.birth, repeated=True)
            ordinal = _judge(connection, use, head)
            values = (head.birth.number, use.payload_digest, use.use_unit, ordinal, use.now)
            more = (use.event_id, use.summary, use.record or None)
            row = connection.execute(_CONSUME.encode(), (*values, *more)).fetchone()
            record = UseRecord._make(row or ())
            for mark in use.approvers:
                connection.execute(_COUNT, (mark.keyid, *decided_between(mark, use), mark.counter))
        # Dying before this line leaves the stamp behind the database, which is allowed; nothing was done yet.
        with named_failures(self._address, in_doubt=True):
            raise_stamp(self._stamp_of(head.birth), Stamp(head.birth.ledger_id, record.use_id))
        return answer(record, head.birth, repeated=False)

    def record_outcome(self, consumption: Consumption, exit_code: int, *, now: int) -> None:
        """Records how the act ended.  The first recorded outcome stands.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        values: dict[str, object] = {"code": exit_code, "now": now}
        values |= {"use": consumption.use_id, "digest": consumption.payload_digest}
        changed = self._retrying(
            lambda connection, again: connection.execute(_OUTCOME, {**values, "again": again}).rowcount
        )
        if changed != 1:
            raise IndeterminateError(
                Reason.LEDGER_UNAVAILABLE,
                f"The ledger at {show_address(self._address)} holds no use {consumption.use_id} with an open"
                " outcome.",
                hint=REBORN_HINT,
            )

    def uses(self, payload_digest: Digest) -> tuple[UseRecord, ...]:
        """Returns the recorded uses of one statement, oldest first.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        return self._select("WHERE payload_digest = %s ORDER BY use_id", (payload_digest,))

    def list_unknown(self) -> tuple[UseRecord, ...]:
        """Returns the uses whose outcome is not recorded: still running, or lost in a crash.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        return self._select("WHERE exit_code IS NULL ORDER BY use_id", ())

    def list_latest(self, limit: int) -> tuple[UseRecord, ...]:
        """Returns the latest `limit` uses, newest first.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        return self._select("ORDER BY use_id DESC LIMIT %s", (limit,))

    def list_unlogged(self, limit: int, *, after: int = 0) -> tuple[UnloggedUse, ...]:
        """Returns the uses whose records a log is still to hold, oldest first.

        Args:
            limit: how many at most.
            after: only those with a higher `use_id`.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        rows = self._retrying(
            lambda connection, _: connection.execute(_LIST_UNLOGGED, (after, limit)).fetchall()
        )
        return tuple(UnloggedUse._make(row) for row in rows)

    def count_unlogged(self) -> Backlog:
        """Returns how many there are of those, and since when.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        row = self._retrying(lambda connection, _: connection.execute(_COUNT_UNLOGGED).fetchone())
        return Backlog._make(row or (0, None))

    def mark_logged(self, use_id: int, leaf_index: int) -> None:
        """Records durably that the log holds a use.  The first recorded index stands.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        changed = self._retrying(
            lambda connection, _: connection.execute(_LOGGED, (leaf_index, use_id)).rowcount
        )
        if changed != 1:
            raise IndeterminateError(
                Reason.LEDGER_UNAVAILABLE,
                f"The ledger at {show_address(self._address)} holds no record of a use {use_id}.",
                hint=REBORN_HINT,
            )

    def _select(self, clause: str, values: tuple[object, ...]) -> tuple[UseRecord, ...]:
        return self._retrying(lambda connection, _: _select(connection, clause, values))

    def _connect(self) -> Connection:
        connection = connect(self._address)
        try:
            check_tables(connection, self._address)
            self._place = find_place(connection)
            # Without a birth this is not a ledger yet.
            read_head(connection, self._place, self._address)
        except BaseException:
            connection.close()
            raise
        return connection

    def _retrying(self, job: Callable[[Connection, bool], T]) -> T:
        """Does what may be done twice; on a new connection where the old one was lost meanwhile."""
        with named_failures(self._address):
            try:
                return job(self._connection, False)
            except psycopg.Error as error:
                if not self._is_lost(error):
                    raise
            self._connection = self._connect()
            return job(self._connection, True)

    @contextmanager
    def _judging(self) -> Iterator[Connection]:
        """Holds the ledger's lock, and commits durably at the end."""
        in_doubt = False
        try:
            connection = self._begin()
            yield connection
            connection.execute(_NO_LIMIT)
            in_doubt = True
            # A transaction that had failed answers COMMIT with ROLLBACK, and with no error.
            if connection.execute("COMMIT").statusmessage != "COMMIT":
                raise psycopg.OperationalError("the transaction was rolled back")
        except (psycopg.Error, PostgresError) as error:
            self.close()
            trouble = describe(error, self._address, migrate=LEDGER.command)
            raise ledger_error(trouble, in_doubt=in_doubt) from error
        except BaseException:
            with suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _begin(self) -> Connection:
        for connected_now in (False, True):
            try:
                self._connection.execute(_BEGIN)
                lock_judgement(self._connection, self._address)
                break
            except psycopg.Error as error:
                # The server was restarted since the last use: nothing of this one was written yet.
                if connected_now or not self._is_lost(error):
                    raise
                self._connection = self._connect()
        return self._connection

    def _is_lost(self, error: psycopg.Error) -> bool:
        gone = describe(error, self._address, migrate=LEDGER.command).kind is Kind.GONE
        return gone and bool(self._connection.closed)

    def _check_place(self, connection: Connection) -> Head:
        """Refuses a restored, copied or promoted ledger (A8); call it under the lock."""
        head = read_head(connection, self._place, self._address)
        with named_failures(self._address):
            stamp = read_stamp(self._stamp_of(head.birth))
        if head.here != head.birth.place:
            problem = "is not where it was born: it was restored, copied or failed over"
        elif stamp is not None and stamp.latest_use > head.latest_use:
            problem = f"has lost uses: this machine was given use {stamp.latest_use}"
        else:
            return head
        raise IndeterminateError(
            Reason.LEDGER_RESTORED,
            f"The use ledger at {show_address(self._address)} {problem}, so what was used is not known.",
            expected=head.birth.place,
            actual=head.here,
            hint=REBORN_HINT,
        )

    def _stamp_of(self, birth: Birth) -> Path:
        return self._stamps / birth.ledger_id


def _select(connection: Connection, clause: str, values: tuple[object, ...]) -> tuple[UseRecord, ...]:
    query = f"SELECT {_RECORD} FROM placet_ledger.uses {clause}"  # noqa: S608 (our own clauses)
    return tuple(UseRecord._make(row) for row in connection.execute(query.encode(), values))


def _find_event(connection: Connection, use: Use) -> UseRecord | None:
    if use.event_id is None:
        return None
    return find_repeated(_select(connection, "WHERE event_id = %s ORDER BY use_id", (use.event_id,)), use)


def _judge(connection: Connection, use: Use, head: Head) -> int:
    """Returns the ordinal that this use would get; call it under the lock."""
    check_clock(use, head.latest_time, head.birth)
    check_issued(use, head.birth)
    of_unit = "WHERE payload_digest = %s AND use_unit = %s ORDER BY ordinal"
    ordinal = check_unused(use, _select(connection, of_unit, (use.payload_digest, use.use_unit)))
    for mark in use.approvers:
        check_counter(mark, use, _find_conflict(connection, mark, use))
    return ordinal


def _find_conflict(connection: Connection, mark: ApproverMark, use: Use) -> tuple[int, int] | None:
    earliest, latest = decided_between(mark, use)
    row = connection.execute(_CONFLICT, (mark.keyid, earliest, mark.counter, latest, mark.counter)).fetchone()
    return None if row is None else (row[0], row[1])
