"""People hear that a request waits: plain words, nothing to click, and never at the relay's expense."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
import unicodedata
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from relay_inside import Clock
from relay_process import make_request, running, submission

from placet.adapters.notify import AppriseNotifier, NotifyConfigError, parse_notify
from placet.core.bundle import IntentRequest, encode_request
from placet.core.encoding import encode_canonical, sha256_hex
from placet.ports.notifier import Notice, NotifierError
from placet.ports.request_store import NewRequest, RequestId
from placet.relay import announcer as announcer_module
from placet.relay.announcer import MAX_PENDING, Announcer, Waiting, compose, neutralise

NOW = 1_800_000_000


class Receiver(ThreadingHTTPServer):
    """A chat service, as apprise's json:// plugin sees one."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(json.loads(body))
                time.sleep(receiver.seconds)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"json://secret-user:secret-token@127.0.0.1:{self.server_address[1]}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def wait_until(condition: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def saying(text: str, *, target: str = "host:relay-test", gate: str = "test") -> IntentRequest:
    statement = json.loads(make_request().payload)
    statement["predicate"]["display"]["text"] = text
    statement["predicate"]["request"]["audience"] = f"gate:{gate}"
    return IntentRequest(encode_canonical(statement), ())


def stored(request: IntentRequest, *, expires_at: int = NOW + 3600) -> NewRequest:
    return NewRequest(RequestId(request.id), encode_request(request), sha256_hex(b""), expires_at)


# What chat and mail programs make something clickable of, or show as something else than text.
CLICKABLE = re.compile(
    r"""(?ix) https? | :// | www[.w] | mailto: | [\w-]+[.．。][\w-]+ | \w@\w | [<>\[\]{}`*_~|\\&;@\#$^] | xn--
    | \]\( | [a-z][a-z0-9+.-]*:[^\s]""",
)
NASTY = [
    "Approve at https://evil.example/approve?id=1",
    "see evil.example now",
    "<a href='http://evil.example'>approve</a>",
    "[approve](https://evil.example)",
    "<https://evil.example|approve>",
    "hhttpttp://x",
    "ｈｔｔｐｓ：／／ｅｖｉｌ．ｅｘａｍｐｌｅ",
    "evil。example",
    "www.evil.example wwwwww",
    "ask root@evil.example or mailto:root@evil.example",
    "@everyone <!channel> #general",
    "tel:+15550100 slack://open javascript:alert(1)",
    "192.0.2.1/approve and [2001:db8::1]/approve",
    "**bold** _it_ `code` ~~x~~ ||spoiler||",
    "xn--evil-9ua.example xn--xn--",
    "ℎttps://evil.example ht\u00adtp://x",
    "a\u202egnp.exe",
    "first line\nhttps://evil.example",
    "&lt;a&gt; &#104;ttp",
    "x" * 5000,
]


@given(st.one_of(st.text(), st.lists(st.sampled_from([*NASTY, "http", "://", ".", "w", " "])).map("".join)))
@example("")
def test_no_claim_becomes_something_to_click(text: str) -> None:
    for nasty in [text, *NASTY]:
        said = neutralise(nasty)
        assert len(said) <= 2 * 100
        assert "\n" not in said
        # Also for programs that normalize what they show.
        for form in ("NFC", "NFKC", "NFD", "NFKD"):
            shown = unicodedata.normalize(form, said)
            assert not CLICKABLE.search(shown), (nasty, shown)


@given(st.lists(st.text(max_size=300), min_size=1, max_size=30), st.integers(0, 10**6))
def test_no_notice_has_anything_to_click(texts: list[str], left: int) -> None:
    notice = compose([Waiting(neutralise(text), NOW + left) for text in [*texts, *NASTY]], NOW)
    for line in [notice.title, *notice.body.splitlines()]:
        assert not CLICKABLE.search(line), line
        assert "http" not in line.lower() and "://" not in line


