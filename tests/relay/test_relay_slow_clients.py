"""Clients that hold a door open: each is shown out, and the others are served meanwhile."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from relay_process import RelayProcess, running

# The same relay with less patience, so that the tests need little of it.
IMPATIENT = """
import sys, placet.cli, placet.adapters.serving.http, placet.adapters.serving.server
placet.adapters.serving.server.HEAD_SECONDS = placet.adapters.serving.http.BODY_SECONDS = 0.4
sys.exit(placet.cli.main())
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    command = [sys.executable, "-c", IMPATIENT, "relay", "serve"]
    with running(tmp_path_factory.mktemp("slow"), command=command) as process:
        yield process


def read_to_the_end(line: socket.socket) -> bytes:
    data = b""
    while chunk := line.recv(4096):
        data += chunk
    return data


@pytest.mark.parametrize("start", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(relay: RelayProcess, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(start)
        assert read_to_the_end(line) == b""


def test_a_head_that_drips_ends_the_connection(relay: RelayProcess) -> None:
    with (
        socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line,
        pytest.raises(ConnectionError),
    ):
        for _ in range(100):
            line.sendall(b"G")
            time.sleep(0.05)


def test_the_second_request_of_a_connection_has_no_more_time(relay: RelayProcess) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", relay.port), timeout=4) as line:
        line.sendall(whole + whole[:10])
        answered = b""
        while b'"ok"}' not in answered:
            answered += line.recv(4096)
        start = time.monotonic()
        line.sendall(whole[10:20])
        assert read_to_the_end(line) == b""
        assert time.monotonic() - start < 3


def test_a_body_that_does_not_come_is_named(relay: RelayProcess) -> None:
    head = b"POST /v1/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(head + b"Content-Length: 100\r\n\r\n{")
        reply = b""
        while b"slow-body" not in reply:
            reply += line.recv(4096)
    assert reply.startswith(b"HTTP/1.1 408")


def test_a_long_wait_is_no_slow_head(relay: RelayProcess) -> None:
    """The bound is on the head: a client that waits for news has sent its own in full."""
    response = httpx.get(f"{relay.url}/v1/wait?timeout=2", trust_env=False, timeout=10)
    assert response.status_code == 200
