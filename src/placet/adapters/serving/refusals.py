"""A service's refusals, and their HTTP form: ``{"error": {"reason", "message", "hint"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from placet.core.errors import PlacetError, Reason
from placet.ports.request_store import RequestStoreError

# What every service says of a call, whatever the call was about.  Every refusal that is not in a service's
# table is about the shape of what was sent: 400.
CALL_STATUS: Mapping[str, int] = {
    "unknown-caller": 401,
    "unknown-path": 404,
    "wrong-method": 405,
    "slow-body": 408,
    Reason.TOO_LARGE: 413,
    "wrong-content-type": 415,
    "rate-limited": 429,
    "head-too-large": 431,
    "internal-error": 500,
}
DEFAULT_STATUS = 400
# Long enough to let a burst pass, short enough that nobody at a terminal notices.
_RETRY_AFTER_SECONDS = 2
# Room comes back when old things are deleted, which takes a service about a minute to begin.
_RETRY_AFTER_FULL_SECONDS = 60
_RETRY_AFTER = {503: _RETRY_AFTER_SECONDS, 507: _RETRY_AFTER_FULL_SECONDS}


class CallRefused(Exception):
    """A service refuses what it was asked.

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


def describe_call(
    error: CallRefused | RequestStoreError | PlacetError,
    table: Mapping[str, int],
    *,
    realm: str,
    words: tuple[str, str] | None = None,
) -> Refusal:
    """Returns the HTTP form of a refusal.

    Args:
        error: has a reason and a hint.
        table: reason → status.
        realm: what a caller without a token is told that it is for.
        words: message and hint, where they are not the error's own.
    """
    reason = str(error.reason)
    status = table.get(reason, DEFAULT_STATUS)
    # `str` of a PlacetError also names the place inside the document.
    message, hint = words or (str(error), error.hint)
    body = {"error": {"reason": reason, "message": message, "hint": hint}}
    headers = {}
    if seconds := getattr(error, "retry_after", 0) or _RETRY_AFTER.get(status, 0):
        headers["Retry-After"] = str(seconds)
    if status == 401:
        headers["WWW-Authenticate"] = f'Bearer realm="{realm}"'
    return Refusal(status, body, headers)
