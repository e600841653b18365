"""What stands around every handler of a service: the head's bounds, the caller, refusals, who is told."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from placet.adapters.serving.http import JsonResponse, check_head, encode
from placet.adapters.serving.refusals import CallRefused, Refusal
from placet.core.encoding import is_hex
from placet.core.errors import PlacetError
from placet.ports.request_store import RequestStoreError

K = TypeVar("K")
"""What somebody wants, as the service's rates tell it apart."""
C = TypeVar("C", bound="Named")


class Named(Protocol):
    """Somebody who calls; `name` is for logs, and "" for an address, which is somebody's personal data."""

    @property
    def name(self) -> str:
        """The name."""
        ...


class Seen(NamedTuple):
    """A call that was answered, as metrics and logs may know it: nothing of what was sent, no address."""

    route: str
    """The path as the API has it, such as ``/v1/requests/{id}``; "" for a path that is none."""
    method: str
    status: int
    reason: str
    """Why it was refused, or ""."""
    seconds: float
    caller: str
    """The name of a known caller, or ""."""
    request_id: str
    """The id of the request that it was about, or ""."""


class Observer(Protocol):
    """Is told of each call; must return at once and raise nothing."""

    def saw(self, seen: Seen) -> None:
        """Takes note."""
        ...


class Door(Generic[K, C]):
    """Makes routes for a service's handlers.

    Args:
        service: what it is called in sentences, such as "relay".
        admit: returns who calls, if they may come in now; raises `CallRefused`.
        describe: returns the HTTP form of a refusal.
        observers: told of each call.
        api: where the API is, for whoever looks elsewhere.
    """

    def __init__(
        self,
        service: str,
        *,
        admit: Callable[[Request, K], C],
        describe: Callable[[CallRefused | RequestStoreError | PlacetError], Refusal],
        observers: Sequence[Observer] = (),
        api: str = "The API is under /v1/.",
    ) -> None:
        self._service = service
        self._admit = admit
        self._describe = describe
        self._observers = observers
        self._api = api
        self._log = logging.getLogger(f"placet.{service}")

    def route(self, path: str, **by_method: tuple[K, Callable[[Request, C], Awaitable[Response]]]) -> Route:
        """Makes a route that answers every method, also a wrong one, in JSON."""

        async def endpoint(request: Request) -> Response:
            start = time.perf_counter()
            response, reason = await self._answer(request, by_method)
            self._tell(request, path, response, reason, time.perf_counter() - start)
            return response

        route = Route(path, endpoint)
        route.methods = None
        return route

    def make_app(
        self,
        routes: Sequence[BaseRoute],
        *,
        background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> Starlette:
        """Makes the ASGI application behind this door.

        Args:
            background: run beside the application, until it shuts down.
            close: awaited when the application shuts down.
        """

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            tasks = [asyncio.ensure_future(run()) for run in background]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if close is not None:
                    await close()

        app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: self.no_such_path})
        app.router.redirect_slashes = False
        return app

    async def no_such_path(self, request: Request, error: Exception) -> Response:
        """Answers for everything that is no path of the API."""
        refusal = CallRefused("unknown-path", "There is nothing at this address.", hint=self._api)
        response = self._refuse(refusal)
        self._tell(request, "", response, refusal.reason, 0.0)
        return response

    async def _answer(
        self, request: Request, by_method: dict[str, tuple[K, Callable[[Request, C], Awaitable[Response]]]]
    ) -> tuple[Response, str]:
        try:
            check_head(request)
            method = "GET" if request.method == "HEAD" else request.method
            if method not in by_method:
                return self._wrong_method(sorted(by_method)), "wrong-method"
            kind, handler = by_method[method]
            caller = self._admit(request, kind)
            request.state.caller = caller.name
            return await handler(request, caller), ""
        except (CallRefused, RequestStoreError, PlacetError) as e:
            return self._refuse(e), str(e.reason)
        except ClientDisconnect:
            # Nobody reads this; an answer object is owed all the same.
            return Response(status_code=400), "client-gone"
        except Exception as e:
            return self._own_fault(e), "internal-error"

    def _tell(self, request: Request, path: str, response: Response, reason: str, seconds: float) -> None:
        known = request.scope.get("state", {})
        request_id = request.path_params.get("id") or known.get("request_id") or ""
        seen = Seen(
            route=path,
            method=request.method,
            status=response.status_code,
            reason=reason,
            seconds=seconds,
            caller=known.get("caller") or "",
            request_id=request_id if is_hex(request_id, 64) else "",
        )
        for observer in self._observers:
            observer.saw(seen)

    def _wrong_method(self, methods: Sequence[str]) -> Response:
        allowed = ", ".join(methods)
        refusal = self._refuse(CallRefused("wrong-method", f"This address answers to {allowed} only."))
        refusal.headers["Allow"] = allowed
        return refusal

    def _refuse(self, error: CallRefused | RequestStoreError | PlacetError) -> JsonResponse:
        refusal = self._describe(error)
        # Too many waiters are the clients' doing; the operator must hear of the service's own trouble.
        is_own_trouble = refusal.status >= 500 and not isinstance(error, CallRefused)
        if is_own_trouble and not getattr(error, "operator_knows", False):
            # With the hint: clients may be told neither.
            self._log.error("%s", f"{error} {error.hint}".rstrip())
        return JsonResponse(encode(refusal.body), refusal.status, refusal.headers)

    def _own_fault(self, error: Exception) -> JsonResponse:
        # One line with the place: enough for a report, and no page of a log for whoever found the bug.
        place = traceback.extract_tb(error.__traceback__)[-1]
        self._log.error("internal error: %r at %s:%s", error, place.filename, place.lineno)
        return self._refuse(
            CallRefused(
                "internal-error",
                f"The {self._service} made a mistake; nothing was lost.",
                hint="Its log says where.",
            )
        )
