"""Checked by mypy, never run: how users' code types against the client."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import placet
from placet.client import (
    Approved,
    AsyncRelayClient,
    IntentRequest,
    RelayClient,
    RelayClientError,
    RelayedSummary,
    Standing,
)


def ask(request: IntentRequest, trust: placet.Trust, token: str) -> bytes:
    with RelayClient("https://relay.example", token=token, verify=Path("ca.pem")) as relay:
        approved: Approved = relay.request_approval(request, trust=trust, timeout=60)
        waiting: Iterator[RelayedSummary] = relay.list()
        next(waiting)
    return approved.bundle


async def ask_async(request: IntentRequest, trust: placet.Trust) -> bytes | str:
    def tell(standing: Standing) -> None:
        text: str = standing.text
        trouble: RelayClientError | None = standing.trouble
        del text, trouble

    async with AsyncRelayClient("https://relay.example") as relay:
        waiting: AsyncIterator[RelayedSummary] = relay.list()
        async for item in waiting:
            await relay.fetch(item.id)
        try:
            return (await relay.request_approval(request, trust=trust, on_standing=tell)).bundle
        except placet.IndeterminateError as e:
            return e.reason.value


def trust_is_required(relay: RelayClient, request: IntentRequest) -> None:
    relay.request_approval(request)  # type: ignore[call-arg]


def an_id_is_a_digest(relay: RelayClient) -> None:
    relay.fetch("3f0c")  # type: ignore[arg-type]
