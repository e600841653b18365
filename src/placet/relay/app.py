"""The relay's HTTP API.

    POST /v1/requests                   keep a request
    GET  /v1/requests                   list requests
    GET  /v1/requests/{id}              one request with its answers
    GET  /v1/requests/{id}/wait         the same, once there is news
    POST /v1/requests/{id}/answers      keep an answer
    POST /v1/requests/{id}/withdraw     close a request
    GET  /v1/wait                       open requests, once there are new ones
    GET  /healthz                       whether the relay serves
    GET  /openapi.json                  all of this, for machines
    /log/…                              the embedded log (`placet.log.app`)

Refusals are ``{"error": {"reason", "message", "hint"}}`` (`placet.relay.errors`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from placet.adapters.serving.door import Door, Observer
from placet.adapters.serving.http import (
    DEFAULT_PAGE,
    DEFAULT_WAIT_SECONDS,
    MAX_WAIT_SECONDS,
    JsonResponse,
    encode,
    read_body,
    read_number,
    read_query,
    unless_gone,
)
from placet.core.encoding import Digest, format_time, is_hex
from placet.ports.request_store import (
    MAX_ANSWERS,
    MAX_PAGE,
    Cursor,
    Page,
    RequestId,
    RequestState,
    StateFilter,
    StoredRequest,
    UnknownRequestError,
)
from placet.relay._shape import (
    MAX_ANSWER_BODY,
    MAX_SUBMISSION_BODY,
    MAX_WITHDRAWAL_BODY,
    parse_answering,
    parse_submission,
    parse_withdrawal,
)
from placet.relay.callers import UNLIMITED_BOOK, Caller
from placet.relay.courier import Courier
from placet.relay.errors import RelayError, describe
from placet.relay.gatekeeper import Gatekeeper, Kind

# What a store gives out as a place in its order.
MAX_CURSOR = 64
LOG_PATH = "/log"
_IF_TOO_LARGE = "Carry large evidence by digest and leave its content with the builder."


class _Handlers:
    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    async def submit(self, request: Request, caller: Caller) -> Response:
        new = parse_submission(await read_body(request, MAX_SUBMISSION_BODY, hint=_IF_TOO_LARGE))
        request.state.request_id = new.id
        kept, created = await self._courier.submit(new, caller)
        body = {"id": kept.id, "state": kept.state(self._courier.now())}
        return JsonResponse(encode(body), 201 if created else 200)

    async def list_requests(self, request: Request, caller: Caller) -> Response:
        query = read_query(request, "state", "after", "limit")
        state = query.get("state", StateFilter.OPEN)
        if state not in list(StateFilter):
            raise RelayError("bad-query", "state must be open, closed or all.")
        limit = read_number(query, "limit", default=DEFAULT_PAGE, minimum=1, maximum=MAX_PAGE)
        page = await self._courier.list_page(StateFilter(state), _read_cursor(query), limit)
        return self._listing(page, page.position if page.has_more else None)

    async def fetch(self, request: Request, caller: Caller) -> Response:
        return await self._found(await self._courier.fetch(_read_request_id(request)))

    async def wait_for_answers(self, request: Request, caller: Caller) -> Response:
        request_id = _read_request_id(request)
        query = read_query(request, "answers", "timeout")
        seen = read_number(query, "answers", default=0, minimum=0, maximum=MAX_ANSWERS)
        waiting = self._courier.wait_for_answers(request_id, seen, _read_timeout(query), caller)
        return await self._found(await unless_gone(request, waiting))

    async def wait_for_requests(self, request: Request, caller: Caller) -> Response:
        query = read_query(request, "after", "timeout")
        waiting = self._courier.wait_for_requests(_read_cursor(query), _read_timeout(query), caller)
        page = await unless_gone(request, waiting)
        return self._listing(page, page.position)

    async def answer(self, request: Request, caller: Caller) -> Response:
        request_id = _read_request_id(request)
        shaped = parse_answering(await read_body(request, MAX_ANSWER_BODY))
        created = await self._courier.answer(request_id, shaped, caller)
        body = {"id": request_id, "answer": {"sha256": shaped.answer.digest}}
        return JsonResponse(encode(body), 201 if created else 200)

    async def withdraw(self, request: Request, caller: Caller) -> Response:
        request_id = _read_request_id(request)
        token_hash = parse_withdrawal(await read_body(request, MAX_WITHDRAWAL_BODY))
        await self._courier.withdraw(request_id, token_hash)
        return JsonResponse(encode({"id": request_id, "state": RequestState.WITHDRAWN}))

    async def health(self, request: Request, caller: Caller) -> Response:
        await self._courier.check_health()
        return JsonResponse(encode({"status": "ok"}))

    async def describe_api(self, request: Request, caller: Caller) -> Response:
        # Imported when asked for: hardly anybody does, and it is large.
        from placet.relay.openapi import document

        return JsonResponse(encode(document()))

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

    async def _found(self, found: StoredRequest) -> Response:
        head = {
            "id": found.id,
            "state": found.state(self._courier.now()),
            "submittedAt": format_time(found.submitted_at),
        }
        # The containers are canonical JSON already: parsing megabytes to print the same again is no use.
        parts = [encode(head)[:-1], b',"request":', found.container]
        parts += [b',"answers":[', b",".join(found.answers), b'],"proofs":']
        parts += [encode(await self._courier.proofs(found)), b"}"]
        return JsonResponse(b"".join(parts))


def create_app(
    courier: Courier,
    *,
    gatekeeper: Gatekeeper | None = None,
    observers: Sequence[Observer] = (),
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    close: Callable[[], Awaitable[None]] | None = None,
    log_app: ASGIApp | None = None,
) -> Starlette:
    """Makes the ASGI application.

    Args:
        courier: does the work.
        gatekeeper: tells callers apart and holds them to their rates.
        observers: told of each call.
        background: run beside the application, until it shuts down.
        close: awaited when the application shuts down.
        log_app: the embedded log, which is served below ``/log``.
    """
    handlers = _Handlers(courier)
    admit = (gatekeeper or Gatekeeper(UNLIMITED_BOOK)).admit
    door = Door("relay", admit=admit, describe=describe, observers=observers)
    one = "/v1/requests/{id}"
    read, write = Kind.READ, Kind.REQUEST
    routes: list[BaseRoute] = [
        door.route("/v1/requests", POST=(write, handlers.submit), GET=(read, handlers.list_requests)),
        door.route(one, GET=(read, handlers.fetch)),
        door.route(f"{one}/wait", GET=(read, handlers.wait_for_answers)),
        door.route(f"{one}/answers", POST=(Kind.ANSWER, handlers.answer)),
        door.route(f"{one}/withdraw", POST=(write, handlers.withdraw)),
        door.route("/v1/wait", GET=(read, handlers.wait_for_requests)),
        door.route("/healthz", GET=(Kind.FREE, handlers.health)),
        door.route("/openapi.json", GET=(Kind.FREE, handlers.describe_api)),
        *([] if log_app is None else [Mount(LOG_PATH, app=log_app)]),
    ]

    return door.make_app(routes, background=background, close=close)


def _read_request_id(request: Request) -> RequestId:
    """Reads the request ID from the path.

    Raises:
        UnknownRequestError: it is not an ID, so nothing can have it.
    """
    text: str = request.path_params["id"]
    if not is_hex(text, 64):
        raise UnknownRequestError(
            "There is no such request here.",
            hint="A request's id is 64 lower-case hexadecimal characters: the SHA-256 of its payload.",
        )
    return RequestId(Digest(text))


def _read_cursor(query: dict[str, str]) -> Cursor | None:
    text = query.get("after")
    if text is not None and len(text) > MAX_CURSOR:
        raise RelayError("bad-query", "after must be a cursor that this relay gave out as `next`.")
    return None if not text else Cursor(text)


def _read_timeout(query: dict[str, str]) -> int:
    return read_number(query, "timeout", default=DEFAULT_WAIT_SECONDS, minimum=0, maximum=MAX_WAIT_SECONDS)
