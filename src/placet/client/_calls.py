"""The relay's API as values: what to send for each call, and how to judge what comes back.

No I/O here.  A transport sends a `Call`, hands the `Reply` to `judge`, and asks `pause_before` whether and
when to try again; the two transports differ in nothing else.

Every call of the API may be repeated without a second effect, so all of them are tried again when the
connection fails or the relay is busy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from placet.client._errors import RelayUnavailableError, lied
from placet.client._replies import (
    RelayedListing,
    RelayedRequest,
    RelayedSummary,
    Reply,
    Submitted,
    check_answered,
    check_healthy,
    check_withdrawn,
    read_listing,
    read_reply,
    read_request,
    read_submitted,
)
from placet.core.bundle import Answer, IntentRequest, encode_answer, encode_request
from placet.core.encoding import Digest, encode_canonical, sha256_hex
from placet.ports.request_store import MAX_PAGE, StateFilter

T = TypeVar("T")
OnPause = Callable[[RelayUnavailableError, float], object]

# Proxies commonly cut silent connections after a minute.
MAX_WAIT_SECONDS = 60
# Two more tries: the second covers a lost connection, the third a restart or a relay that was busy.
PAUSES = (0.2, 1.0)
_TRY_AGAIN = frozenset({0, 408, 425, 429, 500, 502, 503, 504})


class Call(NamedTuple, Generic[T]):
    """One call of the API; `waits` is how long the relay was asked to hold it, in seconds."""

    method: str
    path: str
    read: Callable[[str, int, Any], T]
    query: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    waits: float = 0.0

    def judge(self, relay: str, reply: Reply) -> T:
        """Returns what the reply says.

        Raises:
            RelayClientError: the relay could not serve, refused, answered with nonsense, or lied.
        """
        return self.read(relay, reply.status, read_reply(relay, reply))


def pause_before(attempt: int, error: RelayUnavailableError) -> float | None:
    """Returns how long to wait before trying again, or None to give up.

    Args:
        attempt: how many tries there were, beginning with 1.
        error: how the last one ended.
    """
    if attempt > len(PAUSES) or error.status not in _TRY_AGAIN:
        return None
    # Jittered: pipelines that failed together must not come back together.
    spread = 0.5 + random.random()  # noqa: S311 -- spreads load, keeps no secret
    return max(PAUSES[attempt - 1] * spread, error.retry_after * (1 + spread / 10))


def submit(request: IntentRequest, withdraw_token: str) -> Call[Submitted]:
    """Sends a request; of the withdraw token only the digest."""
    body = {
        "request": json.loads(encode_request(request)),
        "withdrawToken": {"sha256": sha256_hex(withdraw_token.encode("utf-8"))},
    }
    return Call(
        "POST",
        "v1/requests",
        lambda relay, status, value: read_submitted(relay, status, value, request.id),
        content=encode_canonical(body),
    )


def list_page(state: StateFilter, after: str | None, limit: int) -> Call[RelayedListing]:
    """Asks for a page of requests, oldest first."""
    query = (("state", str(state)), ("limit", str(limit)), *_cursor(after))
    return Call("GET", "v1/requests", lambda relay, _, value: read_listing(relay, value), query)


def wait_for_requests(after: str | None, timeout: float) -> Call[RelayedListing]:
    """Waits for open requests after a cursor."""
    seconds = _bounded(timeout)
    query = (("timeout", str(seconds)), *_cursor(after))
    return Call("GET", "v1/wait", lambda relay, _, value: read_listing(relay, value), query, waits=seconds)


def fetch(request_id: Digest) -> Call[RelayedRequest]:
    """Asks for a request with its answers."""
    return Call(
        "GET", f"v1/requests/{request_id}", lambda relay, _, value: read_request(relay, value, request_id)
    )


def wait_for_answers(request_id: Digest, seen: int, timeout: float) -> Call[RelayedRequest]:
    """Waits until a request has more than `seen` answers or is closed."""
    seconds = _bounded(timeout)
    return Call(
        "GET",
        f"v1/requests/{request_id}/wait",
        lambda relay, _, value: read_request(relay, value, request_id),
        (("answers", str(seen)), ("timeout", str(seconds))),
        waits=seconds,
    )


def answer(request_id: Digest, given: Answer) -> Call[None]:
    """Sends an answer."""
    container = encode_answer(given)
    sent = sha256_hex(container)
    return Call(
        "POST",
        f"v1/requests/{request_id}/answers",
        lambda relay, _, value: check_answered(relay, value, request_id, sent),
        content=encode_canonical({"answer": json.loads(container)}),
    )


def withdraw(request_id: Digest, withdraw_token: str) -> Call[None]:
    """Closes a request for good."""
    return Call(
        "POST",
        f"v1/requests/{request_id}/withdraw",
        lambda relay, _, value: check_withdrawn(relay, value, request_id),
        content=encode_canonical({"token": withdraw_token}),
    )


def health() -> Call[None]:
    """Asks whether the relay serves."""
    return Call("GET", "healthz", lambda relay, _, value: check_healthy(relay, value))


class Paging:
    """Goes through a listing page by page, and notices one that goes round in circles."""

    def __init__(self, relay: str, state: StateFilter) -> None:
        self._relay, self._state = relay, state
        self._seen: set[Digest] = set()
        self._after: str | None = None
        self.more = True

    def next_call(self) -> Call[RelayedListing]:
        """Returns the call for the next page."""
        return list_page(self._state, self._after, MAX_PAGE)

    def take(self, page: RelayedListing) -> Iterator[RelayedSummary]:
        """Takes a page in; returns what it has that no earlier one had.

        A request may be listed twice: a relay restored from a backup begins again.  But a page that leads on
        and brings nothing new is a circle, or the first of endlessly many.

        Raises:
            RelayLiedError: it is.
        """
        new = {item.id: item for item in page.requests if item.id not in self._seen}
        if page.next is not None and not new:
            raise lied(self._relay, "gave out a listing that never ends")
        self._seen |= new.keys()
        self._after, self.more = page.next, page.next is not None
        return iter(new.values())


def _bounded(timeout: float) -> int:
    return max(0, min(int(timeout), MAX_WAIT_SECONDS))


def _cursor(after: str | None) -> tuple[tuple[str, str], ...]:
    return () if after is None else (("after", after),)