@pytest.mark.parametrize(
    "claim",
    [
        "Approve, or call (800) 555-0199 at once",
        "+1 800.555.0199",
        "call 5550199",
        "call 555 01 99",
        "８００－５５５－０１９９",
        "٨٠٠ ٥٥٥ ٠١٩٩",
        "8'0'0,5(5)5- 0199",
    ],
)
def test_no_claim_becomes_a_number_to_call(claim: str) -> None:
    assert sum(c.isdecimal() for c in neutralise(claim)) <= 6


def test_ordinary_claims_stay_readable() -> None:
    assert neutralise("Scale web from 3 to 12 (was 10) on 2·31") == "Scale web from 3 to 12 (was 10) on 2·31"
    assert neutralise("Publish app 1.2.3 to pkg:pypi/app") == "Publish app 1·2·3 to pkg·pypi·app"
    assert neutralise("Déployer l'app (6 Stück), größer") == "Déployer l'app (6 Stück), größer"
    assert len(neutralise("word " * 200)) == 100


def test_a_notice_says_what_waits_how_long_and_where_to_go() -> None:
    one = compose([Waiting("Run true", NOW + 2590)], NOW)
    assert one.title == "placet: a request waits"
    assert 'A requester says: "Run true"' in one.body
    assert "43 minutes" in one.body
    assert "Nothing here is verified" in one.body
    assert "Open your approval terminal." in one.body
    many = compose([Waiting(f"Run {i}", NOW + 86_400 * 2) for i in range(12)], NOW)
    assert many.title == "placet: 12 requests wait"
    assert many.body.count("2 days left") == 3
    assert "and 9 more" in many.body


CONFIG = """
seconds_between = 1
[[group]]
name = "everybody"
urls = ["{url}"]
"""


def test_the_relay_tells_people_through_apprise_and_sums_up(tmp_path: Path, receiver: Receiver) -> None:
    config = tmp_path / "notify.toml"
    config.write_text(CONFIG.format(url=receiver.url))
    with (
        running(tmp_path / "state", "--notify", str(config)) as relay,
        httpx.Client(base_url=relay.url, trust_env=False) as http,
    ):
        first = saying("Deploy https://evil.example/app to prod")
        assert http.post("/v1/requests", json=submission(first)).status_code == 201
        wait_until(lambda: receiver.received)
        # Sent again by a client that lost the acknowledgement: nothing new for people.
        assert http.post("/v1/requests", json=submission(first)).status_code == 200
        for i in range(12):
            assert http.post("/v1/requests", json=submission(saying(f"Run {i}"))).status_code == 201
        wait_until(lambda: len(receiver.received) == 2)
        code, _, err = relay.stop()
    assert (code, err) == (0, "")
    one, many = receiver.received
    assert one["title"] == "placet: a request waits"
    assert "Deploy" in one["message"] and "evil·example" in one["message"]
    assert many["title"] == "placet: 12 requests wait"
    for message in receiver.received:
        assert "http" not in json.dumps(message).lower()
        assert "://" not in json.dumps(message)


