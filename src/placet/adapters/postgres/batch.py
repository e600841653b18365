"""A group of writes to the PostgreSQL request store: what they need to know, and what becomes of each.

The writer reads once for the whole group, under the lock that every writer takes.  Then each write is
judged here, in order, in memory, as if those before it had been committed; and what they add is written
once for the whole group.  So a group costs the same few statements whether it holds one write or a
thousand, no refusal ever has anything to undo, and the rules are those of `placet.ports.request_limits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from placet.adapters.stored_requests import (
    closed_request,
    late_request,
    seal_of,
    taken_request,
    unknown_request,
)
from placet.core.encoding import Digest
from placet.ports.request_limits import (
    Present,
    PresentAnswers,
    check_bytes,
    check_new_answer,
    check_new_request,
    day_start,
)
from placet.ports.request_store import (
    NO_LIMIT,
    Limits,
    NewAnswer,
    NewRequest,
    RequestId,
    RequestState,
    StoredRequest,
)

# PostgreSQL takes 8,000 bytes in one notification.
_MAX_NAMED = 100
NEW_REQUESTS, EVERYTHING = "new", "all"


class Submit(NamedTuple):
    """`RequestStore.submit`."""

    request: NewRequest
    limits: Limits


class AddAnswer(NamedTuple):
    """`RequestStore.add_answer`."""

    request_id: RequestId
    answer: NewAnswer
    limits: Limits


class Withdraw(NamedTuple):
    """`RequestStore.withdraw`."""

    request_id: RequestId


Write = Submit | AddAnswer | Withdraw


class Totals(NamedTuple):
    """The one row of the table ``store``, in its order."""

    change: int
    last_request: int
    last_answer: int
    requests: int
    answers: int
    kept_bytes: int


class Usage(NamedTuple):
    """A row of the table ``usage``, in its order."""

    caller: str
    requests: int
    answers: int
    kept_bytes: int
    day: int
    requests_that_day: int


class Facts(NamedTuple):
    """What was read under the lock.

    Args:
        requests: id, seq, caller, withdraw_hash, seal, submitted_at, expires_at, withdrawn_at.
        answers: seq of the request, digest, caller, signer.
        open_by_caller: caller, and how many requests it has open.
    """

    totals: Totals
    requests: Sequence[tuple[Any, ...]]
    answers: Sequence[tuple[Any, ...]]
    usage: Sequence[tuple[Any, ...]]
    open_by_caller: Sequence[tuple[Any, ...]]
    all_open: int


class _Known:
    """A request that is there, or will be when the group is committed."""

    __slots__ = (
        "answers",
        "caller",
        "expires_at",
        "seal",
        "seq",
        "submitted_at",
        "withdraw_hash",
        "withdrawn_at",
    )

    def __init__(
        self,
        seq: int,
        caller: str,
        withdraw_hash: str,
        seal: str,
        submitted_at: int,
        expires_at: int,
        withdrawn_at: int | None,
    ) -> None:
        self.seq, self.caller, self.withdraw_hash, self.seal = seq, caller, withdraw_hash, seal
        self.submitted_at, self.expires_at, self.withdrawn_at = submitted_at, expires_at, withdrawn_at
        self.answers: dict[str, tuple[str, str]] = {}

    def state(self, now: int) -> RequestState:
        if self.withdrawn_at is not None:
            return RequestState.WITHDRAWN
        return RequestState.EXPIRED if self.expires_at <= now else RequestState.OPEN


class Needs(NamedTuple):
    """What a group must know before it can be judged."""

    request_ids: list[str]
    answered_ids: list[str]
    callers: list[str]
    counts_open: bool


def needs_of(writes: Iterable[Write]) -> Needs:
    """Returns what these writes must know."""
    requests, answered, callers, counts_open = set(), set(), set(), False
    for write in writes:
        match write:
            case Submit(request, limits):
                requests.add(str(request.id))
                callers.add(request.caller)
                counts_open |= min(limits.open_requests, limits.all_open_requests) < NO_LIMIT
            case AddAnswer(request_id, answer, _):
                answered.add(str(request_id))
                callers.add(answer.caller)
            case Withdraw(request_id):
                requests.add(str(request_id))
    return Needs(sorted(requests | answered), sorted(answered), sorted(callers), counts_open)


class Batch:
    """Judges writes against `facts` and gathers the rows that they add.

    Attributes:
        new_requests, new_answers: rows in the order of their tables' columns.
        withdrawals: ids of requests to close.
        touched: whom to wake: ids of requests, and `NEW_REQUESTS`.
    """

    def __init__(self, facts: Facts, *, now: int) -> None:
        self._now = now
        self.totals = facts.totals
        self.new_requests: list[tuple[Any, ...]] = []
        self.new_answers: list[tuple[Any, ...]] = []
        self.withdrawals: list[str] = []
        self.touched: set[str] = set()
        self._requests = {row[0]: _Known(*row[1:]) for row in facts.requests}
        by_seq = {known.seq: known for known in self._requests.values()}
        for seq, digest, caller, signer in facts.answers:
            by_seq[seq].answers[digest] = (caller, signer)
        self._usage = {row[0]: Usage(*row) for row in facts.usage}
        self._changed_usage: set[str] = set()
        self._open = dict(facts.open_by_caller)
        self._all_open = facts.all_open

    @property
    def usage(self) -> list[Usage]:
        """The rows of ``usage`` that changed."""
        return [self._usage[caller] for caller in sorted(self._changed_usage)]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.new_requests or self.new_answers or self.withdrawals)

    def notification(self) -> str:
        """Returns what to tell the other processes: the number of the change, and whom to wake."""
        names = sorted(self.touched) if len(self.touched) <= _MAX_NAMED else [EVERYTHING]
        return f"{self.totals.change} {','.join(names)}"

    def judge(self, write: Write) -> object:
        """Returns what the write's caller is told once the group is committed.

        Raises:
            RequestStoreError: the write is refused; it adds nothing.
        """
        match write:
            case Submit(request, limits):
                return self._submit(request, limits)
            case AddAnswer(request_id, answer, limits):
                return self._add_answer(request_id, answer, limits)
            case Withdraw(request_id):
                self._withdraw(request_id)
                return None

    def _submit(self, request: NewRequest, limits: Limits) -> tuple[StoredRequest, bool]:
        known = self._requests.get(request.id)
        if known is not None:
            return self._same(request, known), False
        if request.expires_at <= self._now:
            raise late_request()
        size = len(request.container)
        check_new_request(self._present(request.caller), size, limits, now=self._now)
        sealed = (request.id, request.withdraw_hash, self._now, request.expires_at)
        seal = seal_of(*sealed, request.container)
        seq = self.totals.last_request + 1
        self.totals = self.totals._replace(last_request=seq)
        known = _Known(seq, request.caller, request.withdraw_hash, seal, *sealed[2:], None)
        self._requests[request.id] = known
        self.new_requests.append((seq, *sealed, request.caller, seal, size, request.container))
        self._count_request(request.caller, size)
        self.touched.add(NEW_REQUESTS)
        return self._stored(request, known), True

    def _same(self, request: NewRequest, known: _Known) -> StoredRequest:
        stored = self._stored(request, known)
        # The seal covers the container: what has the same seal is the same, and megabytes need not be read.
        head = (request.id, known.withdraw_hash, known.submitted_at, known.expires_at)
        if known.withdraw_hash != request.withdraw_hash or known.seal != seal_of(*head, request.container):
            raise taken_request(request.id)
        return stored

    def _stored(self, request: NewRequest, known: _Known) -> StoredRequest:
        return StoredRequest(
            request.id,
            request.container,
            Digest(known.withdraw_hash),
            known.submitted_at,
            known.expires_at,
            known.withdrawn_at,
            (),
        )

    def _add_answer(self, request_id: RequestId, answer: NewAnswer, limits: Limits) -> bool:
        known = self._find(request_id)
        if answer.digest in known.answers:
            return False
        state = known.state(self._now)
        if state is not RequestState.OPEN:
            raise closed_request(state)
        given = list(known.answers.values())
        of_signer = sum(signer == answer.signer != "" for _, signer in given)
        of_caller = sum(caller == answer.caller for caller, _ in given)
        check_new_answer(PresentAnswers(of_caller, of_signer, len(given)), limits)
        size = len(answer.container)
        check_bytes(self._present(answer.caller), size, limits)
        known.answers[answer.digest] = (answer.caller, answer.signer)
        seq = self.totals.last_answer + 1
        self.totals = self.totals._replace(last_answer=seq)
        self.new_answers.append(
            (seq, known.seq, answer.digest, self._now, answer.caller, answer.signer, size, answer.container)
        )
        self._count(answer.caller, answers=1, kept_bytes=size)
        self.touched.add(str(request_id))
        return True

    def _withdraw(self, request_id: RequestId) -> None:
        known = self._find(request_id)
        if known.withdrawn_at is not None:
            return
        if known.state(self._now) is RequestState.OPEN:
            self._all_open -= 1
            self._open[known.caller] = self._open.get(known.caller, 0) - 1
        known.withdrawn_at = self._now
        self.withdrawals.append(str(request_id))
        self.touched.add(str(request_id))

    def _find(self, request_id: RequestId) -> _Known:
        known = self._requests.get(request_id)
        if known is None:
            raise unknown_request(request_id)
        return known

    def _present(self, caller: str) -> Present:
        usage = self._usage.get(caller, _nothing(caller))
        today = usage.requests_that_day if usage.day == day_start(self._now) else 0
        return Present(
            self._open.get(caller, 0), today, usage.kept_bytes, self._all_open, self.totals.kept_bytes
        )

    def _count_request(self, caller: str, size: int) -> None:
        self._count(caller, requests=1, kept_bytes=size)
        usage, today = self._usage[caller], day_start(self._now)
        that_day = usage.requests_that_day if usage.day == today else 0
        self._usage[caller] = usage._replace(day=today, requests_that_day=that_day + 1)
        self._open[caller] = self._open.get(caller, 0) + 1
        self._all_open += 1

    def _count(self, caller: str, *, requests: int = 0, answers: int = 0, kept_bytes: int) -> None:
        usage, totals = self._usage.get(caller, _nothing(caller)), self.totals
        self._usage[caller] = usage._replace(
            requests=usage.requests + requests,
            answers=usage.answers + answers,
            kept_bytes=usage.kept_bytes + kept_bytes,
        )
        self.totals = totals._replace(
            requests=totals.requests + requests,
            answers=totals.answers + answers,
            kept_bytes=totals.kept_bytes + kept_bytes,
        )
        self._changed_usage.add(caller)


def _nothing(caller: str) -> Usage:
    return Usage(caller, 0, 0, 0, 0, 0)
