"""Where a relay keeps requests and the answers to them.

    RequestStoreError
    ├── UnknownRequestError    no request has this id
    ├── RequestConflictError   the id is taken by something else
    ├── RequestClosedError     the request is withdrawn or expired
    ├── AnswerLimitError       the request already has as many answers as are kept
    ├── StoreBusyError         try again in a moment; nothing was stored
    ├── StoreFullError         no room is left; nothing was stored
    └── StoreFailedError       the store is damaged or unreachable; an operator is needed

A store is a courier's pigeonhole: it knows ids, bytes and times.  It does not read what it
keeps, so a damaged or hostile store can lose or delay an approval and never make one.

Every implementation must pass the contract test ``tests/contracts/request_store_contract.py``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple, NewType, Protocol

from placet.core.encoding import Digest

RequestId = NewType("RequestId", Digest)
"""Lower-case hexadecimal SHA-256 of the request's payload."""
Cursor = NewType("Cursor", str)
"""A place in the order of submission; meaningful only to the store that made it."""

# More voices than any quorum of one action needs; bounds what a nuisance can make a relay keep.
MAX_ANSWERS = 32
# A page that fills an inbox screen several times and stays small on the wire.
MAX_PAGE = 100


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
    """

    reason = "store-failed"

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
    """The request already has `MAX_ANSWERS` answers."""

    reason = "too-many-answers"


class StoreBusyError(RequestStoreError):
    """The store cannot write right now; nothing was stored, and trying again makes sense."""

    reason = "store-busy"


class StoreFullError(RequestStoreError):
    """There is no room left; nothing was stored."""

    reason = "store-full"


class StoreFailedError(RequestStoreError):
    """The store is damaged, unreachable or not ours; an operator is needed."""

    reason = "store-failed"


class NewRequest(NamedTuple):
    """A request on its way into the store."""

    id: RequestId
    container: bytes
    """The request container in its canonical form."""
    withdraw_hash: Digest
    """SHA-256 of the secret that may withdraw the request."""
    expires_at: int


class NewAnswer(NamedTuple):
    """An answer on its way into the store."""

    digest: Digest
    """SHA-256 of `container`: what makes a second delivery recognisable."""
    container: bytes


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
    - **Atomic.**  An answer is stored if and only if the request is open and has fewer than
      `MAX_ANSWERS` at that very moment, however many writers there are.
    - **Order.**  Requests are listed in the order in which they became visible: a reader that
      goes on from a cursor misses nothing that appears later.
    - **Foreign cursors start over.**  A cursor of another store, such as the one from before a
      restored backup, means the beginning: listing twice is harmless, never listing is not.
    - **No lost wake-up.**  A change that a read did not show wakes every watch that was made
      before that read.  Waking without a change is allowed.
    - **Cancellation.**  A cancelled write may or may not be stored; it is never stored in part.

    A store belongs to one event loop.  Times are Unix seconds and come from the caller.
    """

    async def submit(self, request: NewRequest, *, now: int) -> tuple[StoredRequest, bool]:
        """Keeps a request.

        Returns:
            The request as kept (without its answers), and whether this call created it.

        Raises:
            RequestConflictError: the id is there with another container or withdraw token.
            RequestClosedError: the request is new and already expired.
            StoreBusyError, StoreFullError, StoreFailedError: see there.
        """
        ...

    async def add_answer(self, request_id: RequestId, answer: NewAnswer, *, now: int) -> bool:
        """Keeps an answer to an open request.

        Returns:
            Whether this call added it; False when the very same answer was there.

        Raises:
            UnknownRequestError: there is no such request.
            RequestClosedError: it is withdrawn or expired.
            AnswerLimitError: it has as many answers as are kept.
            StoreBusyError, StoreFullError, StoreFailedError: see there.
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

    async def check_health(self) -> None:
        """Makes sure that the store can be read and still takes writes.

        Raises:
            StoreBusyError, StoreFailedError: it cannot.
        """
        ...

    async def close(self) -> None:
        """Finishes the accepted writes and lets go of every resource.  Closing twice is harmless."""
        ...
