"""The relay's own refusals, and the one table from refusals to HTTP status codes."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.errors import PlacetError, Reason
from placet.ports.request_store import RequestStoreError

# Every refusal that is not listed here is about the shape of what was sent: 400.
STATUS: dict[str, int] = {
    Reason.TOO_LARGE: 413,
    "unknown-caller": 401,
    "wrong-token": 403,
    "quota-exceeded": 403,
    "answer-not-admitted": 403,
    "unknown-request": 404,
    "unknown-path": 404,
    "wrong-method": 405,
    "slow-body": 408,
    "request-conflict": 409,
    "request-not-open": 409,
    "too-many-answers": 409,
    "wrong-content-type": 415,
    "rate-limited": 429,
    "head-too-large": 431,
    "store-failed": 500,
    "internal-error": 500,
    "too-many-waiters": 503,
    "store-busy": 503,
    "store-full": 507,
}
_DEFAULT_STATUS = 400
# Refusals of 400 that are about the call and not about a shape.
CALL_REASONS = ("answer-for-another-request", "bad-query")
# Long enough to let a burst pass, short enough that nobody at a terminal notices.
_RETRY_AFTER_SECONDS = 2
# Room comes back when closed requests are deleted, which takes the relay about a minute to begin.
_RETRY_AFTER_FULL_SECONDS = 60
_RETRY_AFTER = {503: _RETRY_AFTER_SECONDS, 507: _RETRY_AFTER_FULL_SECONDS}

# What clients hear of the store's own trouble.  Its own words name addresses and paths: the log has them.
_FOR_CLIENTS = {
    "store-busy": (
        "The relay's store cannot be used just now; nothing was stored.",
        "Try again in a moment.",
    ),
    "store-full": (
        "There is no room left at the relay; nothing was stored.",
        "Try again later. Its operator makes room; the relay's log says where.",
    ),
    "store-failed": (
        "The relay's store has failed; whether this was stored is not known.",
        "Try again later: nothing is stored twice. The relay's log tells its operator what happened.",
    ),
}


class RelayError(Exception):
    """The relay refuses what it was asked.

    Args:
        reason: stable name in kebab-case.
        message: one sentence for a person.
        hint: what to do next, as a sentence, or "".
        retry_after: seconds after which trying again can make sense; 0 leaves it to the status.
    """

    def __init__(self, reason: str, message: str, *, hint: str = "", retry_after: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.retry_after = retry_after


class Refusal(NamedTuple):
    """A refusal as it goes over the wire."""

    status: int
    body: dict[str, dict[str, str]]
    headers: dict[str, str]


def describe(error: RelayError | RequestStoreError | PlacetError) -> Refusal:
    """Returns the HTTP form of a refusal."""
    status = STATUS.get(error.reason, _DEFAULT_STATUS)
    # `str` of a PlacetError also names the place inside the document.
    message, hint = str(error), error.hint
    if isinstance(error, RequestStoreError) and not error.for_clients:
        message, hint = _FOR_CLIENTS[error.reason]
    body = {"error": {"reason": str(error.reason), "message": message, "hint": hint}}
    headers = {}
    if seconds := getattr(error, "retry_after", 0) or _RETRY_AFTER.get(status, 0):
        headers["Retry-After"] = str(seconds)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="placet relay"'
    return Refusal(status, body, headers)
