"""The relay's own refusals, and the one table from refusals to HTTP status codes."""

from __future__ import annotations

from placet.adapters.serving.refusals import CALL_STATUS, CallRefused, Refusal, describe_call
from placet.core.errors import PlacetError
from placet.ports.request_store import RequestStoreError

# Every refusal that is not listed here is about the shape of what was sent: 400.
STATUS: dict[str, int] = {
    **CALL_STATUS,
    "wrong-token": 403,
    "quota-exceeded": 403,
    "answer-not-admitted": 403,
    "answer-not-logged": 403,
    "unknown-request": 404,
    "request-conflict": 409,
    "request-not-open": 409,
    "too-many-answers": 409,
    "store-failed": 500,
    "log-unavailable": 503,
    "too-many-waiters": 503,
    "store-busy": 503,
    "store-full": 507,
}
# Refusals of 400 that are about the call and not about a shape.
CALL_REASONS = ("answer-for-another-request", "bad-query")
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


class RelayError(CallRefused):
    """The relay refuses what it was asked."""


def describe(error: CallRefused | RequestStoreError | PlacetError) -> Refusal:
    """Returns the HTTP form of a refusal."""
    hidden = isinstance(error, RequestStoreError) and not error.for_clients
    words = _FOR_CLIENTS[error.reason] if hidden else None
    return describe_call(error, STATUS, realm="placet relay", words=words)
