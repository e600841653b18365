"""What a relay answers, read with suspicion.

Everything is parsed strictly, bounded, and held against what was asked.  Members that are not known are
ignored, so that a newer relay can say more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from placet.client._errors import (
    RelayClientError,
    RelayRefusedError,
    RelayUnavailableError,
    lied,
    nonsense,
    printable,
)
from placet.core.bundle import (
    MAX_ANSWER_BYTES,
    MAX_LOG_PROOF,
    MAX_REQUEST_BYTES,
    Answer,
    IntentRequest,
    LogProof,
    parse_answer,
    parse_request,
)
from placet.core.decode import read_hex_digest, read_list, read_map, read_sha256, read_string, read_time
from placet.core.encoding import Digest, encode_canonical, parse_json, sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.ports.request_store import MAX_ANSWERS, MAX_PAGE, RequestState

# A request with all its answers and their proofs, and room for what stands around them.
MAX_REPLY_BYTES = MAX_REQUEST_BYTES + MAX_ANSWERS * (MAX_ANSWER_BYTES + MAX_LOG_PROOF) + 64 * 1024
# What a relay answers is a few long texts; as small lists, the same bytes would fill hundreds of megabytes.
_MAX_COMMAS = 20_000
# Bounded: a hostile relay must not park us for a year.
MAX_RETRY_AFTER = 10.0
# The relay is there and cannot serve just now; the same call may work later.
_LATER = frozenset({408, 425, 429})

# Stands outside the quotation, so it is a name or nothing.
_REASON = re.compile("[a-z][a-z0-9-]{0,39}")
# What to do about the relay's own reasons; its own advice is not passed on.
_NEXT = {
    "unknown-request": "Check the ID, and that it was asked for at this relay; closed requests are deleted "
    "after some days.",
    "request-not-open": "It was withdrawn or has expired. Whoever still needs it can ask again.",
    "too-many-answers": "Have the requester withdraw it and ask again; tell the relay's operator.",
    "wrong-token": "Only the machine that asked can withdraw it; otherwise let it expire.",
    "request-conflict": "Ask again: each request is a new one.",
    "answer-for-another-request": "Send it to the request whose statement it signs.",
    "unknown-caller": "Ask the relay's operator to enter this caller, or check PLACET_RELAY_TOKEN.",
    "quota-exceeded": "Withdraw what is no longer needed, or ask the relay's operator for a larger quota.",
    "rate-limited": "Ask less often, or ask the relay's operator for a larger limit.",
    "too-large": "Carry large evidence by digest and leave its content with the builder.",
    "too-many-waiters": "Try again in a moment.",
    "store-busy": "Try again in a moment.",
    "store-full": "The relay's operator has to make room.",
}
_ASK_OPERATOR = "Ask the relay's operator. What stands in quotes is the relay's word, not ours."
_TRY_LATER = "Try again later; if it stays so, the relay's operator has to look at its log and disk."


class Reply(NamedTuple):
    """An HTTP response: header names in lower case, and a body of at most `MAX_REPLY_BYTES`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
    """A request whose ID was checked; the state and the time are the relay's word.

    The answers are well-formed and nothing more: whether one counts, `placet.ceremony.publish.assemble` says.
    """

    id: Digest
    state: RequestState
    submitted_at: int
    request: IntentRequest
    answers: tuple[Answer, ...]
    unreadable: int
    """How many answers were left out because they are malformed."""
    proofs: tuple[LogProof, ...] = ()
    """Log proofs of these answers, as the relay says; `placet.ceremony.publish.add_proofs` verifies them."""


def read_reply(relay: str, reply: Reply) -> Any:
    """Returns the JSON object of a success.

    Args:
        relay: the relay's address as it is shown.
        reply: what came.

    Raises:
        RelayUnavailableError: the relay, or something in front of it, cannot serve now.
        RelayRefusedError: the relay refused.
        RelayNonsenseError: neither a success nor a refusal.
    """
    status = reply.status
    if 300 <= status < 400:
        # Whoever can redirect us could choose another relay for us; a person chooses.
        raise nonsense(
            relay,
            f"a redirect to another address (status {status}), which is not followed",
            status=status,
            hint="Ask the relay's operator for its own address (often the same with https), and use that.",
        )
    if reply.body.count(b",") > _MAX_COMMAS:
        raise nonsense(relay, "more parts than any answer has", status=status)
    try:
        value = parse_json(reply.body, max_bytes=MAX_REPLY_BYTES, what="relay's answer")
    except PlacetError as e:
        # Proxies report their own failures in HTML; those are worth another try, unlike nonsense.
        if status < 500:
            raise nonsense(relay, f"status {status} and no usable JSON", status=status) from e
        value = {"error": {}}
    if not isinstance(value, dict):
        raise nonsense(relay, "JSON that is not an object", status=status)
    error = value.get("error")
    if status in (200, 201) and error is None:
        return value
    if status < 400 and error is not None:
        raise nonsense(relay, f"an error under the status of a success ({status})", status=status)
    if not isinstance(error, dict) or status < 400:
        raise nonsense(relay, f"status {status} without what belongs to it", status=status)
    raise _refusal(relay, reply, error)


