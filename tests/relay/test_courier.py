"""The courier apart from HTTP: how many may wait, and who is sent home."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from relay_process import answering, make_answer, make_request, submission

from placet.adapters.serving.refusals import describe_call
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.adapters.system_clock import SystemClock
from placet.core.encoding import Digest, encode_canonical
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.ports import request_store
from placet.ports.request_store import RequestId, RequestState, RequestStoreError
from placet.relay import logs
from placet.relay._shape import parse_answering, parse_submission
from placet.relay.app import create_app
from placet.relay.courier import Courier
from placet.relay.errors import STATUS, RelayError, describe

NOBODY = RequestId(Digest("0" * 64))


class MovableClock:
    def __init__(self) -> None:
        self.time = SystemClock().now()

    def now(self) -> int:
        return self.time


def with_courier(
    path: Path, scenario: Callable[[Courier, MovableClock], Coroutine[Any, Any, None]], **options: Any
) -> None:
    async def main() -> None:
        store = SqliteRequestStore.open(path / "relay.sqlite3")
        clock = MovableClock()
        try:
            await scenario(Courier(store, clock, **options), clock)
        finally:
            await store.close()

    asyncio.run(main())


async def submit(courier: Courier, **options: Any) -> RequestId:
    new = parse_submission(encode_canonical(submission(make_request(**options))))
    await courier.submit(new)
    return new.id


def test_waiters_beyond_the_bound_are_told_to_come_back(tmp_path: Path) -> None:
    async def scenario(courier: Courier, clock: MovableClock) -> None:
        request_id = await submit(courier)
        waiting = [asyncio.ensure_future(courier.wait_for_answers(request_id, 0, 30)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(RelayError) as refusal:
            await courier.wait_for_requests(None, 30)
        assert describe(refusal.value).status == 503
        assert describe(refusal.value).headers == {"Retry-After": "2"}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await courier.wait_for_answers(request_id, 0, 0)).id == request_id

    with_courier(tmp_path, scenario, max_waiters=2)


def test_a_wait_for_nothing_gives_its_place_back(tmp_path: Path) -> None:
    async def scenario(courier: Courier, clock: MovableClock) -> None:
        for _ in range(3):
            with pytest.raises(RequestStoreError):
                await courier.wait_for_answers(NOBODY, 0, 30)

    with_courier(tmp_path, scenario, max_waiters=1)


def test_stopping_sends_everybody_home(tmp_path: Path) -> None:
    async def scenario(courier: Courier, clock: MovableClock) -> None:
        request_id = await submit(courier)
        last = (await courier.wait_for_requests(None, 0)).position
        waiting = [
            asyncio.ensure_future(courier.wait_for_answers(request_id, 0, 60)),
            asyncio.ensure_future(courier.wait_for_requests(last, 60)),
        ]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        courier.stop_waiting()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
            # Whoever comes now does not wait either.
            await courier.wait_for_answers(request_id, 0, 60)

    with_courier(tmp_path, scenario)


def test_a_clock_set_forward_closes_requests(tmp_path: Path) -> None:
    async def scenario(courier: Courier, clock: MovableClock) -> None:
        request = make_request(lifetime=100)
        new = parse_submission(encode_canonical(submission(request)))
        await courier.submit(new)
        clock.time += 200
        found = await courier.wait_for_answers(new.id, 0, 60)
        assert found.state(courier.now()) is RequestState.EXPIRED
        shaped = parse_answering(encode_canonical(answering(make_answer(request))))
        with pytest.raises(request_store.RequestClosedError):
            await courier.answer(new.id, shaped)

    with_courier(tmp_path, scenario)


def test_every_refusal_has_its_status() -> None:
    kinds = RequestStoreError.__subclasses__()
    assert kinds
    for kind in kinds:
        assert kind.reason in STATUS
        assert describe(kind("m")).status == STATUS[kind.reason]
    assert describe(MalformedError(Reason.NOT_JSON, "m", path="/a")).status == 400
    assert describe(MalformedError(Reason.NOT_JSON, "m", path="/a")).body["error"]["message"] == "m (at /a)"
    # Nothing in the table is a leftover.
    used = {kind.reason for kind in kinds} | {reason for reason in STATUS if reason in list(Reason)}
    rooms = [Path(function.__code__.co_filename).parent for function in (describe, describe_call)]
    source = "".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    for reason in set(STATUS) - used:
        assert source.count(f'"{reason}"') >= 2, reason


def test_a_bug_of_ours_is_one_line_in_the_log_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Courier):
        async def check_health(self) -> None:
            raise ZeroDivisionError("a bug")

    async def main() -> None:
        store = SqliteRequestStore.open(tmp_path / "relay.sqlite3")
        transport = httpx.ASGITransport(create_app(Broken(store, MovableClock())))
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as http:
            response = await http.get("/healthz")
        await store.close()
        assert (response.status_code, response.json()["error"]["reason"]) == (500, "internal-error")
        assert "bug" not in response.text

    asyncio.run(main())
    (record,) = caplog.records
    assert "ZeroDivisionError('a bug') at " in record.getMessage()
    assert record.exc_info is None


def test_the_log_says_a_thing_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    calm = logs.CalmFilter()

    def passes(text: str) -> bool:
        return calm.filter(logging.LogRecord("relay", logging.ERROR, "", 0, text, None, None))

    assert [passes("full"), passes("full"), passes("busy"), passes("full")] == [True, False, True, False]
    now += 61
    assert passes("full")
    for i in range(500):
        passes(f"line {i}")
    assert len(calm._last) <= 100


def test_shapes_raise_nothing_but_our_errors() -> None:
    """Mutated near-valid bodies; the relay answers 500 to any other exception."""
    rng = random.Random(7)
    request = make_request()
    bodies = {
        parse_submission: encode_canonical(submission(request)),
        parse_answering: encode_canonical(answering(make_answer(request))),
    }
    refused = 0
    for parse, body in bodies.items():
        parse(body)
        for _ in range(1500):
            mutated = bytearray(body)
            for _ in range(rng.randint(1, 3)):
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
            try:
                parse(bytes(mutated))
            except PlacetError:
                refused += 1
    assert refused > 1000
