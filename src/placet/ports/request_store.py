"""Where a relay keeps requests and the answers to them.

    RequestStoreError
    ├── UnknownRequestError    no request has this id
    ├── RequestConflictError   the id is taken by something else
    ├── RequestClosedError     the request is withdrawn or expired
    ├── AnswerLimitError       the request already has as many answers as are kept, here or from there
    ├── QuotaExceededError     this caller has as much here as one caller may
    ├── StoreBusyError         try again in a moment; nothing was stored
    ├── StoreFullError         no room is left; nothing was stored
    └── StoreFailedError       the store is damaged or unreachable; an operator is needed

A store is a courier's pigeonhole: it knows ids, bytes and times.  It does not read what it
keeps, so a damaged or hostile store can lose or delay an approval and never make one.

Every implementation must pass the contract test `placet.testing.contracts.request_store`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple, NewType, Protocol

from placet.core.encoding import Digest
from placet.ports.log_store import LogEntry

RequestId = NewType("RequestId", Digest)
"""Lower-case hexadecimal SHA-256 of the request's payload."""
Cursor = NewType("Cursor", str)
"""A place in the order of submission; meaningful only to the store that made it."""

# More voices than any quorum of one action needs; bounds what a nuisance can make a relay keep.
MAX_ANSWERS = 32
# A page that fills an inbox screen several times and stays small on the wire.
MAX_PAGE = 100
# Deleted in one transaction at most: writers wait for no more than this.
MAX_DELETED = 100
# More than any store holds: what a limit is where nobody set one.
NO_LIMIT = 2**62


class RequestState(StrEnum):
    """What can still happen to a request."""

    OPEN = "open"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class StateFilter(StrEnum):
    """Which requests a listing shows."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


class RequestStoreError(Exception):
    """A store could not do what was asked.

    Attributes:
        reason: stable name in kebab-case.
        message: one sentence for a person.
        hint: what to do next, as a sentence, or "".
        for_clients: whether a relay's clients may read message and hint; those of the store's own trouble
            name addresses and paths, which are the operator's.
        operator_knows: whether the store has told the operator of this trouble already.
    """

    reason = "store-failed"
    for_clients = True
    operator_knows = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnknownRequestError(RequestStoreError):
    """No request has this id."""

    reason = "unknown-request"


class RequestConflictError(RequestStoreError):
    """The id is taken by a request with other evidence or another withdraw token."""

    reason = "request-conflict"


class RequestClosedError(RequestStoreError):
    """The request is withdrawn or expired."""

    reason = "request-not-open"


class AnswerLimitError(RequestStoreError):
    """The request already has `MAX_ANSWERS` answers, or as many as this caller or key may give."""

    reason = "too-many-answers"


class QuotaExceededError(RequestStoreError):
    """This caller has as much here as one caller may; nothing was stored.

    Attributes:
        retry_after: seconds after which trying again can make sense.
    """

    reason = "quota-exceeded"

    def __init__(self, message: str, *, hint: str = "", retry_after: int = 60) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class StoreBusyError(RequestStoreError):
    """The store cannot write right now; nothing was stored, and trying again makes sense."""

    reason = "store-busy"
    for_clients = False


class StoreFullError(RequestStoreError):
    """There is no room left; nothing was stored."""

    reason = "store-full"
    for_clients = False


class StoreFailedError(RequestStoreError):
    """The store is damaged, unreachable or not ours; an operator is needed."""

    reason = "store-failed"
    for_clients = False


class NewRequest(NamedTuple):
    """A request on its way into the store."""

    id: RequestId
    container: bytes
    """The request container in its canonical form."""
    withdraw_hash: Digest
    """SHA-256 of the secret that may withdraw the request."""
    expires_at: int
    caller: str = ""
    """Who sent it, as the relay tells callers apart: quotas count by it.  No part of the request."""


class NewAnswer(NamedTuple):
    """An answer on its way into the store."""

    digest: Digest
    """SHA-256 of `container`: what makes a second delivery recognisable."""
    container: bytes
    caller: str = ""
    """Who sent it, as in `NewRequest`."""
    signer: str = ""
    """The key whose signature was *verified*, or "": a key ID that is merely claimed limits nobody."""
    entry: LogEntry | None = None
    """What is appended to the store's own log together with the answer; None where nothing is."""


