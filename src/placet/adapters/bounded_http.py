"""HTTP with servers that nobody here trusts: bounded time, bounded sizes, and no surprises on the way.

- One deadline stands over everything that one object asks; a server that drips bytes cannot hold us.
- An answer is cut off at the size that the caller expects.
- Redirects are never followed here; who follows one decides what it may carry (`placet.adapters.oci.client`).
- Compression is refused: a small answer could unfold into one that fills the memory.
- Cookies are not kept.  Environment proxies and ``SSL_CERT_FILE`` are honoured, but never for this machine.
"""

from __future__ import annotations

import os
import queue
import ssl
import threading
import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from placet.core.errors import MalformedError, Reason, visible

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONNECT_SECONDS = 5.0


class HttpError(Exception):
    """A server could not be asked, or answered with something that nobody wants; the text says what.

    Args:
        message: one sentence for a person.
        hint: what to do, or "".
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(visible(message))
        self.hint = hint


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Their names are compared without regard to case."""
    body: bytes


class BoundedHttp:
    """Asks servers, for so many seconds in all.  Use it as a context manager, in one thread.

    Args:
        seconds: how long everything together may take.
        ca_file: a PEM file with the authorities to believe, where they are your own.

    Raises:
        HttpError: the file of authorities cannot be used.
    """

    def __init__(self, *, seconds: float, ca_file: str | os.PathLike[str] | None = None) -> None:
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._verify = None if ca_file is None else load_authorities(ca_file)
        # One for this machine and one for all others: they differ in proxies and in authorities.
        self._clients: dict[bool, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Reply:
        """Makes one exchange, following no redirect.

        Raises:
            HttpError: no whole answer of that size came in time.
        """
        shown = shown_url(url)
        left = self._until - time.monotonic()
        answer: queue.Queue[Reply | Exception] = queue.Queue(1)
        if left > 0:
            # httpx's own timeouts begin anew with every byte, in the head as in the body.  So another thread
            # reads, and this one waits no longer than it may.
            args = (answer, method, url, max_bytes, dict(headers or {}), content, left)
            threading.Thread(target=self._exchange, args=args, daemon=True).start()
        try:
            found = answer.get(timeout=max(0.001, left))
        except queue.Empty:
            raise HttpError(
                f"{shown} did not answer in full within {self._seconds:g} seconds.", "Try again later."
            ) from None
        if isinstance(found, Exception):
            raise name_failure(found, shown) from found
        return found

    def _exchange(
        self,
        answer: queue.Queue[Reply | Exception],
        method: str,
        url: str,
        max_bytes: int,
        headers: dict[str, str],
        content: bytes | None,
        left: float,
    ) -> None:
        import httpx

        try:
            client = self._client(httpx.URL(url))
            timeout = httpx.Timeout(left, connect=min(_CONNECT_SECONDS, left))
            with client.stream(method, url, headers=headers, content=content, timeout=timeout) as response:
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > max_bytes:
                        raise HttpError(f"{shown_url(url)} answers with more than {max_bytes} bytes.")
            answer.put(Reply(response.status_code, response.headers, bytes(body)))
        except Exception as e:  # whatever a server can cause; `send` gives it a name
            answer.put(e)

    def _client(self, address: Any) -> Any:
        import httpx

        is_here = address.host in LOOPBACK
        if is_here not in self._clients:
            self._clients[is_here] = httpx.Client(**client_options(address, self._verify))
        return self._clients[is_here]


def check_address(url: str, what: str, example: str) -> str:
    """Returns the address of a service, without a slash at its end.

    Args:
        url: as somebody wrote it.
        what: such as "a log".
        example: an address of the kind.

    Raises:
        MalformedError: BAD_VALUE.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if usable and url.isascii() and url.isprintable() and not set("@?# ") & set(url):
        return url.rstrip("/")
    # What stands before an "@" may be a password, and messages are logged.
    shown = "..." if "@" in url else shown_url(url)
    raise MalformedError(
        Reason.BAD_VALUE,
        f"{visible(shown)!r} is not the address of {what}.",
        hint=f"Give it as https://placet.example or {example}.",
    )


def client_options(address: Any, verify: ssl.SSLContext | None) -> dict[str, Any]:
    """Returns the options of httpx clients for the server at `address`, as this module's text has them."""
    is_here = address.host in LOOPBACK
    if verify is None and is_here and address.scheme == "http":
        # Never used, and trusts nobody: loading the authorities would take longer than the call.
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {
        "trust_env": not is_here,
        "follow_redirects": False,
        "cookies": CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        "headers": {"Accept-Encoding": "identity", "User-Agent": "placet"},
        "verify": True if verify is None else verify,
    }


def load_authorities(path: str | os.PathLike[str]) -> ssl.SSLContext:
    """Returns what believes the authorities of a PEM file, and no others.

    Raises:
        HttpError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=os.fspath(path))
    except (OSError, ssl.SSLError) as e:
        raise HttpError(
            f"The file of certificate authorities {os.fspath(path)} cannot be used: "
            f"{e.strerror or type(e).__name__}.",
            "Name a PEM file with the authority that issued the server's certificate.",
        ) from e


def shown_url(url: str) -> str:
    """Returns an address without what may be secret in it."""
    return url.partition("?")[0]


def name_failure(error: Exception, shown: str) -> HttpError:
    """Returns what happened to an exchange with the server at `shown`."""
    if isinstance(error, HttpError):
        return error
    import httpx

    why = str(error).rstrip(".") or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return HttpError(
            f"{shown} could not prove its name: {why}.",
            "If your own authority issued its certificate, name that authority's file with --ca-file.",
        )
    if isinstance(error, httpx.TimeoutException):
        return HttpError(f"{shown} did not answer in time.", "Try again later.")
    if isinstance(error, httpx.ConnectError):
        return HttpError(f"{shown} cannot be reached: {why}.", "Check the address and the network.")
    return HttpError(f"The connection to {shown} broke: {why}.", "Try again.")
