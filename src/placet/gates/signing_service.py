"""A small signing service: approvals and digests in, Sigstore bundles out (POST /v1/sign).

It is a gate like any other: what it signs, it signs because people approved it, once, and because its own
trust, clock and ledger say so.  Callers are nobody in particular: an approval is all that counts, so there
is no password here to steal.  It sees digests, never artifacts.

    {"intent": base64, "artifacts": ["sha256:…"], "statement": base64 (optional), "event": "…" (optional)}

    {"verdict": "allowed", "text": …, "signer": {…}, "intent": base64,
     "signatures": [{"artifacts": [...], "bundle": "…", "reference": "…"}]}

Bundles are strings: their digests, which stand in the intent bundle that comes back, are of these very bytes.

Leaves out: TLS and who may connect; a proxy, or the network, does that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from placet.core.bundle import MAX_BUNDLE_BYTES
from placet.core.decode import read_ascii, read_list, read_object, read_string
from placet.core.encoding import (
    Digest,
    b64decode_strict,
    b64encode,
    encode_canonical,
    is_hex,
    parse_json,
)
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    Reason,
    VerificationError,
    visible,
)
from placet.documents.signing import name_signatures
from placet.gates.signing import SignedPiece, SigningResult
from placet.ports.artifact_signer import SigningUnavailableError, SigningUnfinishedError

log = logging.getLogger("placet.sign")

# Bills of materials larger than this are signed on the terminal, where they are a file.
MAX_STATEMENT_BYTES = 4 * 1024 * 1024
_MAX_BODY_BYTES = 4 * (MAX_BUNDLE_BYTES + MAX_STATEMENT_BYTES) // 3 + 64 * 1024
_MAX_ARTIFACTS = 64
_MAX_EVENT = 200
_BODY_SECONDS = 30.0
# Each waits for Fulcio and Rekor; more at a time would only wait for each other.
MAX_AT_ONCE = 4
_RETRY_SECONDS = 2


class SigningRequest(NamedTuple):
    """What a caller asks for."""

    intent: bytes
    digests: frozenset[Digest]
    statement: bytes | None
    event_id: str | None


class SigningAnswer(NamedTuple):
    """What came of it; `kept` are the pieces of an event that was answered before."""

    result: SigningResult
    kept: tuple[SignedPiece, ...] = ()


Decide = Callable[[SigningRequest], SigningAnswer]


def create_app(decide: Decide) -> Starlette:
    """Returns the ASGI application.

    Args:
        decide: judges, consumes and signs; it blocks, and is called in a thread.
    """
    places = asyncio.Semaphore(MAX_AT_ONCE)

    async def sign(request: Request) -> Response:
        try:
            asked = read_request(await _read_body(request))
            if places.locked():
                raise SigningUnavailableError(
                    "Other signatures are being made just now; nothing was used.", "Try again in a moment."
                )
            async with places:
                answer = await run_in_threadpool(decide, asked)
            return _answer(200, describe_answer(asked, answer))
        except PlacetError as refusal:
            log.info("refused: %s", refusal.reason)
            return _refuse(refusal)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            log.exception("a bug of placet stopped this call")
            message = f"A bug of placet stopped this call ({type(error).__name__})."
            hint = (
                "`placet ledger show --unknown` says whether a use was consumed. The service's log has more."
            )
            return _answer(500, _refusal("undecided", "internal-error", message, hint))

    async def health(request: Request) -> Response:
        return _answer(200, {"ok": True})

    return Starlette(
        routes=[Route("/v1/sign", sign, methods=["POST"]), Route("/healthz", health, methods=["GET"])]
    )


def read_request(body: bytes) -> SigningRequest:
    """Reads the body of POST /v1/sign.

    Raises:
        MalformedError: it is not one.
    """
    value = parse_json(body, max_bytes=_MAX_BODY_BYTES, what="request")
    members = read_object(value, "", ["intent", "artifacts"], optional=["statement", "event"])
    digests = []
    for i, item in enumerate(
        read_list(members["artifacts"], "/artifacts", max_items=_MAX_ARTIFACTS, min_items=1)
    ):
        algorithm, _, digest = read_ascii(item, f"/artifacts/{i}", max_length=71).partition(":")
        if algorithm != "sha256" or not is_hex(digest, 64):
            raise MalformedError(
                Reason.BAD_DIGEST, "An artifact is named sha256:HEX.", path=f"/artifacts/{i}"
            )
        digests.append(Digest(digest))
    statement = event = None
    if "statement" in members:
        statement = _read_base64(members["statement"], "/statement", MAX_STATEMENT_BYTES)
    if "event" in members:
        event = read_ascii(members["event"], "/event", max_length=_MAX_EVENT)
    intent = _read_base64(members["intent"], "/intent", MAX_BUNDLE_BYTES)
    return SigningRequest(intent, frozenset(digests), statement, event)


def _read_base64(value: Any, path: str, max_bytes: int) -> bytes:
    text = read_string(value, path, max_length=4 * (max_bytes // 3 + 1))
    return b64decode_strict(text, path)


def describe_answer(asked: SigningRequest, answer: SigningAnswer) -> dict[str, Any]:
    """Returns the JSON of an answer."""
    pieces = (*answer.kept, *answer.result.signed)
    signer = answer.result.signer
    return {
        "verdict": "allowed",
        "text": answer.result.approval.text,
        "signer": None if signer is None else {"identity": signer.identity, "issuer": signer.issuer},
        "signatures": [
            {
                "artifacts": [f"sha256:{artifact.digest}" for artifact in piece.piece.artifacts],
                "bundle": piece.bundle.decode(),
                "reference": piece.reference.decode(),
            }
            for piece in pieces
        ],
        "intent": b64encode(_name(asked.intent, pieces)),
    }


def _name(intent: bytes, pieces: tuple[SignedPiece, ...]) -> bytes:
    """Names the signatures in the intent bundle, where there is room: its names are not signed.

    Whoever carried it may have filled it up; by now the use is consumed, and the signatures must go out.
    """
    try:
        return name_signatures(intent, [b for piece in pieces for b in (piece.bundle, piece.reference)])
    except PlacetError as error:
        log.warning("signed, and not named in the intent bundle: %s", error.reason)
        return intent


async def _read_body(request: Request) -> bytes:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "The body must be sent as application/json.")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise MalformedError(
                        Reason.TOO_LARGE, f"The body is larger than {_MAX_BODY_BYTES} bytes."
                    )
    except TimeoutError as e:
        raise MalformedError(Reason.BAD_VALUE, "The body did not arrive in time.") from e
    return bytes(body)


def _refuse(refusal: PlacetError) -> Response:
    undecided = isinstance(refusal, IndeterminateError)
    verdict = "undecided" if undecided else "denied"
    body = _refusal(verdict, str(refusal.reason), refusal.message, refusal.hint)
    body["path"] = refusal.path
    body["causes"] = [{"reason": str(c.reason), "message": c.message} for c in refusal.causes]
    return _answer(_status(refusal), body)


def _status(refusal: PlacetError) -> int:
    if isinstance(refusal, SigningUnfinishedError):
        return 500
    if isinstance(refusal, IndeterminateError):
        return 503
    if isinstance(refusal, MalformedError) and not isinstance(refusal, VerificationError):
        return 413 if refusal.reason is Reason.TOO_LARGE else 400
    return 403


def _refusal(verdict: str, reason: str, message: str, hint: str) -> dict[str, Any]:
    return {"verdict": verdict, "reason": reason, "message": visible(message), "hint": visible(hint)}


def _answer(status: int, value: dict[str, Any]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status == 503:
        headers["Retry-After"] = str(_RETRY_SECONDS)
    return Response(encode_canonical(value), status, headers, "application/json")
