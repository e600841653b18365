"""Talks to a relay, and trusts nothing that it says.

Answers are bounded in size and time and read with suspicion (`placet.adapters.relay_replies`).  Whether
one is worth anything is for the gate to decide.

Every call of the API may be repeated without a second effect, so all of them are tried again when the
connection fails or the relay is busy.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from placet.adapters.relay_replies import (
    MAX_REPLY_BYTES,
    RelayClientError,
    RelayedListing,
    RelayedRequest,
    RelayedSummary,
    RelayNonsenseError,
    RelayRefusedError,
    RelayTimeoutError,
    RelayUnreachableError,
    Submitted,
    nonsense,
    printable,
    read_listing,
    read_reply,
    read_request,
    read_submitted,
)
from placet.core.bundle import Answer, IntentRequest, encode_answer, encode_request
from placet.core.encoding import Digest, encode_canonical, sha256_hex
from placet.ports.request_store import MAX_PAGE, StateFilter

__all__ = [
    "MAX_WAIT_SECONDS",
    "RelayClient",
    "RelayClientError",
    "RelayNonsenseError",
    "RelayRefusedError",
    "RelayTimeoutError",
    "RelayUnreachableError",
    "RelayedListing",
    "RelayedRequest",
    "RelayedSummary",
    "Submitted",
]

MAX_WAIT_SECONDS = 60
# Long enough for a megabyte over a slow line; a person who waits sees progress from the caller.
DEFAULT_TIMEOUT = 15.0
_CONNECT_SECONDS = 5.0
# Two more tries: the second covers a lost connection, the third a restart or a relay that was busy.
_PAUSES = (0.2, 1.0)
_TRY_AGAIN = frozenset({502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class RelayClient:
    """A connection to one relay.  Use it as a context manager.

    Args:
        url: such as ``https://relay.example`` or ``http://127.0.0.1:8471``.
        timeout: how long one call may take, in seconds, waiting on purpose not counted.
        sleep: how to pause between tries.

    Raises:
        RelayUnreachableError: `url` is not the address of a relay.
    """

    def __init__(
        self, url: str, *, timeout: float = DEFAULT_TIMEOUT, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        address = _check_url(url)
        self._shown = printable(str(address).rstrip("/"))
        self._timeout = timeout
        self._sleep = sleep
        self._socket: socket.socket | None = None
        # A relay on this machine is never behind a proxy, whatever the environment says about the world.
        self._http = httpx.Client(
            base_url=address,
            trust_env=address.host not in _LOOPBACK,
            follow_redirects=False,
            # Compressed, a small answer could unfold into one that fills the memory.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        body = {
            "request": json.loads(encode_request(request)),
            "withdrawToken": {"sha256": sha256_hex(withdraw_token.encode("utf-8"))},
        }
        status, value = self._call("POST", "v1/requests", body=body)
        return read_submitted(self._shown, value, request.id, created=status == 201)

    def list_requests(
        self, state: StateFilter = StateFilter.OPEN, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> RelayedListing:
        """Returns a page of requests, oldest first; `next` is None on the last page.

        Raises:
            RelayClientError: the relay cannot be asked.
        """
        query = {"state": str(state), "limit": str(limit), **_cursor(after)}
        return read_listing(self._shown, self._call("GET", "v1/requests", query=query)[1])

    def wait_for_requests(self, after: str | None, *, timeout: int = 30) -> RelayedListing:
        """Waits for open requests after a cursor; begins with all of them when it is None.

        Returns:
            The new ones, none when the time ran out; `next` is what to pass as `after` the next time.

        Raises:
            RelayClientError: the relay cannot be asked.
        """
        query = {"timeout": str(min(timeout, MAX_WAIT_SECONDS)), **_cursor(after)}
        return read_listing(self._shown, self._call("GET", "v1/wait", query=query, waits=timeout)[1])

    def fetch(self, request_id: Digest) -> RelayedRequest:
        """Returns a request with its answers.

        Raises:
            RelayClientError: the relay cannot be asked, or does not have it.
        """
        return read_request(self._shown, self._call("GET", f"v1/requests/{request_id}")[1], request_id)

    def wait_for_answers(self, request_id: Digest, seen: int, *, timeout: int = 30) -> RelayedRequest:
        """Waits until a request has more than `seen` answers or is closed, or the time runs out.

        `seen` counts the unreadable ones too.

        Raises:
            RelayClientError: the relay cannot be asked, or does not have it.
        """
        query = {"answers": str(seen), "timeout": str(min(timeout, MAX_WAIT_SECONDS))}
        _, value = self._call("GET", f"v1/requests/{request_id}/wait", query=query, waits=timeout)
        return read_request(self._shown, value, request_id)

    def answer(self, request_id: Digest, answer: Answer) -> None:
        """Sends an answer.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        body = {"answer": json.loads(encode_answer(answer))}
        self._call("POST", f"v1/requests/{request_id}/answers", body=body)

    def withdraw(self, request_id: Digest, withdraw_token: str) -> None:
        """Closes a request for good.

        Raises:
            RelayClientError: it was not acknowledged; sending it again is safe.
        """
        self._call("POST", f"v1/requests/{request_id}/withdraw", body={"token": withdraw_token})

    def check_health(self) -> None:
        """Makes sure that the relay serves.

        Raises:
            RelayClientError: it does not.
        """
        self._call("GET", "healthz")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        waits: float = 0.0,
    ) -> tuple[int, Any]:
        """Makes one call, trying again where that may help; returns the status and the parsed answer."""
        content = None if body is None else encode_canonical(body)
        for pause in _PAUSES:
            try:
                return self._exchange(method, path, query, content, self._timeout + waits)
            except (RelayUnreachableError, RelayTimeoutError):
                self._sleep(pause)
            except RelayRefusedError as e:
                if e.status not in _TRY_AGAIN:
                    raise
                self._sleep(max(pause, e.retry_after))
        return self._exchange(method, path, query, content, self._timeout + waits)

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str] | None, content: bytes | None, seconds: float
    ) -> tuple[int, Any]:
        deadline = time.monotonic() + seconds
        headers = {} if content is None else {"Content-Type": "application/json"}
        limits = httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))
        # The library's timeouts start anew with every byte: a head that drips could hold us for ever.
        alarm = threading.Timer(seconds, self._hang_up)
        alarm.daemon = True
        alarm.start()
        try:
            with self._http.stream(
                method,
                path,
                params=query,
                content=content,
                headers=headers,
                timeout=limits,
                extensions={"trace": self._note_socket},
            ) as response:
                data = self._read_bounded(response.iter_raw(), deadline)
        except httpx.TimeoutException as e:
            raise self._too_slow() from e
        except httpx.TransportError as e:
            if time.monotonic() >= deadline:
                raise self._too_slow() from e
            raise RelayUnreachableError(
                f"The relay at {self._shown} cannot be reached: {printable(str(e)) or type(e).__name__}.",
                hint="Check the address, and that the relay is running: `placet relay serve` starts one.",
            ) from e
        finally:
            alarm.cancel()
        retry_after = response.headers.get("retry-after", "")
        return response.status_code, read_reply(self._shown, response.status_code, retry_after, data)

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _read_bounded(self, chunks: Iterable[bytes], deadline: float) -> bytes:
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) > MAX_REPLY_BYTES:
                raise nonsense(self._shown, f"more than {MAX_REPLY_BYTES} bytes")
            # The library's timeout starts anew with every byte: a drip could hold us for ever.
            if time.monotonic() > deadline:
                raise self._too_slow()
        return bytes(data)

    def _too_slow(self) -> RelayTimeoutError:
        return RelayTimeoutError(
            f"The relay at {self._shown} did not answer in time.",
            hint="Try again; if it stays slow, look at the relay's log and disk.",
        )


def _check_url(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        address = httpx.URL("")
    if address.scheme in ("http", "https") and address.host and not address.userinfo and not address.query:
        return address
    raise RelayUnreachableError(
        f"{printable(url)!r} is not the address of a relay.",
        hint="Give it as https://relay.example or http://127.0.0.1:8471.",
    )


def _cursor(after: str | None) -> dict[str, str]:
    return {} if after is None else {"after": after}
