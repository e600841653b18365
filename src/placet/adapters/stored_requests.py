"""What every request store says of a stored request: whether it is whole, and why it refuses.

One place for all stores, so that two of them cannot tell a person different things.
"""

from __future__ import annotations

import hashlib

from placet.core.encoding import sha256_hex
from placet.ports.request_store import (
    RequestClosedError,
    RequestConflictError,
    RequestId,
    RequestState,
    StoreFailedError,
    UnknownRequestError,
)


def seal_of(request_id: str, withdraw_hash: str, submitted_at: int, expires_at: int, container: bytes) -> str:
    """Returns the digest that tells whether a stored request is the one that was stored.

    The request's id covers its payload only; a flipped bit in the evidence, in the withdraw token's
    digest or in a time would otherwise be served as if it had been sent so.
    """
    head = f"{request_id} {withdraw_hash} {submitted_at} {expires_at} ".encode()
    return hashlib.sha256(head + container).hexdigest()


def is_whole(container: object, digest: object) -> bool:
    """Tells whether a stored container still has the digest that was stored with it."""
    return isinstance(container, bytes) and sha256_hex(container) == digest


def unknown_request(request_id: RequestId) -> UnknownRequestError:
    """Returns the refusal for an id that no request has."""
    return UnknownRequestError(
        f"There is no request {request_id[:16]}… here.",
        hint="Check the id, and that you ask the relay to which the request was sent.",
    )


def late_request() -> RequestClosedError:
    """Returns the refusal for a new request that is past its time."""
    return RequestClosedError(
        "The request had expired before it arrived.",
        hint="Make a new request; if it was made just now, check the clocks of both machines.",
    )


def closed_request(state: RequestState) -> RequestClosedError:
    """Returns the refusal of an answer to a request that is not open."""
    return RequestClosedError(
        f"The request is {state}; it takes no more answers.",
        hint="If the action is still wanted, ask for it with a new request.",
    )


def taken_request(request_id: RequestId) -> RequestConflictError:
    """Returns the refusal of other content under an id that is taken."""
    return RequestConflictError(
        f"The request {request_id[:16]}… is here already, with other evidence or another withdraw token.",
        hint="Make a new request: each has its own nonce, so two never share an id by accident.",
    )


def damaged_request(request_id: RequestId) -> StoreFailedError:
    """Returns the refusal to serve what is not what was stored."""
    error = StoreFailedError(
        f"The request {request_id[:16]}… is damaged in the relay's database; it is not served in part.",
        hint="Make a new request. The relay's operator finds out more with `placet relay check`.",
    )
    error.for_clients = True
    return error
