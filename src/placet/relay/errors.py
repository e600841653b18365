"""The relay's own refusals, and the one table from refusals to HTTP status codes."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.errors import PlacetError, Reason
from placet.ports.request_store import RequestStoreError

# Every refusal that is not listed here is about the shape of what was sent: 400.
STATUS: dict[str, int] = {
    Reason.TOO_LARGE: 413,
    "unknown-request": 404,
    "unknown-path": 404,
    "wrong-method": 405,
    "slow-body": 408,
    "wrong-token": 403,
    "request-conflict": 409,
    "request-not-open": 409,
    "too-many-answers": 409,
    "wrong-content-type": 415,
    "head-too-large": 431,
    "store-failed": 500,
    "internal-error": 500,
    "too-many-waiters": 503,
    "store-busy": 503,
    "store-full": 507,
}
_DEFAULT_STATUS = 400
# Long enough to let a burst pass, short enough that nobody at a terminal notices.
_RETRY_AFTER_SECONDS = "2"


class RelayError(Exception):
    """The relay refuses what it was asked.

    Args:
        reason: stable name in kebab-case.
        message: one sentence for a person.
        hint: what to do next, as a sentence, or "".
    """

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint


class Refusal(NamedTuple):
    """A refusal as it goes over the wire."""

    status: int
    body: dict[str, dict[str, str]]
    headers: dict[str, str]


def describe(error: RelayError | RequestStoreError | PlacetError) -> Refusal:
    """Returns the HTTP form of a refusal."""
    status = STATUS.get(error.reason, _DEFAULT_STATUS)
    # `str` of a PlacetError also names the place inside the document.
    body = {"error": {"reason": str(error.reason), "message": str(error), "hint": error.hint}}
    return Refusal(status, body, {"Retry-After": _RETRY_AFTER_SECONDS} if status == 503 else {})
