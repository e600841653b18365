"""A witness over HTTP: the status codes and types that C2SP tlog-witness fixes, and bounds."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator

import httpx
import pytest
from witness_scene import FixedClock, ShownLog

from placet.adapters.witness_protocol import MAX_REQUEST_BYTES
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.note import parse_note
from placet.log import witness_app
from placet.testing.witness import ServedWitness, served_witness


@pytest.fixture(scope="module")
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, clock: FixedClock) -> Iterator[ServedWitness]:
    with served_witness(tmp_path_factory.mktemp("w") / "state", clock=clock) as witness:
        yield witness


@pytest.fixture
def log(served: ServedWitness, request: pytest.FixtureRequest) -> ShownLog:
    """A log of its own for each test."""
    made = ShownLog(5, origin=f"log.example/{request.node.name}")
    served.add_log(made.key)
    return made


def post(served: ServedWitness, body: bytes) -> httpx.Response:
    return httpx.post(f"{served.url}/add-checkpoint", content=body)


def test_the_answer_makes_a_note_with_the_checkpoint_as_the_specification_says(
    served: ServedWitness, log: ShownLog, clock: FixedClock
) -> None:
    answer = post(served, log.request(0))
    assert answer.status_code == 200
    together = parse_note(log.checkpoint() + answer.content)
    assert verify_cosignature(together, served.key) == clock.now()


def test_a_conflict_brings_the_size_in_its_own_type(served: ServedWitness, log: ShownLog) -> None:
    post(served, log.request(0))
    log.grow(2)
    answer = post(served, log.request(0))
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert answer.content == b"5\n"
    fork = post(served, ShownLog(5, branch="x", signer=log.signer, origin=log.signer.name).request(5))
    assert fork.status_code == 422


def test_monitors_fetch_the_newest_checkpoint_by_the_hash_of_the_origin(
    served: ServedWitness, log: ShownLog
) -> None:
    url = f"{served.url}/{hashlib.sha256(log.signer.name.encode()).hexdigest()}/checkpoint"
    assert httpx.get(url).status_code == 404
    given = post(served, log.request(0)).content
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.content == log.checkpoint() + given
    for other in ("x", "0" * 63, "A" * 64, "%00", "é" * 64):
        assert httpx.get(f"{served.url}/{other}/checkpoint").status_code == 404


def test_the_other_refusals_have_their_status(served: ServedWitness, log: ShownLog) -> None:
    assert post(served, ShownLog(2, origin="unknown.example").request(0)).status_code == 404
    forged = ShownLog(2, origin=log.signer.name).checkpoint().replace("— ".encode(), "— x".encode())
    assert post(served, b"old 0\n\n" + forged).status_code == 403
    assert post(served, log.request(0).replace(b"old 0", b"old 6", 1)).status_code == 400
    assert post(served, b"nonsense").status_code == 400
    post(served, log.request(0))
    log.grow(2)
    assert post(served, b"old 5\n\n" + log.checkpoint()).status_code == 422
    assert post(served, b"x" * (MAX_REQUEST_BYTES + 1)).status_code == 413
    assert httpx.get(f"{served.url}/add-checkpoint").status_code == 405
    assert httpx.get(f"{served.url}/").status_code == 404
    assert httpx.get(f"{served.url}/healthz").json() == {"status": "ok"}


def test_a_clock_that_went_back_is_the_witness_s_own_trouble(
    served: ServedWitness, log: ShownLog, clock: FixedClock
) -> None:
    post(served, log.request(0))
    clock.time -= 10
    try:
        answer = post(served, log.request(5))
    finally:
        clock.time += 10
    assert answer.status_code == 503
    assert "2026" not in answer.text, "clients need not know the clock"


def test_requests_share_a_connection(served: ServedWitness, log: ShownLog) -> None:
    with httpx.Client() as client:
        old = 0
        for _ in range(3):
            answer = client.post(f"{served.url}/add-checkpoint", content=log.request(old))
            assert answer.status_code == 200
            old = len(log.leaves)
            log.grow(1)
        assert len(client._transport._pool.connections) == 1  # type: ignore[attr-defined]


def test_a_body_without_a_length_is_bounded_too(served: ServedWitness) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1024

    answer = httpx.post(f"{served.url}/add-checkpoint", content=chunks())
    assert answer.status_code == 413


def test_more_at_once_than_a_hanging_disk_may_gather_are_sent_away(
    served: ServedWitness, log: ShownLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_app, "_MAX_AT_ONCE", 0)
    answer = post(served, log.request(0))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_a_client_that_hangs_up_harms_nobody(served: ServedWitness, log: ShownLog) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\nold 0\n")
    assert post(served, log.request(0)).status_code == 200
