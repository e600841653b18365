"""Every screen, light and dark, small and large: axe-core finds nothing, and nothing is cut off."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_driver import Reader, check_fits, check_with_axe, plugged_in, reading
from terminal_world import PageWorld, RunningTerminal, running, write_request

from placet.core.bundle import IntentRequest
from placet.testing.chromium import ChromiumSession
from placet.testing.world import ALICE

pytestmark = pytest.mark.browser

LONG = ["/bin/true", "w" * 200, "--flag=" + "/very/long" * 20]


@pytest.fixture
def request_(world: PageWorld) -> IntentRequest:
    return world.request_run(argv=LONG, reason="Words " * 100)


@pytest.fixture
def terminal(
    world: PageWorld, sockets: list[socket.socket], folder: Path, request_: IntentRequest
) -> Iterator[RunningTerminal]:
    old = world.request_run(argv=["/bin/true"], now=world.now - 7200)
    files = [write_request(folder, "it", request_), write_request(folder, "old", old)]
    with running(world, sockets, folder, files) as terminal:
        yield terminal


@pytest.fixture
def reader(chromium: ChromiumSession, terminal: RunningTerminal) -> Iterator[Reader]:
    with reading(chromium, terminal) as reader:
        yield reader


def visit_all(reader: Reader, world: PageWorld, request: IntentRequest, check: Callable[[str], None]) -> None:
    """Shows every screen once."""
    reader.open_inbox()
    check("inbox")
    reader.open(request)
    check("request")
    with plugged_in(world, reader.session, ALICE) as key:
        key.set_faults(bogus_signature=True)
        reader.decide("deny")
        check("error")
        key.set_faults()
        reader.decide("deny")
        check("denied")
    reader.page.click("#to-record")
    reader.page.wait_for_selector("#save")
    check("record")
    reader.page.click("#to-history")
    reader.page.wait_for_selector(".requests")
    check("history")
    (reader.terminal.folder / "snapshot.json").rename(reader.terminal.folder / "away.json")
    reader.open_inbox()
    check("trouble")
    (reader.terminal.folder / "away.json").rename(reader.terminal.folder / "snapshot.json")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_screen(
    reader: Reader, world: PageWorld, request_: IntentRequest, scheme: str
) -> None:
    reader.page.emulate_media(color_scheme=scheme)
    checked = []

    def check(name: str) -> None:
        check_with_axe(reader.page, name)
        checked.append(name)

    visit_all(reader, world, request_, check)
    assert len(checked) == 7
    reader.page.emulate_media(color_scheme="light")


def test_no_screen_scrolls_sideways_at_320_pixels(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    # 320 CSS pixels are also what a 640-pixel window has at 200 % zoom.
    reader.page.set_viewport_size({"width": 320, "height": 640})

    def check(name: str) -> None:
        check_fits(reader.page, name)

    try:
        visit_all(reader, world, request_, check)
    finally:
        reader.page.set_viewport_size({"width": 1000, "height": 800})


def test_lines_are_shorter_than_75_characters_on_a_wide_screen(
    reader: Reader, request_: IntentRequest
) -> None:
    reader.page.set_viewport_size({"width": 2000, "height": 1000})
    reader.open(request_)
    longest = reader.page.evaluate(
        """() => {
          const probe = document.createElement("span");
          probe.textContent = "the quick brown fox jumps over the lazy dog and runs away again, ";
          document.querySelector("main").append(probe);
          const per = probe.getBoundingClientRect().width / probe.textContent.length;
          probe.remove();
          return document.querySelector("main").getBoundingClientRect().width / per;
        }"""
    )
    reader.page.set_viewport_size({"width": 1000, "height": 800})
    assert longest < 80


def test_nothing_moves(reader: Reader, request_: IntentRequest) -> None:
    reader.open(request_)
    moving = reader.page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((e) => {
             const s = getComputedStyle(e);
             const still = s.animationName === "none" && s.transitionDuration === "0s";
             return !still || s.scrollBehavior === "smooth";
           }).length"""
    )
    assert moving == 0
