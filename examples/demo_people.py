"""The two approvers of the demo and their keys, in one of three forms.

- `ChromiumPeople`: a real headless Chromium; its virtual authenticators stand for the keys.
- `OwnKeyPeople`: your own browser and your own security key, where there is a display.
- `SoftwarePeople`: software keys, where there is neither display nor Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from demo_stage import STAGE, DemoError, Machine, Voice, free_port, stop

if TYPE_CHECKING:
    from placet.testing.chromium import ChromiumSession, VirtualAuthenticator

ALICE, BOB = "alice@example.com", "bob@example.com"
PEOPLE = (ALICE, BOB)
PORT = free_port(8470)
ORIGIN = f"http://desk.demo.placet.localhost:{PORT}"
_LINK = re.compile(r"http://\S+#\S+")


class People(Protocol):
    """Two people who enrol and approve."""

    assurance: str
    about: str

    def enroll(self, terminal: Machine, person: str, invite: str, root_sha256: str) -> Path:
        """Makes a person's credential on the terminal; returns the enrolment file."""
        ...

    def approve(self, terminal: Machine, relay_url: str) -> None:
        """Has both people approve the one request that waits at the relay."""
        ...


def enroll_words(person: str, invite: str, root_sha256: str, out: Path) -> list[str]:
    """Returns the command with which a person enrols on the terminal."""
    words = ["terminal", "enroll", person, "--invite", invite, "--root-sha256", root_sha256]
    return [*words, "--out", str(out), "--port", str(PORT), "--no-open"]


@contextmanager
def page_of(terminal: Machine, *words: str) -> Iterator[str]:
    """Starts a page of the terminal, yields its link, and stops it at the end."""
    process = terminal.start(*words)
    try:
        log = terminal.wait_for_log("terminal", "#", process)
        match = _LINK.search(log)
        if match is None:
            raise DemoError(f"the terminal printed no link:\n{log}")
        yield match[0]
    finally:
        stop(process)


class ChromiumPeople:
    """Two virtual authenticators in one real Chromium; the one whose turn it is answers."""

    assurance = "software"
    about = (
        "No display here, so a real headless Chromium opens the terminal's page, and its virtual authenticator stands "
        "for the security keys. placet counts it as the software that it is: INTENT_LEVEL_1 at most."
    )

    def __init__(self, browser: ChromiumSession, voice: Voice) -> None:
        self._page, self._voice = browser.page, voice
        self._keys: dict[str, VirtualAuthenticator] = {
            person: browser.add_authenticator(automatic_presence=False) for person in PEOPLE
        }

    def _take_turn(self, person: str) -> None:
        for name, key in self._keys.items():
            key.set_automatic_presence(name == person)

    def enroll(self, terminal: Machine, person: str, invite: str, root_sha256: str) -> Path:
        """Clicks through the enrolment page."""
        out = STAGE / f"{person.partition('@')[0]}.enrolment.json"
        self._take_turn(person)
        self._page.goto("about:blank")
        with page_of(terminal, *enroll_words(person, invite, root_sha256, out)) as link:
            self._page.goto(link)
            self._page.click("#create:not([disabled])")
            self._page.click("#prove:not([disabled])")
            self._page.get_by_text("Fingerprint of the key").wait_for()
        return out

    def approve(self, terminal: Machine, relay_url: str) -> None:
        """Reads the page to its end and presses the button, once for each person."""
        with page_of(
            terminal, "terminal", "serve", "--relay", relay_url, "--port", str(PORT), "--no-open"
        ) as link:
            for person in PEOPLE:
                self._take_turn(person)
                self._page.goto("about:blank")
                self._page.goto(link)
                self._page.click("#requests a")
                self._page.wait_for_selector("#approve")
                self._voice.say(
                    f"{person} reads the page from the headline to its end, then touches the key."
                )
                self._read()
                if person == ALICE:
                    self._page.screenshot(path=STAGE / "approval-page.png", full_page=True)
                self._page.click("#approve")
                self._page.wait_for_selector("#to-record")
                self._voice.show(self._page.inner_text("main"))

    def _read(self) -> None:
        """Reads down to the end, a screen at a time; what only flies past does not count as shown."""
        for _ in range(30):
            self._page.wait_for_timeout(600)
            if self._page.is_enabled("#approve"):
                return
            self._page.keyboard.press("PageDown")
        raise DemoError(f"the page never said that everything was shown: {self._page.inner_text('#left')}")


