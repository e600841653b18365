"""A log's HTTP API, alone or below ``/log`` of a relay.

    GET  /checkpoint             the newest checkpoint             } C2SP tlog-tiles
    GET  /tile/…                 hashes and entries                }
    POST /v1/records             hand in a record
    GET  /v1/proofs/{leaf}       the C2SP tlog-proof of a leaf
    GET  /v1/records             records, for monitors
    GET  /healthz                whether the log serves

Refusals are ``{"error": {"reason", "message", "hint"}}``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from placet.adapters.serving.door import Door, Named, Observer
from placet.adapters.serving.http import (
    MAX_WAIT_SECONDS,
    JsonResponse,
    encode,
    read_body,
    read_number,
    read_query,
    unless_gone,
)
from placet.adapters.serving.refusals import CALL_STATUS, CallRefused, Refusal, describe_call
from placet.core.encoding import b64encode, is_hex
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.tlog.note import MAX_SIGNATURES
from placet.log.readers import ReaderBook, admit_reader
from placet.log.service import LogService
from placet.log.witness_standing import WitnessStatus, status_to_object
from placet.ports.log_store import MAX_RECORD_BYTES, MAX_RECORDS
from placet.ports.request_store import RequestStoreError

# A checkpoint changes with the next append.  Tiles never do; partial ones may be deleted one day.
_TEXT = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
_TILE = {"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff"}
_FULL = {**_TILE, "Cache-Control": "public, max-age=31536000, immutable"}
_PARTIAL = {**_TILE, "Cache-Control": "public, max-age=3600"}

STATUS = {
    **CALL_STATUS,
    "unknown-monitor": 401,
    "not-admitted": 403,
    Reason.LOG_REFUSED: 403,
    "unknown-leaf": 404,
    Reason.LOG_DAMAGED: 500,
    "too-many-waiters": 503,
    Reason.LOG_UNAVAILABLE: 503,
}
# What clients hear of the log's own trouble.  Its own words name paths: the operator's log has them.
_FOR_CLIENTS = {
    Reason.LOG_UNAVAILABLE: (
        "The log cannot be used just now; whether this was logged is not known.",
        "Try again in a moment: nothing is logged twice.",
    ),
    Reason.LOG_DAMAGED: (
        "The log has stopped: it is damaged, or older than what it signed.",
        "Its operator is needed; the log's own output says what happened.",
    ),
}


class Wants(StrEnum):
    """What somebody wants, as rates tell it apart."""

    READ = "read"
    APPEND = "append"
    FREE = "free"
    """Health, and what has tokens of its own."""


class Guest(Named, Protocol):
    """Somebody who calls; `key` is what limits count by."""

    @property
    def key(self) -> str:
        """The key."""
        ...


G = TypeVar("G", bound=Guest)


def _spend_nothing(caller: Guest, size: int) -> None:
    """Where records are not limited."""


class _Handlers(Generic[G]):
    def __init__(
        self,
        service: LogService,
        spend: Callable[[G, int], None],
        readers: Callable[[], ReaderBook],
        witnesses: Callable[[], Sequence[WitnessStatus]],
    ) -> None:
        self._service = service
        self._spend = spend
        self._readers = readers
        self._witnesses = witnesses

    async def checkpoint(self, request: Request, caller: G) -> Response:
        return Response(await self._service.checkpoint(), headers=_TEXT)

    async def tile(self, request: Request, caller: G) -> Response:
        path = f"tile/{request.path_params['path']}"
        data, is_full = await self._service.read_tile(path)
        return Response(data, headers=_FULL if is_full else _PARTIAL)

    async def append(self, request: Request, caller: G) -> Response:
        read_query(request)
        record = await read_body(request, MAX_RECORD_BYTES, hint="Hand in one record at a time.")
        self._spend(caller, len(record))
        logged = await self._service.append(record)
        body = {
            "leafHash": logged.appended.leaf_hash.hex(),
            "leafIndex": str(logged.appended.leaf_index),
            "treeSize": str(logged.tree_size),
        }
        return JsonResponse(encode(body), 201 if logged.appended.created else 200)

    async def prove(self, request: Request, caller: G) -> Response:
        text: str = request.path_params["leaf"]
        query = read_query(request, "wait", "witnesses")
        wait = read_number(query, "wait", default=0, minimum=0, maximum=MAX_WAIT_SECONDS)
        wanted = None
        if "witnesses" in query:
            wanted = read_number(query, "witnesses", default=0, minimum=0, maximum=MAX_SIGNATURES)
        if not is_hex(text, 64):
            raise CallRefused(
                "unknown-leaf",
                "No such leaf is in this log.",
                hint="A leaf is named by the 64 hexadecimal characters of its hash, in lower case.",
            )
        proof = await unless_gone(
            request, self._service.prove(bytes.fromhex(text), wait, wanted, caller=caller.key)
        )
        return Response(proof.encode(), headers={**_TEXT, "Cache-Control": "no-store"})

    async def records(self, request: Request, caller: G) -> Response:
        request.state.caller = admit_reader(request, self._readers())
        query = read_query(request, "from", "limit")
        start = read_number(query, "from", default=0, minimum=0, maximum=10**9 - 1)
        limit = read_number(query, "limit", default=MAX_RECORDS, minimum=1, maximum=10**6)
        found = await self._service.read_records(start, min(limit, MAX_RECORDS))
        records = [{"leafIndex": str(index), "record": b64encode(record)} for index, record in found]
        return JsonResponse(encode({"records": records}))

    async def health(self, request: Request, caller: G) -> Response:
        await self._service.check_health()
        # A log whose witnesses are down still logs, and a lone witness's word is no proof: only told.
        witnesses = [status_to_object(status) for status in self._witnesses()]
        return JsonResponse(encode({"status": "ok", "witnesses": witnesses}))


def create_app(
    service: LogService,
    *,
    admit: Callable[[Request, Wants], G],
    spend: Callable[[G, int], None] = _spend_nothing,
    readers: Callable[[], ReaderBook] = ReaderBook,
    witnesses: Callable[[], Sequence[WitnessStatus]] = tuple,
    observers: Sequence[Observer] = (),
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    close: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """Makes the ASGI application.

    Args:
        service: does the work.
        admit: returns who calls, if they may come in now; raises `CallRefused`.
        spend: asked before a record of so many bytes is judged and logged; raises `CallRefused`.
        readers: returns the monitors that may see records.
        witnesses: returns how it stands with the witnesses that are asked.
        observers: told of each call.
        background: run beside the application, until it shuts down.
        close: awaited when the application shuts down.
    """
    handlers = _Handlers(service, spend, readers, witnesses)
    door: Door[Wants, G] = Door(
        "log",
        admit=admit,
        describe=describe,
        observers=observers,
        api="A log has /checkpoint, /tile/ and what is under /v1/.",
    )
    routes = [
        door.route("/checkpoint", GET=(Wants.READ, handlers.checkpoint)),
        door.route("/tile/{path:path}", GET=(Wants.READ, handlers.tile)),
        door.route("/v1/records", POST=(Wants.APPEND, handlers.append), GET=(Wants.FREE, handlers.records)),
        door.route("/v1/proofs/{leaf}", GET=(Wants.READ, handlers.prove)),
        door.route("/healthz", GET=(Wants.FREE, handlers.health)),
    ]

    return door.make_app(routes, background=background, close=close)


def describe(error: CallRefused | RequestStoreError | PlacetError) -> Refusal:
    """Returns the HTTP form of a refusal."""
    words = _FOR_CLIENTS.get(Reason(error.reason)) if isinstance(error, IndeterminateError) else None
    return describe_call(error, STATUS, realm="placet log", words=words)
