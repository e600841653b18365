"""The bounds of `placet.adapters.bounded_http` for asyncio: one server, one event loop, many tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from placet.adapters.bounded_http import (
    HttpError,
    Reply,
    client_options,
    load_authorities,
    name_failure,
    shown_url,
)


class AsyncBoundedHttp:
    """Asks one server; tasks may share it.  Close it with `close`.

    Args:
        url: the server's address; every path is below it.
        ca_file: a PEM file with the authorities to believe, where they are your own.

    Raises:
        HttpError: the file of authorities cannot be used.
    """

    def __init__(self, url: str, *, ca_file: str | os.PathLike[str] | None = None) -> None:
        import httpx

        self._url = url.rstrip("/")
        verify = None if ca_file is None else load_authorities(ca_file)
        self._http = httpx.AsyncClient(**client_options(httpx.URL(url), verify))

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        seconds: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Reply:
        """Makes one exchange, following no redirect.

        Args:
            seconds: how long all of it may take.
            max_bytes: where the answer is cut off.

        Raises:
            HttpError: no whole answer of that size came in time.
        """
        url = f"{self._url}/{path}"
        try:
            # The library's timeouts start anew with every byte; this one does not.
            async with asyncio.timeout(seconds):
                return await self._exchange(method, url, max_bytes, headers, content, seconds)
        except TimeoutError as e:
            raise HttpError(
                f"{shown_url(url)} did not answer in full within {seconds:g} seconds.", "Try again later."
            ) from e

    async def _exchange(
        self,
        method: str,
        url: str,
        max_bytes: int,
        headers: Mapping[str, str] | None,
        content: bytes | None,
        seconds: float,
    ) -> Reply:
        import httpx

        body = bytearray()
        try:
            async with self._http.stream(
                method, url, headers=headers, content=content, timeout=seconds
            ) as response:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > max_bytes:
                        raise HttpError(f"{shown_url(url)} answers with more than {max_bytes} bytes.")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as e:
            raise name_failure(e, shown_url(url)) from e
        return Reply(response.status_code, response.headers, bytes(body))
