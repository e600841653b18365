"""The client for asyncio: `AsyncRelayClient`, the same calls as `RelayClient`'s."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from placet.client import _calls as calls
from placet.client import _connection as connection
from placet.client._errors import RelayUnavailableError
from placet.client._replies import (
    MAX_REPLY_BYTES,
    RelayedListing,
    RelayedRequest,
    RelayedSummary,
    Reply,
    Submitted,
)
from placet.client._waiting import (
    MIN_SECONDS_BETWEEN_LOOKS,
    PAUSE_AFTER_FAILURE,
    ApprovalWait,
    Approved,
    OnStanding,
    Standing,
    tell_news,
)
from placet.core.bundle import Answer, IntentRequest
from placet.core.encoding import Digest
from placet.core.trust import Trust
from placet.ports.evidence_verifier import NO_EVIDENCE, EvidenceVerifier
from placet.ports.request_store import MAX_PAGE, StateFilter

T = TypeVar("T")


class AsyncRelayClient:
    """A connection to one relay, for one event loop.  Use it as an asynchronous context manager.

    Tasks may share it.  The arguments, the results and what is raised are those of `RelayClient`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        verify: str | os.PathLike[str] | ssl.SSLContext | None = None,
        timeout: float = connection.DEFAULT_TIMEOUT,
        trust_env: bool = True,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        on_pause: calls.OnPause | None = None,
        unsafe_token_in_clear: bool = False,
    ) -> None:
        prepared = connection.prepare(
            base_url,
            token=token,
            verify=verify,
            trust_env=trust_env,
            unsafe_token_in_clear=unsafe_token_in_clear,
        )
        self._shown, self._timeout, self._sleep = prepared.shown, timeout, sleep
        self._on_pause = on_pause or (lambda error, seconds: None)
        self._http = httpx.AsyncClient(**prepared.options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def address(self) -> str:
        """The relay's address, as it may be shown."""
        return self._shown

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._http.aclose()

    async def submit(self, request: IntentRequest, withdraw_token: str) -> Submitted:
        """Sends a request; as `RelayClient.submit`.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        return await self._call(calls.submit(request, withdraw_token))

    async def list(self, state: StateFilter = StateFilter.OPEN) -> AsyncIterator[RelayedSummary]:
        """Goes through the requests, oldest first; as `RelayClient.list`.

        Raises:
            RelayClientError: the relay cannot be asked, or its pages go round in circles.
        """
        paging = calls.Paging(self._shown, state)
        while paging.more:
            for item in paging.take(await self._call(paging.next_call())):
                yield item

    async def list_page(
        self, state: StateFilter = StateFilter.OPEN, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> RelayedListing:
        """Returns one page of requests; as `RelayClient.list_page`.

        Raises:
            RelayClientError: the relay cannot be asked.
        """
        return await self._call(calls.list_page(state, after, limit))

    async def wait_for_requests(self, after: str | None, *, timeout: float = 30) -> RelayedListing:
        """Waits for open requests after a cursor; as `RelayClient.wait_for_requests`.

        Raises:
            RelayClientError: the relay cannot be asked.
        """
        return await self._call(calls.wait_for_requests(after, timeout))

    async def fetch(self, request_id: Digest) -> RelayedRequest:
        """Returns a request with its answers; as `RelayClient.fetch`.

        Raises:
            RelayClientError: the relay cannot be asked, does not have it, or has another under this ID.
        """
        return await self._call(calls.fetch(request_id))

    async def wait_for_answers(self, request_id: Digest, seen: int, *, timeout: float = 30) -> RelayedRequest:
        """Waits for more than `seen` answers; as `RelayClient.wait_for_answers`.

        Raises:
            RelayClientError: the relay cannot be asked, or does not have it.
        """
        return await self._call(calls.wait_for_answers(request_id, seen, timeout))

    async def answer(self, request_id: Digest, answer: Answer) -> None:
        """Sends an answer; as `RelayClient.answer`.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        await self._call(calls.answer(request_id, answer))

    async def withdraw(self, request_id: Digest, withdraw_token: str) -> None:
        """Closes a request for good; as `RelayClient.withdraw`.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        await self._call(calls.withdraw(request_id, withdraw_token))

    async def health(self) -> None:
        """Makes sure that the relay serves; as `RelayClient.health`.

        Raises:
            RelayClientError: it does not.
        """
        await self._call(calls.health())

    async def request_approval(
        self,
        request: IntentRequest,
        *,
        trust: Trust,
        withdraw_token: str | None = None,
        evidence: EvidenceVerifier = NO_EVIDENCE,
        timeout: float = 3600,
        on_standing: OnStanding | None = None,
    ) -> Approved:
        """Submits a request, and waits until enough people approved it; as `RelayClient.request_approval`.

        Raises:
            PolicyError: it was denied, withdrawn or not decided before it expired; or no rule allows it.
            RelayClientError: the relay refused, answered with nonsense or lied.
            IndeterminateError: APPROVAL_PENDING: not enough people decided in time.  The request stays open.
        """
        await self.submit(request, withdraw_token or secrets.token_hex(32))
        return await self.wait_for_bundle(
            request, trust=trust, evidence=evidence, timeout=timeout, on_standing=on_standing
        )

    async def wait_for_bundle(
        self,
        request: IntentRequest,
        *,
        trust: Trust,
        evidence: EvidenceVerifier = NO_EVIDENCE,
        timeout: float = 3600,
        on_standing: OnStanding | None = None,
    ) -> Approved:
        """Waits until enough people approved a request; as `RelayClient.wait_for_bundle`.

        Raises:
            PolicyError: it was denied, withdrawn or not decided before it expired; or no rule allows it.
            RelayClientError: the relay refused, answered with nonsense or lied.
            IndeterminateError: APPROVAL_PENDING: not enough people decided in time.  The request stays open.
        """
        waiting = ApprovalWait(request, trust=trust, evidence=evidence, timeout=timeout, now=_now())
        told = tell_news(on_standing)
        told(Standing(waiting.progress, None))
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            started = time.monotonic()
            call = calls.wait_for_answers(request.id, waiting.seen, waiting.patience(left, _now()))
            seconds = waiting.at_most(left, self._timeout + call.waits)
            try:
                relayed = call.judge(self._shown, await self._exchange(call, seconds))
            except RelayUnavailableError as e:
                told(Standing(waiting.progress, e))
                pause = max(PAUSE_AFTER_FAILURE, e.retry_after)
                await self._sleep(max(0.0, min(pause, deadline - time.monotonic())))
                continue
            if approved := waiting.judge(relayed, _now()):
                return approved
            told(Standing(waiting.progress, None))
            await self._sleep(max(0.0, started + MIN_SECONDS_BETWEEN_LOOKS - time.monotonic()))
        raise waiting.out_of_time()

    async def _call(self, call: calls.Call[T]) -> T:
        """Makes a call, trying again where that may help."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return call.judge(self._shown, await self._exchange(call, self._timeout + call.waits))
            except RelayUnavailableError as e:
                pause = calls.pause_before(attempt, e)
                if pause is None:
                    raise
                self._on_pause(e, pause)
                await self._sleep(pause)

    async def _exchange(self, call: calls.Call[Any], seconds: float) -> Reply:
        try:
            # The library's timeouts start anew with every byte; this one does not.
            async with (
                asyncio.timeout(seconds),
                self._http.stream(
                    call.method,
                    call.path,
                    params=call.query,
                    content=call.content,
                    headers={} if call.content is None else {"Content-Type": "application/json"},
                    timeout=connection.limits(seconds),
                ) as response,
            ):
                body = await self._read_bounded(response.aiter_raw())
        except (TimeoutError, httpx.TimeoutException) as e:
            raise connection.too_slow(self._shown) from e
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
            raise connection.broken(self._shown, e) from e
        return Reply(response.status_code, response.headers, body)

    async def _read_bounded(self, chunks: AsyncIterator[bytes]) -> bytes:
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > MAX_REPLY_BYTES:
                raise connection.too_large(self._shown, MAX_REPLY_BYTES)
        return bytes(data)


def _now() -> int:
    return int(time.time())