def test_a_notifier_that_hangs_delays_neither_the_relay_nor_its_end(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.seconds = 2.0
    config = tmp_path / "notify.toml"
    config.write_text(CONFIG.format(url=receiver.url))
    with (
        running(tmp_path / "state", "--notify", str(config)) as relay,
        httpx.Client(base_url=relay.url, trust_env=False) as http,
    ):
        slowest = 0.0
        for i in range(20):
            begin = time.monotonic()
            assert http.post("/v1/requests", json=submission(saying(f"Run {i}"))).status_code == 201
            slowest = max(slowest, time.monotonic() - begin)
        wait_until(lambda: receiver.received)
        begin = time.monotonic()
        code, _, _ = relay.stop()
        assert code == 0
        assert time.monotonic() - begin < 1.8
        assert slowest < 1.5


def test_failures_are_counted_and_name_no_secret(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    told: list[tuple[str, int]] = []

    async def main() -> None:
        notifier = AppriseNotifier(parse_notify(CONFIG.format(url=receiver.url).encode()).groups)
        announcer = Announcer(
            notifier, Clock(NOW), seconds_between=60, saw=lambda outcome, count: told.append((outcome, count))
        )
        running_announcer = asyncio.ensure_future(announcer.run())
        announcer.note(stored(saying("Run true")))
        # Expired before anybody could be told: nothing to tell.
        announcer.note(stored(saying("Run false"), expires_at=NOW))
        async with asyncio.timeout(10):
            while not told:
                await asyncio.sleep(0.01)
        for i in range(MAX_PENDING + 5):
            announcer.note(stored(saying(f"Run {i}")))
        running_announcer.cancel()
        await asyncio.gather(running_announcer, return_exceptions=True)

    asyncio.run(main())
    assert told[0] == ("failed", 1)
    assert told[1:] == [("dropped", 1)] * 5
    assert "The group everybody could not be told" in caplog.text
    assert "secret" not in caplog.text and "127.0.0.1" not in caplog.text


def test_a_group_that_does_not_answer_is_given_up(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from placet.adapters import notify

    monkeypatch.setattr(notify, "_GIVE_UP_SECONDS", 0.1)
    receiver.seconds = 0.6

    async def main() -> None:
        notifier = AppriseNotifier(parse_notify(CONFIG.format(url=receiver.url).encode()).groups)
        with pytest.raises(NotifierError, match=r"within 0\.1 s"):
            await notifier.notify("everybody", Notice("t", "b"))
        # One at a time: a service that hangs does not gather threads.
        with pytest.raises(NotifierError, match="still being told"):
            await notifier.notify("everybody", Notice("t", "b"))
        await asyncio.sleep(1.0)
        receiver.seconds = 0.0
        monkeypatch.setattr(notify, "_GIVE_UP_SECONDS", 10.0)
        await notifier.notify("everybody", Notice("t", "b"))

    asyncio.run(main())


def test_something_wrong_with_notices_is_no_reason_to_fail_a_submission(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(announcer_module, "neutralise", lambda text: 1 // 0)
    outcomes: list[str] = []

    async def main() -> None:
        notifier = AppriseNotifier(parse_notify(CONFIG.format(url=receiver.url).encode()).groups)
        announcer = Announcer(
            notifier, Clock(NOW), seconds_between=60, saw=lambda outcome, count: outcomes.append(outcome)
        )
        announcer.note(stored(saying("Run true")))

    asyncio.run(main())
    assert outcomes == ["failed"]


def test_groups_hear_of_their_own_targets_and_gates(receiver: Receiver) -> None:
    config = parse_notify(
        f"""
        [[group]]
        name = "all"
        urls = ["{receiver.url}"]
        [[group]]
        name = "pypi"
        targets = ["pkg:pypi/*"]
        urls = ["{receiver.url}"]
        [[group]]
        name = "prod"
        targets = ["host:*"]
        gates = ["prod", "prod-*"]
        urls = ["{receiver.url}"]
        """.encode()
    )
    notifier = AppriseNotifier(config.groups)
    assert notifier.groups == ("all", "pypi", "prod")
    assert notifier.groups_for(target="pkg:pypi/app", gate="prod") == ("all", "pypi")
    assert notifier.groups_for(target="host:a", gate="prod-eu") == ("all", "prod")
    assert notifier.groups_for(target="host:a", gate="test") == ("all",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "colour = 1",
        "group = 3",
        "[[group]]\nname = 'x'",
        "[[group]]\nurls = ['json://x']",
        "[[group]]\nname = 'x'\nurls = 'json://x'",
        "[[group]]\nname = 'x'\nurls = [1]",
        "[[group]]\nname = 'x'\nurls = ['json://x']\ncolour = 1",
        "[[group]]\nname = 'x'\nurls = ['json://x']\n" * 2,
        "seconds_between = 0\n[[group]]\nname = 'x'\nurls = ['json://x']",
        '[[group]]\nname = "a\\nb"\nurls = ["json://x"]',
        "[[group]]\nname = 'x'\nurls = ['secret-scheme://secret']",
    ],
)
def test_a_malformed_notify_file_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(NotifyConfigError) as refusal:
        AppriseNotifier(parse_notify(text.encode()).groups)
    assert "secret" not in str(refusal.value)
