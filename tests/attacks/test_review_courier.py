"""Review: nobody fills the relay's memory from one connection, nor keeps its parser busy with tiny parts."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from relay_process import RelayProcess, running

from placet.client import RelayClient, RelayNonsenseError
from placet.client._replies import MAX_REPLY_BYTES, Reply, read_reply
from placet.core.errors import MalformedError, Reason
from placet.relay import _shape

WAIT = b"GET /v1/wait?timeout=20 HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running(tmp_path_factory.mktemp("courier")) as process:
        yield process


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"0\r\n", b"X: y\r\n" * 1000, id="many-trailers"),
        pytest.param(b"0\r\nX: ", b"y" * 8192, id="one-trailer-without-end"),
        pytest.param(b"5;x=", b"y" * 8192, id="one-chunk-extension-without-end"),
    ],
)
def test_what_surrounds_a_body_is_as_bounded_as_a_head(
    relay: RelayProcess, begin: bytes, more: bytes
) -> None:
    with (
        socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line,
        pytest.raises(ConnectionError),
    ):
        line.sendall(WAIT + b"Transfer-Encoding: chunked\r\n\r\n" + begin)
        for _ in range(2000):
            line.sendall(more)


def test_calls_by_the_thousand_before_their_turn_end_the_connection(relay: RelayProcess) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(WAIT + b"\r\n")
        line.sendall(b"GET / HTTP/1.1\r\n\r\n" * 2000)
        with contextlib.suppress(ConnectionError):
            assert line.recv(4096) == b""


def test_a_few_calls_before_their_turn_are_answered(relay: RelayProcess) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        data = b""
        while data.count(b"HTTP/1.1 200") < 5 or not data.endswith(b"}"):
            data += line.recv(4096)


def test_a_body_in_small_chunks_is_read(relay: RelayProcess) -> None:
    head = b"POST /v1/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"8\r\n        \r\n" * 20_000 + b"2\r\n{}\r\n0\r\n\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("part", [b"[]", b'{"a":1}', b"1", b'""'])
def test_a_body_of_small_parts_is_refused_before_it_is_parsed(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shape, "parse_json", lambda *_, **__: pytest.fail("it was parsed"))
    body = b'{"answer":[' + (part + b",") * (_shape.MAX_ANSWER_BODY // (len(part) + 2)) + part + b"]}"
    assert len(body) <= _shape.MAX_ANSWER_BODY
    with pytest.raises(MalformedError) as refused:
        _shape.parse_answering(body)
    assert refused.value.reason == Reason.TOO_LARGE


def test_a_relays_answer_of_a_million_small_parts_is_not_unfolded() -> None:
    body = b'{"requests":[' + b"[]," * (MAX_REPLY_BYTES // 4) + b"[]]}"
    with pytest.raises(RelayNonsenseError, match="more parts than any answer has"):
        read_reply("https://relay.example", Reply(200, {}, body))


@pytest.mark.parametrize(
    "url",
    [
        "https://ci:hunter2@relay.example",
        "https://ci:hun/hunter2@relay.example",
        "https://relay.example/?token=hunter2",
    ],
)
def test_no_secret_in_an_address_is_told_or_logged(url: str) -> None:
    with pytest.raises(MalformedError) as refused:
        RelayClient(url)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"
