"""A witness's HTTP side (https://c2sp.org/tlog-witness).

    POST /add-checkpoint                      cosign a checkpoint
    GET  /{SHA-256 of the origin}/checkpoint  the newest one of a log that was cosigned, for monitors
    GET  /healthz                             whether it serves

There are no callers to tell apart: the signature on a checkpoint is all that a witness asks for.  Refusals
are ``{"error": {"reason", "message", "hint"}}``, except for a conflict, whose form the specification fixes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from placet.adapters.serving.door import Door, Observer
from placet.adapters.serving.http import JsonResponse, encode, read_bytes
from placet.adapters.serving.refusals import CALL_STATUS, CallRefused, Refusal, describe_call
from placet.adapters.witness_protocol import MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE, encode_size
from placet.core.encoding import is_hex
from placet.core.errors import IndeterminateError, PlacetError
from placet.log.witness import ConflictRefused, Witness
from placet.ports.request_store import RequestStoreError

_TEXT = "text/plain; charset=utf-8"
# A disk that hangs must not gather requests without end: each holds a thread, or waits for one.
_MAX_AT_ONCE = 64
_STATUS = {
    **CALL_STATUS,
    "unknown-log": 404,
    "not-signed": 403,
    "proof-invalid": 422,
    "another-root": 422,
    "nothing-cosigned": 404,
    "too-busy": 503,
}
# Clients hear that there is trouble, and not which file or clock: the operator's log has that.
_OWN_TROUBLE = ("The witness cannot cosign just now; nothing was signed.", "Try again in a moment.")


class _Anybody(NamedTuple):
    name: str = ""


class _Handlers:
    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._at_once = 0

    async def add_checkpoint(self, request: Request, caller: _Anybody) -> Response:
        body = await read_bytes(request, MAX_REQUEST_BYTES)
        if self._at_once >= _MAX_AT_ONCE:
            raise CallRefused("too-busy", "This witness has too much to do.", hint="Try again in a moment.")
        self._at_once += 1
        try:
            lines = await asyncio.to_thread(self._witness.add_checkpoint, body)
        except ConflictRefused as e:
            return _plain(encode_size(e.tree_size), 409, SIZE_MEDIA_TYPE)
        finally:
            self._at_once -= 1
        return _plain(lines, 200, _TEXT)

    async def latest(self, request: Request, caller: _Anybody) -> Response:
        text: str = request.path_params["origin_hash"]
        # What is no hash is no log's: the answer is the same.
        origin_hash = bytes.fromhex(text) if is_hex(text, 64) else b""
        return _plain(await asyncio.to_thread(self._witness.latest, origin_hash), 200, _TEXT)

    async def health(self, request: Request, caller: _Anybody) -> Response:
        await asyncio.to_thread(self._witness.check_health)
        return JsonResponse(encode({"status": "ok"}))


def create_app(
    witness: Witness, *, observers: Sequence[Observer] = (), close: Callable[[], None] = lambda: None
) -> Starlette:
    """Makes the ASGI application.

    Args:
        witness: does the work.
        observers: told of each call.
        close: called when the application shuts down.
    """
    handlers = _Handlers(witness)
    door: Door[None, _Anybody] = Door(
        "witness",
        admit=lambda request, kind: _Anybody(),
        describe=_describe,
        observers=observers,
        api="This is a C2SP tlog-witness: POST /add-checkpoint.",
    )
    routes = [
        door.route("/add-checkpoint", POST=(None, handlers.add_checkpoint)),
        door.route("/{origin_hash}/checkpoint", GET=(None, handlers.latest)),
        door.route("/healthz", GET=(None, handlers.health)),
    ]

    async def shut_down() -> None:
        close()

    return door.make_app(routes, close=shut_down)


def _describe(error: CallRefused | RequestStoreError | PlacetError) -> Refusal:
    if isinstance(error, IndeterminateError):
        refusal = describe_call(error, {error.reason: 503}, realm="placet witness", words=_OWN_TROUBLE)
        refusal.body["error"]["reason"] = "witness-unavailable"
        return refusal
    return describe_call(error, _STATUS, realm="placet witness")


def _plain(body: bytes, status: int, media_type: str) -> Response:
    # Starlette would add a charset to every text type, and this one is fixed to the letter.
    headers = {"Content-Type": media_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(body, status, headers)
