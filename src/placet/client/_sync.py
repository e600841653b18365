"""The client for threads: `RelayClient`."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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


class RelayClient:
    """A connection to one relay, for one thread at a time.  Use it as a context manager.

    Args:
        base_url: such as ``https://relay.example`` or ``http://127.0.0.1:8471``.
        token: by which the relay knows this caller; only for its quotas, and never shown or logged.
        verify: a PEM file (or a context) with the authority of the relay's certificate, where it is your own.
        timeout: how long one call may take, in seconds, waiting on purpose not counted.
        trust_env: honour the environment's proxies and ``SSL_CERT_FILE``; never for a relay on this machine.
        sleep: how to pause between tries.
        on_pause: called before each pause within a call, with why and for how many seconds.
        unsafe_token_in_clear: send the token over plain HTTP to another machine, where something else
            protects the way.

    Raises:
        MalformedError: BAD_VALUE where one of these cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        verify: str | os.PathLike[str] | ssl.SSLContext | None = None,
        timeout: float = connection.DEFAULT_TIMEOUT,
        trust_env: bool = True,
        sleep: Callable[[float], object] = time.sleep,
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
        self._socket: socket.socket | None = None
        self._is_late = threading.Event()
        self._http = httpx.Client(**prepared.options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The relay's address, as it may be shown."""
        return self._shown

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def submit(self, request: IntentRequest, withdraw_token: str) -> Submitted:
        """Sends a request.

        Args:
            request: what is to be approved.
            withdraw_token: the secret with which it can be withdrawn; only its digest is sent.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        return self._call(calls.submit(request, withdraw_token))

    def list(self, state: StateFilter = StateFilter.OPEN) -> Iterator[RelayedSummary]:
        """Goes through the requests, oldest first, fetching page after page as far as it is asked for.

        A hostile relay can invent any number of them: stop where you have enough.

        Raises:
            RelayClientError: the relay cannot be asked, or its pages go round in circles.
        """
        paging = calls.Paging(self._shown, state)
        while paging.more:
            yield from paging.take(self._call(paging.next_call()))

    def list_page(
        self, state: StateFilter = StateFilter.OPEN, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> RelayedListing:
        """Returns one page of requests, oldest first; `next` is None on the last.

        Raises:
            RelayClientError: the relay cannot be asked.
        """
        return self._call(calls.list_page(state, after, limit))

    def wait_for_requests(self, after: str | None, *, timeout: float = 30) -> RelayedListing:
        """Waits for open requests after a cursor; begins with all of them when it is None.

        Returns:
            The new ones, none when the time ran out; `next` is what to pass as `after` the next time.

        Raises:
            RelayClientError: the relay cannot be asked.
        """
        return self._call(calls.wait_for_requests(after, timeout))

    def fetch(self, request_id: Digest) -> RelayedRequest:
        """Returns a request with its answers.

        Raises:
            RelayClientError: the relay cannot be asked, does not have it, or has another under this ID.
        """
        return self._call(calls.fetch(request_id))

    def wait_for_answers(self, request_id: Digest, seen: int, *, timeout: float = 30) -> RelayedRequest:
        """Waits until a request has more than `seen` answers or is closed, or the time runs out.

        `seen` counts the unreadable ones too.

        Raises:
            RelayClientError: the relay cannot be asked, or does not have it.
        """
        return self._call(calls.wait_for_answers(request_id, seen, timeout))

    def answer(self, request_id: Digest, answer: Answer) -> None:
        """Sends an answer.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        self._call(calls.answer(request_id, answer))

    def withdraw(self, request_id: Digest, withdraw_token: str) -> None:
        """Closes a request for good.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        self._call(calls.withdraw(request_id, withdraw_token))

    def health(self) -> None:
        """Makes sure that the relay serves.

        Raises:
            RelayClientError: it does not.
        """
        self._call(calls.health())

    def request_approval(
        self,
        request: IntentRequest,
        *,
        trust: Trust,
        withdraw_token: str | None = None,
        evidence: EvidenceVerifier = NO_EVIDENCE,
        timeout: float = 3600,
        on_standing: OnStanding | None = None,
    ) -> Approved:
        """Submits a request, and waits until enough people approved it.

        Args:
            request: what is to be approved, from `new_request`.
            trust: this machine's own.
            withdraw_token: the secret with which you can withdraw it; by default nobody can.
            evidence: verifies what the request carries; by default nothing does, and so the requester counts
                as unverified unless a key of theirs proves who they are.
            timeout: seconds to wait at most; the request itself may expire before.
            on_standing: called whenever there is news.

        Raises:
            PolicyError: it was denied, withdrawn or not decided before it expired; or no rule allows it.
            RelayClientError: the relay refused, answered with nonsense or lied.
            IndeterminateError: APPROVAL_PENDING: not enough people decided in time.  The request stays open.
        """
        self.submit(request, withdraw_token or secrets.token_hex(32))
        return self.wait_for_bundle(
            request, trust=trust, evidence=evidence, timeout=timeout, on_standing=on_standing
        )

    def wait_for_bundle(
        self,
        request: IntentRequest,
        *,
        trust: Trust,
        evidence: EvidenceVerifier = NO_EVIDENCE,
        timeout: float = 3600,
        on_standing: OnStanding | None = None,
    ) -> Approved:
        """Waits until enough people approved a request that was submitted.

        A relay that is down is asked again until the time is over.

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
                relayed = call.judge(self._shown, self._exchange(call, seconds))
            except RelayUnavailableError as e:
                told(Standing(waiting.progress, e))
                pause = max(PAUSE_AFTER_FAILURE, e.retry_after)
                self._sleep(max(0.0, min(pause, deadline - time.monotonic())))
                continue
            if approved := waiting.judge(relayed, _now()):
                return approved
            told(Standing(waiting.progress, None))
            self._sleep(max(0.0, started + MIN_SECONDS_BETWEEN_LOOKS - time.monotonic()))
        raise waiting.out_of_time()

    def _call(self, call: calls.Call[T]) -> T:
        """Makes a call, trying again where that may help."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return call.judge(self._shown, self._exchange(call, self._timeout + call.waits))
            except RelayUnavailableError as e:
                pause = calls.pause_before(attempt, e)
                if pause is None:
                    raise
                self._on_pause(e, pause)
                self._sleep(pause)

    def _exchange(self, call: calls.Call[Any], seconds: float) -> Reply:
        deadline = time.monotonic() + seconds
        # The library's timeouts start anew with every byte: a head that drips could hold us for ever.
        self._is_late = threading.Event()
        alarm = threading.Timer(seconds, self._hang_up, [self._is_late])
        alarm.daemon = True
        alarm.start()
        try:
            with self._http.stream(
                call.method,
                call.path,
                params=call.query,
                content=call.content,
                headers={} if call.content is None else {"Content-Type": "application/json"},
                timeout=connection.limits(seconds),
                extensions={"trace": self._note_socket},
            ) as response:
                body = self._read_bounded(response.iter_raw())
            if time.monotonic() >= deadline:
                # We hung up ourselves, and what came until then may look like an answer's end.
                raise connection.too_slow(self._shown)
        except httpx.TimeoutException as e:
            raise connection.too_slow(self._shown) from e
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
            if time.monotonic() >= deadline:
                raise connection.too_slow(self._shown) from e
            raise connection.broken(self._shown, e) from e
        finally:
            alarm.cancel()
        return Reply(response.status_code, response.headers, body)

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_late.is_set():
                # Looking for a name's one live address took longer than the call may.
                self._hang_up(self._is_late)

    def _hang_up(self, is_late: threading.Event) -> None:
        is_late.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _read_bounded(self, chunks: Iterable[bytes]) -> bytes:
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) > MAX_REPLY_BYTES:
                raise connection.too_large(self._shown, MAX_REPLY_BYTES)
        return bytes(data)


def _now() -> int:
    return int(time.time())
