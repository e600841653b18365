"""The terminal and a real relay: fetched by itself, down, back again, withdrawn, flooded."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from page_driver import plugged_in, reading
from terminal_world import PageWorld, running

from placet.client import RelayClient
from placet.core.errors import MalformedError
from placet.terminal.relay_source import RelaySource
from placet.testing.chromium import ChromiumSession
from placet.testing.world import ALICE, BOB

COMMAND = [sys.executable, "-c", "import sys, placet.cli; sys.exit(placet.cli.main())", "relay", "serve"]


@contextmanager
def relay_at(state: Path, port: int = 0) -> Iterator[str]:
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port), "--state", str(state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[^,\s]+", process.stdout.readline())
        assert found, process.communicate()
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def eventually(check: Callable[[], bool]) -> None:
    for _ in range(150):
        if check():
            return
        time.sleep(0.1)
    raise AssertionError("it never happened")


@contextmanager
def watching(url: str, outbox: Path) -> Iterator[RelaySource]:
    source = RelaySource(url, outbox)
    source.start()
    try:
        yield source
    finally:
        source.stop()


def test_request_arrives_by_itself_and_the_answer_goes_back(tmp_path: Path) -> None:
    world = PageWorld(8470)
    request = world.request_deploy()
    with (
        relay_at(tmp_path / "relay") as url,
        RelayClient(url) as client,
        watching(url, tmp_path / "outbox") as source,
    ):
        eventually(lambda: source.troubles() == ())
        assert source.pending() == {}
        client.submit(request, "secret")
        eventually(lambda: request.id in source.pending())
        answer = world.approve(request, ALICE, decided_at=world.now)
        done = source.deliver(request, answer, trust=world.trust(), now=world.now)
        assert done.state == "sent"
        assert source.pending()[request.id].answers == (answer,)
        # Somebody else's decision, on another terminal, is seen here too.
        client.answer(request.id, world.approve(request, BOB, terminal="t2", decided_at=world.now))
        eventually(lambda: len(source.pending()[request.id].answers) == 2)
        client.withdraw(request.id, "secret")
        eventually(lambda: source.pending() == {})
        late = source.deliver(
            request, world.approve(request, BOB, decided_at=world.now), trust=world.trust(), now=0
        )
        assert late.state == "refused"
        assert source.unsent() == 0


def test_answer_made_while_the_relay_is_down_is_sent_when_it_is_back(tmp_path: Path) -> None:
    world = PageWorld(8470)
    request = world.request_deploy()
    answer = world.approve(request, ALICE, decided_at=world.now)
    with relay_at(tmp_path / "relay") as url:
        with RelayClient(url) as client:
            client.submit(request, "secret")
        port = int(url.rpartition(":")[2])
        with watching(url, tmp_path / "outbox") as source:
            eventually(lambda: request.id in source.pending())
    with watching(url, tmp_path / "outbox") as source:
        eventually(lambda: "cannot be reached" in "".join(t.message for t in source.troubles()))
        done = source.deliver(request, answer, trust=world.trust(), now=world.now)
        assert done.state == "kept"
        assert source.unsent() == 1
    # The terminal stopped meanwhile; what is signed is not lost with it.
    with relay_at(tmp_path / "relay", port) as url, watching(url, tmp_path / "outbox") as source:
        eventually(lambda: source.unsent() == 0)
        with RelayClient(url) as client:
            assert client.fetch(request.id).answers == (answer,)
        eventually(lambda: source.troubles() == ())


def test_damaged_letter_does_not_hold_up_the_others(tmp_path: Path) -> None:
    world = PageWorld(8470)
    request = world.request_deploy()
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / f"{'0' * 64}.{'0' * 64}.answer.json").write_bytes(b"damaged")
    with relay_at(tmp_path / "relay") as url, RelayClient(url) as client:
        client.submit(request, "secret")
        with watching(url, outbox) as source:
            eventually(lambda: source.unsent() == 0)
            eventually(lambda: request.id in source.pending())
    assert [p.suffix for p in outbox.iterdir()] == [".unusable"]


def test_address_that_is_no_relay_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="not the address of a relay"):
        RelaySource("ftp://relay.example", tmp_path)


@pytest.mark.browser
def test_relay_that_goes_down_while_a_person_reads_costs_no_second_touch(
    chromium: ChromiumSession, sockets: list[socket.socket], world: PageWorld, tmp_path: Path
) -> None:
    request = world.request_deploy()
    with ExitStack() as up:
        url = up.enter_context(relay_at(tmp_path / "relay"))
        with RelayClient(url) as client:
            client.submit(request, "secret")
        source = RelaySource(url, tmp_path / "outbox")
        with running(world, sockets, tmp_path, source) as terminal, reading(chromium, terminal) as reader:
            eventually(lambda: request.id in source.pending())
            reader.open(request)
            reader.read_all()
            up.close()
            with plugged_in(world, chromium, ALICE):
                assert "Signed and kept on this terminal" in reader.decide("approve")
            reader.open_inbox()
            reader.page.get_by_text("cannot be reached").wait_for()
            assert "1 signed answer is kept here" in reader.page.inner_text("main")
            with relay_at(tmp_path / "relay", int(url.rpartition(":")[2])), RelayClient(url) as client:
                eventually(lambda: source.unsent() == 0)
                assert len(client.fetch(request.id).answers) == 1