class OwnKeyPeople:
    """Your own browser and security key; you are both people, one after the other."""

    about = (
        "There is a display: the page opens in your browser and waits for your own security key. You play both people, "
        "with one credential for each on the same key. Ctrl-C ends the demo; nothing outside its folder is touched."
    )

    def __init__(self, voice: Voice, timeout: int) -> None:
        self._voice, self._timeout = voice, timeout
        answer = (
            input("     Is it a hardware key that you hold in your hand? [y/N] ")
            if sys.stdin.isatty()
            else ""
        )
        # An administrator vouches for hardware that they saw. Here that administrator is you.
        self.assurance = "vouched" if answer.strip().lower() in ("y", "yes") else "software"

    def enroll(self, terminal: Machine, person: str, invite: str, root_sha256: str) -> Path:
        """Opens the enrolment page and waits for the file."""
        out = STAGE / f"{person.partition('@')[0]}.enrolment.json"
        # One key normally stands for one person; here you play both with yours.
        words = [*enroll_words(person, invite, root_sha256, out), "--allow-shared-key"]
        with page_of(terminal, *words) as link:
            self._open(link, f"As {person}: make the credential on the page, two touches")
            self._wait(out.exists, "enrolment")
        return out

    def approve(self, terminal: Machine, relay_url: str) -> None:
        """Opens the approval page and waits for both decisions."""
        history = terminal.home / "state" / "placet" / "terminal" / "history.jsonl"
        with page_of(
            terminal, "terminal", "serve", "--relay", relay_url, "--port", str(PORT), "--no-open"
        ) as link:
            self._open(
                link, "Open the request, read it to its end, approve; then once more as the other person"
            )
            self._wait(
                lambda: history.exists() and len(history.read_text().splitlines()) >= len(PEOPLE), "approval"
            )

    def _open(self, link: str, what: str) -> None:
        import webbrowser

        self._voice.say(f"{what}. Waiting {self._timeout // 60} minutes; Ctrl-C ends the demo.")
        if not webbrowser.open(link):
            self._voice.say(f"No browser opened by itself. The link: {link}")

    def _wait(self, happened: object, what: str) -> None:
        deadline = time.monotonic() + self._timeout
        assert callable(happened)
        while not happened():
            if time.monotonic() > deadline:
                raise DemoError(
                    f"no {what} within {self._timeout} seconds; `make demo HEADLESS=1` needs no key"
                )
            time.sleep(0.3)


class SoftwarePeople:
    """Software keys, driven through the same code that the terminal's page calls."""

    assurance = "software"
    about = (
        "Neither a display nor Chromium is here, so software keys from placet.testing stand in for browser and security "
        "key. placet counts them as the software that they are: INTENT_LEVEL_1 at most."
    )

    def __init__(self, voice: Voice) -> None:
        from placet.testing.authenticator import SoftWebAuthn

        self._voice = voice
        self._keys = {p: SoftWebAuthn(rp_id="demo.placet.localhost", web_origin=ORIGIN) for p in PEOPLE}

    def enroll(self, terminal: Machine, person: str, invite: str, root_sha256: str) -> Path:
        """Writes the enrolment file that the page would write."""
        from placet.ceremony.enrol import draft_enrolment, encode_enrolment, enrolment_message
        from placet.core.encoding import Digest
        from placet.core.sshsig import NAMESPACE_ENROL, parse_public_key

        key = self._keys[person]
        drafted = draft_enrolment(
            person=person,
            deployment="demo",
            public_key=parse_public_key(key.wire),
            kind="webauthn",
            root_sha256=Digest(root_sha256),
            invite=invite,
        )
        enrolment = drafted._replace(sig=key.sign(NAMESPACE_ENROL, enrolment_message(drafted)))
        out = STAGE / f"{person.partition('@')[0]}.enrolment.json"
        out.write_bytes(encode_enrolment(enrolment))
        return out

    def approve(self, terminal: Machine, relay_url: str) -> None:
        """Prints what the page would show, signs it, and sends both answers."""
        from placet.adapters.terminal_identity import FileTerminalIdentity
        from placet.ceremony.decide import make_answer, message, prepare
        from placet.client import RelayClient
        from placet.core.sshsig import NAMESPACE_INTENT
        from placet.core.trust import parse_trust

        trust = parse_trust((terminal.home / "data/placet/trust/snapshot.json").read_bytes())
        identity = FileTerminalIdentity.load(terminal.home / "state/placet/terminal/identity.json")
        with RelayClient(relay_url) as relay:
            listing = relay.wait_for_requests(None, timeout=10)
            request = relay.fetch(listing.requests[0].id).request
            for person in PEOPLE:
                now = int(time.time())
                review = prepare(request, trust=trust, now=now)
                if person == ALICE:
                    self._voice.show("\n".join(f"{row.label}: {row.value}" for row in review.view.rows))
                answer, _, _ = make_answer(
                    review,
                    sshsig=self._keys[person].sign(NAMESPACE_INTENT, message(review)),
                    trust=trust,
                    terminal=identity,
                    decided_at=now,
                    seconds_on_screen=0,
                    renderer="placet-demo",
                    changes="first time for this target",
                )
                relay.answer(request.id, answer)
                self._voice.say(f"{person} approved.")


@contextmanager
def people(voice: Voice, *, headless: bool, browser: bool, timeout: int) -> Iterator[People]:
    """Chooses how the two people sign, by what this machine has."""
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    chosen: People
    if display and browser and not headless:
        voice.say(OwnKeyPeople.about)
        chosen = OwnKeyPeople(voice, timeout)
        yield chosen
    elif browser and shutil.which("chromium"):
        from placet.testing.chromium import launch_chromium

        voice.say(ChromiumPeople.about)
        with launch_chromium(viewport={"width": 900, "height": 1000}) as session:
            chosen = ChromiumPeople(session, voice)
            yield chosen
    else:
        voice.say(SoftwarePeople.about)
        chosen = SoftwarePeople(voice)
        yield chosen
