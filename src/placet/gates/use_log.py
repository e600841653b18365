"""Telling the log of uses: the leaf that stands for "this gate used that approval" (spec/15-use.md).

A record is made and signed before the use is consumed, and stored by the commit that consumes it, so no
crash can part the two.  Then, in this order:

1. where a rule wants uses `logged`, the log is asked for a checkpoint *before* anything is consumed;
2. the use is consumed with its record;
3. where a rule wants uses `logged`, the record is handed in and its proof verified *before* the act (USE-12);
4. after the act, what is still unlogged is handed in: this use's record where rules are content with
   `queued`, and whatever a crash or an outage left behind.

A log is believed for what it proves: the leaf counts as logged when a proof verifies under the log's key in
the trust root, never because somebody at its address said so.

Leaves out: HTTP, key files and which bundle; whoever composes the gate brings them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import NamedTuple

from placet.core.bundle import IntentBundle
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.rules import applicable_rules
from placet.core.statement import parse_statement
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.leaf import leaf_hash
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.proof import parse_proof, verify_proof
from placet.core.tlog.records import USE_ID_BYTES, leaf_of_record
from placet.core.tlog.records import Use as LoggedUse
from placet.core.tlog.uses import approval_leaves, make_use_record
from placet.core.trust import Trust
from placet.ports.log_appender import LogAppender, LogOpener, UseSigner
from placet.ports.use_ledger import Backlog, UnloggedUse, Use, UseLedger

__all__ = ["Flushed", "LogAccess", "UseLog", "check_signer", "flush_uses"]

# After an act, whoever waits for the gate waits for this, too; `placet ledger flush` does the rest.
MAX_AFTER_ACT = 8
_PAGE = 100


class LogAccess(NamedTuple):
    """Which logs count, and how they are reached."""

    policy: LogPolicy
    open_log: LogOpener


class Flushed(NamedTuple):
    """What came of handing in.

    Args:
        appended: how many records the log now holds that it was not known to hold.
        left: what still waits.
        trouble: why it waits; None where nothing failed.
    """

    appended: int
    left: Backlog
    trouble: PlacetError | None


def check_signer(signer: UseSigner, trust: Trust, gate: str) -> LogPolicy:
    """Checks that a log would believe this gate, and returns which logs count.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE: the trust root does not name this key for this gate.
    """
    if trust.log_policy is None or signer.public not in trust.gates[gate].use_keys:  # USE-11
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"The trust root does not name the use key of this machine for the gate {gate}, so no log would"
            " believe what it says of its uses.",
            actual=signer.public.digest,
            hint=f"Nothing was used. An administrator enters it: placet trust set-gate {gate} --use-key "
            "FILE.pub; then refresh trust.",
        )
    return trust.log_policy


class UseLog:
    """Tells the log of the uses of one approval.

    Args:
        gate: this gate's ID.
        trust: the gate's snapshot.
        bundle: the approval that is used.
        signer: the gate's use key.
        open_log: opens the log that the trust root names.

    Attributes:
        flushed: what came of the latest handing in after an act.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE: the trust root does not name this key for this gate.
    """

    def __init__(
        self, *, gate: str, trust: Trust, bundle: IntentBundle, signer: UseSigner, open_log: LogOpener
    ) -> None:
        policy = check_signer(signer, trust, gate)
        self._access = LogAccess(policy, open_log)
        self._gate, self._trust, self._bundle, self._signer = gate, trust, bundle, signer
        self._log: LogAppender | None = None
        self._consumed: list[UnloggedUse] = []
        self.flushed: Flushed | None = None

    @property
    def must_be_logged(self) -> bool:
        """Whether the act waits for the log; the strictest of the rules that apply decides (USE-12)."""
        rules = applicable_rules(parse_statement(self._bundle.envelope.payload), self._trust)
        return any(rule.uses != "queued" for rule in rules)

    def check_ready(self) -> None:
        """Checks, before anything is consumed, that the log answers, where the act waits for it.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE.
        """
        if not self.must_be_logged:
            return
        try:
            self._log = _find_log(self._access, patient=True)
        except PlacetError as error:
            raise IndeterminateError(
                Reason.LOG_UNAVAILABLE,
                f"A rule wants each use logged before it is acted on. {error}",
                hint="Nothing was used and nothing was done. Try again when the log answers. Under a rule "
                'with uses = "queued" a gate acts and logs later.',
            ) from error

    def make_record(self, use: Use) -> bytes:
        """Returns the signed record of a use, which no other use shares (USE-14)."""
        said = LoggedUse(
            payload_digest=use.payload_digest,
            approvals=approval_leaves(self._bundle, {mark.keyid for mark in use.approvers}),
            gate=self._gate,
            id=secrets.token_bytes(USE_ID_BYTES),
            unit=use.use_unit,
            used_at=use.now,
        )
        return make_use_record(said, self._signer.public, self._signer.sign_message)

    def add_consumed(self, use: UnloggedUse) -> None:
        """Is told of a use that was consumed with its record."""
        self._consumed.append(use)

    def log_before_act(self, ledger: UseLedger) -> None:
        """Hands in the records of consumed uses, where the act waits for that (USE-12).

        Raises:
            IndeterminateError: LOG_UNAVAILABLE; the records stay queued.
        """
        if not self.must_be_logged:
            return
        try:
            log = self._log or _find_log(self._access, patient=True)
            while self._consumed:
                _log_one(log, self._access.policy, ledger, self._consumed[0])
                del self._consumed[0]
        except PlacetError as error:
            raise IndeterminateError(
                Reason.LOG_UNAVAILABLE,
                f"The log did not take the use, and a rule wants it there before the act. {error}",
                hint="Nothing was done. The approval is used up, and its record waits: `placet ledger flush` "
                "hands it in. Then request a new approval.",
            ) from error

    def flush(self, ledger: UseLedger) -> None:
        """Hands in what is unlogged, after the act, this act's uses first; `flushed` says what came of it."""
        first, self._consumed = tuple(self._consumed), []
        self.flushed = flush_uses(ledger, self._access, first=first, limit=MAX_AFTER_ACT, patient=False)


