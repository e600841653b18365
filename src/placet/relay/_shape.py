"""Whether what arrives has the shape of a request or an answer; nothing about what it is worth.

Bodies may be spelled in any way that JSON allows; the containers inside are brought to their
one canonical spelling before they are parsed and stored.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

from placet.core.bundle import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, parse_answer, parse_request
from placet.core.decode import Object, read_object, read_sha256, read_string
from placet.core.encoding import Digest, encode_canonical, parse_json, sha256_hex
from placet.core.errors import MalformedError, Reason
from placet.core.statement import IntentStatement, parse_statement
from placet.ports.request_store import NewAnswer, NewRequest, RequestId
from placet.relay.errors import RelayError

# Room for the members around a container, and for white space that a person's tool puts in.
_AROUND = 4096
MAX_SUBMISSION_BODY = MAX_REQUEST_BYTES + _AROUND
MAX_ANSWER_BODY = MAX_ANSWER_BYTES + _AROUND
MAX_WITHDRAWAL_BODY = _AROUND
# Requests and answers are a few long texts.  A million small lists take the parser a hundred times as long,
# during which the relay serves nobody; no value comes without a comma before it or brackets around it.
_MAX_COMMAS = 10_000
# A secret longer than this is a mistake; 32 random bytes in any encoding fit.
_MAX_TOKEN = 256


class ShapedAnswer(NamedTuple):
    """An answer to store, with the statement that its envelope carries."""

    answer: NewAnswer
    statement: IntentStatement


def parse_submission(body: bytes) -> NewRequest:
    """Parses the body of a submission: ``{"request": …, "withdrawToken": {"sha256": …}}``.

    Raises:
        PlacetError: the body, the container or the statement in it is malformed.
    """
    members = _read_body(body, MAX_SUBMISSION_BODY, ["request", "withdrawToken"])
    withdraw_hash = read_sha256(members["withdrawToken"], "/withdrawToken")
    container = _canonical(members["request"])
    request = parse_request(container)
    statement = parse_statement(request.payload)
    if statement.decision != "approve":
        raise MalformedError(
            Reason.BAD_VALUE,
            "A request asks for an approval.",
            path="/predicate/decision",
            expected="approve",
            actual=statement.decision,
        )
    return NewRequest(RequestId(request.id), container, withdraw_hash, statement.expires_at)


def parse_answering(body: bytes) -> ShapedAnswer:
    """Parses the body of an answer: ``{"answer": …}``.

    Raises:
        PlacetError: the body, the container or the statement in it is malformed.
    """
    container = _canonical(_read_body(body, MAX_ANSWER_BODY, ["answer"])["answer"])
    statement = parse_statement(parse_answer(container).envelope.payload)
    return ShapedAnswer(NewAnswer(sha256_hex(container), container), statement)


def parse_withdrawal(body: bytes) -> Digest:
    """Parses the body of a withdrawal, ``{"token": …}``; returns the SHA-256 of the token.

    Raises:
        MalformedError: the body is malformed.
    """
    token = read_string(
        _read_body(body, MAX_WITHDRAWAL_BODY, ["token"])["token"], "/token", max_length=_MAX_TOKEN
    )
    try:
        return sha256_hex(token.encode("utf-8"))
    except UnicodeEncodeError as e:
        raise MalformedError(Reason.TEXT_NOT_ALLOWED, "The token has a lone surrogate.", path="/token") from e


def check_answer_belongs(shaped: ShapedAnswer, container: bytes) -> None:
    """Checks that an answer is about the request in `container`.

    An approval signs the request's very bytes.  A denial signs the request with the decision and the
    text changed, and nothing else.

    Raises:
        RelayError: the answer is about another request.
    """
    request = parse_request(container)
    if shaped.statement.payload == request.payload or _is_denial_of(shaped.statement, request.payload):
        return
    raise RelayError(
        "answer-for-another-request",
        "The answer is about another request.",
        hint="Send it to the request whose statement it signs.",
    )


def _is_denial_of(statement: IntentStatement, payload: bytes) -> bool:
    denied = copy.deepcopy(parse_statement(payload).value)
    denied["predicate"]["decision"] = "deny"
    denied["predicate"]["display"]["text"] = statement.text
    return encode_canonical(denied) == statement.payload


def _read_body(body: bytes, max_bytes: int, names: list[str]) -> Object:
    if body.count(b",") > _MAX_COMMAS:
        raise MalformedError(
            Reason.TOO_LARGE,
            "The body has more parts than any request or answer.",
            hint="Send it as placet made it.",
        )
    return read_object(parse_json(body, max_bytes=max_bytes, what="body"), "", required=names)


def _canonical(container: object) -> bytes:
    try:
        return encode_canonical(container)
    except UnicodeEncodeError as e:
        raise MalformedError(Reason.TEXT_NOT_ALLOWED, "The container has a lone surrogate.") from e