class Limits(NamedTuple):
    """How much one caller, and all together, may have in the store; held at the moment of the write.

    A caller's kept bytes are those of the containers of its requests and answers that are not yet deleted.
    """

    open_requests: int = NO_LIMIT
    """Of the caller, at once."""
    requests_per_day: int = NO_LIMIT
    """Of the caller, between two midnights UTC, whatever became of them."""
    kept_bytes: int = NO_LIMIT
    """Of the caller."""
    answers: int = NO_LIMIT
    """Of the caller to one request."""
    answers_per_signer: int = NO_LIMIT
    """Of one verified key to one request, whoever sent them."""
    all_open_requests: int = NO_LIMIT
    """Of everybody.  Given smaller for some callers, the rest is reserved for the others."""
    all_kept_bytes: int = NO_LIMIT
    """Of everybody."""
    all_answers: int = MAX_ANSWERS
    """Of everybody to one request, `MAX_ANSWERS` at most."""


UNLIMITED = Limits()


class StoreUsage(NamedTuple):
    """How much is in the store."""

    requests: int
    open_requests: int
    answers: int
    kept_bytes: int
    """Of all containers, of requests and answers."""
    disk_bytes: int
    """What the store takes on its disk, with everything around; 0 where the store cannot know."""


def _state(withdrawn_at: int | None, expires_at: int, now: int) -> RequestState:
    if withdrawn_at is not None:
        return RequestState.WITHDRAWN
    return RequestState.EXPIRED if expires_at <= now else RequestState.OPEN


class StoredRequest(NamedTuple):
    """A request as the store holds it, with its answers in the order of arrival."""

    id: RequestId
    container: bytes
    withdraw_hash: Digest
    submitted_at: int
    expires_at: int
    withdrawn_at: int | None
    answers: tuple[bytes, ...]

    def state(self, now: int) -> RequestState:
        """Tells the state at the time `now`."""
        return _state(self.withdrawn_at, self.expires_at, now)


class RequestSummary(NamedTuple):
    """A request in a listing."""

    id: RequestId
    submitted_at: int
    expires_at: int
    withdrawn_at: int | None
    answer_count: int
    cursor: Cursor

    def state(self, now: int) -> RequestState:
        """Tells the state at the time `now`."""
        return _state(self.withdrawn_at, self.expires_at, now)


class Page(NamedTuple):
    """A part of a listing, oldest request first."""

    requests: tuple[RequestSummary, ...]
    position: Cursor
    """Where to go on reading, also when `requests` is empty."""
    has_more: bool


class Watch(Protocol):
    """Notices changes from the moment it was made."""

    async def changed(self, timeout: float) -> bool:
        """Waits until something changed since the watch was made or last told, or `timeout` seconds passed.

        Returns:
            False when the time ran out.
        """
        ...


