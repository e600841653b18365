"""Review: a client cannot hold the relay's doors open, and a relay cannot hold a client for ever."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from relay_process import RelayProcess, running

from placet.client import RelayClient, RelayUnavailableError

IMPATIENT = """
import sys, placet.cli, placet.adapters.serving.http, placet.adapters.serving.server
placet.adapters.serving.server.HEAD_SECONDS = placet.adapters.serving.http.BODY_SECONDS = 0.4
sys.exit(placet.cli.main())
"""
REFUSED_EARLY = (
    b"POST /v1/requests HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    command = [sys.executable, "-c", IMPATIENT, "relay", "serve"]
    with running(tmp_path_factory.mktemp("review"), command=command) as process:
        yield process


def test_a_body_that_drips_after_its_refusal_ends_the_connection(relay: RelayProcess) -> None:
    with (
        socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line,
        pytest.raises(ConnectionError),
    ):
        line.sendall(REFUSED_EARLY % 900_000)
        for _ in range(100):
            line.sendall(b"x")
            time.sleep(0.05)


def test_a_head_after_an_early_refusal_is_as_bounded_as_any(relay: RelayProcess) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(REFUSED_EARLY % 1)
        assert line.recv(4096).startswith(b"HTTP/1.1 415")
        line.sendall(b"x")  # the refused body is complete; what follows is another request
        with pytest.raises(ConnectionError):
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            for _ in range(200):
                line.sendall(b"X: " + b"y" * 8192 + b"\r\n")
                time.sleep(0.02)


def read_answer(line: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"}"):
        data += line.recv(4096)
    return data


def test_a_connection_serves_on_after_a_refusal(relay: RelayProcess) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=8) as line:
        line.sendall(REFUSED_EARLY % 1)
        assert read_answer(line).startswith(b"HTTP/1.1 415")
        line.sendall(b"x")
        time.sleep(0.6)
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(line).startswith(b"HTTP/1.1 200")


def drip(listener: socket.socket) -> None:
    def one(line: socket.socket) -> None:
        try:
            line.recv(4096)
            line.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                line.sendall(b"a")
                time.sleep(0.1)
        except OSError:
            line.close()

    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=one, args=(line,), daemon=True).start()


def test_an_answer_whose_head_drips_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        start = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            RelayClient(url, timeout=0.4, sleep=lambda _: None) as client,
            pytest.raises(RelayUnavailableError),
        ):
            client.health()
        assert time.monotonic() - start < 4


def test_a_relay_that_is_reached_too_late_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a name of the relay's own making that leads to dead addresses first."""
    connect = socket.create_connection

    def connect_late(*args: Any, **options: Any) -> socket.socket:
        time.sleep(0.6)
        return connect(*args, **options)

    ended: list[BaseException] = []

    def ask(url: str) -> None:
        with RelayClient(url, timeout=0.3, sleep=lambda _: None) as client:
            try:
                client.health()
            except RelayUnavailableError as e:
                ended.append(e)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        monkeypatch.setattr(socket, "create_connection", connect_late)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asking = threading.Thread(target=ask, args=(url,), daemon=True)
        asking.start()
        asking.join(8)
    assert ended, "still waiting"
