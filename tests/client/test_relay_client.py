"""Our client against a real relay, and against one that lies."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from relay_process import RelayProcess, make_answer, make_request, running

from placet.client import (
    RelayClient,
    RelayClientError,
    RelayLiedError,
    RelayNonsenseError,
    RelayRefusedError,
    RelayUnavailableError,
    _calls,
    _replies,
    _sync,
)
from placet.core.bundle import encode_answer, encode_request
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.ports.request_store import RequestState, StateFilter

NOBODY = Digest("0" * 64)


@contextmanager
def lying_relay(*replies: bytes, drip: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request, sends the next canned reply and hangs up."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            for reply in replies:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    line.settimeout(10)
                    try:
                        seen.append(line.recv(65536))
                        for i in range(0, len(reply), 1 if drip else len(reply)):
                            line.sendall(reply[i : i + (1 if drip else len(reply))])
                            time.sleep(drip)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", seen
    thread.join(timeout=15)


def reply(body: object, status: str = "200 OK", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running(tmp_path_factory.mktemp("relay")) as process:
        yield process


@pytest.fixture
def client(relay: RelayProcess) -> Iterator[RelayClient]:
    with RelayClient(relay.url) as client:
        yield client


def fast(url: str, **options: Any) -> RelayClient:
    return RelayClient(url, sleep=lambda seconds: None, **options)


def test_a_request_and_its_answers_come_back_as_they_were(client: RelayClient) -> None:
    request = make_request()
    assert client.submit(request, "token") == (request.id, RequestState.OPEN, True)
    assert client.submit(request, "token").created is False
    answers = [make_answer(request), make_answer(request, deny=True)]
    for answer in answers:
        client.answer(request.id, answer)
        client.answer(request.id, answer)
    found = client.fetch(request.id)
    assert (found.request, found.answers, found.unreadable) == (request, tuple(answers), 0)
    assert client.wait_for_answers(request.id, 1, timeout=5) == found
    client.withdraw(request.id, "token")
    client.withdraw(request.id, "token")
    assert client.fetch(request.id).state is RequestState.WITHDRAWN


def test_two_clients_see_each_other(relay: RelayProcess) -> None:
    with RelayClient(relay.url) as requester, RelayClient(relay.url) as terminal:
        position = None
        while (page := terminal.wait_for_requests(position, timeout=0)).requests:
            position = page.next
        request = make_request()
        requester.submit(request, "token")
        (item,) = terminal.wait_for_requests(position, timeout=10).requests
        assert (item.id, item.state, item.answer_count) == (request.id, RequestState.OPEN, 0)
        terminal.answer(item.id, make_answer(terminal.fetch(item.id).request))
        assert len(requester.wait_for_answers(request.id, 0, timeout=10).answers) == 1


def test_listings_can_be_paged(client: RelayClient) -> None:
    ids = [client.submit(make_request(), "token").id for _ in range(5)]
    seen: list[Digest] = []
    after: str | None = None
    while True:
        page = client.list_page(StateFilter.ALL, after=after, limit=2)
        seen += [item.id for item in page.requests]
        if (after := page.next) is None:
            break
    assert [request_id for request_id in seen if request_id in ids] == ids
    assert [item.id for item in client.list(StateFilter.ALL) if item.id in ids] == ids


def test_a_refusal_keeps_the_relays_reason(client: RelayClient) -> None:
    with pytest.raises(RelayRefusedError) as refusal:
        client.fetch(NOBODY)
    assert (refusal.value.relay_reason, refusal.value.status) == ("unknown-request", 404)
    assert refusal.value.reason is Reason.RELAY_REFUSED
    assert 'it says: "There is no ' in str(refusal.value)
    assert refusal.value.hint


def test_a_relay_that_is_down_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pauses: list[float] = []
    with (
        RelayClient(f"http://127.0.0.1:{port}", sleep=pauses.append) as client,
        pytest.raises(RelayUnavailableError, match=f"127.0.0.1:{port} cannot be reached: ") as error,
    ):
        client.health()
    assert "placet relay serve" in error.value.hint
    assert [base / 2 <= pause <= base * 1.5 for base, pause in zip(_calls.PAUSES, pauses, strict=True)] == [
        True
    ] * 2


def test_a_restart_in_between_is_not_noticed(tmp_path: Any) -> None:
    request = make_request()
    with running(tmp_path) as first:
        port = first.port
        with RelayClient(first.url) as client:
            client.submit(request, "token")
            first.kill()

            def restart(pause: float) -> None:
                relays.append(again.__enter__())

            relays: list[RelayProcess] = []
            again = running(tmp_path, "--port", str(port))
            client._sleep = restart
            try:
                assert client.fetch(request.id).request == request
            finally:
                again.__exit__(None, None, None)
    assert len(relays) == 1


def test_a_busy_relay_is_asked_again_after_the_pause_it_wants() -> None:
    busy = reply(
        {"error": {"reason": "store-busy", "message": "m", "hint": ""}}, "503 Busy", "Retry-After: 2"
    )
    pauses: list[float] = []
    told: list[tuple[float, float]] = []
    with (
        lying_relay(busy, reply({"status": "ok"})) as (url, seen),
        RelayClient(
            url,
            sleep=pauses.append,
            on_pause=lambda error, seconds: told.append((error.retry_after, seconds)),
        ) as client,
    ):
        client.health()
    assert 2.0 < pauses[0] <= 2.4
    assert told == [(2.0, pauses[0])]
    assert len(seen) == 2


def test_a_refusal_is_not_repeated() -> None:
    refusal = reply(
        {"error": {"reason": "request-not-open", "message": "Closed.", "hint": "New."}}, "409 Conflict"
    )
    with lying_relay(refusal) as (url, seen), fast(url) as client:
        with pytest.raises(
            RelayRefusedError, match=r'refused \(status 409, request-not-open\); it says: "Closed\."'
        ) as error:
            client.answer(NOBODY, make_answer(make_request()))
        assert error.value.relay_reason == "request-not-open"
        assert error.value.hint == "It was withdrawn or has expired. Whoever still needs it can ask again."
    assert len(seen) == 1


def test_a_hostile_relay_cannot_park_us() -> None:
    busy = reply({"error": {}}, "503 Busy", "Retry-After: 999999999")
    pauses: list[float] = []
    with (
        lying_relay(busy, busy, busy) as (url, _),
        RelayClient(url, sleep=pauses.append) as client,
        pytest.raises(RelayUnavailableError),
    ):
        client.health()
    assert max(pauses) <= 12


def test_a_hostile_relay_cannot_write_to_the_screen() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202eAPPROVED\u200b" + "x" * 5000
    refusal = reply({"error": {"reason": evil, "message": evil, "hint": evil}}, "403 Forbidden")
    with lying_relay(refusal) as (url, _), fast(url) as client, pytest.raises(RelayRefusedError) as error:
        client.health()
    for text in (str(error.value), error.value.hint, error.value.relay_reason):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 800


def test_a_hostile_relay_cannot_show_another_request_under_this_name() -> None:
    asked, other = make_request(), make_request()
    body = {
        "id": asked.id,
        "state": "open",
        "request": json.loads(encode_request(other)),
        "answers": [],
        "submittedAt": "2026-11-23T10:00:00Z",
    }
    with (
        lying_relay(reply(body)) as (url, _),
        fast(url) as client,
        pytest.raises(RelayLiedError, match="another request than the one it was asked for"),
    ):
        client.fetch(asked.id)


def test_one_bad_answer_does_not_hide_the_good_ones() -> None:
    request = make_request()
    good = make_answer(request)
    body = {
        "id": request.id,
        "state": "open",
        "request": json.loads(encode_request(request)),
        "answers": [{"mediaType": "x"}, json.loads(encode_answer(good)), 7, {"a": "\ud800"}],
        "submittedAt": "2026-11-23T10:00:00Z",
    }
    with lying_relay(reply(body)) as (url, _), fast(url) as client:
        found = client.fetch(request.id)
    assert (found.answers, found.unreadable) == ((good,), 3)


def test_a_flood_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sync, "MAX_REPLY_BYTES", 100_000)
    monkeypatch.setattr(_replies, "MAX_REPLY_BYTES", 100_000)
    with (
        lying_relay(reply(b" " * 1_000_000)) as (url, _),
        fast(url) as client,
        pytest.raises(RelayNonsenseError, match="more than 100000 bytes"),
    ):
        client.health()


def test_a_drip_is_cut_off() -> None:
    """Each byte comes in time, so only a limit on the whole answer ends it."""
    start = time.monotonic()
    with (
        lying_relay(reply(b"{" + b" " * 500 + b"}"), drip=0.02) as (url, _),
        fast(url, timeout=0.5) as client,
        pytest.raises(RelayUnavailableError, match="did not answer in time"),
    ):
        client._exchange(_calls.health(), 0.5)
    assert time.monotonic() - start < 8


def test_a_silent_relay_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with (
            fast(url, timeout=0.2) as client,
            pytest.raises(RelayUnavailableError, match="did not answer in time"),
        ):
            client.health()


def test_a_compressed_bomb_is_not_unpacked() -> None:
    import gzip

    body = gzip.compress(b" " * 10_000_000)
    with (
        lying_relay(reply(body, "200 OK", "Content-Encoding: gzip")) as (url, _),
        fast(url) as client,
        pytest.raises(RelayNonsenseError),
    ):
        client.health()


def test_a_redirect_is_not_followed() -> None:
    away = reply({"error": {}}, "307 Temporary Redirect", "Location: http://192.0.2.1/")
    with (
        lying_relay(away) as (url, seen),
        fast(url) as client,
        pytest.raises(RelayNonsenseError, match=r"redirect to another address \(status 307\)"),
    ):
        client.health()
    assert len(seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"requests":[],"requests":[],"next":null}',
        {},
        {"requests": {}, "next": None},
        {"requests": [], "next": "a\nb"},
        {"requests": [], "next": 7},
        {"requests": [7], "next": None},
        {"requests": [{"id": "x"}], "next": None},
        {"requests": [{}] * 101, "next": None},
    ],
)
def test_nonsense_is_called_nonsense(body: object) -> None:
    with lying_relay(reply(body)) as (url, _), fast(url) as client, pytest.raises(RelayNonsenseError):
        client.list_page()


@pytest.mark.parametrize(
    "change",
    [
        {"state": "approved"},
        {"answers": -1},
        {"answers": True},
        {"answers": 10**6},
        {"id": "0" * 63},
        {"expiresAt": "tomorrow"},
        {"submittedAt": 7},
    ],
)
def test_a_summary_with_an_odd_value_is_refused(change: dict[str, object]) -> None:
    time_text = "2026-11-23T10:00:00Z"
    item = {"id": NOBODY, "state": "open", "answers": 0, "submittedAt": time_text, "expiresAt": time_text}
    good = {"requests": [item], "next": None}
    odd = {"requests": [{**item, **change}], "next": None}
    with lying_relay(reply(good), reply(odd)) as (url, _), fast(url) as client:
        assert len(client.list_page().requests) == 1
        with pytest.raises(RelayNonsenseError):
            client.list_page()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example",
        "ftp://relay.example",
        "http://",
        "file:///etc/passwd",
        "http://u:p@relay.example",
        "x y",
    ],
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(MalformedError, match="is not the address of a relay"):
        RelayClient(url)


def test_every_error_is_one_that_callers_can_catch() -> None:
    for kind in (RelayNonsenseError, RelayRefusedError, RelayLiedError, RelayUnavailableError):
        assert issubclass(kind, RelayClientError)
    assert issubclass(RelayClientError, IndeterminateError)
