"""What a relay answers, read with suspicion.

    RelayClientError
    ├── RelayUnreachableError   no connection: down, wrong address, wrong certificate
    ├── RelayTimeoutError       connected, but no answer in time
    ├── RelayRefusedError       the relay refused, and said why
    └── RelayNonsenseError      the answer is not one that a relay gives

Everything is parsed strictly and, for a request, held against the digest that was asked for.  Text for
people is stripped of anything that could move a cursor.  Members that are not known are ignored, so that
a newer relay can say more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from placet.core.bundle import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    Answer,
    IntentRequest,
    parse_answer,
    parse_request,
)
from placet.core.decode import read_hex_digest, read_list, read_time
from placet.core.encoding import Digest, encode_canonical, parse_json
from placet.core.errors import PlacetError
from placet.ports.request_store import MAX_ANSWERS, MAX_PAGE, RequestState

# A request with all its answers, and room for what stands around them.
MAX_REPLY_BYTES = MAX_REQUEST_BYTES + MAX_ANSWERS * MAX_ANSWER_BYTES + 64 * 1024
_MAX_SHOWN = 300
_MAX_RETRY_AFTER = 5.0


class RelayClientError(Exception):
    """The relay could not be asked, or did not do it.

    Attributes:
        reason: stable name in kebab-case.
        message: one sentence for a person, safe to print.
        hint: what to do next, as a sentence, or "".
    """

    reason = "relay-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RelayUnreachableError(RelayClientError):
    """There is no connection to the relay."""

    reason = "relay-unreachable"


class RelayTimeoutError(RelayClientError):
    """The relay did not answer in time."""

    reason = "relay-timeout"


class RelayNonsenseError(RelayClientError):
    """What came back is not an answer that a relay gives."""

    reason = "relay-nonsense"


class RelayRefusedError(RelayClientError):
    """The relay refused; `reason` is the relay's own, such as ``request-not-open``.

    Attributes:
        status: the HTTP status.
        retry_after: how many seconds the relay asks to wait before trying again, or 0.
    """

    def __init__(self, message: str, *, hint: str, reason: str, status: int, retry_after: float) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


class Submitted(NamedTuple):
    """What the relay says about a request that it keeps."""

    id: Digest
    state: RequestState
    created: bool


class RelayedSummary(NamedTuple):
    """A request in the relay's listing.  All of it is the relay's word."""

    id: Digest
    state: RequestState
    submitted_at: int
    expires_at: int
    answer_count: int


class RelayedListing(NamedTuple):
    """A page; `next` is where to go on, or None."""

    requests: tuple[RelayedSummary, ...]
    next: str | None


class RelayedRequest(NamedTuple):
    """A request whose id was checked; the state and the time are the relay's word."""

    id: Digest
    state: RequestState
    submitted_at: int
    request: IntentRequest
    answers: tuple[Answer, ...]
    unreadable: int
    """How many answers were left out because they are malformed."""


def nonsense(relay: str, what: str) -> RelayNonsenseError:
    """Returns the error for a relay that answered with `what`."""
    return RelayNonsenseError(
        f"The relay at {relay} answered with {what}.",
        hint="Check that the address is a relay's and not that of a proxy or another service.",
    )


def read_reply(relay: str, status: int, retry_after: str, data: bytes) -> Any:
    """Reads the body of a reply.

    Args:
        relay: the relay's address as it is shown.
        status: the HTTP status.
        retry_after: the header of that name, or "".
        data: the body.

    Returns:
        The JSON object of a success.

    Raises:
        RelayRefusedError: the relay refused, or something in front of it failed.
        RelayNonsenseError: neither a success nor a refusal.
    """
    try:
        value = parse_json(data, max_bytes=MAX_REPLY_BYTES, what="relay's answer")
    except PlacetError as e:
        # Proxies report their own failures in HTML; those are worth another try, unlike nonsense.
        if status < 500:
            raise nonsense(relay, f"status {status} and no JSON") from e
        value = {"error": {}}
    if not isinstance(value, dict):
        raise nonsense(relay, "JSON that is not an object")
    if status in (200, 201):
        return value
    error = value.get("error")
    if not isinstance(error, dict):
        raise nonsense(relay, f"status {status} without a reason")
    raise RelayRefusedError(
        f"The relay at {relay} refused: {printable(error.get('message')) or f'status {status}'}",
        hint=printable(error.get("hint")),
        reason=printable(error.get("reason")) or f"http-{status}",
        status=status,
        retry_after=_read_retry_after(retry_after),
    )


