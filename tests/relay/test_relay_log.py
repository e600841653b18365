"""The relay's log, as real processes: decisions become leaves, and their proofs travel with the answers."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, cast

import httpx
import pytest
from relay_process import (
    COMMAND,
    RelayProcess,
    answering,
    make_answer,
    running,
    start,
    submission,
)

from placet.adapters.log_calls import Acknowledged, LogRefusedError, LogUnavailableError
from placet.adapters.log_client import AsyncLogClient, LogClient
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.adapters.system_clock import SystemClock
from placet.client import RelayClient
from placet.core.bundle import Answer, IntentRequest, encode_answer
from placet.core.encoding import encode_canonical, sha256_hex
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.leaf import leaf_hash
from placet.core.tlog.log_policy import LogEntryKey, LogPolicy
from placet.core.tlog.merkle import consistency_proof, verify_consistency
from placet.core.tlog.note import parse_signer_key
from placet.core.tlog.proof import parse_proof, verify_proof
from placet.core.tlog.records import leaf_of_record
from placet.core.tlog.tiles import parse_tile, read_node_from_tiles, tile_path
from placet.ports.request_store import RequestClosedError, RequestStore, StoredRequest, UnknownRequestError
from placet.relay._shape import parse_answering, parse_submission
from placet.relay.courier import Courier
from placet.relay.decision_log import ExternalLog
from placet.relay.errors import RelayError
from placet.testing.world import ALICE, BOB, World

LOG = [sys.executable, "-m", "placet", "log"]


def policy_of(folder: Path) -> LogPolicy:
    """Returns the policy that names the log of this state folder."""
    return LogPolicy((LogEntryKey(parse_signer_key((folder / "log.key").read_text()).verifier_key),))


def new_world() -> World:
    # Of today: the relay's process has the machine's clock.
    return World(seed=b"relay log", now=int(time.time()) - 100)


def send(relay: RelayProcess, request: IntentRequest, *answers: Answer) -> list[httpx.Response]:
    with httpx.Client(base_url=relay.url, timeout=20, trust_env=False) as http:
        assert http.post("/v1/requests", json=submission(request)).is_success
        return [http.post(f"/v1/requests/{request.id}/answers", json=answering(a)) for a in answers]


def leaf_of(answer: Answer) -> bytes:
    return leaf_hash(leaf_of_record(encode_answer(answer)))


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_decisions_are_logged_and_their_proofs_come_with_the_answers(
    tmp_path: Path, with_snapshot: bool
) -> None:
    world = new_world()
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(world.snapshot())
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    answers = [world.approve(request, ALICE), world.approve(request, BOB, terminal="t2")]
    options = ["--trust-snapshot", str(snapshot)] if with_snapshot else []
    with running(tmp_path / "state", *options) as relay:
        assert [r.status_code for r in send(relay, request, *answers)] == [201, 201]
        policy = policy_of(tmp_path / "state")
        with RelayClient(relay.url) as client:
            proofs = client.fetch(request.id).proofs
        assert len(proofs) == 2
        found = [
            verify_proof(parse_proof(p.proof), leaf_of(a), policy)
            for p, a in zip(proofs, answers, strict=True)
        ]
        assert [f.leaf_index for f in found] == [0, 1]
        log = LogClient(f"{relay.url}/log")
        newest = verify_checkpoint(log.fetch_checkpoint(), policy.logs[0].key)
        assert newest.tree_size == 2
        assert parse_tile(log.fetch_tile("tile/0/000.p/2"), 2) == tuple(map(leaf_of, answers))


def test_what_nobody_signed_is_carried_and_not_logged(tmp_path: Path) -> None:
    world = new_world()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    genuine = world.approve(request, ALICE)
    other = world.approve(world.request_run(argv=["/usr/bin/true"], executable=b"x"), ALICE)
    # Well-formed, so it has a leaf; but its report is about another decision.
    forged = genuine._replace(report=other.report)
    with running(tmp_path) as relay:
        for junk in (make_answer(request), forged):
            assert [sent.status_code for sent in send(relay, request, junk)] == [201]
        assert (
            verify_checkpoint(
                LogClient(f"{relay.url}/log").fetch_checkpoint(), policy_of(tmp_path).logs[0].key
            ).tree_size
            == 0
        )
        with RelayClient(relay.url) as client:
            kept = client.fetch(request.id)
        assert (len(kept.answers), kept.proofs) == (2, ())


def test_the_log_keeps_its_name_and_its_history_over_restarts(tmp_path: Path) -> None:
    world = new_world()
    sizes = []
    for _ in range(3):
        request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
        with running(tmp_path, "--log-name", "relay.example/log") as relay:
            send(relay, request, world.approve(request, ALICE))
            note = LogClient(f"{relay.url}/log").fetch_checkpoint()
            sizes.append(verify_checkpoint(note, policy_of(tmp_path).logs[0].key).tree_size)
            relay.stop()
    assert sizes == [1, 2, 3]
    assert policy_of(tmp_path).logs[0].key.name == "relay.example/log"
    refused = subprocess.run(
        [*COMMAND, "--port", "0", "--state", str(tmp_path), "--log-name", "other"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, "keeps its name" in refused.stderr) == (2, True)


def test_without_a_log_nothing_is_logged(tmp_path: Path) -> None:
    world = new_world()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    with running(tmp_path, "--no-log") as relay:
        send(relay, request, world.approve(request, ALICE))
        with pytest.raises(LogRefusedError) as caught:
            LogClient(f"{relay.url}/log").fetch_checkpoint()
        assert caught.value.log_reason == "unknown-path"
        with RelayClient(relay.url) as client:
            assert client.fetch(request.id).proofs == ()
    assert not (tmp_path / "log.key").exists()


@contextmanager
def log_running(state: Path, *arguments: str) -> Iterator[RelayProcess]:
    if not (state / "log.key").exists():
        subprocess.run(
            [*LOG, "init", "log.example/alone", "--state", str(state)], check=True, capture_output=True
        )
    process = subprocess.Popen(
        [*LOG, "serve", "--state", str(state), *(arguments or ("--port", "0"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"placet log listens on (http://[^,]+),", line)
    assert found is not None, line + process.communicate()[1]
    try:
        yield RelayProcess(process, found[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_relay_with_a_log_elsewhere_logs_first_and_refuses_when_it_cannot(tmp_path: Path) -> None:
    world = new_world()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    first, second = world.approve(request, ALICE), world.approve(request, BOB, terminal="t2")
    with log_running(tmp_path / "log") as log, running(tmp_path / "relay", "--log", log.url) as relay:
        assert [r.status_code for r in send(relay, request, first)] == [201]
        with RelayClient(relay.url) as client:
            (proof,) = client.fetch(request.id).proofs
        policy = policy_of(tmp_path / "log")
        assert verify_proof(parse_proof(proof.proof), leaf_of(first), policy).tree_size == 1
        log.kill()
        (refused,) = send(relay, request, second)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "log-unavailable")
        # Where the log is, is the operator's business.
        assert log.url not in refused.text
        with RelayClient(relay.url) as client:
            # What is there is shown all the same.
            assert len(client.fetch(request.id).answers) == 1
        with log_running(tmp_path / "log", "--port", log.url.rpartition(":")[2]):
            assert [r.status_code for r in send(relay, request, second)] == [201]
            with RelayClient(relay.url) as client:
                assert len(client.fetch(request.id).proofs) == 2
    assert not (tmp_path / "relay" / "log.key").exists()


def test_a_relay_shows_a_log_elsewhere_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the log a relay is one caller: without a name, all its people would share one address's limits."""
    world, callers = new_world(), tmp_path / "callers.toml"
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    answer = world.approve(request, ALICE)
    callers.write_text(f'[[caller]]\nname = "relay"\ntoken_sha256 = "{sha256_hex(b"of the relay")}"\n')
    known = ("--port", "0", "--callers", str(callers), "--require-caller")
    with log_running(tmp_path / "log", *known) as log:
        for token, status in (("another", 503), ("of the relay", 201)):
            monkeypatch.setenv("PLACET_LOG_TOKEN", token)
            with running(tmp_path / token, "--log", log.url) as relay:
                assert [r.status_code for r in send(relay, request, answer)] == [status]


