"""Who is held to what: rates, quotas, answers, waiters; and that a flood leaves room for the honest."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from relay_inside import Inside, with_relay
from relay_process import answering, make_answer, make_request, running, submission
from uvicorn.server import ServerState

from placet.adapters import followed_trust
from placet.adapters.serving import server
from placet.adapters.serving.addresses import group_address, parse_address
from placet.cli import main
from placet.core.bundle import Answer, IntentRequest
from placet.core.encoding import Digest, sha256_hex
from placet.ports.request_store import MAX_ANSWERS, NO_LIMIT
from placet.relay.answer_filter import AnswerFilter
from placet.relay.callers import KNOWN, CallerLimits, CallersError, TotalLimits, parse_callers
from placet.relay.gatekeeper import Gatekeeper
from placet.relay.throttle import MAX_BUCKETS, Throttle
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, NOW, World

TOKEN = "a token that the operator gave out"
KNOWN_CALLER = f"""
[[caller]]
name = "desk"
token_sha256 = "{sha256_hex(TOKEN.encode())}"
"""


def reason(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert error["message"].endswith("."), error
    assert error["hint"].endswith("."), error
    return response.status_code, error["reason"]


def path_of(request: IntentRequest, tail: str = "") -> str:
    return f"/v1/requests/{request.id}{tail}"


def now_request() -> IntentRequest:
    return make_request(lifetime=3600)


def test_a_flood_of_requests_is_told_when_to_come_back(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        async with relay.client() as flood, relay.client("198.51.100.1") as other:
            codes = [(await flood.post("/v1/requests", json={})).status_code for _ in range(6)]
            assert codes == [400] * 6
            refused = await flood.post("/v1/requests", json=submission(now_request()))
            assert reason(refused) == (429, "rate-limited")
            assert refused.headers["retry-after"] == "5"
            # Reading is another thing, and so is everybody else.
            assert (await flood.get("/v1/requests")).status_code == 200
            assert (await other.post("/v1/requests", json=submission(now_request()))).status_code == 201
            relay.clock.time += 5
            assert (await flood.post("/v1/requests", json=submission(now_request()))).status_code == 201
            # Health is for load balancers, at any rate.
            codes = [(await flood.get("/healthz")).status_code for _ in range(50)]
            assert set(codes) == {200}

    with_relay(tmp_path, scenario, callers="[address]\nrequests_per_minute = 12", now=int(time.time()))


def test_quotas_hold_and_say_so(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        async with relay.client() as one, relay.client("198.51.100.1") as other:
            for _ in range(2):
                assert (await one.post("/v1/requests", json=submission(now_request()))).status_code == 201
            refused = await one.post("/v1/requests", json=submission(now_request()))
            assert reason(refused) == (403, "quota-exceeded")
            assert int(refused.headers["retry-after"]) > 0
            assert (await other.post("/v1/requests", json=submission(now_request()))).status_code == 201

    with_relay(tmp_path, scenario, callers="[address]\nopen_requests = 2", now=int(time.time()))


def test_strangers_leave_room_for_known_callers(tmp_path: Path) -> None:
    """However many addresses a flood has, a fifth of the places is not for addresses."""
    callers = "[all]\nopen_requests = 10\n" + KNOWN_CALLER

    async def scenario(relay: Inside) -> None:
        codes = []
        for i in range(12):
            async with relay.client(f"198.51.100.{i}") as stranger:
                codes.append(
                    (await stranger.post("/v1/requests", json=submission(now_request()))).status_code
                )
        assert codes == [201] * 8 + [507] * 4
        async with relay.client("198.51.100.1", TOKEN) as known:
            for _ in range(2):
                assert (await known.post("/v1/requests", json=submission(now_request()))).status_code == 201
            full = await known.post("/v1/requests", json=submission(now_request()))
            assert reason(full) == (507, "store-full")
            assert full.headers["retry-after"] == "60"

    with_relay(tmp_path, scenario, callers=callers, now=int(time.time()))


def test_strangers_answers_leave_room_for_known_callers(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        request = now_request()
        async with relay.client("192.0.2.1") as asker:
            await asker.post("/v1/requests", json=submission(request))
        codes = []
        for address in range(4):
            async with relay.client(f"198.51.100.{address}") as stranger:
                for _ in range(9):
                    answer = answering(make_answer(request))
                    codes.append((await stranger.post(path_of(request, "/answers"), json=answer)).status_code)
        assert codes.count(201) == MAX_ANSWERS - 8
        # Eight of one address, and no ninth.
        assert codes[:9] == [201] * 8 + [409]
        async with relay.client("192.0.2.9", TOKEN) as desk:
            sent = await desk.post(path_of(request, "/answers"), json=answering(make_answer(request)))
            assert sent.status_code == 201

    with_relay(tmp_path, scenario, callers=KNOWN_CALLER, now=int(time.time()))


def unenrolled(request: IntentRequest) -> Answer:
    """Returns the answer of a key that is not enrolled, given on a terminal that is: all of it well made."""
    larger = World()
    larger.keys["mallory@example.com"] = SoftSk(application="ssh:placet:demo", seed=b"mallory")
    larger.groups["mallory@example.com"] = ["release"]
    return larger.approve(request, "mallory@example.com")


def junk(request: IntentRequest, honest: Answer) -> list[Answer]:
    """Returns answers of somebody without an enrolled key: made up, and put together from an honest one."""
    made_up = make_answer(request)
    stolen_report = make_answer(request)._replace(report=honest.report)
    stolen_signature = made_up._replace(envelope=honest.envelope)
    return [made_up, stolen_report, stolen_signature]


def test_junk_answers_stop_no_approval_where_the_relay_has_a_snapshot(tmp_path: Path) -> None:
    world = World()
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(world.snapshot())
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    first = world.approve(request, ALICE)
    made = [*junk(request, first), unenrolled(request)]

    async def scenario(relay: Inside) -> None:
        async with relay.client("192.0.2.1") as asker:
            assert (await asker.post("/v1/requests", json=submission(request))).status_code == 201
        path = path_of(request, "/answers")
        for i in range(2 * MAX_ANSWERS):
            async with relay.client(f"198.51.100.{i}") as flood:
                for answer in made:
                    refused = await flood.post(path, json=answering(answer))
                    assert reason(refused) == (403, "answer-not-admitted")
        # From the very address of the flood, and without a token.
        async with relay.client("198.51.100.1") as terminal:
            for answer in (first, world.approve(request, BOB, terminal="t2")):
                assert (await terminal.post(path, json=answering(answer))).status_code == 201
            assert (await terminal.post(path, json=answering(first))).status_code == 200
            # Not even an enrolled key takes more than its own places.
            codes = [
                (
                    await terminal.post(
                        path, json=answering(world.approve(request, ALICE, decided_at=NOW + 100 + i))
                    )
                ).status_code
                for i in range(5)
            ]
            assert codes == [201] * 3 + [409] * 2

    with_relay(tmp_path, scenario, admission=AnswerFilter.load(snapshot), now=NOW + 60)


def test_a_flood_of_requests_leaves_room_for_what_an_enrolled_key_vouches_for(tmp_path: Path) -> None:
    world = World()
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(world.snapshot())
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    room = "[all]\nkept_bytes = 40000\n"

    async def scenario(relay: Inside) -> None:
        async with relay.client("192.0.2.1") as flood:
            assert (await flood.post("/v1/requests", json=submission(request))).status_code == 201
            while (
                sent := await flood.post("/v1/requests", json=submission(make_request(now=NOW)))
            ).is_success:
                pass
            assert reason(sent) == (507, "store-full")
        async with relay.client("198.51.100.1") as terminal:
            answer = answering(world.approve(request, ALICE))
            assert (await terminal.post(path_of(request, "/answers"), json=answer)).status_code == 201

    admission = AnswerFilter.load(snapshot)
    with_relay(tmp_path, scenario, callers=room, admission=admission, now=NOW + 60)


def test_the_snapshot_is_followed_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(followed_trust, "LOOK_EVERY_SECONDS", 0.0)
    world, other = World(), World(seed=b"another")
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(other.snapshot())
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")

    async def scenario(relay: Inside) -> None:
        async with relay.client() as http:
            await http.post("/v1/requests", json=submission(request))
            path = path_of(request, "/answers")
            refused = await http.post(path, json=answering(world.approve(request, ALICE)))
            assert reason(refused) == (403, "answer-not-admitted")
            assert "placet trust refresh" in refused.json()["error"]["hint"]
            replacement = tmp_path / "new.json"
            replacement.write_bytes(world.snapshot())
            replacement.replace(snapshot)
            assert (await http.post(path, json=answering(world.approve(request, ALICE)))).status_code == 201
            snapshot.write_bytes(b"{}")
            assert (await http.post(path, json=answering(world.approve(request, BOB)))).status_code == 201
            assert "the earlier one stays" in caplog.text

    with_relay(tmp_path, scenario, admission=AnswerFilter.load(snapshot), now=NOW + 60)


def test_one_caller_does_not_take_all_waiting_places(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        async with relay.client() as one, relay.client("198.51.100.1") as other:
            waiting = [asyncio.ensure_future(one.get("/v1/wait?timeout=60")) for _ in range(2)]
            await asyncio.sleep(0.1)
            refused = await one.get("/v1/wait?timeout=60")
            assert reason(refused) == (503, "too-many-waiters")
            assert refused.headers["retry-after"] == "2"
            assert (await other.get("/v1/wait?timeout=0")).status_code == 200
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    with_relay(tmp_path, scenario, callers="[address]\nwaiters = 2", now=int(time.time()))


def test_a_token_that_nobody_has_is_refused_and_none_is_no_mistake(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        for headers in ({"token": "wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": ""}):
            async with relay.client(**headers) as http:
                refused = await http.get("/v1/requests")
                assert reason(refused) == (401, "unknown-caller")
                assert refused.headers["www-authenticate"].startswith("Bearer")
                assert TOKEN not in refused.text
        for token in ("", TOKEN):
            async with relay.client(token=token) as http:
                assert (await http.get("/v1/requests")).status_code == 200
        assert [seen.caller for seen in relay.notes.seen] == ["", "", "", "", "desk"]

    with_relay(tmp_path, scenario, callers=KNOWN_CALLER)


def test_a_relay_that_knows_nobody_ignores_tokens(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        async with relay.client(token="for another relay") as http:
            assert (await http.get("/v1/requests")).status_code == 200

    with_relay(tmp_path, scenario)


def test_where_callers_are_required_only_health_and_documentation_are_open(tmp_path: Path) -> None:
    async def scenario(relay: Inside) -> None:
        async with relay.client() as stranger, relay.client(token=TOKEN) as known:
            for path in ("/v1/requests", "/v1/wait?timeout=0", f"/v1/requests/{'0' * 64}"):
                assert reason(await stranger.get(path)) == (401, "unknown-caller")
                assert (await known.get(path)).status_code in (200, 404)
            assert (await stranger.post("/v1/requests", json=submission(now_request()))).status_code == 401
            assert (await stranger.get("/healthz")).status_code == 200
            assert (await stranger.get("/openapi.json")).status_code == 200

    with_relay(tmp_path, scenario, callers=KNOWN_CALLER, door={"require_caller": True})


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        # Anybody can write the header; only a proxy's word counts.
        ("203.0.113.7", "192.0.2.1", "203.0.113.7"),
        ("10.0.0.5", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.5", "1.2.3.4, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.5", "192.0.2.1, 10.0.0.6", "192.0.2.1"),
        ("10.0.0.5", "nonsense", "10.0.0.5"),
        ("10.0.0.5", "192.0.2.1, nonsense", "10.0.0.5"),
        ("10.0.0.5", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.5", "[2001:db8:1:2:3::4]:4711", "2001:db8:1:2::/64"),
        ("10.0.0.5", "2001:db8:1:2:ffff::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", None, "203.0.113.7"),
        ("2001:db8::1", None, "2001:db8::/64"),
        ("10.0.0.5", ",".join(["10.0.0.6"] * 50), "10.0.0.6"),
    ],
)
def test_callers_are_told_apart_by_address(peer: str, forwarded: str | None, counted: str) -> None:
    from starlette.requests import Request

    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    request = Request({"type": "http", "headers": headers, "client": (peer, 1)})
    gatekeeper = Gatekeeper(parse_callers(b""), trusted_proxies=[ip_network("10.0.0.0/8")])
    assert gatekeeper.identify(request).key == f"address:{counted}"


def test_what_is_no_address_is_one_caller() -> None:
    assert [group_address(parse_address(text)) for text in ("", "unix", "1.2.3", "::1%eth0")] == [
        "unknown",
        "unknown",
        "unknown",
        "::/64",
    ]


def test_a_proxy_that_was_not_named_is_pointed_out_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(relay: Inside) -> None:
        async with relay.client("127.0.0.1", **{"X-Forwarded-For": "192.0.2.1"}) as http:
            for _ in range(3):
                await http.get("/v1/requests")

    with_relay(tmp_path, scenario)
    assert [
        record.getMessage() for record in caplog.records if "--trusted-proxy 127.0.0.1" in record.getMessage()
    ]
    assert len(caplog.records) == 1


def test_a_bucket_fills_again_and_memory_is_bounded() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    assert [throttle.take("a", 60) for _ in range(30)] == [0.0] * 30
    assert throttle.take("a", 60) == pytest.approx(1.0)
    now = 0.5
    assert throttle.take("a", 60) == pytest.approx(0.5)
    now = 1.0
    assert throttle.take("a", 60) == 0.0
    now = 1000.0
    assert [throttle.take("a", 60) for _ in range(31)].count(0.0) == 30
    # The slowest rate still lets one through.
    assert throttle.take("b", 1) == 0.0
    for i in range(MAX_BUCKETS + 50):
        throttle.take(i, 60)
    assert len(throttle._buckets) == MAX_BUCKETS


def test_the_callers_file_is_read_as_written() -> None:
    book = parse_callers(
        f"""
        [address]
        waiters = 3
        [known]
        open_requests = 7
        [all]
        kept_bytes = 1000
        [[caller]]
        name = "ci.main_1"
        token_sha256 = "{"0" * 64}"
        requests_per_day = 9
        """.encode()
    )
    assert book.address == CallerLimits(waiters=3)
    name, limits = book.known[Digest("0" * 64)]
    assert (name, limits) == ("ci.main_1", KNOWN._replace(open_requests=7, requests_per_day=9))
    stranger = book.of_address("192.0.2.1").store_limits
    assert (stranger.all_kept_bytes, stranger.all_answers) == (800, MAX_ANSWERS - 8)
    known = book.of_token(Digest("0" * 64))
    assert known is not None
    assert (known.store_limits.all_kept_bytes, known.store_limits.all_answers) == (1000, MAX_ANSWERS)


def test_the_guide_shows_the_numbers_that_hold() -> None:
    guide = Path(__file__).parent.parent.parent / "docs" / "how-to-run-a-relay.md"
    (shown,) = re.findall(r"```toml\n(\[address\].*?)```", guide.read_text(), re.S)
    book = parse_callers(shown.replace("…", "0" * 64).encode())
    assert book.address == CallerLimits()
    assert book.total.open_requests == TotalLimits().open_requests
    (known,) = book.known.values()
    assert known == ("release-pipeline", KNOWN._replace(requests_per_day=100_000))
    assert set(re.findall(r"^(\w+) = ", shown.partition("[known]")[0], re.M)) == set(CallerLimits._fields)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "colour = 1",
        "[address]\ncolour = 1",
        "[address]\nwaiters = 0",
        "[address]\nwaiters = true",
        "[address]\nwaiters = '9'",
        f"[all]\nopen_requests = {NO_LIMIT + 1}",
        "address = 3",
        "caller = 3",
        "[caller]\nname = 'x'",
        "[[caller]]",
        "[[caller]]\nname = 'x'",
        "[[caller]]\nname = 'x'\ntoken_sha256 = 'secret'",
        f"[[caller]]\nname = 'a b'\ntoken_sha256 = '{'0' * 64}'",
        f"[[caller]]\nname = ''\ntoken_sha256 = '{'0' * 64}'",
        f"[[caller]]\nname = 'x'\ntoken_sha256 = '{'0' * 64}'\n" * 2,
        f"[[caller]]\nname = 'x'\ntoken = 'x'\ntoken_sha256 = '{'0' * 64}'",
        "\x00",
    ],
)
def test_a_malformed_callers_file_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(CallersError):
        parse_callers(text.encode())


def test_the_command_reads_callers_anew_on_sighup(tmp_path: Path) -> None:
    callers = tmp_path / "callers.toml"
    callers.write_text(KNOWN_CALLER)
    token = {"Authorization": f"Bearer {TOKEN}"}
    arguments = ("--callers", str(callers), "--require-caller")
    with (
        running(tmp_path / "state", *arguments) as relay,
        httpx.Client(base_url=relay.url, trust_env=False) as http,
    ):

        def wait_for(status: int) -> None:
            deadline = time.monotonic() + 10
            while http.get("/v1/requests", headers=token).status_code != status:
                assert time.monotonic() < deadline
                time.sleep(0.02)

        assert http.get("/v1/requests").status_code == 401
        assert http.get("/v1/requests", headers=token).status_code == 200
        callers.write_text(KNOWN_CALLER.replace(sha256_hex(TOKEN.encode()), "0" * 64))
        relay.process.send_signal(signal.SIGHUP)
        wait_for(401)
        callers.write_text(KNOWN_CALLER)
        relay.process.send_signal(signal.SIGHUP)
        wait_for(200)
        callers.write_text("[")
        relay.process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        assert http.get("/v1/requests", headers=token).status_code == 200
        _, _, err = relay.stop()
    assert "the callers stay as they were" in err
    assert (
        err.count("the callers were read again; 1 are known by a token") == 1
    )  # once a minute, as all lines
    assert TOKEN not in err


def test_wrong_options_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[address]\ncolour = 1")
    cases: list[tuple[list[str], str]] = [
        (["--callers", str(tmp_path / "none.toml")], "cannot be read"),
        (["--callers", str(bad)], "there is no colour"),
        (["--require-caller"], "nobody could call"),
        (["--trust-snapshot", str(bad)], "is no trust snapshot"),
        (["--trust-snapshot", str(tmp_path / "none")], "cannot be read"),
        (["--notify", str(bad)], "cannot be used"),
    ]
    for arguments, expected in cases:
        state = ["--port", "0", "--state", str(tmp_path / "state")]
        assert main(["relay", "serve", *state, *arguments]) == 2
        assert expected in capsys.readouterr().err, arguments
    assert not (tmp_path / "state").exists()
    for wrong in (
        ["--trusted-proxy", "proxy.example"],
        ["--keep", "for ever"],
        ["--max-bytes", "4"],
        ["--max-bytes", "1M"],
        ["--metrics-listen", "9471"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["relay", "serve", *wrong])
        assert stopped.value.code == 2


class Transport:
    """A connection as the protocol sees it, from any address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.aborted = False
        self.unsent = 0

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.address, 4711) if name in ("peername", "sockname") else default

    def set_protocol(self, protocol: Any) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool:
        return False


