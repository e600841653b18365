"""A log's API as values: what to send for each call, and how to judge what comes back.

    POST /v1/records            hand in a record
    GET  /v1/proofs/{leaf}      the proof that a leaf is in the log
    GET  /v1/records            records, for monitors
    GET  /checkpoint            the newest signed checkpoint
    GET  /tile/…                hashes and entries (C2SP tlog-tiles)

No I/O here: `placet.adapters.log_client` has a transport that waits, and one for asyncio.  A log is not
trusted: what it says is bounded and read strictly, and its words are quoted, never told as ours.  Whether a
proof or a checkpoint holds is judged by whoever has a policy (`placet.core.tlog`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from placet.adapters.bounded_http import LOOPBACK, check_address
from placet.core.decode import read_decimal, read_list, read_string
from placet.core.encoding import b64decode_strict, parse_json
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason, visible
from placet.core.tlog.note import MAX_SIGNATURES

T = TypeVar("T")

MAX_INDEX = 2**63 - 1
# One page of records; a log sends fewer than were asked for rather than more than this.
MAX_RECORDS_REPLY = 24 * 1024 * 1024
MAX_PAGE = 1000
MAX_CHECKPOINT = 64 * 1024
_MAX_SMALL = 64 * 1024
# 256 entries of the largest size that the format can say.
_MAX_TILE = 256 * (2 + 0xFFFF)
# Longer than any record that can be asked for: it bounds what one member may take of a page.
_MAX_RECORD_TEXT = MAX_RECORDS_REPLY

# Stands outside the quotation, so it is a name or nothing.
_REASON = re.compile("[a-z][a-z0-9-]{0,39}")
_MAX_SHOWN = 300
# The log is there and cannot serve just now; the same call may work later.
_LATER = frozenset({408, 425, 429})
# Bounded: a hostile log must not park us for a year.
MAX_RETRY_AFTER = 10.0
_LOG_OPERATOR = "Ask the log's operator. What stands in quotes is the log's word, not ours."
_NEXT = {
    "unknown-leaf": "Hand the record in first: `placet log append FILE`; a gate or relay does it by itself.",
    "unknown-monitor": "Ask the log's operator for a monitor's token.",
    "rate-limited": "Ask less often, or ask the log's operator for a larger limit.",
    "not-admitted": "The log takes records of enrolled keys, by the trust snapshot that its operator gives "
    "it (--trust-snapshot). If one was enrolled lately, the operator runs `placet trust refresh`.",
}
_TRY_AGAIN = "Try again later: the same record is never logged twice."


class LogUnavailableError(IndeterminateError):
    """There is no connection, no usable answer in time, or the log is in trouble of its own.

    Attributes:
        retry_after: how many seconds the log asks to wait, bounded, or 0.
    """

    retry_after: float = 0.0


class LogRefusedError(PolicyError):
    """The log refused; `log_reason` is its own name for why, such as ``unknown-leaf``."""

    log_reason: str = ""


class LogReply(NamedTuple):
    """An HTTP response; header names are compared without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Acknowledged(NamedTuple):
    """What the log says of a record that it keeps."""

    leaf_index: int
    leaf_hash: bytes
    created: bool
    """Whether this call logged it; False where the same record was there."""
    tree_size: int
    """Of a checkpoint that covers it and is durable."""


class LoggedRecord(NamedTuple):
    """A record as a log hands it to monitors: nothing about it is verified."""

    leaf_index: int
    record: bytes


class WitnessHealth(NamedTuple):
    """How it stands with one of the log's witnesses, as the log says."""

    name: str
    tree_size: int
    """Of the newest checkpoint that it cosigned since the log was started, or 0."""
    problem: str
    """The reason why it does not cosign, or ""."""


class LogCall(NamedTuple, Generic[T]):
    """One call; `waits` is how long the log was asked to hold it, in seconds."""

    method: str
    path: str
    read: Callable[[LogReply], T]
    max_bytes: int
    content: bytes | None = None
    waits: float = 0.0
    token: str | None = None

    def headers(self, token: str | None = None) -> dict[str, str]:
        """Returns what is sent beside the body; `token` is the caller's, where the call has none."""
        found = {} if self.content is None else {"Content-Type": "application/json"}
        if shown := self.token or token:
            found["Authorization"] = f"Bearer {shown}"
        return found

    def judge(self, log: str, reply: LogReply) -> T:
        """Returns what the reply says; `log` is the log's address as it is shown.

        Raises:
            LogRefusedError: LOG_REFUSED.
            LogUnavailableError: LOG_UNAVAILABLE, also where the answer is not a log's.
        """
        if reply.status not in (200, 201):
            raise _refusal(log, reply)
        try:
            return self.read(reply)
        except (KeyError, TypeError, ValueError, PlacetError) as e:
            raise _nonsense(log, "something that is not a log's answer") from e


def append(record: bytes) -> LogCall[Acknowledged]:
    """Hands in a record; handing it in twice logs it once."""
    return LogCall("POST", "v1/records", _read_acknowledged, _MAX_SMALL, record)


def fetch_proof(leaf_hash: bytes, *, wait: int = 0, witnesses: int | None = None) -> LogCall[str]:
    """Asks for a leaf's proof, under a cosigned checkpoint where witnesses answer within `wait` seconds."""
    query = f"?wait={wait}" + ("" if witnesses is None else f"&witnesses={witnesses}")
    path = f"v1/proofs/{leaf_hash.hex()}{query}"
    return LogCall("GET", path, lambda reply: reply.body.decode("utf-8"), _MAX_SMALL, waits=wait)


def fetch_checkpoint() -> LogCall[bytes]:
    """Asks for the newest checkpoint, a signed note."""
    return LogCall("GET", "checkpoint", lambda reply: reply.body, MAX_CHECKPOINT)