def _refusal(relay: str, reply: Reply, error: Mapping[str, Any]) -> RelayClientError:
    status = reply.status
    given = error.get("reason")
    name = given if isinstance(given, str) and _REASON.fullmatch(given) else f"http-{status}"
    # A quotation mark would end the quotation, and what follows would read as ours.
    words = printable(error.get("message")).replace('"', "'")
    said = f'; it says: "{words}"' if words else "."
    more: dict[str, Any] = {
        "status": status,
        "relay_reason": name,
        "retry_after": _read_retry_after(reply.headers.get("retry-after", "")),
    }
    if status >= 500 or status in _LATER:
        message = f"The relay at {relay} cannot serve this now (status {status}, {name}){said}"
        hint = _NEXT.get(name, _TRY_LATER)
        return RelayUnavailableError(Reason.RELAY_UNAVAILABLE, message, hint=hint, **more)
    message = f"The relay at {relay} refused (status {status}, {name}){said}"
    return RelayRefusedError(Reason.RELAY_REFUSED, message, hint=_NEXT.get(name, _ASK_OPERATOR), **more)


def read_submitted(relay: str, status: int, value: Any, asked: Digest) -> Submitted:
    """Reads the acknowledgement of a submission.

    Raises:
        RelayNonsenseError: it is none.
        RelayLiedError: it is of another request.
    """
    with _reading(relay):
        _check_id(relay, value["id"], asked)
        return Submitted(asked, RequestState(value["state"]), status == 201)


def check_answered(relay: str, value: Any, asked: Digest, sent: Digest) -> None:
    """Reads the acknowledgement of an answer.

    Raises:
        RelayNonsenseError: it is none.
        RelayLiedError: it is of another request, or of another answer.
    """
    with _reading(relay):
        _check_id(relay, value["id"], asked)
        if read_sha256(value["answer"], "/answer") != sent:
            raise lied(relay, "acknowledged another answer than the one it was sent")


def check_withdrawn(relay: str, value: Any, asked: Digest) -> None:
    """Reads the acknowledgement of a withdrawal.

    Raises:
        RelayNonsenseError: it is none.
        RelayLiedError: it is of another request, or leaves this one open.
    """
    with _reading(relay):
        _check_id(relay, value["id"], asked)
        if RequestState(value["state"]) is RequestState.OPEN:
            raise lied(relay, "acknowledged the withdrawal and says that the request is open")


def check_healthy(relay: str, value: Any) -> None:
    """Reads what a relay says about its health.

    Raises:
        RelayNonsenseError: it is not what a relay says.
    """
    if value.get("status") != "ok":
        raise nonsense(relay, "something that is not a relay's answer")


def read_listing(relay: str, value: Any) -> RelayedListing:
    """Reads a listing.

    Raises:
        RelayNonsenseError: it is none.
    """
    with _reading(relay):
        items = read_list(value["requests"], "/requests", max_items=MAX_PAGE)
        after = value["next"]
        if after is not None and (printable(after) != after or not after):
            raise ValueError("next is not a cursor")
        return RelayedListing(tuple(_read_summary(item) for item in items), after)


def read_request(relay: str, value: Any, asked: Digest) -> RelayedRequest:
    """Reads a request with its answers.

    Raises:
        RelayNonsenseError: it is none.
        RelayLiedError: it is another than the one asked for.
    """
    with _reading(relay):
        # The ID is recomputed: the relay must not show another request under this one's name.
        request = parse_request(encode_canonical(value["request"]))
        _check_id(relay, request.id, asked)
        _check_id(relay, value["id"], asked)
        answers, unreadable, proofs = [], 0, []
        texts = read_map(value.get("proofs", {}), "/proofs", max_items=MAX_ANSWERS)
        for item in read_list(value["answers"], "/answers", max_items=MAX_ANSWERS):
            try:
                container = encode_canonical(item)
                answers.append(parse_answer(container))
                if (text := texts.get(sha256_hex(container))) is not None:
                    proofs.append(_read_proof(answers[-1], text))
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
            proofs=tuple(proofs),
        )


def _read_proof(answer: Answer, text: Any) -> LogProof:
    (signature,) = answer.envelope.signatures
    proof = read_string(text, "/proofs", max_length=MAX_LOG_PROOF)
    return LogProof(sha256_hex(signature.sig), proof)


@contextmanager
def _reading(relay: str) -> Iterator[None]:
    """Turns whatever is wrong with the shape of a reply into a `RelayNonsenseError`."""
    try:
        yield
    except RelayClientError:
        raise
    except (KeyError, TypeError, ValueError, PlacetError) as e:
        raise nonsense(relay, "something that is not a relay's answer") from e


def _check_id(relay: str, found: object, asked: Digest) -> None:
    if found != asked:
        raise lied(relay, "answered with another request than the one it was asked for")


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
    # The form with a date is not read: it would need both clocks to agree.
    short = text.isascii() and text.isdigit() and len(text) < 10
    return min(float(text), MAX_RETRY_AFTER) if short else 0.0