async def nothing(scope: Any, receive: Any, send: Any) -> None: ...


def connect(address: str) -> tuple[Any, Transport]:
    config = uvicorn.Config(nothing, log_config=None, interface="asgi3")
    config.load()
    protocol = server.BoundedHttpProtocol(config, ServerState(), {})
    transport = Transport(address)
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport


def test_who_does_not_take_its_answer_is_cut_and_who_is_slow_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.05)

    async def main() -> None:
        three = [connect("203.0.113.7") for _ in range(3)]
        (stuck, stuck_line), (slow, slow_line), (quick, quick_line) = three
        for protocol, line in three:
            line.unsent = 9 * 1024**2
            protocol.pause_writing()
        quick.resume_writing()
        for _ in range(5):
            slow_line.unsent -= 200_000
            await asyncio.sleep(0.04)
        assert [line.aborted for line in (stuck_line, slow_line, quick_line)] == [True, False, False]
        for protocol in (stuck, slow, quick):
            protocol.connection_lost(None)

    asyncio.run(main())


def test_a_flood_of_connections_from_one_address_is_cut() -> None:
    """Without HTTP: loopback, which tests would come from, is a proxy's and is not counted."""

    async def main() -> None:
        many = [connect("203.0.113.7") for _ in range(server.MAX_CONNECTIONS_PER_ADDRESS + 2)]
        assert [transport.aborted for _, transport in many][-3:] == [False, True, True]
        others = [connect(address) for address in ("203.0.113.8", "127.0.0.1", "127.0.0.1")]
        assert not any(transport.aborted for _, transport in others)
        for protocol, _ in [*many, *others]:
            protocol.connection_lost(None)
        assert not server.BoundedHttpProtocol._open

    asyncio.run(main())