def read_submitted(relay: str, value: Any, asked: Digest, *, created: bool) -> Submitted:
    """Reads the acknowledgement of a submission.

    Raises:
        RelayNonsenseError: it is none, or of another request.
    """
    with _reading(relay):
        _check_id(relay, value["id"], asked)
        return Submitted(asked, RequestState(value["state"]), created)


def read_listing(relay: str, value: Any) -> RelayedListing:
    """Reads a listing.

    Raises:
        RelayNonsenseError: it is none.
    """
    with _reading(relay):
        items = read_list(value["requests"], "/requests", max_items=MAX_PAGE)
        after = value["next"]
        if after is not None and printable(after) != after:
            raise ValueError("next is not a cursor")
        return RelayedListing(tuple(_read_summary(item) for item in items), after)


def read_request(relay: str, value: Any, asked: Digest) -> RelayedRequest:
    """Reads a request with its answers.

    Raises:
        RelayNonsenseError: it is none, or another than the one asked for.
    """
    with _reading(relay):
        # The id is recomputed: the relay must not show another request under this one's name.
        request = parse_request(encode_canonical(value["request"]))
        _check_id(relay, request.id, asked)
        answers, unreadable = [], 0
        for item in read_list(value["answers"], "/answers", max_items=MAX_ANSWERS):
            try:
                answers.append(parse_answer(encode_canonical(item)))
            except (PlacetError, UnicodeEncodeError):
                # One bad answer must not hide the good ones; the gate needs those.
                unreadable += 1
        return RelayedRequest(
            id=request.id,
            state=RequestState(value["state"]),
            submitted_at=read_time(value["submittedAt"], "/submittedAt"),
            request=request,
            answers=tuple(answers),
            unreadable=unreadable,
        )


def printable(text: object) -> str:
    """Returns text of the relay's as it may be shown: a hostile one could send terminal commands."""
    if not isinstance(text, str):
        return ""
    kept = "".join(c if c.isascii() and c.isprintable() else "?" for c in text[: _MAX_SHOWN + 1])
    return kept if len(kept) <= _MAX_SHOWN else kept[:_MAX_SHOWN] + "..."


@contextmanager
def _reading(relay: str) -> Iterator[None]:
    """Turns whatever is wrong with the shape of a reply into a `RelayNonsenseError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, PlacetError) as e:
        raise nonsense(relay, "something that is not a relay's answer") from e


def _check_id(relay: str, found: object, asked: Digest) -> None:
    if found != asked:
        raise nonsense(relay, "another request than the one it was asked for")


def _read_summary(value: Any) -> RelayedSummary:
    count = value["answers"]
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_ANSWERS:
        raise ValueError("answers is not a count")
    return RelayedSummary(
        id=read_hex_digest(value["id"], "/id"),
        state=RequestState(value["state"]),
        submitted_at=read_time(value["submittedAt"], "/submittedAt"),
        expires_at=read_time(value["expiresAt"], "/expiresAt"),
        answer_count=count,
    )


def _read_retry_after(text: str) -> float:
    # Bounded: a hostile relay must not park us for a year.
    short = text.isascii() and text.isdigit() and len(text) < 10
    return min(float(text), _MAX_RETRY_AFTER) if short else 0.0
