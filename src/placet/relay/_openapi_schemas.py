"""The bodies of the API as JSON Schema, and its refusals by status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from placet.core.bundle import ANSWER_MEDIA_TYPE, MAX_EVIDENCE_ITEMS, REQUEST_MEDIA_TYPE
from placet.core.dsse import PAYLOAD_TYPE
from placet.core.errors import Reason
from placet.core.tlog.proof import MAX_PROOF_BYTES
from placet.ports.request_store import MAX_ANSWERS, MAX_PAGE, RequestState
from placet.relay.app import MAX_CURSOR
from placet.relay.errors import CALL_REASONS, STATUS

Json = dict[str, Any]

HEX_64 = "^[0-9a-f]{64}$"
_KEY_ID = "^[0-9a-f]{64}$"
# Standard base64 with padding, never empty, of which each value has exactly one spelling.
_BASE64 = (
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$"
)
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"

# What the containers and the statement in them can be refused for.
SHAPE_REASONS = (
    Reason.ACTION_SCHEMA,
    Reason.BAD_BASE64,
    Reason.BAD_DIGEST,
    Reason.BAD_TIME,
    Reason.BAD_VALUE,
    Reason.DUPLICATE_MEMBER,
    Reason.DUPLICATE_VALUE,
    Reason.EVIDENCE_MISMATCH,
    Reason.MEMBER_NAME,
    Reason.MISSING_MEMBER,
    Reason.NOT_CANONICAL,
    Reason.NOT_JSON,
    Reason.NOT_NFC,
    Reason.NOT_UTF8,
    Reason.NUMBER_NOT_ALLOWED,
    Reason.SUBJECT_MISMATCH,
    Reason.TEXT_NOT_ALLOWED,
    Reason.TOO_DEEP,
    Reason.TOO_MANY,
    Reason.UNKNOWN_MEMBER,
    Reason.UNSUPPORTED_TYPE,
    Reason.WRONG_TYPE,
)

STATUS_TEXTS = {
    400: "What was sent is malformed, or in the wrong place.",
    401: "The token is not known here, or one is required and none was sent.",
    403: "The caller may not do this, or has as much here as one caller may.",
    404: "There is no such request, or nothing at this address.",
    405: "The address does not answer to this method; `Allow` lists those to which it does.",
    408: "The body did not arrive in time.",
    409: "The request is in a state, or taken, so that this cannot be done.",
    413: "The body is too large.",
    415: "The body is not `application/json`, or is compressed.",
    429: "More calls than this relay takes from one caller; try again after `Retry-After`.",
    431: "Path, query and headers together are too large.",
    500: "The relay or its store failed; an operator is needed.",
    503: "Too much at once; try again after `Retry-After`.",
    507: "There is no room for more; closed requests are being deleted.",
}


def reasons_of(status: int) -> list[str]:
    """Returns every reason that goes with a status."""
    listed = [str(reason) for reason, code in STATUS.items() if code == status]
    return sorted([*listed, *map(str, SHAPE_REASONS), *CALL_REASONS]) if status == 400 else sorted(listed)


def obj(members: Json, *, optional: Iterable[str] = (), **more: Any) -> Json:
    """Returns the schema of an object with these members and no others."""
    required = [name for name in members if name not in set(optional)]
    return {
        "type": "object",
        "properties": members,
        "required": required,
        "additionalProperties": False,
        **more,
    }


def ref(name: str) -> Json:
    """Returns a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(**more: Any) -> Json:
    """Returns the schema of a string."""
    return {"type": "string", **more}


def schemas() -> Json:
    """Returns every schema by name."""
    return {**_small(), **_containers(), **_replies()}


def _small() -> Json:
    return {
        "RequestId": text(
            pattern=HEX_64,
            description="SHA-256 of the request's payload, in lower-case hexadecimal.",
        ),
        "Sha256": obj({"sha256": text(pattern=HEX_64)}),
        "Time": text(pattern=_TIME, description="RFC 3339 in UTC, whole seconds, with Z."),
        "Base64": text(
            pattern=_BASE64,
            contentEncoding="base64",
            description="Standard base64 with padding; one spelling.",
        ),
        "State": text(enum=[str(state) for state in RequestState]),
        "Cursor": text(
            maxLength=MAX_CURSOR,
            description="A place in the listing. Means something to this relay only; one of another relay, "
            "or of one that was restored, starts at the beginning.",
        ),
    }


def _containers() -> Json:
    return {"Request": _request(), "Answer": _answer()}


