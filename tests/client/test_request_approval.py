"""Asking and waiting with a few lines: both clients, a real relay, people who answer; and the guide."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from relay_process import running

from placet.client import Approved, AsyncRelayClient, RelayClient, RelayLiedError, Standing, _waiting
from placet.core.bundle import IntentRequest, parse_bundle
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.verify import verify_for_use
from placet.testing import world as worlds
from placet.testing.hostile_relay import HostileRelay, lies, wire
from placet.testing.world import ALICE, BOB, GATE, World, expected_of

GUIDE = Path(__file__).parents[2] / "docs" / "how-to-use-the-client.md"


@pytest.fixture(scope="module")
def relay_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("relay")) as process:
        yield process.url


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    started = int(time.time()) - 30
    monkeypatch.setattr(worlds, "NOW", started)
    # Another test's request of the same second must not be this one's.
    world = World(seed=str(time.monotonic_ns()).encode())
    world.expires_at = started + 86_400
    return world


@contextmanager
def people(world: World, url: str, *names: str) -> Iterator[None]:
    """People at terminals: whatever is asked while this lasts, they approve."""
    stop = threading.Event()

    def answer() -> None:
        with RelayClient(url) as client:
            seen: set[str] = set()
            while not stop.wait(0.05):
                for item in client.list():
                    if item.id in seen:
                        continue
                    seen.add(item.id)
                    request, at = client.fetch(item.id).request, int(time.time())
                    for name, terminal in zip(names, ("t1", "t2"), strict=False):
                        try:
                            given = world.approve(request, name, terminal=terminal, decided_at=at)
                        except PlacetError:
                            break  # another world's
                        client.answer(item.id, given)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def ask_sync(url: str, request: IntentRequest, world: World, **options: Any) -> Approved:
    with RelayClient(url) as relay:
        return relay.request_approval(request, trust=world.trust(), **options)


def ask_async(url: str, request: IntentRequest, world: World, **options: Any) -> Approved:
    async def ask() -> Approved:
        async with AsyncRelayClient(url) as relay:
            return await relay.request_approval(request, trust=world.trust(), **options)

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("ask", [ask_sync, ask_async])
Ask = Callable[..., Approved]


def draft(world: World) -> IntentRequest:
    return world.request_deploy(now=int(time.time()) - 5)


@BOTH
def test_two_people_approve_and_the_gate_accepts(world: World, relay_url: str, ask: Ask) -> None:
    request = draft(world)
    standings: list[Standing] = []
    with people(world, relay_url, ALICE, BOB):
        approved = ask(relay_url, request, world, timeout=20, on_standing=standings.append)
    approval = verify_for_use(
        approved.bundle,
        trust=world.trust(),
        gate=GATE,
        expected=expected_of(request),
        now=int(time.time()),
    )
    assert approval.people == (ALICE, BOB)
    assert standings[0].text.startswith("Not enough people approved.")


@BOTH
def test_nobody_answers_and_the_request_stays_open(world: World, relay_url: str, ask: Ask) -> None:
    request = draft(world)
    with pytest.raises(IndeterminateError, match=r"Not approved within 1s\.") as error:
        ask(relay_url, request, world, withdraw_token="mine", timeout=1)
    assert error.value.reason is Reason.APPROVAL_PENDING
    with RelayClient(relay_url) as relay:
        relay.withdraw(request.id, "mine")
        with pytest.raises(PolicyError) as closed:
            relay.wait_for_bundle(request, trust=world.trust(), timeout=5)
    assert closed.value.reason is Reason.REQUEST_WITHDRAWN


@BOTH
def test_a_relay_that_fails_is_asked_until_the_time_is_over(
    world: World, relay_url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_sync", "_async"):
        monkeypatch.setattr(f"placet.client.{module}.PAUSE_AFTER_FAILURE", 0.1)
    standings: list[Standing] = []
    with HostileRelay(relay_url, lies.only_about("request", wire.closing())) as hostile:
        with pytest.raises(IndeterminateError) as error:
            ask(hostile.url, draft(world), world, timeout=0.7, on_standing=standings.append)
        asked = sum(seen.kind == "request" for seen in hostile.seen)
    assert error.value.reason is Reason.APPROVAL_PENDING
    assert 3 < asked < 10
    assert [standing.trouble is not None for standing in standings] == [False, True]  # each once
    assert standings[-1].text.endswith("Trying again.")


def at_once(seen: Any, forward: Any) -> None:
    """Answers where it should wait."""
    if "timeout" in seen.query:
        seen.query["timeout"] = "0"


@BOTH
def test_a_relay_that_answers_at_once_does_not_make_us_run(world: World, relay_url: str, ask: Ask) -> None:
    with HostileRelay(relay_url, at_once) as hostile:
        with pytest.raises(IndeterminateError):
            ask(hostile.url, draft(world), world, timeout=0.7)
        assert (
            sum(seen.kind == "request" for seen in hostile.seen)
            <= 0.7 / _waiting.MIN_SECONDS_BETWEEN_LOOKS + 1
        )


@BOTH
def test_a_lie_ends_the_waiting_at_once(world: World, relay_url: str, ask: Ask) -> None:
    started = time.monotonic()
    with (
        HostileRelay(relay_url, at_once, lies.swapped(draft(world))) as hostile,
        pytest.raises(RelayLiedError),
    ):
        ask(hostile.url, draft(world), world, timeout=30)
    assert time.monotonic() - started < 5


@BOTH
def test_what_no_rule_allows_is_refused_before_it_waits(world: World, relay_url: str, ask: Ask) -> None:
    request = draft(world)
    world.policy = world.policy.replace("k8s://**", "k8s://elsewhere")
    with pytest.raises(PolicyError) as error:
        ask(relay_url, request, world, timeout=30)
    assert error.value.reason is Reason.NO_MATCHING_RULE


def test_the_guides_examples_run(
    world: World, relay_url: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    (tmp_path / "app.whl").write_bytes(b"wheel")
    names: dict[str, Any] = {"RELAY": relay_url}
    with people(world, relay_url, ALICE, BOB):
        for block in blocks[:2]:
            exec(compile(block, str(GUIDE), "exec"), names)
    for name in ("app.intent.json", "async.intent.json"):
        assert len(parse_bundle((tmp_path / name).read_bytes()).envelope.signatures) == 2
    for block in blocks[2:]:
        exec(compile(block, str(GUIDE), "exec"), names)
    said = capsys.readouterr().out
    assert "undecided: approval-pending" in said
    assert "caught: The relay at" in said
