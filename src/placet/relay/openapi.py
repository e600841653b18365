"""The API as an OpenAPI 3.1 document, served at ``/openapi.json``.

Written here and not derived from the handlers: it is the promise, and tests hold the handlers to it.
"""

from __future__ import annotations

import functools
from typing import Any

from placet.adapters.serving.http import DEFAULT_PAGE, DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS
from placet.ports.request_store import MAX_ANSWERS, MAX_PAGE, StateFilter
from placet.relay import _openapi_examples as examples
from placet.relay._openapi_schemas import STATUS_TEXTS, Json, ref, schemas
from placet.relay._shape import MAX_ANSWER_BODY, MAX_SUBMISSION_BODY, MAX_WITHDRAWAL_BODY

API_VERSION = "1.2.0"

_DESCRIPTION = """\
The relay carries requests for approval to approval terminals, and answers back. It is an untrusted
courier: it holds no key that could approve and decides nothing. Whoever owns it can withhold or delay,
and can neither forge, alter nor replay an approval.

Every refusal is `{"error": {"reason", "message", "hint"}}`. Every call also answers to a wrong method
(405, `wrong-method`), and every other address is 404, `unknown-path`. GET may be asked as HEAD. Before
a call reaches the API, a server that has no connection left answers 503, and one that cannot
read it as HTTP answers 400, both in plain text.

Where the relay has a log of its own, that is served below `/log`: `/log/checkpoint` and `/log/tile/…` as
C2SP tlog-tiles has them, `/log/v1/proofs/…` and `/log/v1/records`.

Writes may be repeated: the same content again changes nothing and is acknowledged with 200 instead of
201. What was acknowledged is on disk.
"""
_ALWAYS = (401, 429, 431, 500)


