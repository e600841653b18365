"""Three relays and three gates on one PostgreSQL, killed at random under load, the server too.

Nothing that was acknowledged is lost, no reader misses a request, no use is granted twice.  Twelve
seconds here; PLACET_KILL_SECONDS=600 looks for what needs more luck, PLACET_KILL_SEED repeats a run's
victims.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from gate_process import MAX_USES
from relay_process import answering, make_answer, make_request, submission

from placet.adapters.places import declare_birth, open_ledger
from placet.core.encoding import Digest
from placet.testing.postgres import PostgresServer

SECONDS = float(os.environ.get("PLACET_KILL_SECONDS", "12"))
SEED = int(os.environ.get("PLACET_KILL_SEED", str(random.randrange(2**32))))
RELAYS = GATES = FOLLOWERS = 3
WRITERS = 6
SERVER_KILLS = max(2, int(SECONDS / 10))
START_SECONDS = 30.0
PATIENCE = 30.0
RELAY = [sys.executable, "-m", "placet", "relay", "serve", "--port", "0", "--no-limits"]
GATE = [sys.executable, str(Path(__file__).with_name("gate_process.py"))]


class Scene:
    """The processes, and what the world outside was told."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.store = server.create_database()
        self.ledger = server.create_database()
        self.urls: list[str] = [""] * RELAYS
        self.relays: list[subprocess.Popen[bytes] | None] = [None] * RELAYS
        self.gates: list[subprocess.Popen[bytes] | None] = [None] * GATES
        self.writing, self.reading = threading.Event(), threading.Event()
        self.unexpected: list[str] = []

    def start_relay(self, number: int) -> None:
        log = self.folder / f"relay-{number}"
        with log.open("ab") as file:
            begin = file.tell()
            self.relays[number] = process = subprocess.Popen(
                [*RELAY, "--store", self.store],
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        found = wait_until(
            lambda: re.search(rb"listens on (http://[^,]+),", log.read_bytes()[begin:]), process
        )
        assert found is not None, log.read_text()[-2000:]
        self.urls[number] = found[1].decode()

    def start_gate(self, number: int) -> None:
        first = max((len(self.granted(line)) for line in range(GATES)), default=0)
        line = [*GATE, self.ledger, str(self.folder / f"gate-{number}"), str(first)]
        with (self.folder / f"gate-{number}.err").open("ab") as file:
            self.gates[number] = subprocess.Popen(line, stderr=file)

    def granted(self, number: int) -> list[list[str]]:
        return self._said(number, "granted")

    def recorded(self, number: int) -> list[list[str]]:
        return self._said(number, "recorded")

    def _said(self, number: int, word: str) -> list[list[str]]:
        path = self.folder / f"gate-{number}"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(word)]

    def end(self) -> None:
        for process in (*self.relays, *self.gates):
            if process is not None:
                process.kill()
                process.wait()


