"""The use ledger in one SQLite file beside the gate (spec/15-use.md; port `placet.ports.use_ledger`).

How each promise is kept:

* durable: write-ahead log with ``synchronous=FULL``: a commit returns after the sync;
* atomic: the whole judgement and the insertion happen under ``BEGIN IMMEDIATE``, SQLite's one write lock,
  and a unique index on (statement, unit, ordinal) stands behind it;
* own birth: each birth is a row with a random ledger ID and a time; judgements use the latest;
* restored or copied: `placet.adapters._ledger_place`, checked under the write lock before each judgement;
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

from placet.adapters._ledger_file import (
    REBORN_HINT,
    Birth,
    check_format,
    connect_ledger,
    declare_new_birth,
    hold_write_lock,
    named_failures,
    read_latest_birth,
    read_latest_use,
)
from placet.adapters._ledger_place import Stamp, read_file_mark, read_stamp, write_stamp
from placet.core.encoding import Digest, format_time
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.ports.use_ledger import ApproverMark, Consumption, Use, UseRecord

__all__ = ["Birth", "SqliteLedger", "declare_new_birth"]

# Clocks step back a little when they are corrected, and racing gates read theirs in any order; an approval
# that lives half a minute longer harms nobody, a gate that stops at every correction does.
CLOCK_STEP_SECONDS = 30

_RECORD = "use_id, payload_digest, use_unit, ordinal, used_at, event_id, exit_code, finished_at"


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
                return _consumption(repeated, birth, repeated=True)
            ordinal = self._judge(use, birth)
            cursor = connection.execute(
                "INSERT INTO uses (birth, payload_digest, use_unit, ordinal, used_at, event_id)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (birth.number, use.payload_digest, use.use_unit, ordinal, use.now, use.event_id),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO counters (keyid, earliest, latest, counter) VALUES (?, ?, ?, ?)",
                [(mark.keyid, *_decided_between(mark, use), mark.counter) for mark in use.approvers],
            )
            row = connection.execute(f"SELECT {_RECORD} FROM uses WHERE use_id = ?", (cursor.lastrowid,))  # noqa: S608
            record = UseRecord(*row.fetchone())
        self._advance_stamp()
        return _consumption(record, birth, repeated=False)

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

    def _select(self, clause: str, values: tuple[object, ...]) -> tuple[UseRecord, ...]:
        with named_failures(self._path):
            rows = self._connection.execute(f"SELECT {_RECORD} FROM uses {clause}", values)  # noqa: S608
            return tuple(UseRecord(*row) for row in rows)

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with named_failures(self._path), hold_write_lock(self._connection) as connection:
            yield connection

    def _check_place(self) -> Birth:
        """Refuses a restored or copied ledger (A8); call it under the write lock."""
        birth = read_latest_birth(self._connection, self._path)
        stamp = read_stamp(self._path)
        if read_file_mark(self._path) != birth.file_mark:
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
        for record in self._select("WHERE event_id = ? ORDER BY use_id", (use.event_id,)):
            if record.payload_digest != use.payload_digest:
                raise PolicyError(
                    Reason.ALREADY_USED,
                    f"The event {use.event_id!r} was already answered with another approval,"
                    f" on {format_time(record.used_at)}.",
                    hint="Start a new event for this approval.",
                )
            if record.use_unit == use.use_unit:
                return record
        return None

    def _judge(self, use: Use, birth: Birth) -> int:
        """Returns the ordinal that this use would get; call it under the write lock."""
        self._check_clock(use, birth)
        # At the very second of the birth, an earlier ledger may still have been in use.
        if use.issued_at <= birth.born_at:
            raise PolicyError(
                Reason.ISSUED_BEFORE_LEDGER,
                f"This was requested at {format_time(use.issued_at)}, before the gate's ledger began at"
                f" {format_time(birth.born_at)}; whether it was used earlier cannot be known.",
                hint="Request the approval again.",
            )
        used = self._select(
            "WHERE payload_digest = ? AND use_unit = ? ORDER BY ordinal", (use.payload_digest, use.use_unit)
        )
        if len(used) >= use.max_uses:
            raise _already_used(used[-1], use)
        for mark in use.approvers:
            self._check_counter(mark, use)
        return len(used) + 1

    def _check_clock(self, use: Use, birth: Birth) -> None:
        latest = self._connection.execute("SELECT MAX(used_at) FROM uses WHERE birth = ?", (birth.number,))
        floor = max(latest.fetchone()[0] or 0, birth.born_at)
        if use.now < floor - CLOCK_STEP_SECONDS:
            # A18: a clock that was set back would revive expired approvals.
            raise IndeterminateError(
                Reason.TIME_UNPROVEN,
                f"The gate's clock says {format_time(use.now)}, but its ledger has already seen"
                f" {format_time(floor)}.",
                hint="Correct the clock; if the later time was the wrong one, `placet ledger reborn"
                " --clock-was-wrong`.",
            )

    def _check_counter(self, mark: ApproverMark, use: Use) -> None:
        earliest, latest = _decided_between(mark, use)
        conflict = self._connection.execute(
            "SELECT earliest, counter FROM counters WHERE keyid = ?"
            " AND ((latest < ? AND counter > ?) OR (earliest > ? AND counter < ?)) LIMIT 1",
            (mark.keyid, earliest, mark.counter, latest, mark.counter),
        ).fetchone()
        if conflict is not None:
            (earlier, before), (later, after) = sorted([conflict, (earliest, mark.counter)])
            raise PolicyError(
                Reason.COUNTER_WENT_BACK,
                f"The signature counter of key {mark.keyid[:16]}… went back from {before}"
                f" ({format_time(earlier)}) to {after} ({format_time(later)}): it may have been cloned.",
                expected=f"at least {before}",
                actual=after,
                hint="Ask an administrator to look at this credential before it is used again.",
            )

    def _advance_stamp(self) -> None:
        # Under the write lock again: stamps of racing gates then never overtake each other.  Dying before
        # this line leaves the stamp behind the database, which is allowed; the act has not begun.
        with self._locked() as connection:
            birth = read_latest_birth(connection, self._path)
            write_stamp(self._path, Stamp(birth.ledger_id, read_latest_use(connection)))


def _decided_between(mark: ApproverMark, use: Use) -> tuple[int, int]:
    """Returns the earliest and latest time at which the signature can have been made."""
    if mark.decided_at is None:
        return use.issued_at, use.now
    return mark.decided_at, mark.decided_at


def _consumption(record: UseRecord, birth: Birth, *, repeated: bool) -> Consumption:
    return Consumption(
        use_id=record.use_id,
        ledger_id=birth.ledger_id,
        payload_digest=record.payload_digest,
        use_unit=record.use_unit,
        ordinal=record.ordinal,
        used_at=record.used_at,
        repeated=repeated,
        exit_code=record.exit_code,
    )


def _already_used(last: UseRecord, use: Use) -> PolicyError:
    what = "This approval" if use.use_unit == "action" else f"This approval of {use.use_unit}"
    count = "" if use.max_uses == 1 else f" {use.max_uses} times, last"
    if last.exit_code is None:
        outcome = "its outcome is not known: it is still running, or the gate was stopped"
    else:
        outcome = f"the command ended with exit code {last.exit_code}"
    return PolicyError(
        Reason.ALREADY_USED,
        f"{what} was already used{count} on {format_time(last.used_at)}; {outcome}.",
        hint="Each use needs an approval of its own: request it again.",
    )