def _request() -> Json:
    evidence = obj(
        {
            "digest": ref("Sha256"),
            "mediaType": text(minLength=1, maxLength=200, pattern="^[ -~]+$"),
            "content": ref("Base64"),
        },
        description="A document that the statement names by digest: SHA-256 of the decoded content.",
    )
    asked = "The intent statement (spec/03-statement.md) that asks for approval."
    return obj(
        {
            "mediaType": text(const=REQUEST_MEDIA_TYPE),
            "payload": _statement("placet-intent-statement", asked),
            "payloadType": text(const=PAYLOAD_TYPE),
            "evidence": {
                "type": "array",
                "items": evidence,
                "maxItems": MAX_EVIDENCE_ITEMS,
                "description": "Each digest once.",
            },
        },
        description="A request container (spec/10-bundle.md). Kept and returned in its canonical form.",
    )


def _answer() -> Json:
    decided = (
        "The request's payload where it is approved; where it is denied, the same with the decision and the "
        "displayed text of a denial."
    )
    return obj(
        {
            "mediaType": text(const=ANSWER_MEDIA_TYPE),
            "envelope": _envelope(_statement("placet-intent-decision", decided)),
            "report": _envelope(ref("Base64")),
            "link": _envelope(ref("Base64")),
        },
        optional=["link"],
        description="An answer container (spec/10-bundle.md): one signature, a terminal's report and, where "
        "a rule names a layout, the in-toto link that the same key signed.",
    )


def _envelope(payload: Json) -> Json:
    signature = obj({"keyid": text(pattern=_KEY_ID), "sig": ref("Base64")})
    return obj(
        {
            "payload": payload,
            "payloadType": text(const=PAYLOAD_TYPE),
            "signatures": {"type": "array", "items": signature, "minItems": 1, "maxItems": 1},
        }
    )


def _statement(name: str, what: str) -> Json:
    # The format stands for what no schema can say: the specification's rules for the bytes inside.
    return text(format=name, contentEncoding="base64", contentMediaType=PAYLOAD_TYPE, description=what)


def _replies() -> Json:
    summary = obj(
        {
            "id": ref("RequestId"),
            "state": ref("State"),
            "submittedAt": ref("Time"),
            "expiresAt": ref("Time"),
            "answers": {"type": "integer", "minimum": 0, "maximum": MAX_ANSWERS},
        }
    )
    page = {"type": "array", "items": summary, "maxItems": MAX_PAGE}
    return {
        "Submission": obj({"request": ref("Request"), "withdrawToken": ref("Sha256")}),
        "Submitted": obj({"id": ref("RequestId"), "state": ref("State")}),
        "Answering": obj({"answer": ref("Answer")}),
        "Answered": obj({"id": ref("RequestId"), "answer": ref("Sha256")}),
        "Withdrawal": obj({"token": text(minLength=1, maxLength=256)}),
        "Withdrawn": obj({"id": ref("RequestId"), "state": text(const="withdrawn")}),
        "Found": obj(
            {
                "id": ref("RequestId"),
                "state": ref("State"),
                "submittedAt": ref("Time"),
                "request": ref("Request"),
                "answers": {"type": "array", "items": ref("Answer"), "maxItems": MAX_ANSWERS},
                "proofs": {
                    "type": "object",
                    "propertyNames": {"pattern": "^[0-9a-f]{64}$"},
                    "additionalProperties": text(minLength=1, maxLength=MAX_PROOF_BYTES),
                    "maxProperties": MAX_ANSWERS,
                    "description": "By the SHA-256 of an answer: the C2SP tlog-proof that the decision is in "
                    "the log, where it is; a later call may bring one with more cosignatures.",
                },
            }
        ),
        "Listing": obj(
            {
                "requests": page,
                "next": {
                    "anyOf": [ref("Cursor"), {"type": "null"}],
                    "description": "Where to go on reading; null where there is nothing more.",
                },
            }
        ),
        "News": obj({"requests": page, "next": ref("Cursor")}),
        "Health": obj({"status": text(const="ok")}),
        **{f"Refusal{status}": _refusal(status) for status in STATUS_TEXTS},
    }


def _refusal(status: int) -> Json:
    return obj(
        {
            "error": obj(
                {
                    "reason": text(
                        enum=reasons_of(status), description="Stable; docs/relay-api.md lists them."
                    ),
                    "message": text(minLength=1, description="What happened, as a sentence."),
                    "hint": text(description='What to do next, as a sentence, or "".'),
                }
            )
        }
    )