def fetch_tile(path: str) -> LogCall[bytes]:
    """Asks for a tile by its path, as `placet.core.tlog.tiles.tile_path` spells it."""
    return LogCall("GET", path, lambda reply: reply.body, _MAX_TILE)


def fetch_records(start: int, limit: int, token: str | None) -> LogCall[tuple[LoggedRecord, ...]]:
    """Asks for records from an index on; the log may send fewer than `limit`."""
    path = f"v1/records?from={start}&limit={limit}"
    return LogCall(
        "GET", path, lambda reply: _read_records(reply, start, limit), MAX_RECORDS_REPLY, token=token
    )


def fetch_health() -> LogCall[tuple[WitnessHealth, ...]]:
    """Asks whether the log serves, and how it stands with its witnesses."""
    return LogCall("GET", "healthz", _read_health, _MAX_SMALL)


def check_log_url(url: str) -> str:
    """Returns the address of a log, without a slash at its end.

    Raises:
        MalformedError: BAD_VALUE.
    """
    return check_address(url, "a log", "http://127.0.0.1:8472")


def check_token_is_safe(url: str, headers: Mapping[str, str]) -> None:
    """Refuses to show a token to everybody on the way.

    Raises:
        MalformedError: BAD_VALUE.
    """
    parts = urlsplit(url)
    if "Authorization" in headers and parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise MalformedError(
            Reason.BAD_VALUE,
            "The log's address begins with http: everybody on the way could read the token.",
            hint="Use the log's https address.",
        )


def unavailable(message: str, hint: str = "", *, retry_after: float = 0.0) -> LogUnavailableError:
    """Returns the error for a log from which no usable answer came."""
    error = LogUnavailableError(Reason.LOG_UNAVAILABLE, message, hint=hint or _TRY_AGAIN)
    error.retry_after = retry_after
    return error


def _nonsense(log: str, what: str) -> LogUnavailableError:
    return unavailable(
        f"The log at {log} answered with {what}.",
        "Check that the address is a log's, and not that of a proxy or another service.",
    )


def _refusal(log: str, reply: LogReply) -> PlacetError:
    status = reply.status
    if 300 <= status < 400:
        # Whoever can redirect us could choose another log for us; a person chooses.
        return _nonsense(log, f"a redirect to another address (status {status}), which is not followed")
    try:
        error = json.loads(reply.body)["error"]
        given, words = error["reason"], error["message"]
    except (KeyError, TypeError, ValueError, RecursionError):
        given, words = "", ""
    name = given if isinstance(given, str) and _REASON.fullmatch(given) else f"http-{status}"
    # A quotation mark would end the quotation, and what follows would read as ours.
    text = visible(words[:_MAX_SHOWN]).replace('"', "'") if isinstance(words, str) else ""
    said = f'; it says: "{text}"' if text else "."
    if status >= 500 or status in _LATER:
        message = f"The log at {log} cannot serve this now (status {status}, {name}){said}"
        return unavailable(message, _NEXT.get(name, ""), retry_after=_retry_after(reply))
    message = f"The log at {log} refused (status {status}, {name}){said}"
    refused = LogRefusedError(Reason.LOG_REFUSED, message, hint=_NEXT.get(name, _LOG_OPERATOR))
    refused.log_reason = name
    return refused


def _retry_after(reply: LogReply) -> float:
    text = reply.headers.get("retry-after", "")
    short = text.isascii() and text.isdigit() and len(text) < 10
    return min(float(text), MAX_RETRY_AFTER) if short else 0.0


def _read_acknowledged(reply: LogReply) -> Acknowledged:
    # Members that are not known are ignored, so that a newer log can say more.
    members = parse_json(reply.body, max_bytes=_MAX_SMALL, what="log's answer")
    index = _read_index(members["leafIndex"], "/leafIndex")
    size = _read_index(members["treeSize"], "/treeSize")
    leaf_hash = bytes.fromhex(read_string(members["leafHash"], "/leafHash", max_length=64))
    if len(leaf_hash) != 32 or size <= index:
        raise ValueError("no acknowledgement")
    return Acknowledged(index, leaf_hash, reply.status == 201, size)


def _read_health(reply: LogReply) -> tuple[WitnessHealth, ...]:
    top = parse_json(reply.body, max_bytes=_MAX_SMALL, what="log's answer")
    items = read_list(top["witnesses"], "/witnesses", max_items=MAX_SIGNATURES)
    return tuple(
        WitnessHealth(
            read_string(item["name"], "/witnesses/name", max_length=255),
            _read_index(item["treeSize"], "/witnesses/treeSize"),
            "" if item["problem"] is None else read_string(item["problem"], "/witnesses", max_length=40),
        )
        for item in items
    )


def _read_records(reply: LogReply, start: int, limit: int) -> tuple[LoggedRecord, ...]:
    top = parse_json(reply.body, max_bytes=MAX_RECORDS_REPLY, what="log's answer")
    items = read_list(top["records"], "/records", max_items=limit)
    return tuple(_read_record(item, start + i, f"/records/{i}") for i, item in enumerate(items))


def _read_record(value: Any, index: int, at: str) -> LoggedRecord:
    if _read_index(value["leafIndex"], f"{at}/leafIndex") != index:
        # A gap would hide a record from whoever follows.
        raise ValueError("records are not in order")
    text = read_string(value["record"], f"{at}/record", max_length=_MAX_RECORD_TEXT)
    return LoggedRecord(index, b64decode_strict(text, f"{at}/record"))


def _read_index(value: Any, at: str) -> int:
    return read_decimal(value, at, minimum=0, maximum=MAX_INDEX)
