"""Consuming the uses of an approval, before the act that they allow (spec/15-use.md).

Where the trust root names a log, every function here takes the gate's `UseLog`, and none of them lets a gate
act on a use that the rules want logged first and the log does not hold.  `log` is None only where the trust
root names no log, or not where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.verify import VerifiedApproval
from placet.ports.use_ledger import (
    NOT_EXECUTED,
    ApproverMark,
    Consumption,
    UnloggedUse,
    Use,
    UseLedger,
)

if TYPE_CHECKING:
    from placet.gates.use_log import UseLog

__all__ = [
    "check_uses",
    "consume_all",
    "consume_use",
    "consume_uses",
    "describe_use",
    "judge_after_wait",
    "record_outcomes",
]


def consume_use(
    approval: VerifiedApproval, ledger: UseLedger, now: int, event_id: str | None, *, log: UseLog | None
) -> Consumption:
    """Consumes the one use durably, or gets the recorded answer of a repeated event.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer; LOG_UNAVAILABLE.
    """
    (consumption,) = consume_all((describe_use(approval, now, event_id),), ledger, log=log)
    return consumption


def check_uses(approval: VerifiedApproval, ledger: UseLedger, now: int, *, log: UseLog | None) -> None:
    """Checks that every unit could be used now, and consumes nothing.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer; LOG_UNAVAILABLE.
    """
    for unit in approval.use_units:
        ledger.check_available(describe_use(approval, now, None, unit))
    if log is not None:
        log.check_ready()


def consume_uses(
    approval: VerifiedApproval, ledger: UseLedger, now: int, *, log: UseLog | None
) -> tuple[Consumption, ...]:
    """Consumes one use of every unit durably, after checking that all of them are there.

    Where another gate takes one in between, those consumed before it stay consumed with an unknown outcome.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer; LOG_UNAVAILABLE.
    """
    check_uses(approval, ledger, now, log=log)
    uses = tuple(describe_use(approval, now, None, unit) for unit in approval.use_units)
    return consume_all(uses, ledger, log=log)


def consume_all(uses: tuple[Use, ...], ledger: UseLedger, *, log: UseLog | None) -> tuple[Consumption, ...]:
    """Consumes uses durably, each with its record, and has the log hold them where the act waits for that.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer; LOG_UNAVAILABLE: what was consumed stays so, with the
            outcome that nothing was executed.
    """
    if log is None:
        consumptions = tuple(ledger.consume(use) for use in uses)
    else:
        log.check_ready()
        consumptions = tuple(_consume_recorded(use, ledger, log) for use in uses)
        try:
            log.log_before_act(ledger)
        except PlacetError:
            _record_not_executed(consumptions, ledger, max((use.now for use in uses), default=0))
            raise
    if any(consumption.repeated and consumption.exit_code == NOT_EXECUTED for consumption in consumptions):
        raise PolicyError(
            Reason.ALREADY_USED,
            "This event was delivered before, and nothing was done then: the log took too long.",
            hint="The approval is used up. Request a new one.",
        )
    return consumptions


def _consume_recorded(use: Use, ledger: UseLedger, log: UseLog) -> Consumption:
    recorded = use._replace(record=log.make_record(use))  # USE-11
    consumption = ledger.consume(recorded)
    if not consumption.repeated:
        log.add_consumed(UnloggedUse(consumption.use_id, consumption.used_at, recorded.record))
    return consumption


def judge_after_wait(
    judge: Callable[[], object],
    consumptions: tuple[Consumption, ...],
    ledger: UseLedger,
    now: int,
    *,
    log: UseLog | None,
) -> None:
    """Has the approval judged once more where the gate waited for the log before it acts (USE-12).

    Whoever stands between gate and log chooses how long that takes, and must not choose when the gate acts.

    Args:
        judge: verifies the approval as of `now`, or raises.

    Raises:
        PlacetError: it does not hold any more; the uses stay consumed, with that outcome.
        KeyboardInterrupt: as `judge` raised it; likewise.
    """
    if log is None or not log.must_be_logged:
        return
    try:
        judge()
    except KeyboardInterrupt:
        _record_not_executed(consumptions, ledger, now)
        raise
    except PlacetError as error:
        _record_not_executed(consumptions, ledger, now)
        error.hint = (
            "Nothing was done, and the approval is used up: it ended while the gate waited for the log. "
            "Request a new one."
        )
        raise


def _record_not_executed(consumptions: tuple[Consumption, ...], ledger: UseLedger, now: int) -> None:
    # Where even this fails, the outcome stays unknown, which is what people are then told.
    for consumption in consumptions:
        if not consumption.repeated:
            with suppress(PlacetError):
                ledger.record_outcome(consumption, NOT_EXECUTED, now=now)


def record_outcomes(
    ledger: UseLedger,
    consumptions: tuple[Consumption, ...],
    exit_code: int,
    now: int,
    *,
    log: UseLog | None,
) -> PlacetError | None:
    """Records how the act ended, for every use that it consumed, and hands in what is still unlogged.

    Returns:
        Why it could not be recorded: the act is done, so this must not hide how it ended.
    """
    unrecorded = None
    try:
        for consumption in consumptions:
            ledger.record_outcome(consumption, exit_code, now=now)
    except PlacetError as error:
        unrecorded = error
    if log is not None:
        log.flush(ledger)
    return unrecorded


def describe_use(approval: VerifiedApproval, now: int, event_id: str | None, unit: str | None = None) -> Use:
    """Returns one use of an approval, of its first unit where none is named."""
    return Use(
        payload_digest=approval.payload_digest,
        use_unit=approval.use_units[0] if unit is None else unit,
        max_uses=approval.statement.max_uses,
        issued_at=approval.statement.issued_at,
        now=now,
        event_id=event_id,
        approvers=tuple(
            # The core says 0 where no report tells the time.
            ApproverMark(approver.keyid, approver.counter, approver.decided_at or None)
            for approver in approval.approvers
        ),
        summary=approval.text,
    )
