"""How a use is judged (spec/15-use.md), for every ledger: pure rules over what a ledger has read.

A ledger reads under its lock and asks here, so that two ledgers cannot judge differently, nor tell a
person different things.
"""

from __future__ import annotations

from collections.abc import Sequence

from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.ports.use_ledger import NOT_EXECUTED, ApproverMark, Birth, Consumption, Use, UseRecord

# Clocks step back a little when they are corrected, and racing gates read theirs in any order; an approval
# that lives half a minute longer harms nobody, a gate that stops at every correction does.
CLOCK_STEP_SECONDS = 30


def find_repeated(of_event: Sequence[UseRecord], use: Use) -> UseRecord | None:
    """Returns the recorded answer of a repeated event (USE-05).

    Args:
        of_event: the uses with the same event ID, oldest first.

    Raises:
        PolicyError: ALREADY_USED: the event was answered with another approval.
    """
    for record in of_event:
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


def check_clock(use: Use, latest_use: int | None, birth: Birth) -> None:
    """Checks that the gate's clock is not behind what the ledger has seen since its birth (USE-07).

    Raises:
        IndeterminateError: TIME_UNPROVEN.
    """
    floor = max(latest_use or 0, birth.born_at)
    if use.now < floor - CLOCK_STEP_SECONDS:
        # A18: a clock that was set back would revive expired approvals.
        raise IndeterminateError(
            Reason.TIME_UNPROVEN,
            f"The gate's clock says {format_time(use.now)}, but its ledger has already seen"
            f" {format_time(floor)}.",
            hint="Correct the clock; if the later time was the wrong one, `placet ledger reborn"
            " --clock-was-wrong`.",
        )


def check_issued(use: Use, birth: Birth) -> None:
    """Checks that the statement is younger than the ledger (USE-03).

    Raises:
        PolicyError: ISSUED_BEFORE_LEDGER.
    """
    # At the very second of the birth, an earlier ledger may still have been in use.
    if use.issued_at <= birth.born_at:
        raise PolicyError(
            Reason.ISSUED_BEFORE_LEDGER,
            f"This was requested at {format_time(use.issued_at)}, before the gate's ledger began at"
            f" {format_time(birth.born_at)}; whether it was used earlier cannot be known.",
            hint="Request the approval again.",
        )


def check_unused(use: Use, used: Sequence[UseRecord]) -> int:
    """Checks that a use is left, and returns its ordinal (USE-02).

    Args:
        used: the uses of the same statement and unit, by ordinal.

    Raises:
        PolicyError: ALREADY_USED.
    """
    if len(used) >= use.max_uses:
        raise _already_used(used[-1], use)
    return len(used) + 1


def check_counter(mark: ApproverMark, use: Use, conflict: tuple[int, int] | None) -> None:
    """Checks that a key's counter did not go back (USE-06).

    Args:
        conflict: time and counter of a recorded signature that was surely made earlier with a higher
            counter, or later with a lower one; None if there is none.

    Raises:
        PolicyError: COUNTER_WENT_BACK.
    """
    if conflict is None:
        return
    earliest, _ = decided_between(mark, use)
    (earlier, before), (later, after) = sorted([conflict, (earliest, mark.counter)])
    raise PolicyError(
        Reason.COUNTER_WENT_BACK,
        f"The signature counter of key {mark.keyid[:16]}… went back from {before}"
        f" ({format_time(earlier)}) to {after} ({format_time(later)}): it may have been cloned.",
        expected=f"at least {before}",
        actual=after,
        hint="Ask an administrator to look at this credential before it is used again.",
    )


def check_birth_time(now: int, latest: int | None) -> None:
    """Checks that a new birth is not before anything that the ledger has seen.

    Raises:
        IndeterminateError: TIME_UNPROVEN.
    """
    if latest is not None and now < latest:
        raise IndeterminateError(
            Reason.TIME_UNPROVEN,
            f"The clock says {format_time(now)}, but this ledger has already seen {format_time(latest)};"
            " a birth that is too early would accept used approvals.",
            hint="Correct the clock; if the later time was the wrong one, add --clock-was-wrong.",
        )


def decided_between(mark: ApproverMark, use: Use) -> tuple[int, int]:
    """Returns the earliest and latest time at which the signature can have been made."""
    if mark.decided_at is None:
        return use.issued_at, use.now
    return mark.decided_at, mark.decided_at


def answer(record: UseRecord, birth: Birth, *, repeated: bool) -> Consumption:
    """Returns what the gate is told of a recorded use."""
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
    if last.exit_code == NOT_EXECUTED:
        outcome = "nothing was done, since the log did not take the use"
    elif last.exit_code is None:
        outcome = "its outcome is not known: it is still running, or the gate was stopped"
    else:
        outcome = f"the command ended with exit code {last.exit_code}"
    return PolicyError(
        Reason.ALREADY_USED,
        f"{what} was already used{count} on {format_time(last.used_at)}; {outcome}.",
        hint="Each use needs an approval of its own: request it again.",
    )