@functools.cache
def document() -> Json:
    """Returns the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "placet relay",
            "version": API_VERSION,
            "summary": "Carries requests to approval terminals, and answers back.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"caller": []}],
        "tags": [
            {"name": "requests", "description": "What somebody wants to have approved."},
            {"name": "service", "description": "About the relay itself."},
        ],
        "paths": {
            "/v1/requests": {"post": _submit(), "get": _list()},
            "/v1/requests/{id}": {"parameters": [_id_parameter()], "get": _fetch()},
            "/v1/requests/{id}/wait": {"parameters": [_id_parameter()], "get": _wait_for_answers()},
            "/v1/requests/{id}/answers": {"parameters": [_id_parameter()], "post": _answer()},
            "/v1/requests/{id}/withdraw": {"parameters": [_id_parameter()], "post": _withdraw()},
            "/v1/wait": {"get": _wait_for_requests()},
            "/healthz": {"get": _health()},
            "/openapi.json": {"get": _describe()},
        },
        "components": {
            "schemas": schemas(),
            "headers": _headers(),
            "responses": {f"Refusal{status}": _refusal(status) for status in STATUS_TEXTS},
            "securitySchemes": {
                "caller": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token from the relay's operator. It says whose quota is used, and "
                    "nothing about what is worth trusting. Optional, unless the relay serves known callers "
                    "only.",
                }
            },
        },
    }


def _operation(
    name: str, summary: str, replies: dict[int, Json], refusals: tuple[int, ...], **more: Any
) -> Json:
    by_status: Json = {str(status): reply for status, reply in replies.items()}
    by_status |= {
        str(status): {"$ref": f"#/components/responses/Refusal{status}"} for status in sorted(refusals)
    }
    return {"operationId": name, "summary": summary, "tags": ["requests"], "responses": by_status, **more}


def _reply(what: str, schema: str, example: Any) -> Json:
    headers = {
        name: {"$ref": f"#/components/headers/{name}"} for name in ("Cache-Control", "X-Content-Type-Options")
    }
    content = {"application/json": {"schema": ref(schema), "example": example}}
    return {"description": what, "headers": headers, "content": content}


def _refusal(status: int) -> Json:
    names = ["Cache-Control", "X-Content-Type-Options"]
    names += {401: ["WWW-Authenticate"], 403: ["Retry-After-Optional"], 405: ["Allow"]}.get(status, [])
    names += ["Retry-After"] if status in (429, 503, 507) else []
    return {
        "description": STATUS_TEXTS[status],
        "headers": {
            name.removesuffix("-Optional"): {"$ref": f"#/components/headers/{name}"} for name in names
        },
        "content": {"application/json": {"schema": ref(f"Refusal{status}")}},
    }


def _headers() -> Json:
    seconds = {"type": "integer", "minimum": 1}
    return {
        "Cache-Control": {"required": True, "schema": {"const": "no-store"}},
        "X-Content-Type-Options": {"required": True, "schema": {"const": "nosniff"}},
        "WWW-Authenticate": {"required": True, "schema": {"const": 'Bearer realm="placet relay"'}},
        "Allow": {"required": True, "schema": {"type": "string"}},
        "Retry-After": {"required": True, "schema": seconds},
        "Retry-After-Optional": {"schema": seconds, "description": "Where waiting can help."},
    }


def _id_parameter() -> Json:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The request's id. Anything else is 404, since nothing can have it.",
        "schema": ref("RequestId"),
        "example": examples.REQUEST_ID,
    }


def _query(name: str, what: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": what, "schema": schema}


def _body(schema: str, max_bytes: int, example: Any) -> Json:
    return {
        "required": True,
        "description": f"At most {max_bytes} bytes. Any spelling that JSON allows; each member once.",
        "content": {"application/json": {"schema": ref(schema), "example": example}},
    }


def _integer(minimum: int, maximum: int, default: int) -> Json:
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "default": default}


def _timeout() -> Json:
    what = "How many seconds to wait at most. 0 asks without waiting."
    return _query("timeout", what, _integer(0, MAX_WAIT_SECONDS, DEFAULT_WAIT_SECONDS))


def _after() -> Json:
    return _query("after", "A cursor: `next` of an earlier listing.", ref("Cursor"))


_STATE_NAMES = [str(state) for state in StateFilter]


def _submit() -> Json:
    return _operation(
        "submitRequest",
        "Keep a request",
        {
            200: _reply("The very same request is here already.", "Submitted", examples.SUBMITTED),
            201: _reply("It is kept.", "Submitted", examples.SUBMITTED),
        },
        (*_ALWAYS, 400, 403, 408, 409, 413, 415, 503, 507),
        description="The withdraw token is a secret of the requester's; its SHA-256 is sent here, and the "
        "token itself only to withdraw. A request that has expired, or whose id is taken by something else, "
        "is refused.",
        requestBody=_body("Submission", MAX_SUBMISSION_BODY, examples.SUBMISSION),
    )


def _list() -> Json:
    return _operation(
        "listRequests",
        "List requests, oldest first",
        {200: _reply("A page.", "Listing", {"requests": [examples.SUMMARY], "next": None})},
        (*_ALWAYS, 400, 503),
        parameters=[
            _query("state", "Which requests.", {"type": "string", "enum": _STATE_NAMES, "default": "open"}),
            _after(),
            _query("limit", "How many at most.", _integer(1, MAX_PAGE, DEFAULT_PAGE)),
        ],
    )


def _fetch() -> Json:
    return _operation(
        "fetchRequest",
        "Fetch a request with its answers",
        {200: _reply("The request, and its answers in the order of arrival.", "Found", examples.FOUND)},
        (*_ALWAYS, 404, 503),
    )


def _wait_for_answers() -> Json:
    seen = _query("answers", "How many answers the caller has seen.", _integer(0, MAX_ANSWERS, 0))
    return _operation(
        "waitForAnswers",
        "Fetch a request once it has news",
        {200: _reply("The request, with news or after the time-out.", "Found", examples.FOUND)},
        (*_ALWAYS, 400, 404, 503),
        description="Answers when there are more answers than seen, when the request is closed, or after "
        "the time-out.",
        parameters=[seen, _timeout()],
    )


def _answer() -> Json:
    return _operation(
        "answerRequest",
        "Keep an answer to a request",
        {
            200: _reply("The very same answer is here already.", "Answered", examples.ANSWERED),
            201: _reply("It is kept.", "Answered", examples.ANSWERED),
        },
        (*_ALWAYS, 400, 403, 404, 408, 409, 413, 415, 503, 507),
        description="An answer must be about this very request. A relay with a trust snapshot keeps answers "
        "of enrolled keys and terminals only; otherwise a caller has a limited number of answers to one "
        "request.",
        requestBody=_body("Answering", MAX_ANSWER_BODY, {"answer": examples.ANSWER}),
    )


def _withdraw() -> Json:
    return _operation(
        "withdrawRequest",
        "Close a request for good",
        {200: _reply("It is closed, now or since earlier.", "Withdrawn", examples.WITHDRAWN)},
        (*_ALWAYS, 400, 403, 404, 408, 413, 415, 503, 507),
        requestBody=_body("Withdrawal", MAX_WITHDRAWAL_BODY, {"token": examples.WITHDRAW_TOKEN}),
    )


def _wait_for_requests() -> Json:
    example = {"requests": [examples.SUMMARY], "next": examples.CURSOR}
    return _operation(
        "waitForRequests",
        "List open requests once there are new ones",
        {200: _reply("New requests, or none after the time-out.", "News", example)},
        (*_ALWAYS, 400, 503),
        parameters=[_after(), _timeout()],
    )


def _service(operation: Json) -> Json:
    return {**operation, "tags": ["service"], "security": [{}]}


def _health() -> Json:
    return _service(
        _operation(
            "checkHealth",
            "See whether the relay serves",
            {200: _reply("It does.", "Health", {"status": "ok"})},
            (431, 500, 503),
        )
    )


def _describe() -> Json:
    reply = _reply("This document.", "Health", {})
    reply["content"] = {"application/json": {"schema": {"type": "object"}}}
    return _service(_operation("describeApi", "Read this document", {200: reply}, (431, 500)))
