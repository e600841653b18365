"""Hands and eyes for the approval page, as a person has them: keys, wheel, what stands on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from terminal_world import PageWorld, RunningTerminal

from placet.core.bundle import IntentRequest
from placet.testing.chromium import ChromiumSession, VirtualAuthenticator

# axe's own rules, and the stricter contrast of 7:1 beside them.
OPTIONS = {
    "resultTypes": ["violations"],
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag2aaa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
    "rules": {"color-contrast-enhanced": {"enabled": True}, "target-size": {"enabled": True}},
}

WIDER_THAN_THE_SCREEN = """() => [...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 || e.scrollWidth > innerWidth)
  .map((e) => e.outerHTML.slice(0, 120))"""

SMALL_TARGETS = """() => [...document.querySelectorAll("a, button")]
  .filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 44)
  .map((e) => e.outerHTML.slice(0, 120))"""


def check_with_axe(page: Page, name: str) -> None:
    """Lets axe-core judge what stands on the screen."""
    found = Axe().run(page, options=OPTIONS)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"


def check_fits(page: Page, name: str) -> None:
    """Checks that nothing is wider than the screen, and that what is pressed is large enough."""
    for what in (WIDER_THAN_THE_SCREEN, SMALL_TARGETS):
        found = page.evaluate(what)
        assert found == [], f"{name}: {found}"


def check_for_everyone(page: Page, name: str) -> None:
    """Both, light and dark, wide and at 320 pixels."""
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        check_with_axe(page, f"{name}, {scheme}")
    page.set_viewport_size({"width": 320, "height": 640})
    check_fits(page, name)
    page.set_viewport_size({"width": 1000, "height": 800})


class Reader:
    """One tab on the page.  `noise` collects what the browser complains about."""

    def __init__(self, session: ChromiumSession, terminal: RunningTerminal) -> None:
        self.session, self.page, self.terminal = session, session.page, terminal
        self.noise: list[str] = []

    def open_inbox(self) -> None:
        self.page.goto("about:blank")
        self.page.goto(self.terminal.url)
        self.page.wait_for_selector("#requests, #quiet, .problem")

    def open(self, request: IntentRequest) -> None:
        self.open_inbox()
        self.page.click(f'[data-request="{request.id}"]')
        self.page.wait_for_selector("#approve")

    def read_all(self) -> None:
        """Reads to the end with the keyboard alone; what only flies past does not count as shown."""
        self.page.wait_for_timeout(400)
        for _ in range(20):
            if self.page.is_enabled("#approve"):
                return
            self.page.keyboard.press("PageDown")
            self.page.wait_for_timeout(600)
        raise AssertionError(f"never finished reading: {self.page.text_content('#left')}")

    def wait_state(self, *states: str) -> str:
        """Waits for a state of the live region, and returns its text."""
        wanted = ", ".join(f'#status[data-state="{state}"]' for state in states)
        self.page.wait_for_selector(wanted, state="attached", timeout=15_000)
        return self.page.text_content("#status") or ""

    def decide(self, decision: str) -> str:
        self.read_all()
        self.page.click(f"#{decision}")
        return self.wait_state("approved", "denied", "error")

    @property
    def state(self) -> str:
        return str(self.page.get_attribute("#status", "data-state"))


@contextmanager
def reading(session: ChromiumSession, terminal: RunningTerminal) -> Iterator[Reader]:
    """A reader whose browser must not complain about anything."""
    reader = Reader(session, terminal)

    def hear(message: Any) -> None:
        # A refusal of ours is an HTTP error for the browser, and it says so; anything else is a fault.
        if (
            message.type in ("error", "warning")
            and "the server responded with a status of 4" not in message.text
        ):
            reader.noise.append(message.text)

    def hear_error(error: Any) -> None:
        reader.noise.append(str(error))

    session.page.on("console", hear)
    session.page.on("pageerror", hear_error)
    try:
        yield reader
        assert reader.noise == []
    finally:
        session.page.remove_listener("console", hear)
        session.page.remove_listener("pageerror", hear_error)
        session.page.goto("about:blank")


@contextmanager
def plugged_in(world: PageWorld, session: ChromiumSession, person: str) -> Iterator[VirtualAuthenticator]:
    """A person's key in the browser, for a while."""
    authenticator = world.plug_in(session, person)
    try:
        yield authenticator
    finally:
        authenticator.remove()
