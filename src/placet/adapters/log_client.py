"""A log's clients: `LogClient` for gates and commands, `AsyncLogClient` for a relay.

Every call may be repeated without a second effect: a record is logged once, however often it is handed in.
Both hold what a log acknowledges against what they sent; what proofs and checkpoints are worth is judged
elsewhere (`placet.core.tlog`), because that needs a policy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from placet.adapters import log_calls as calls
from placet.adapters.bounded_async_http import AsyncBoundedHttp
from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.log_calls import (
    Acknowledged,
    LogCall,
    LoggedRecord,
    LogReply,
    LogUnavailableError,
    WitnessHealth,
    check_log_url,
    unavailable,
)

T = TypeVar("T")

# A durable append takes milliseconds; this leaves room for a slow line and a busy log.
DEFAULT_SECONDS = 15.0
# The second try covers a lost connection or a restart.
_PAUSES = (0.3,)


class LogClient:
    """Asks one log, in one thread.

    Args:
        url: the log's address, such as ``http://127.0.0.1:8472`` or ``https://relay.example/log``.
        seconds: how long one call may take, beside what the log is asked to wait.
        ca_file: a PEM file with the authorities to believe, where they are your own.
        token: a caller's, for a relay that serves known callers only.
        tries: how often a call is made where the log cannot be reached.
        sleep: waits between tries.

    Raises:
        MalformedError: BAD_VALUE where the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        seconds: float = DEFAULT_SECONDS,
        ca_file: str | os.PathLike[str] | None = None,
        token: str | None = None,
        tries: int = 1 + len(_PAUSES),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = check_log_url(url)
        self._seconds = seconds
        self._ca_file = ca_file
        self._token = token
        self._tries = tries
        self._sleep = sleep

    def append(self, record: bytes) -> Acknowledged:
        """Hands in a record; when this returns, the log holds it durably.

        Raises:
            LogRefusedError: LOG_REFUSED: the log does not take it, and will not.
            LogUnavailableError: LOG_UNAVAILABLE: nothing is known; handing it in again is safe.
        """
        return self._call(calls.append(record))

    def fetch_proof(self, leaf_hash: bytes, *, wait: int = 0, witnesses: int | None = None) -> str:
        """Returns the proof of a leaf as the text of a C2SP tlog-proof; nothing in it is verified.

        Args:
            leaf_hash: of the leaf.
            wait: how many seconds the log may wait for cosignatures.
            witnesses: how many it waits for; None leaves it to the log.

        Raises:
            LogRefusedError: LOG_REFUSED; `log_reason` is ``unknown-leaf`` where it is not in the log.
            LogUnavailableError: LOG_UNAVAILABLE.
        """
        return self._call(calls.fetch_proof(leaf_hash, wait=wait, witnesses=witnesses))

    def fetch_checkpoint(self) -> bytes:
        """Returns the newest checkpoint, a signed note; nothing in it is verified.

        Raises:
            LogRefusedError, LogUnavailableError: see there.
        """
        return self._call(calls.fetch_checkpoint())

    def fetch_health(self) -> tuple[WitnessHealth, ...]:
        """Makes sure that the log serves; returns how it stands with its witnesses, as it says.

        Raises:
            LogRefusedError, LogUnavailableError: see there.
        """
        return self._call(calls.fetch_health())

    def fetch_tile(self, path: str) -> bytes:
        """Returns a tile by its path, such as ``tile/0/x001/067.p/8``; nothing in it is verified.

        Raises:
            LogRefusedError, LogUnavailableError: see there.
        """
        return self._call(calls.fetch_tile(path))

    def fetch_records(
        self, start: int, limit: int = calls.MAX_PAGE, *, token: str | None = None
    ) -> tuple[LoggedRecord, ...]:
        """Returns records from an index on, in order and without a gap; the log may send fewer than `limit`.

        Args:
            start: the first index.
            limit: how many at most.
            token: a monitor's.

        Raises:
            LogRefusedError, LogUnavailableError: see there.
        """
        return self._call(calls.fetch_records(start, limit, token))

    def _call(self, call: LogCall[T]) -> T:
        for tries_left in reversed(range(self._tries)):
            try:
                return call.judge(self.url, self._exchange(call))
            except LogUnavailableError as e:
                if tries_left == 0:
                    raise
                self._sleep(max(_PAUSES[0], e.retry_after))
        raise AssertionError("unreachable")

    def _exchange(self, call: LogCall[Any]) -> LogReply:
        url, headers = f"{self.url}/{call.path}", call.headers(self._token)
        calls.check_token_is_safe(url, headers)
        try:
            with BoundedHttp(seconds=self._seconds + call.waits, ca_file=self._ca_file) as http:
                reply = http.send(
                    call.method,
                    url,
                    max_bytes=call.max_bytes,
                    headers=headers,
                    content=call.content,
                )
        except HttpError as e:
            raise unavailable(f"The log cannot be asked: {e}", e.hint) from e
        return LogReply(reply.status, reply.headers, reply.body)


class AsyncLogClient:
    """The same for one event loop; tasks may share it.  Close it with `close`.

    The arguments, the results and what is raised are those of `LogClient`.

    Raises:
        MalformedError: BAD_VALUE where the address is none, or the token would be sent where others read it.
        LogUnavailableError: LOG_UNAVAILABLE where the file of authorities cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        seconds: float = DEFAULT_SECONDS,
        ca_file: str | os.PathLike[str] | None = None,
        token: str | None = None,
    ) -> None:
        self.url = check_log_url(url)
        self._seconds = seconds
        self._token = token
        calls.check_token_is_safe(self.url, {} if token is None else {"Authorization": token})
        try:
            self._http = AsyncBoundedHttp(self.url, ca_file=ca_file)
        except HttpError as e:
            raise unavailable(f"The log cannot be asked: {e}", e.hint) from e

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._http.close()

    async def append(self, record: bytes) -> Acknowledged:
        """Hands in a record; as `LogClient.append`.

        Raises:
            LogRefusedError, LogUnavailableError: see there.
        """
        return await self._call(calls.append(record))

    async def fetch_proof(self, leaf_hash: bytes, *, wait: int = 0, witnesses: int | None = None) -> str:
        """Returns the proof of a leaf; as `LogClient.fetch_proof`.

        Raises:
            LogRefusedError, LogUnavailableError: see there.
        """
        return await self._call(calls.fetch_proof(leaf_hash, wait=wait, witnesses=witnesses))

    async def _call(self, call: LogCall[T]) -> T:
        return call.judge(self.url, await self._exchange(call))

    async def _exchange(self, call: LogCall[Any]) -> LogReply:
        try:
            reply = await self._http.send(
                call.method,
                call.path,
                seconds=self._seconds + call.waits,
                max_bytes=call.max_bytes,
                headers=call.headers(self._token),
                content=call.content,
            )
        except HttpError as e:
            raise unavailable(f"The log cannot be asked: {e}", e.hint) from e
        return LogReply(reply.status, reply.headers, reply.body)