class RequestStore(Protocol):
    """Keeps requests and answers for a relay.

    Obligations:

    - **Durable before acknowledged.**  When a writing method returns, the effect survives the
      death of the process and, as far as the disk keeps its word, of the machine.  When it
      raises, nothing was stored, except that `StoreFailedError` leaves the outcome unknown.
    - **Idempotent.**  A repeated write with the same content changes nothing and succeeds, also
      after the request closed.  So a client that lost the acknowledgement just tries again.
    - **Atomic.**  An answer is stored if and only if the request is open, has fewer than
      `MAX_ANSWERS`, and the limits hold at that very moment, however many writers there are.
      The same goes for a request and its limits.
    - **Limits never refuse what is there.**  A repeated write succeeds whatever the limits.
    - **Whole or not at all.**  What is read is what was stored: each container is compared with
      its digest on every read, and one that differs raises `StoreFailedError`.
    - **Order.**  Requests are listed in the order in which they became visible: a reader that
      goes on from a cursor misses nothing that appears later.
    - **Foreign cursors start over.**  A cursor of another store, such as the one from before a
      restored backup, means the beginning: listing twice is harmless, never listing is not.
    - **No lost wake-up.**  A change that a read did not show wakes every watch that was made
      before that read.  Waking without a change is allowed.
    - **Cancellation.**  A cancelled write may or may not be stored; it is never stored in part.

    A store belongs to one event loop.  Times are Unix seconds and come from the caller.
    """

    async def submit(
        self, request: NewRequest, *, now: int, limits: Limits = UNLIMITED
    ) -> tuple[StoredRequest, bool]:
        """Keeps a request (`placet.ports.request_limits` has the rules for `limits`).

        Returns:
            The request as kept (without its answers), and whether this call created it.

        Raises:
            RequestConflictError: the id is there with another container or withdraw token.
            RequestClosedError: the request is new and already expired.
            QuotaExceededError: the caller has as much as one caller may.
            StoreBusyError, StoreFullError, StoreFailedError: see there.
        """
        ...

    async def add_answer(
        self, request_id: RequestId, answer: NewAnswer, *, now: int, limits: Limits = UNLIMITED
    ) -> bool:
        """Keeps an answer to an open request (`placet.ports.request_limits` has the rules for `limits`).

        Returns:
            Whether this call added it; False when the very same answer was there.

        Raises:
            UnknownRequestError: there is no such request.
            RequestClosedError: it is withdrawn or expired.
            AnswerLimitError: it has as many answers as are kept, or as this caller or key may give.
            QuotaExceededError: the caller has as much as one caller may.
            StoreBusyError, StoreFullError, StoreFailedError: see there.
            IndeterminateError: LOG_DAMAGED, LOG_UNAVAILABLE where the answer has an `entry`.
        """
        ...

    async def withdraw(self, request_id: RequestId, *, now: int) -> None:
        """Closes a request for good.  Withdrawing twice, or after expiry, succeeds.

        The caller has checked the withdraw token.

        Raises:
            UnknownRequestError: there is no such request.
            StoreBusyError, StoreFullError, StoreFailedError: see there.
        """
        ...

    async def fetch(self, request_id: RequestId) -> StoredRequest:
        """Reads a request with its answers, as of one moment.

        Raises:
            UnknownRequestError: there is no such request.
            StoreBusyError, StoreFailedError: see there.
        """
        ...

    async def list_page(self, state: StateFilter, *, after: Cursor | None, limit: int, now: int) -> Page:
        """Lists at most `limit` requests (1 to `MAX_PAGE`) after a cursor, oldest first.

        Raises:
            StoreBusyError, StoreFailedError: see there.
        """
        ...

    def watch(self, request_id: RequestId | None) -> AbstractContextManager[Watch]:
        """Watches one request for answers and withdrawal, or, with None, for new requests."""
        ...

    async def delete_closed(self, *, closed_before: int, limit: int = MAX_DELETED) -> int:
        """Deletes the oldest requests that were withdrawn or expired before a time, with their answers.

        An open request is never deleted: the caller gives a time in the past.  Cursors keep their meaning.

        Args:
            closed_before: Unix seconds, exclusive.
            limit: how many at most (1 to `MAX_DELETED`), in one transaction.

        Returns:
            How many were deleted.

        Raises:
            StoreBusyError, StoreFullError, StoreFailedError: see there.
        """
        ...

    async def measure(self, *, now: int) -> StoreUsage:
        """Tells how much is in the store; cheap enough for every few seconds.

        Raises:
            StoreBusyError, StoreFailedError: see there.
        """
        ...

    async def check_health(self) -> None:
        """Makes sure that the store can be read and still takes writes.

        Raises:
            StoreBusyError, StoreFailedError: it cannot.
        """
        ...

    async def close(self) -> None:
        """Finishes the accepted writes and lets go of every resource.  Closing twice is harmless."""
        ...
