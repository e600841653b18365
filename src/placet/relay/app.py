"""The relay's HTTP API.

    POST /v1/requests                   keep a request
    GET  /v1/requests                   list requests
    GET  /v1/requests/{id}              one request with its answers
    GET  /v1/requests/{id}/wait         the same, once there is news
    POST /v1/requests/{id}/answers      keep an answer
    POST /v1/requests/{id}/withdraw     close a request
    GET  /v1/wait                       open requests, once there are new ones
    GET  /healthz                       whether the relay serves

Refusals are ``{"error": {"reason", "message", "hint"}}`` (`placet.relay.errors`).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from placet.core.encoding import format_time
from placet.core.errors import PlacetError
from placet.ports.request_store import (
    MAX_ANSWERS,
    MAX_PAGE,
    Cursor,
    Page,
    RequestState,
    RequestStoreError,
    StateFilter,
    StoredRequest,
)
from placet.relay._http import (
    JsonResponse,
    check_head,
    encode,
    read_body,
    read_number,
    read_query,
    read_request_id,
    unless_gone,
)
from placet.relay._shape import (
    MAX_ANSWER_BODY,
    MAX_SUBMISSION_BODY,
    MAX_WITHDRAWAL_BODY,
    parse_answering,
    parse_submission,
    parse_withdrawal,
)
from placet.relay.courier import Courier
from placet.relay.errors import RelayError, describe

log = logging.getLogger("placet.relay")

# Proxies commonly cut silent connections after a minute.
MAX_WAIT_SECONDS = 60
_DEFAULT_WAIT_SECONDS = 30
_DEFAULT_PAGE = 50
_MAX_CURSOR = 64

Handler = Callable[[Request], Awaitable[Response]]


class _Handlers:
    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    async def submit(self, request: Request) -> Response:
        new = parse_submission(await read_body(request, MAX_SUBMISSION_BODY))
        kept, created = await self._courier.submit(new)
        body = {"id": kept.id, "state": kept.state(self._courier.now())}
        return JsonResponse(encode(body), 201 if created else 200)

    async def list_requests(self, request: Request) -> Response:
        query = read_query(request, "state", "after", "limit")
        state = query.get("state", StateFilter.OPEN)
        if state not in list(StateFilter):
            raise RelayError("bad-query", "state must be open, closed or all.")
        limit = read_number(query, "limit", default=_DEFAULT_PAGE, minimum=1, maximum=MAX_PAGE)
        page = await self._courier.list_page(StateFilter(state), _read_cursor(query), limit)
        return self._listing(page, page.position if page.has_more else None)

    async def fetch(self, request: Request) -> Response:
        return self._found(await self._courier.fetch(read_request_id(request)))

    async def wait_for_answers(self, request: Request) -> Response:
        request_id = read_request_id(request)
        query = read_query(request, "answers", "timeout")
        seen = read_number(query, "answers", default=0, minimum=0, maximum=MAX_ANSWERS)
        waiting = self._courier.wait_for_answers(request_id, seen, _read_timeout(query))
        return self._found(await unless_gone(request, waiting))

    async def wait_for_requests(self, request: Request) -> Response:
        query = read_query(request, "after", "timeout")
        waiting = self._courier.wait_for_requests(_read_cursor(query), _read_timeout(query))
        page = await unless_gone(request, waiting)
        return self._listing(page, page.position)

    async def answer(self, request: Request) -> Response:
        request_id = read_request_id(request)
        shaped = parse_answering(await read_body(request, MAX_ANSWER_BODY))
        created = await self._courier.answer(request_id, shaped)
        body = {"id": request_id, "answer": {"sha256": shaped.answer.digest}}
        return JsonResponse(encode(body), 201 if created else 200)

    async def withdraw(self, request: Request) -> Response:
        request_id = read_request_id(request)
        token_hash = parse_withdrawal(await read_body(request, MAX_WITHDRAWAL_BODY))
        await self._courier.withdraw(request_id, token_hash)
        return JsonResponse(encode({"id": request_id, "state": RequestState.WITHDRAWN}))

    async def health(self, request: Request) -> Response:
        await self._courier.check_health()
        return JsonResponse(encode({"status": "ok"}))

    def _listing(self, page: Page, position: Cursor | None) -> Response:
        now = self._courier.now()
        requests = [
            {
                "id": item.id,
                "state": item.state(now),
                "submittedAt": format_time(item.submitted_at),
                "expiresAt": format_time(item.expires_at),
                "answers": item.answer_count,
            }
            for item in page.requests
        ]
        return JsonResponse(encode({"requests": requests, "next": position}))

    def _found(self, found: StoredRequest) -> Response:
        head = {
            "id": found.id,
            "state": found.state(self._courier.now()),
            "submittedAt": format_time(found.submitted_at),
        }
        # The containers are canonical JSON already: parsing megabytes to print the same again is no use.
        parts = [encode(head)[:-1], b',"request":', found.container]
        parts += [b',"answers":[', b",".join(found.answers), b"]}"]
        return JsonResponse(b"".join(parts))


def create_app(courier: Courier, *, close: Callable[[], Awaitable[None]] | None = None) -> Starlette:
    """Makes the ASGI application.

    Args:
        courier: does the work.
        close: awaited when the application shuts down.
    """
    handlers = _Handlers(courier)
    one = "/v1/requests/{id}"
    routes = [
        _route("/v1/requests", POST=handlers.submit, GET=handlers.list_requests),
        _route(one, GET=handlers.fetch),
        _route(f"{one}/wait", GET=handlers.wait_for_answers),
        _route(f"{one}/answers", POST=handlers.answer),
        _route(f"{one}/withdraw", POST=handlers.withdraw),
        _route("/v1/wait", GET=handlers.wait_for_requests),
        _route("/healthz", GET=handlers.health),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        if close is not None:
            await close()

    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _no_such_path})
    app.router.redirect_slashes = False
    return app


def _route(path: str, **by_method: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            check_head(request)
            handler = by_method.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                return _wrong_method(by_method)
            return await handler(request)
        except (RelayError, RequestStoreError, PlacetError) as e:
            return _refuse(e)
        except ClientDisconnect:
            # Nobody reads this; an answer object is owed all the same.
            return Response(status_code=400)
        except Exception as e:
            return _own_fault(e)

    route = Route(path, endpoint)
    # All methods come here, so that also a wrong one is answered in JSON.
    route.methods = None
    return route


def _wrong_method(by_method: Mapping[str, Handler]) -> Response:
    allowed = ", ".join(sorted(by_method))
    refusal = _refuse(RelayError("wrong-method", f"This address answers to {allowed} only."))
    refusal.headers["Allow"] = allowed
    return refusal


def _refuse(error: RelayError | RequestStoreError | PlacetError) -> JsonResponse:
    refusal = describe(error)
    # Too many waiters are the clients' doing; what the operator must hear of is the relay's own trouble.
    if refusal.status >= 500 and not isinstance(error, RelayError):
        log.error("%s", error)
    return JsonResponse(encode(refusal.body), refusal.status, refusal.headers)


def _own_fault(error: Exception) -> JsonResponse:
    # One line with the place: enough for a report, and no page of a log for whoever found the bug.
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("internal error: %r at %s:%s", error, place.filename, place.lineno)
    return _refuse(
        RelayError(
            "internal-error", "The relay made a mistake; nothing was lost.", hint="Its log says where."
        )
    )


async def _no_such_path(request: Request, error: Exception) -> Response:
    return _refuse(
        RelayError("unknown-path", "There is nothing at this address.", hint="The API is under /v1/.")
    )


def _read_cursor(query: dict[str, str]) -> Cursor | None:
    text = query.get("after")
    if text is not None and len(text) > _MAX_CURSOR:
        raise RelayError("bad-query", "after must be a cursor that this relay gave out as `next`.")
    return None if not text else Cursor(text)


def _read_timeout(query: dict[str, str]) -> int:
    return read_number(query, "timeout", default=_DEFAULT_WAIT_SECONDS, minimum=0, maximum=MAX_WAIT_SECONDS)
