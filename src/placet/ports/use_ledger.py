"""Where a gate consumes the uses of approvals (spec/15-use.md).

A signature stays valid for ever; only the ledger knows that it was used.  Whatever implements
`UseLedger` must keep these promises, and pass the contract test `placet.testing.contracts.use_ledger`:

1. **Durable before returning (USE-01).**  When `consume` returns, the use survives power loss.  A gate
   acts only after that, so a crash may lose an act, never a use.
2. **Atomic across processes (USE-02).**  Of any number of gates that race for the last use of one
   statement, exactly one gets it.
3. **No statement older than the ledger (USE-03).**  A ledger refuses what was issued at or before its own
   birth: it cannot know what was used before it existed.
4. **A restored ledger is a new ledger (USE-04).**  Restoring from a backup forgets uses, and so may a
   failover to a standby that was behind; both must be declared as a new birth.  An implementation that
   notices a restored, copied or promoted ledger refuses to answer until then.
5. **A repeated event gets the recorded answer (USE-05).**  Systems that deliver the same native event
   twice (webhook retries) pass its ID; the second delivery consumes nothing and is told the first one's
   outcome.  Only consumed uses are recorded: a refusal is judged afresh.
6. **Counters do not go back (USE-06).**  For each key, signature counters must not fall in the order in
   which the decisions were made, in whatever order they are used; a falling counter betrays a cloned
   authenticator.  Decisions whose order is not known are not compared.  A key that always reports zero
   passes; one that has counted and then reports zero does not.
7. **Time does not go back (USE-07).**  A gate whose clock is behind the latest use that the ledger
   recorded cannot judge windows (attack A18), so the ledger refuses to answer.
8. **Unknown stays unknown (USE-08).**  A use without a recorded outcome is shown as such and is never
   given back.
9. **No trace is lost (USE-11).**  A use's record is stored by the very commit that consumes the use, and is
   listed as unlogged until `mark_logged`, across crashes and births.

Reading uses to show them to people, and handing in their records, stays possible in a ledger that refuses
to answer gates.

Leaves out: whether the approval is valid.  Only verified data may be consumed.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from placet.core.encoding import Digest, KeyId

# The outcome of a use whose act was never begun, as the log did not take the use's record (USE-12).  No
# command ends with it.
NOT_EXECUTED = -1


class ApproverMark(NamedTuple):
    """What the ledger needs to know of one counted signature.

    Args:
        decided_at: when it was made, Unix seconds; None where no terminal reports it, so that all that is
            known is that it was made between the statement's issue and its use.
    """

    keyid: KeyId
    counter: int
    decided_at: int | None


class Use(NamedTuple):
    """One use of one statement, about to be made.

    Args:
        payload_digest: SHA-256 of the statement's bytes.
        use_unit: what is used up: "action", or the digest of one subject.
        max_uses: how many times the statement allows each unit to be used.
        issued_at: when the statement was issued, Unix seconds.
        now: the gate's time of verification, Unix seconds.
        event_id: the native event's ID, if the gate's host system may deliver it twice.
        approvers: the signatures that were counted.
        summary: what was approved, in one line, for whoever reads the ledger; judges nothing.
        record: what a log is to hold of this use (`placet.core.tlog.uses`); b"" where no log is kept.
    """

    payload_digest: Digest
    use_unit: str
    max_uses: int
    issued_at: int
    now: int
    event_id: str | None = None
    approvers: tuple[ApproverMark, ...] = ()
    summary: str = ""
    record: bytes = b""


class Consumption(NamedTuple):
    """The ledger's answer: this use is yours, or was already yours for the same event.

    Args:
        use_id: the ledger's own number of this use.
        ledger_id: the ledger that recorded it.
        ordinal: which of the allowed uses this is, from 1.
        used_at: when it was consumed, Unix seconds.
        repeated: True if the event was known: nothing was consumed and nothing may be executed.
        exit_code: the recorded outcome of a repeated event; None if unknown.
    """

    use_id: int
    ledger_id: str
    payload_digest: Digest
    use_unit: str
    ordinal: int
    used_at: int
    repeated: bool
    exit_code: int | None


class UseRecord(NamedTuple):
    """A recorded use, to show to people; `exit_code` None means that the outcome is not known.

    Args:
        leaf_index: where the log holds it; None where it does not, or not yet.
        is_unlogged: whether a log is still to hold it.
    """

    use_id: int
    payload_digest: Digest
    use_unit: str
    ordinal: int
    used_at: int
    event_id: str | None
    exit_code: int | None
    finished_at: int | None
    summary: str
    leaf_index: int | None
    is_unlogged: bool


class UnloggedUse(NamedTuple):
    """A use that is consumed, and whose record no log is known to hold."""

    use_id: int
    used_at: int
    record: bytes


class Backlog(NamedTuple):
    """How many uses are unlogged, and since when, in Unix seconds; `since` is None where none is."""

    uses: int
    since: int | None


class Birth(NamedTuple):
    """When and where a ledger began to know what was used.

    Args:
        place: what tells the ledger's place from that of any copy.
    """

    number: int
    ledger_id: str
    born_at: int
    place: str


class UseLedger(Protocol):
    """The ledger of one gate.  The module's docstring lists its obligations."""

    def check_available(self, use: Use) -> None:
        """Checks everything that `consume` checks and consumes nothing (dry runs).

        Raises:
            PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED, TIME_UNPROVEN.
        """
        ...

    def consume(self, use: Use) -> Consumption:
        """Consumes one use durably, or returns the recorded answer of a repeated event.

        Raises:
            PolicyError: ALREADY_USED (its text says when, and whether the outcome is known),
                ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED, TIME_UNPROVEN.
        """
        ...

    def record_outcome(self, consumption: Consumption, exit_code: int, *, now: int) -> None:
        """Records how the act ended.  The first recorded outcome stands.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def uses(self, payload_digest: Digest) -> tuple[UseRecord, ...]:
        """Returns the recorded uses of one statement, oldest first.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def list_unknown(self) -> tuple[UseRecord, ...]:
        """Returns the uses whose outcome is not recorded: still running, or lost in a crash.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def list_latest(self, limit: int) -> tuple[UseRecord, ...]:
        """Returns the latest `limit` uses, newest first.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def list_unlogged(self, limit: int, *, after: int = 0) -> tuple[UnloggedUse, ...]:
        """Returns the uses whose records a log is still to hold, oldest first.

        Args:
            limit: how many at most.
            after: only those with a higher `use_id`.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def count_unlogged(self) -> Backlog:
        """Returns how many there are of those.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def mark_logged(self, use_id: int, leaf_index: int) -> None:
        """Records durably that the log holds a use.  The first recorded index stands.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE, also where there is no such use with a record.
        """
        ...

    def birth(self) -> Birth:
        """Returns the latest birth.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        ...

    def check_undisturbed(self) -> None:
        """Checks that this is the very ledger that was born here, with all its uses.

        Raises:
            IndeterminateError: LEDGER_UNAVAILABLE, LEDGER_RESTORED.
        """
        ...

    def close(self) -> None:
        """Lets go of every resource; what was consumed is already durable.  Closing twice is harmless."""
        ...
