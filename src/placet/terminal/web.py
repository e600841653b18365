"""The guarded door to a page on loopback.

Other programs on this machine, and pages of other sites in the same browser, can reach the port.  So the
door asks for:

- the exact Host, so that a name which somebody else controls and rebinds to 127.0.0.1 gets nothing;
- for every call of the API, the launch's secret token in a header, which no other page can know, a
  same-origin Sec-Fetch-Site, and the exact Origin where the browser sends one;
- no cookies at all, so there is nothing to ride on.

What leaves carries a content policy under which the page runs our one script and nothing else.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from placet.core.encoding import b64url_encode
from placet.core.errors import PlacetError
from placet.terminal.touch import NOTHING_SIGNED, DeskError

TOKEN_HEADER = "x-placet-token"  # noqa: S105 -- the header's name
# A decision names every row that was shown; nothing that a page sends is larger.
MAX_BODY_BYTES = 128 * 1024

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "permissions-policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), "
    "camera=(), microphone=(), geolocation=(), usb=(), clipboard-read=()",
}

_LOG = logging.getLogger(__name__)

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class Guard:
    """What one launch of a page answers to.

    Attributes:
        web_origin: the exact origin of the page.
        token: the launch's secret.
    """

    def __init__(self, web_origin: str) -> None:
        self.web_origin = web_origin
        self.host = web_origin.partition("://")[2]
        self.token = secrets.token_urlsafe(32)

    @property
    def launch_url(self) -> str:
        """The address to open; its fragment, which no server and no log sees, holds the token."""
        return f"{self.web_origin}/#token={self.token}"

    def refusal(self, method: str, path: str, headers: Headers) -> str:
        """Returns why a request is refused, or "" where it may pass."""
        if headers.getlist("host") != [self.host]:
            return "The address of this page is another one."
        site = headers.get("sec-fetch-site")
        if not path.startswith("/api/"):
            # A person may follow a link to the page; other sites may neither frame nor load its parts.
            linked = path == "/" and headers.get("sec-fetch-dest") == "document"
            return "" if site in (None, "none", "same-origin") or linked else "Other sites may not load this."
        if site != "same-origin":
            return "Only the terminal's own page may ask this."
        origin = headers.get("origin")
        if origin != self.web_origin and (origin is not None or method not in ("GET", "HEAD")):
            return "Only the terminal's own page may ask this."
        # Compared in constant time, as bytes: a header may hold what is not ASCII.
        sent = headers.get(TOKEN_HEADER, "").encode("latin-1")
        if not secrets.compare_digest(sent, self.token.encode("ascii")):
            return "This page was not opened with the link that this launch of the terminal printed."
        return ""


class GuardedApp:
    """Puts the guard before an application, and the security headers on everything that leaves."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        why = self._guard.refusal(scope["method"], scope["path"], Headers(scope=scope))
        app: ASGIApp = self._app
        if why:
            hint = "Open the terminal again with the link that `placet terminal` printed."
            app = error_response(403, "not-this-page", why, hint)
        await app(scope, receive, send_guarded)


def error_response(
    status: int, reason: str, message: str, hint: str, meaning: str = NOTHING_SIGNED
) -> JSONResponse:
    """Returns an error as the page shows it: what happened, what it means, what to do next."""
    error = {"reason": reason, "message": message, "meaning": meaning, "hint": hint}
    return JSONResponse({"error": error}, status_code=status)


Handler = Callable[[Request, Any], Any]


def api(path: str, method: str, handler: Handler, *, meaning: str = NOTHING_SIGNED) -> Route:
    """Returns a route whose handler gets the request and its JSON body, and returns a JSON value.

    `meaning` is what a refusal means where the refusal itself does not say it.

    Handlers run in threads: they verify signatures and sync files.
    """

    async def answer(request: Request) -> Response:
        try:
            body = await _read_body(request) if method == "POST" else None
            return JSONResponse(await run_in_threadpool(handler, request, body))
        except DeskError as e:
            return error_response(409, e.reason, e.message, e.hint, e.meaning)
        except PlacetError as e:
            return error_response(422, e.reason, str(e), e.hint, meaning)
        except OSError as e:
            hint = "Make room on the disk, check the folder's permissions, and decide again."
            return error_response(
                500, "not-kept", f"This terminal cannot write its files: {e.strerror}.", hint
            )

    return Route(path, answer, methods=[method])


async def _read_body(request: Request) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise DeskError("bad-call", "The page sent something else than JSON.", "Reload the page.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise DeskError("too-large", "The page sent more than a decision needs.", "Reload the page.")
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError) as e:
        raise DeskError("bad-call", "The page sent broken JSON.", "Reload the page.") from e
    if not isinstance(value, dict):
        raise DeskError("bad-call", "The page sent no JSON object.", "Reload the page.")
    return value


def read_text(body: Mapping[str, Any], name: str, *choices: str) -> str:
    """Reads a text member of a call, one of `choices` where given.

    Raises:
        DeskError: it is missing or wrong.
    """
    value = body.get(name)
    if not isinstance(value, str) or (choices and value not in choices):
        raise DeskError("bad-call", f"The page sent no usable {name}.", "Reload the page.")
    return value


def read_base64url(text: Any) -> bytes:
    """Reads unpadded base64url, as ``PublicKeyCredential.toJSON()`` writes it.

    Raises:
        DeskError: it is not that.
    """
    if isinstance(text, str) and text.isascii():
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            data = b""
        if b64url_encode(data) == text:
            return data
    raise DeskError("bad-call", "The browser gave no usable answer of the key.", "Try again.")


def create_app(guard: Guard, page: str, routes: list[BaseRoute]) -> ASGIApp:
    """Builds the guarded application of one page.

    Args:
        page: the name of its HTML file in ``static/``.
        routes: the page's API.
    """
    names = {"/": page, "/terminal.css": "terminal.css", "/shared.js": "shared.js"}
    script = page.replace(".html", ".js")
    names[f"/{script}"] = script
    return GuardedApp(
        Starlette(routes=[*(_static(path, name) for path, name in names.items()), *routes]), guard
    )


def _static(path: str, name: str) -> Route:
    content = files("placet.terminal").joinpath("static", name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        return Response(content, headers={"content-type": f"{kind}; charset=utf-8"})

    return Route(path, answer, methods=["GET"])
