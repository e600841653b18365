"""The use ledger in one SQLite file beside the gate (spec/15-use.md; port `placet.ports.use_ledger`).

How each promise is kept:

* durable: write-ahead log with ``synchronous=FULL``: a commit returns after the sync;
* atomic: the whole judgement and the insertion happen under ``BEGIN IMMEDIATE``, SQLite's one write lock,
  and a unique index on (statement, unit, ordinal) stands behind it;
* own birth: each birth is a row with a random ledger ID and a time; judgements use the latest;
* restored or copied: `sqlite._ledger_place`, checked under the write lock before each judgement;
* unavailable (locked, full, read-only, damaged, missing): always `IndeterminateError`, never an answer.

A gate needs an existing ledger: one made silently at the first use would refuse that very use, because the
statement is older.  `declare_new_birth` makes it, and starts a restored one anew.

One `SqliteLedger` belongs to one thread; processes and threads each open their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from placet.adapters._ledger_rules import (
    answer,
    check_clock,
    check_counter,
    check_issued,
    check_unused,
    decided_between,
    find_repeated,
)
from placet.adapters.sqlite._ledger_file import (
    REBORN_HINT,
    check_format,
    connect_ledger,
    declare_new_birth,
    hold_write_lock,
    migrate_ledger,
    named_failures,
    read_latest_birth,
    read_latest_use,
)
from placet.adapters.sqlite._ledger_place import Stamp, read_file_mark, read_stamp, write_stamp
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

__all__ = ["Birth", "SqliteLedger", "declare_new_birth", "migrate_ledger"]

_RECORD = (
    "use_id, payload_digest, use_unit, ordinal, used_at, event_id, exit_code, finished_at, summary,"
    " leaf_index, record IS NOT NULL AND leaf_index IS NULL"
)
_UNLOGGED = "WHERE record IS NOT NULL AND leaf_index IS NULL"


class SqliteLedger:
    """A `UseLedger` in the SQLite file at `path`, which must exist; see `declare_new_birth`.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with named_failures(path):
            if not path.exists():
                raise IndeterminateError(
                    Reason.LEDGER_UNAVAILABLE,
                    f"There is no use ledger at {path}, so single use cannot be checked.",
                    hint="`placet ledger create` makes one; only approvals requested afterwards can be used.",
                )
            self._connection = connect_ledger(path)
            try:
                check_format(self._connection, path)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> SqliteLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the ledger; what was consumed is already durable."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def birth(self) -> Birth:
        """Returns the latest birth.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        with named_failures(self._path):
            return read_latest_birth(self._connection, self._path)

    def check_undisturbed(self) -> None:
        """Checks that this is the very file that was born here, with all its uses.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED.
        """
        with self._locked():
            self._check_place()

    def check_available(self, use: Use) -> None:
        """Checks everything that `consume` checks and consumes nothing.

        Raises:
            PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED, TIME_UNPROVEN.
        """
        with self._locked():
            birth = self._check_place()
            if self._find_event(use) is None:
                self._judge(use, birth)

    def consume(self, use: Use) -> Consumption:
        """Consumes one use durably, or returns the recorded answer of a repeated event.

        Raises:
            PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED, TIME_UNPROVEN.
        """
        with self._locked() as connection:
            birth = self._check_place()
            repeated = self._find_event(use)
            if repeated is not None:
                return answer(repeated, birth, repeated=True)
            ordinal = self._judge(use, birth)
            cursor = connection.execute(
                "INSERT INTO uses"
                " (birth, payload_digest, use_unit, ordinal, used_at, event_id, summary, record)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(birth.number, use.payload_digest, use.use_unit, ordinal, use.now),
                    *(use.event_id, use.summary, use.record or None),
                ),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO counters (keyid, earliest, latest, counter) VALUES (?, ?, ?, ?)",
                [(mark.keyid, *decided_between(mark, use), mark.counter) for mark in use.approvers],
            )
            row = connection.execute(f"SELECT {_RECORD} FROM uses WHERE use_id = ?", (cursor.lastrowid,))  # noqa: S608
            record = _read(row.fetchone())
        self._advance_stamp()
        return answer(record, birth, repeated=False)

    def record_outcome(self, consumption: Consumption, exit_code: int, *, now: int) -> None:
        """Records how the act ended.  The first recorded outcome stands.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        with self._locked() as connection:
            changed = connection.execute(
                "UPDATE uses SET exit_code = ?, finished_at = ?"
                " WHERE use_id = ? AND payload_digest = ? AND exit_code IS NULL",
                (exit_code, now, consumption.use_id, consumption.payload_digest),
            ).rowcount
            if changed != 1:
                raise IndeterminateError(
                    Reason.LEDGER_UNAVAILABLE,
                    f"The ledger at {self._path} holds no use {consumption.use_id} with an open outcome.",
                    hint=REBORN_HINT,
                )

    def uses(self, payload_digest: Digest) -> tuple[UseRecord, ...]:
        """Returns the recorded uses of one statement, oldest first.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        return self._select("WHERE payload_digest = ? ORDER BY use_id", (payload_digest,))

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
        return self._select("ORDER BY use_id DESC LIMIT ?", (limit,))

    def list_unlogged(self, limit: int, *, after: int = 0) -> tuple[UnloggedUse, ...]:
        """Returns the uses whose records a log is still to hold, oldest first.

        Args:
            limit: how many at most.
            after: only those with a higher `use_id`.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        with named_failures(self._path):
            rows = self._connection.execute(
                f"SELECT use_id, used_at, record FROM uses {_UNLOGGED} AND use_id > ?"  # noqa: S608
                " ORDER BY use_id LIMIT ?",
                (after, limit),
            )
            return tuple(UnloggedUse(*row) for row in rows)

    def count_unlogged(self) -> Backlog:
        """Returns how many there are of those, and since when.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        with named_failures(self._path):
            row = self._connection.execute(f"SELECT COUNT(*), MIN(used_at) FROM uses {_UNLOGGED}")  # noqa: S608
            return Backlog(*row.fetchone())

    def mark_logged(self, use_id: int, leaf_index: int) -> None:
        """Records durably that the log holds a use.  The first recorded index stands.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        with self._locked() as connection:
            changed = connection.execute(
                "UPDATE uses SET leaf_index = COALESCE(leaf_index, ?)"
                " WHERE use_id = ? AND record IS NOT NULL",
                (leaf_index, use_id),
            ).rowcount
        if changed != 1:
            raise IndeterminateError(
                Reason.LEDGER_UNAVAILABLE,
                f"The ledger at {self._path} holds no record of a use {use_id}.",
                hint=REBORN_HINT,
            )

    def _select(self, clause: str, values: tuple[object, ...]) -> tuple[UseRecord, ...]:
        with named_failures(self._path):
            rows = self._connection.execute(f"SELECT {_RECORD} FROM uses {clause}", values)  # noqa: S608
            return tuple(_read(row) for row in rows)

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with named_failures(self._path), hold_write_lock(self._connection) as connection:
            yield connection

    def _check_place(self) -> Birth:
        """Refuses a restored or copied ledger (A8); call it under the write lock."""
        birth = read_latest_birth(self._connection, self._path)
        stamp = read_stamp(self._path)
        if read_file_mark(self._path) != birth.place:
            problem = "is not the file that was born here: it was copied or restored"
        elif stamp is None or stamp.ledger_id != birth.ledger_id:
            problem = "does not match its stamp file"
        elif stamp.latest_use > read_latest_use(self._connection):
            problem = f"has lost uses: its stamp counts {stamp.latest_use}"
        else:
            return birth
        raise IndeterminateError(
            Reason.LEDGER_RESTORED,
            f"The use ledger at {self._path} {problem}, so what was used is not known.",
            hint=REBORN_HINT,
        )

    def _find_event(self, use: Use) -> UseRecord | None:
        if use.event_id is None:
            return None
        return find_repeated(self._select("WHERE event_id = ? ORDER BY use_id", (use.event_id,)), use)

    def _judge(self, use: Use, birth: Birth) -> int:
        """Returns the ordinal that this use would get; call it under the write lock."""
        latest = self._connection.execute("SELECT MAX(used_at) FROM uses WHERE birth = ?", (birth.number,))
        check_clock(use, latest.fetchone()[0], birth)
        check_issued(use, birth)
        used = self._select(
            "WHERE payload_digest = ? AND use_unit = ? ORDER BY ordinal", (use.payload_digest, use.use_unit)
        )
        ordinal = check_unused(use, used)
        for mark in use.approvers:
            check_counter(mark, use, self._find_conflict(mark, use))
        return ordinal

    def _find_conflict(self, mark: ApproverMark, use: Use) -> tuple[int, int] | None:
        earliest, latest = decided_between(mark, use)
        found: tuple[int, int] | None = self._connection.execute(
            "SELECT earliest, counter FROM counters WHERE keyid = ?"
            " AND ((latest < ? AND counter > ?) OR (earliest > ? AND counter < ?)) LIMIT 1",
            (mark.keyid, earliest, mark.counter, latest, mark.counter),
        ).fetchone()
        return found

    def _advance_stamp(self) -> None:
        # Under the write lock again: stamps of racing gates then never overtake each other.  Dying before
        # this line leaves the stamp behind the database, which is allowed; the act has not begun.
        with self._locked() as connection:
            birth = read_latest_birth(connection, self._path)
            write_stamp(self._path, Stamp(birth.ledger_id, read_latest_use(connection)))


def _read(row: tuple[Any, ...]) -> UseRecord:
    return UseRecord._make((*row[:-1], bool(row[-1])))