def flush_uses(
    ledger: UseLedger,
    access: LogAccess,
    *,
    first: tuple[UnloggedUse, ...] = (),
    limit: int | None = None,
    patient: bool = True,
) -> Flushed:
    """Hands in the records that no log is known to hold; failures are told, never raised.

    A record that is damaged, or that the log refuses or proves wrongly, keeps its place in the queue and does
    not stop the others.

    Args:
        first: uses that come before the oldest.
        limit: how many are tried; None for all.
        patient: see `LogOpener`.
    """
    appended = 0
    trouble: PlacetError | None = None
    log: LogAppender | None = None
    try:
        for use in _list_waiting(ledger, first, limit):
            log = log or _find_log(access, patient=patient)
            try:
                _log_one(log, access.policy, ledger, use)
                appended += 1
            except IndeterminateError:
                raise  # log or ledger cannot be used just now: the next record would fare no better
            except PlacetError as error:
                trouble = trouble or error
    except PlacetError as error:
        trouble = error
    try:
        return Flushed(appended, ledger.count_unlogged(), trouble)
    except PlacetError as error:
        return Flushed(appended, Backlog(0, None), error)


def _list_waiting(
    ledger: UseLedger, first: tuple[UnloggedUse, ...], limit: int | None
) -> Iterator[UnloggedUse]:
    yield from first
    known = {use.use_id for use in first}
    left, last = limit, 0
    while left is None or left > 0:
        page = ledger.list_unlogged(_PAGE if left is None else min(left, _PAGE), after=last)
        yield from (use for use in page if use.use_id not in known)
        if not page:
            return
        last = page[-1].use_id
        left = None if left is None else left - len(page)


def _find_log(access: LogAccess, *, patient: bool) -> LogAppender:
    """Returns the first log of the policy that answers with a checkpoint of its own.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE.
    """
    troubles = []
    for key, url in access.policy.logs:
        if not url:
            continue
        try:
            log = access.open_log(url, patient=patient)
            verify_checkpoint(log.fetch_checkpoint(), key)
        except PlacetError as error:
            troubles.append(error)
        else:
            return log
    raise IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        "; ".join(map(str, troubles)) or "The trust root names no log with an address.",
        hint="Try again later: the same record is never logged twice.",
    )


def _log_one(log: LogAppender, policy: LogPolicy, ledger: UseLedger, use: UnloggedUse) -> None:
    """Hands in one record and verifies that it is in the log.

    Raises:
        PlacetError: it is not, or the ledger cannot remember that it is.
    """
    leaf = leaf_hash(leaf_of_record(use.record))
    log.append(use.record)
    # USE-12: an acknowledgement is anybody's word; the proof is under the log's key.
    proven = verify_proof(parse_proof(log.fetch_proof(leaf)), leaf, policy)
    ledger.mark_logged(use.use_id, proven.leaf_index)
