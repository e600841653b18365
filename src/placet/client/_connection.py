"""What both transports tell httpx, and what httpx may do.

- Redirects are not followed: whoever could redirect us would choose a relay for us.
- Compression is refused: a small answer could unfold into one that fills the memory.
- Cookies are not kept: a relay that sets new ones with every answer would fill it, too.
- Environment proxies and ``SSL_CERT_FILE`` are honoured, as in pip and curl, unless the relay is on this
  machine or `trust_env` is False.  A proxy can do no more than a relay, which is trusted with nothing.
- A caller's token goes over TLS, or stays on this machine.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple

import httpx

from placet.client._errors import RelayUnavailableError, nonsense, printable, unavailable
from placet.core.errors import MalformedError, Reason

# Long enough for a megabyte over a slow line; a person who waits sees progress from the caller.
DEFAULT_TIMEOUT = 15.0
_CONNECT_SECONDS = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MAX_TOKEN = 512


class Connection(NamedTuple):
    """A checked address with its options."""

    address: httpx.URL
    shown: str
    """The address as it is shown to people."""
    options: Mapping[str, Any]
    """For `httpx.Client` or `httpx.AsyncClient`."""


def prepare(
    base_url: str,
    *,
    token: str | None,
    verify: str | os.PathLike[str] | ssl.SSLContext | None,
    trust_env: bool,
    unsafe_token_in_clear: bool,
) -> Connection:
    """Checks what a client was given; see `RelayClient` for the arguments.

    Raises:
        MalformedError: BAD_VALUE where one of them cannot be used.
    """
    address = check_url(base_url)
    is_here = address.host in _LOOPBACK
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "placet"}
    if token is not None:
        if address.scheme != "https" and not is_here and not unsafe_token_in_clear:
            raise MalformedError(
                Reason.BAD_VALUE,
                "The relay's address begins with http: everybody on the way could read the caller's token.",
                hint="Use the relay's https address.",
            )
        headers["Authorization"] = f"Bearer {_check_token(token)}"
    options = {
        "base_url": address,
        "trust_env": trust_env and not is_here,
        "follow_redirects": False,
        "cookies": CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        "headers": headers,
    }
    if verify is not None:
        options["verify"] = verify if isinstance(verify, ssl.SSLContext) else _load_ca(verify)
    elif is_here and address.scheme == "http":
        # Never used, and trusts nobody: loading the world's authorities would take longer than the call.
        options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return Connection(address, printable(str(address).rstrip("/")), options)


def check_url(url: str) -> httpx.URL:
    """Returns the address of a relay.

    Raises:
        MalformedError: BAD_VALUE where it is none.
    """
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        address = httpx.URL("")
    if address.scheme in ("http", "https") and address.host and not address.userinfo and not address.query:
        return address
    # What stands before an "@" may be a password, and messages are logged; what follows a "?" a token.
    shown = "..." if "@" in str(url) else str(url).partition("?")[0]
    raise MalformedError(
        Reason.BAD_VALUE,
        f"{printable(shown)!r} is not the address of a relay.",
        hint="Give it as https://relay.example or http://127.0.0.1:8471.",
    )


def _check_token(token: str) -> str:
    # The message must not show it: it is a secret, and messages are logged.
    if token.isascii() and token.isprintable() and " " not in token and 0 < len(token) <= _MAX_TOKEN:
        return token
    raise MalformedError(
        Reason.BAD_VALUE,
        "The token for the relay is not one line of printable characters without blanks.",
        hint="Use it as the relay's operator gave it out.",
    )


def _load_ca(path: str | os.PathLike[str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=os.fspath(path))
    except (OSError, ssl.SSLError) as e:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"The file of certificate authorities {os.fspath(path)} cannot be used: "
            f"{e.strerror or type(e).__name__}.",
            hint="Name a PEM file with the authority that issued the relay's certificate.",
        ) from e


def limits(seconds: float) -> httpx.Timeout:
    """Returns httpx's own timeouts; they begin anew with every byte, so a deadline stands above them."""
    return httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))


def too_slow(shown: str) -> RelayUnavailableError:
    """Returns the error for an answer that did not come in time."""
    return unavailable(
        f"The relay at {shown} did not answer in time.",
        "Try again; if it stays slow, its operator has to look at its log and disk.",
    )


def too_large(shown: str, limit: int) -> Exception:
    """Returns the error for an answer that is cut off."""
    return nonsense(shown, f"more than {limit} bytes")


def broken(shown: str, error: Exception) -> RelayUnavailableError:
    """Returns the error for a connection that failed."""
    why = printable(str(error)) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return unavailable(
            f"The relay at {shown} could not prove its name: {why}.",
            "Check the address. If your own authority issued its certificate, name that authority's file.",
        )
    if isinstance(error, httpx.ConnectError):
        return unavailable(
            f"The relay at {shown} cannot be reached: {why}.",
            "Check the address, and that the relay is running: `placet relay serve` starts one.",
        )
    return unavailable(
        f"The connection to the relay at {shown} broke: {why.rstrip('.')}.",
        "Try again; if it happens each time, check the address and what stands before the relay.",
    )
