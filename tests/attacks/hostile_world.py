"""Honest people around a hostile relay: the real commands, the real terminal with its page, the real gate."""

from __future__ import annotations

import base64
import contextlib
import io
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "terminal"))

from terminal_world import PageWorld, RunningTerminal, bind_loopback, running

from placet.ceremony.decide import challenge, deny, prepare
from placet.cli import main
from placet.cli._relay import token_path
from placet.client import RelayClient, _sync
from placet.core.bundle import IntentRequest
from placet.core.encoding import Digest, b64url_encode, sha256_hex
from placet.terminal import relay_source
from placet.terminal.relay_source import RelaySource
from placet.terminal.server import PortUnavailableError
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.hostile_relay import HostileRelay, lies
from placet.testing.world import ALICE, DEPLOY_TARGET, GATE

TOKEN = "secret"
IMAGE = "registry.example/app@sha256:" + "ab" * 32


class Told(NamedTuple):
    """What a person was told, and the exit code where it was a command."""

    text: str
    code: int = -1


class Place:
    """A deployment whose relay is hostile: `relay` is what everybody talks to, `real` what is behind it."""

    def __init__(self, real: str, relay: HostileRelay, folder: Path, port: int) -> None:
        self.relay, self.folder, self.world = relay, folder, PageWorld(port)
        self.real = RelayClient(real)
        self.snapshot = folder / "snapshot.json"
        self.snapshot.write_bytes(self.world.snapshot())
        self.bundle = folder / "out.intent.json"
        # Keeping what is sent in a file would be read by nobody here; the challenges are what counts.
        self.signed: list[bytes] = []

    def close(self) -> None:
        """Takes back what is open, so that the next test finds an empty relay."""
        for summary in self.real.list():
            kept = token_path(summary.id)
            self.real.withdraw(summary.id, kept.read_text() if kept.exists() else TOKEN)
        self.real.close()

    # Honest people, by the real relay

    def draft(self, image: bytes = b"image", **more: Any) -> IntentRequest:
        """Returns a request to deploy, like no other."""
        return self.world.request_deploy(image, nonce=secrets.token_bytes(16), **more)

    def ask(self, image: bytes = b"image", **more: Any) -> IntentRequest:
        """Submits a request to deploy; the relay behind the hostile one has it."""
        request = self.draft(image, **more)
        self.real.submit(request, TOKEN)
        return request

    def approve(self, request: IntentRequest, *people: str) -> None:
        """Has people approve, each on a terminal of their own, which the real relay serves."""
        for person, terminal in zip(people, ("t1", "t2"), strict=False):
            now = int(time.time())
            answer = self.world.approve(request, person, terminal=terminal, decided_at=now)
            self.real.answer(request.id, answer)

    def deny(self, request: IntentRequest, person: str) -> None:
        """Has a person deny."""
        from placet.ceremony.decide import make_answer, message
        from placet.core.sshsig import NAMESPACE_INTENT

        trust, now = self.world.trust(), int(time.time())
        review = deny(prepare(request, trust=trust, now=now))
        key = self.world.keys[person]
        assert isinstance(key, SoftWebAuthn)
        answer, _, _ = make_answer(
            review,
            sshsig=key.sign(NAMESPACE_INTENT, message(review), web_origin=self.world.origin("t1")),
            trust=trust,
            terminal=self.world.terminals["t1"],
            decided_at=now,
            seconds_on_screen=9,
            renderer="test/1",
            changes="first time for this target",
        )
        self.real.answer(request.id, answer)

    # Commands, by the hostile relay

    def command(self, *words: str, typed: str = "") -> Told:
        """Runs a command as its user does, and returns all that it printed."""
        out, before = io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(typed)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = main(list(words))
        finally:
            sys.stdin = before
        return Told(out.getvalue(), code)

    def request(self, *more: str) -> Told:
        """``placet request deploy``."""
        words = ["request", "deploy", IMAGE, "--to", DEPLOY_TARGET, "--gate", GATE]
        return self.command(*words, "--trust", str(self.snapshot), "--relay", self.relay.url, *more)

    def wait(self, request: IntentRequest, timeout: str = "1s") -> Told:
        """``placet request wait``."""
        words = ["request", "wait", request.id, "--trust", str(self.snapshot), "--relay", self.relay.url]
        return self.command(*words, "--timeout", timeout, "-o", str(self.bundle))

    def withdraw(self, request: IntentRequest) -> Told:
        """``placet withdraw``."""
        return self.command("withdraw", request.id, "--relay", self.relay.url, "--token", TOKEN)

    def verify(self, bundle: Path | None = None, image: bytes = b"image") -> Told:
        """``placet verify``, as the gate calls it."""
        words = ["verify", str(bundle or self.bundle), "--trust", str(self.snapshot), "--gate", GATE]
        words += ["--action", "deploy", "--target", DEPLOY_TARGET]
        return self.command(*words, "--artifact", f"sha256:{sha256_hex(image)}")

    # The terminal

    @contextmanager
    def terminal(self) -> Iterator[Terminal]:
        """The first terminal, fetching from the hostile relay, with its page."""
        sockets: list[socket.socket] = bind_loopback(self.world.port)
        folder = self.folder / "terminal"
        folder.mkdir(exist_ok=True)
        try:
            source = RelaySource(self.relay.url, folder / "outbox", token="terminal")
            with running(self.world, sockets, folder, source) as served, Terminal(self, served) as terminal:
                yield terminal
        finally:
            for listener in sockets:
                listener.close()


