"""Talks to a relay, and trusts nothing that it says.

    request = new_request(action=..., target=..., parameters=..., trust=trust, gate=..., requested_by=...)
    with RelayClient("https://relay.example") as relay:
        approved = relay.request_approval(request, trust=trust, timeout=3600)
    Path("app.intent.json").write_bytes(approved.bundle)

`AsyncRelayClient` has the same calls for asyncio.

A relay is a courier.  Its answers are bounded in size and time, a request is held against its digest, and
answers count only where this machine's own trust says so.  So a relay can withhold, delay and reorder, and
that is all (``docs/hostile-relay.md``).  A bundle is decided about by the gate, never here.

The core is free of I/O: `_calls` builds what is sent and judges what comes back, `_waiting` says what a look
at the relay means; `_sync` and `_async` are two thin transports on httpx.
"""

from placet.ceremony.new_request import new_request
from placet.ceremony.publish import Progress
from placet.client._async import AsyncRelayClient
from placet.client._calls import MAX_WAIT_SECONDS
from placet.client._errors import (
    RelayClientError,
    RelayLiedError,
    RelayNonsenseError,
    RelayRefusedError,
    RelayUnavailableError,
)
from placet.client._replies import RelayedListing, RelayedRequest, RelayedSummary, Submitted
from placet.client._sync import RelayClient
from placet.client._waiting import Approved, Standing, describe_progress
from placet.core.bundle import Answer, IntentRequest
from placet.ports.request_store import RequestState, StateFilter

__all__ = [
    "MAX_WAIT_SECONDS",
    "Answer",
    "Approved",
    "AsyncRelayClient",
    "IntentRequest",
    "Progress",
    "RelayClient",
    "RelayClientError",
    "RelayLiedError",
    "RelayNonsenseError",
    "RelayRefusedError",
    "RelayUnavailableError",
    "RelayedListing",
    "RelayedRequest",
    "RelayedSummary",
    "RequestState",
    "Standing",
    "StateFilter",
    "Submitted",
    "describe_progress",
    "new_request",
]