def wait_until(look: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while not (found := look()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


class Client(threading.Thread):
    """Talks to whichever relay is there."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(daemon=True)
        self.scene, self.random = scene, random.Random(seed)

    def call(self, http: httpx.Client, method: str, path: str, **more: Any) -> dict[str, Any] | None:
        """Returns the answer of a relay; None where it was killed or its database was away."""
        try:
            response = http.request(method, self.random.choice(self.scene.urls) + path, **more)
        except httpx.TransportError:
            return None
        if response.status_code in (200, 201):
            return dict(response.json())
        if response.status_code not in (500, 503) or "store-" not in response.text:
            self.scene.unexpected.append(f"{method} {path}: {response.status_code} {response.text}")
        return None


class Writer(Client):
    """Submits, answers and withdraws; repeats what was not acknowledged, at any relay."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(scene, seed)
        self.requests: set[Digest] = set()
        self.answers: dict[Digest, int] = {}
        self.withdrawn: set[Digest] = set()

    def run(self) -> None:
        with httpx.Client(timeout=PATIENCE, trust_env=False) as http:
            while self.scene.writing.is_set():
                request = make_request()
                if not self._insist(http, "/v1/requests", submission(request)):
                    continue
                self.requests.add(request.id)
                for _ in range(self.random.randrange(1, 4)):
                    path = f"/v1/requests/{request.id}/answers"
                    if self._insist(http, path, answering(make_answer(request))):
                        self.answers[request.id] = self.answers.get(request.id, 0) + 1
                if self.random.random() < 0.2:
                    path = f"/v1/requests/{request.id}/withdraw"
                    if self._insist(http, path, {"token": "secret"}):
                        self.withdrawn.add(request.id)

    def _insist(self, http: httpx.Client, path: str, body: dict[str, Any]) -> bool:
        while self.scene.writing.is_set():
            if self.call(http, "POST", path, json=body) is not None:
                return True
            time.sleep(0.02)
        return False


class Follower(Client):
    """Reads on from its cursor, at any relay, and starts over never."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(scene, seed)
        self.seen: set[str] = set()
        self.order: list[str] = []

    def run(self) -> None:
        cursor = ""
        with httpx.Client(timeout=PATIENCE, trust_env=False) as http:
            while self.scene.reading.is_set():
                page = self.call(http, "GET", f"/v1/wait?timeout=1&after={cursor}")
                if page is None:
                    time.sleep(0.02)
                    continue
                cursor = page["next"]
                found = [item["id"] for item in page["requests"]]
                self.order += [request_id for request_id in found if request_id not in self.seen]
                self.seen.update(found)


@contextmanager
def scene_with_load(
    server: PostgresServer, folder: Path
) -> Iterator[tuple[Scene, list[Writer], list[Follower]]]:
    scene = Scene(server, folder)
    declare_birth(scene.ledger, now=int(time.time()) - 100)
    writers = [Writer(scene, SEED + number) for number in range(WRITERS)]
    followers = [Follower(scene, SEED - 1 - number) for number in range(FOLLOWERS)]
    try:
        # All three at once on an empty database: one of them makes the tables.
        starting = [threading.Thread(target=scene.start_relay, args=(number,)) for number in range(RELAYS)]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        assert all(scene.urls)
        for number in range(GATES):
            scene.start_gate(number)
        scene.writing.set()
        scene.reading.set()
        for client in (*writers, *followers):
            client.start()
        yield scene, writers, followers
    finally:
        scene.writing.clear()
        scene.reading.clear()
        for client in (*writers, *followers):
            client.join(timeout=PATIENCE)
        scene.end()


def kill_at_random(scene: Scene, chance: random.Random) -> Counter[str]:
    killed: Counter[str] = Counter()
    begin = time.monotonic()
    server_kills = [
        SECONDS * (number + chance.uniform(0.1, 0.6)) / SERVER_KILLS for number in range(SERVER_KILLS)
    ]
    while (elapsed := time.monotonic() - begin) < SECONDS:
        time.sleep(chance.uniform(0.05, 0.5))
        if server_kills and elapsed > server_kills[0]:
            server_kills.pop(0)
            scene.server.kill()
            time.sleep(chance.uniform(0, 0.5))
            scene.server.start()
            killed["server"] += 1
        elif chance.random() < 0.5:
            number = chance.randrange(RELAYS)
            end(scene.relays[number])
            scene.start_relay(number)
            killed["relay"] += 1
        else:
            number = chance.randrange(GATES)
            end(scene.gates[number])
            scene.start_gate(number)
            killed["gate"] += 1
    return killed


def end(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    assert process.poll() is None, "it had ended by itself"
    process.kill()
    process.wait()


def test_relays_gates_and_server_killed_at_random_lose_nothing_and_grant_nothing_twice(
    tmp_path: Path, record_property: Callable[[str, object], None], mortal_postgres: PostgresServer
) -> None:
    record_property("seed", SEED)
    with scene_with_load(mortal_postgres, tmp_path) as (scene, writers, followers):
        killed = kill_at_random(scene, random.Random(SEED))
        scene.writing.clear()
        for writer in writers:
            writer.join(timeout=PATIENCE)
            assert not writer.is_alive()
        for gate in scene.gates:
            end(gate)
        requests = set().union(*(writer.requests for writer in writers))
        withdrawn = set().union(*(writer.withdrawn for writer in writers))
        answers = {key: count for writer in writers for key, count in writer.answers.items()}
        print(f"seed {SEED}: {dict(killed)}, {len(requests)} requests, {sum(answers.values())} answers")
        assert len(requests) > 3 * SECONDS, "too few writes to prove anything"
        assert killed["server"] == SERVER_KILLS
        check_followers(followers, requests - withdrawn)
        assert scene.unexpected == []
        check_relays(scene, requests, answers, withdrawn)
        check_gates(scene)
    for gate in range(GATES):
        assert (tmp_path / f"gate-{gate}.err").read_text() == ""


def check_followers(followers: list[Follower], expected: set[Digest]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(expected - follower.seen for follower in followers) and time.monotonic() < deadline:
        time.sleep(0.05)
    for follower in followers:
        assert expected - follower.seen == set(), "a reader missed what was acknowledged"
    common = set.intersection(*(follower.seen for follower in followers))
    orders = [[request_id for request_id in follower.order if request_id in common] for follower in followers]
    assert orders[0] == orders[1] == orders[2]


def check_relays(
    scene: Scene, requests: set[Digest], answers: dict[Digest, int], withdrawn: set[Digest]
) -> None:
    with httpx.Client(timeout=PATIENCE, trust_env=False) as http:
        for number, request_id in enumerate(sorted(requests)):
            response = http.get(f"{scene.urls[number % RELAYS]}/v1/requests/{request_id}")
            assert response.status_code == 200, response.text
            kept = response.json()
            # An answer whose acknowledgement was lost may be there as well.
            assert len(kept["answers"]) >= answers.get(request_id, 0)
            assert kept["state"] == "withdrawn" or request_id not in withdrawn


def check_gates(scene: Scene) -> None:
    granted = [
        (digest, int(ordinal), int(use))
        for gate in range(GATES)
        for digest, ordinal, use in scene.granted(gate)
    ]
    recorded = {int(use) for gate in range(GATES) for (use,) in scene.recorded(gate)}
    assert len(granted) > 3 * SECONDS, "too few uses to prove anything"
    assert max(Counter(use for *_, use in granted).values()) == 1
    by_statement: dict[str, set[int]] = defaultdict(set)
    for digest, ordinal, _ in granted:
        by_statement[digest].add(ordinal)
    for digest, ordinals in by_statement.items():
        assert len(ordinals) == sum(one == digest for one, *_ in granted) <= MAX_USES
    with closing(open_ledger(scene.ledger)) as ledger:
        known = {record.use_id: record for record in ledger.list_latest(10**6)}
        unknown = {record.use_id for record in ledger.list_unknown()}
    for digest, ordinal, use in granted:
        assert (known[use].payload_digest, known[use].ordinal) == (digest, ordinal)
    assert recorded <= known.keys() - unknown
    # What was consumed and never told to a gate that lives is shown as such, and was granted to nobody.
    assert all(known[use].exit_code is None for use in unknown)
    assert known.keys() - {use for *_, use in granted} <= unknown
    assert max(Counter(record.payload_digest for record in known.values()).values()) <= MAX_USES