class Terminal:
    """What a person does and sees on the terminal's page, through the calls that the page makes."""

    def __init__(self, place: Place, served: RunningTerminal) -> None:
        self._place, self._served, self.desk = place, served, served.desk
        headers = {
            "Host": served.guard.host,
            "Sec-Fetch-Site": "same-origin",
            "Origin": served.guard.web_origin,
            "X-Placet-Token": served.guard.token,
        }
        url = f"http://127.0.0.1:{place.world.port}"
        self._page = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._page.close()

    def inbox(self) -> dict[str, Any]:
        """Returns what the inbox shows."""
        value = self._page.get("/api/inbox").json()
        assert isinstance(value, dict)
        return value

    def until(self, check: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Waits until the inbox shows what it should."""
        for _ in range(400):
            shown = self.inbox()
            if check(shown):
                return shown
            time.sleep(0.02)
        raise AssertionError(shown)

    def settled(self) -> dict[str, Any]:
        """Waits until the relay was asked for everything once more, and returns the inbox."""
        wanted = self._looks() + 3
        for _ in range(800):
            if self._looks() >= wanted:
                break
            time.sleep(0.01)
        return self.inbox()

    def _looks(self) -> int:
        seen = tuple(self._place.relay.seen)
        looked = (s for s in seen if s.who == "terminal" and s.kind in ("listing", "answer"))
        return sum("after" not in s.query for s in looked)

    def told(self) -> Told:
        """Returns what the inbox says is wrong."""
        shown = self.settled()
        lines = [f"{t['message']} {t['meaning']} {t['hint']}" for t in shown["troubles"]]
        lines += [
            f"{item['refusal']['message']} {item['refusal']['hint']}"
            for item in shown["requests"]
            if "refusal" in item
        ]
        return Told("\n".join(lines))

    def open(self, request_id: str) -> dict[str, Any]:
        """Opens a request; returns what is shown, or the refusal."""
        value = self._page.post("/api/views", json={"request": request_id}).json()
        assert isinstance(value, dict)
        return value

    def decide(self, view: dict[str, Any], decision: str = "approve", person: str = ALICE) -> dict[str, Any]:
        """Reads to the end, touches the key and returns what the page says then."""
        call = f"/api/views/{view['view']}"
        body = {"decision": decision, "seen": list(range(view["rowCount"]))}
        asked = self._page.post(f"{call}/begin", json=body).json()
        if "error" in asked:
            return dict(asked)
        text = asked["publicKey"]["challenge"]
        to_sign = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        self._place.signed.append(to_sign)
        key = self._place.world.keys[person]
        assert isinstance(key, SoftWebAuthn)
        made = key.get(to_sign)
        assertion = {
            "id": b64url_encode(key.credential_id),
            "response": {
                "authenticatorData": b64url_encode(made.authenticator_data),
                "clientDataJSON": b64url_encode(made.client_data_json),
                "signature": b64url_encode(made.signature),
            },
        }
        done = self._page.post(f"{call}/finish", json={"decision": decision, "assertion": assertion})
        return dict(done.json())


def displayed_id(view: dict[str, Any]) -> Digest:
    """Returns the ID that the page shows for a request."""
    return Digest("".join(view["requestGroups"]))


def challenge_of(place: Place, request: IntentRequest) -> bytes:
    """Returns the only bytes that a key may sign to approve this request."""
    return challenge(prepare(request, trust=place.world.trust(), now=int(time.time())))


def quiet_port() -> int:
    """Returns a free port below those that systems give to outgoing connections, so that it stays free."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with contextlib.suppress(PortUnavailableError):
            for listener in bind_loopback(port):
                listener.close()
            return port


def hurry(monkeypatch: Any) -> None:
    """Makes the terminal look often and wait for nobody, and the requester's seconds three times shorter."""
    monkeypatch.setattr(relay_source, "POLL_SECONDS", 0.03)
    monkeypatch.setattr(relay_source, "_DELIVER_SECONDS", 0.7)
    fast = SimpleNamespace(monotonic=lambda: time.monotonic() * 3, time=time.time)
    monkeypatch.setattr(_sync, "time", fast)
    monkeypatch.setattr(_sync, "MIN_SECONDS_BETWEEN_LOOKS", 0.1)


__all__ = ["IMAGE", "TOKEN", "Place", "Terminal", "Told", "challenge_of", "displayed_id", "hurry", "lies"]