class LyingLog:
    """An external log that acknowledges something else than it was sent."""

    url = "http://log.example"

    async def append(self, record: bytes) -> Acknowledged:
        return Acknowledged(0, bytes(32), True, 1)


def test_an_acknowledgement_of_something_else_is_none(caplog: pytest.LogCaptureFixture) -> None:
    world = new_world()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    shaped = parse_answering(encode_canonical(answering(world.approve(request, ALICE))))
    lying = ExternalLog(cast(AsyncLogClient, LyingLog()), cosignatures=0)
    with pytest.raises(RelayError) as caught:
        asyncio.run(lying.prepare(shaped, is_verified=True, now=int(time.time())))
    assert caught.value.reason == "log-unavailable"
    assert "another leaf" in caplog.text


def test_a17_a_stranger_cannot_fill_the_log_which_never_gives_room_back(tmp_path: Path) -> None:
    world = new_world()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    answers = [world.approve(request, who, terminal=t) for who, t in ((ALICE, "t1"), (BOB, "t2"))]
    size = len(encode_answer(answers[0]))
    callers, snapshot = tmp_path / "callers.toml", tmp_path / "snapshot.json"
    callers.write_text(f"[address]\nlogged_bytes_per_day = {size * 3 // 2}\n")
    snapshot.write_bytes(world.snapshot())

    with running(tmp_path / "without", "--callers", str(callers)) as relay:
        first, second = send(relay, request, *answers)
        assert (first.status_code, second.status_code) == (201, 429)
        assert second.json()["error"]["reason"] == "rate-limited"
        # The log's own door is no way around it.
        with pytest.raises(LogUnavailableError) as caught:
            LogClient(f"{relay.url}/log", tries=1).append(encode_answer(answers[1]))
        assert "rate-limited" in str(caught.value)
    options = ["--callers", str(callers), "--trust-snapshot", str(snapshot)]
    with running(tmp_path / "with", *options) as relay:
        assert [sent.status_code for sent in send(relay, request, *answers)] == [201, 201]
        assert LogClient(f"{relay.url}/log").append(encode_answer(answers[1])).created is False


