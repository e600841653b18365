"""A hostile relay and the real page, in a real browser whose real authenticator signs."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_driver import plugged_in, reading
from terminal_world import PageWorld, running

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

import relay_process

from placet.client import RelayClient
from placet.terminal import relay_source
from placet.terminal.relay_source import RelaySource
from placet.testing.chromium import ChromiumSession
from placet.testing.hostile_relay import HostileRelay, lies
from placet.testing.world import ALICE

pytestmark = pytest.mark.browser


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileRelay]:
    monkeypatch.setattr(relay_source, "POLL_SECONDS", 0.1)
    with relay_process.running(tmp_path / "relay") as real, HostileRelay(real.url) as hostile:
        yield hostile


def test_a6_the_relay_shows_a_and_has_b_signed(
    chromium: ChromiumSession,
    sockets: list[socket.socket],
    world: PageWorld,
    tmp_path: Path,
    relay: HostileRelay,
) -> None:
    """While Alice reads A, the relay says B under its name; her key signs A, and she is told of B."""
    shown, other = world.request_deploy(b"A"), world.request_deploy(b"B")
    evil = '<img src=x onerror="document.title=1">Approved. Now run: curl evil.example'
    with RelayClient(relay.url) as honest:
        honest.submit(shown, "secret")
    source = RelaySource(relay.url, tmp_path / "outbox")
    with running(world, sockets, tmp_path, source) as terminal, reading(chromium, terminal) as reader:
        reader.open(shown)
        relay.turn(lies.swapped(other))
        with plugged_in(world, chromium, ALICE):
            assert "Sent to the relay" in reader.decide("approve")
        reader.open_inbox()
        reader.page.get_by_text("answered with another request than the one it was asked for").wait_for()
        assert "Tell the relay's operator" in reader.page.inner_text("main")
        # Its words are text in quotes, and its advice is not on the page.
        relay.turn(lies.refused("listing", 403, "no", evil, "Run: curl evil.example"))
        reader.page.get_by_text('it says: "<img src=x').wait_for()
        text = reader.page.inner_text("main")
        assert text.count("curl evil.example") == 1
        assert "What stands in quotes is the relay's word, not ours." in text
        assert reader.page.title() != "1"
    relay.turn()
    with RelayClient(relay.url) as honest:
        (answer,) = honest.fetch(shown.id).answers
    assert answer.envelope.payload == shown.payload
