"""Consuming the uses of an approval, before the act that they allow (spec/15-use.md)."""

from __future__ import annotations

from placet.core.errors import PlacetError
from placet.core.verify import VerifiedApproval
from placet.ports.use_ledger import ApproverMark, Consumption, Use, UseLedger

__all__ = ["check_uses", "consume_use", "consume_uses", "describe_use", "record_outcomes"]


def consume_use(approval: VerifiedApproval, ledger: UseLedger, now: int, event_id: str | None) -> Consumption:
    """Consumes the one use durably, or gets the recorded answer of a repeated event.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer.
    """
    return ledger.consume(describe_use(approval, now, event_id))


def check_uses(approval: VerifiedApproval, ledger: UseLedger, now: int) -> None:
    """Checks that every unit could be used now, and consumes nothing.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer.
    """
    for unit in approval.use_units:
        ledger.check_available(describe_use(approval, now, None, unit))


def consume_uses(approval: VerifiedApproval, ledger: UseLedger, now: int) -> tuple[Consumption, ...]:
    """Consumes one use of every unit durably, after checking that all of them are there.

    Where another gate takes one in between, those consumed before it stay consumed with an unknown outcome.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer.
    """
    check_uses(approval, ledger, now)
    return tuple(ledger.consume(describe_use(approval, now, None, unit)) for unit in approval.use_units)


def record_outcomes(
    ledger: UseLedger, consumptions: tuple[Consumption, ...], exit_code: int, now: int
) -> PlacetError | None:
    """Records how the act ended, for every use that it consumed.

    Returns:
        Why it could not be recorded: the act is done, so this must not hide how it ended.
    """
    try:
        for consumption in consumptions:
            ledger.record_outcome(consumption, exit_code, now=now)
    except PlacetError as error:
        return error
    return None


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