class CountingLog:
    url = "http://log.example"
    records: ClassVar[list[bytes]] = []

    async def append(self, record: bytes) -> Acknowledged:
        self.records.append(record)
        return Acknowledged(0, leaf_hash(leaf_of_record(record)), True, 1)


def test_a17_an_outside_log_is_not_filled_with_answers_that_the_relay_does_not_take(tmp_path: Path) -> None:
    world = new_world()
    unknown = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    shaped = parse_answering(encode_canonical(answering(world.approve(unknown, ALICE))))

    async def scenario() -> None:
        store = SqliteRequestStore.open(tmp_path / "relay.sqlite3")
        outside = ExternalLog(cast(AsyncLogClient, CountingLog()), cosignatures=0)
        courier = Courier(store, SystemClock(), decision_log=outside)
        with pytest.raises(UnknownRequestError):
            await courier.answer(unknown.id, shaped)
        request = parse_submission(encode_canonical(submission(unknown)))
        await store.submit(request, now=world.now)
        await store.withdraw(unknown.id, now=world.now)
        with pytest.raises(RequestClosedError):
            await courier.answer(unknown.id, shaped)
        await store.close()

    asyncio.run(scenario())
    assert CountingLog.records == []


class SilentLog:
    url = "http://log.example"

    async def fetch_proof(self, leaf: bytes) -> str:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def test_a17_a_log_that_never_answers_keeps_no_answer_from_whoever_waits() -> None:
    world = new_world()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    answers = tuple(
        encode_answer(world.approve(request, who, terminal=t)) for who, t in ((ALICE, "t1"), (BOB, "t2"))
    )
    found = StoredRequest(request.id, b"", request.id, 0, 1, None, answers)

    async def scenario() -> None:
        silent = ExternalLog(cast(AsyncLogClient, SilentLog()), cosignatures=0, patience=0.01)
        courier = Courier(cast(RequestStore, None), SystemClock(), decision_log=silent)
        async with asyncio.timeout(10):
            assert await courier.proofs(found) == {}

    asyncio.run(scenario())


class Appender(threading.Thread):
    """Hands in records as fast as it can, and remembers what was acknowledged and shown."""

    def __init__(self, url: str, records: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.log = LogClient(url, tries=1)
        self.records = records
        self.acknowledged: dict[int, bytes] = {}
        self.checkpoints: list[bytes] = []

    def run(self) -> None:
        try:
            while self.records:
                record = self.records.pop()
                logged = self.log.append(record)
                assert logged.leaf_hash == leaf_hash(leaf_of_record(record))
                self.acknowledged[logged.leaf_index] = logged.leaf_hash
                self.checkpoints.append(self.log.fetch_checkpoint())
        except LogUnavailableError:
            return  # The log was killed.


def test_a_killed_relay_loses_no_acknowledged_leaf_and_never_forks(tmp_path: Path) -> None:
    world = new_world()
    acknowledged: dict[int, bytes] = {}
    checkpoints: list[bytes] = []
    for i in range(6):
        records = []
        for _ in range(40):
            request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
            records.append(encode_answer(world.approve(request, ALICE)))
        relay = start(tmp_path, "--no-limits")
        appenders = [Appender(f"{relay.url}/log", records) for _ in range(4)]
        for appender in appenders:
            appender.start()
        # Killed while some wait for an answer, after more in each round: a time would say nothing.
        while sum(len(appender.acknowledged) for appender in appenders) < 6 * i:
            time.sleep(0.001)
        relay.kill()
        for appender in appenders:
            appender.join(timeout=30)
            assert not appender.is_alive()
            assert acknowledged.keys().isdisjoint(appender.acknowledged)
            acknowledged |= appender.acknowledged
            checkpoints += appender.checkpoints
    key = policy_of(tmp_path).logs[0].key
    with running(tmp_path, "--no-limits") as relay:
        log = LogClient(f"{relay.url}/log")
        newest = verify_checkpoint(log.fetch_checkpoint(), key)
        assert newest.tree_size > max(acknowledged)
        read = read_node_from_tiles(lambda *tile: log.fetch_tile(tile_path(*tile)), newest.tree_size)
        for index, leaf in acknowledged.items():
            assert read(0, index) == leaf
        for note in checkpoints:
            old = verify_checkpoint(note, key)
            if old.tree_size:
                proof = consistency_proof(old.tree_size, newest.tree_size, read)
                verify_consistency(old.tree_size, old.root_hash, newest.tree_size, newest.root_hash, proof)
    assert len(acknowledged) > 20, "too few leaves to prove anything"
