"""SIGKILL at any moment: what the relay acknowledged is there when it comes back."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from relay_process import RelayProcess, answering, make_answer, make_request, running, submission

from placet.cli import main
from placet.core.encoding import Digest, sha256_hex

ROUNDS = 8
WRITERS = 6


class Writer(threading.Thread):
    """Submits and answers as fast as it can, and remembers what was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.requests: dict[Digest, Any] = {}
        self.answers: list[tuple[Digest, bytes]] = []
        self.withdrawn: set[Digest] = set()
        self.unexpected: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as http:
            try:
                while True:
                    self._one(http)
            except httpx.TransportError:
                return  # The relay was killed.

    def _one(self, http: httpx.Client) -> None:
        request = make_request()
        body = submission(request)
        self._expect(http.post("/v1/requests", json=body), 201)
        self.requests[request.id] = body["request"]
        answer = make_answer(request)
        self._expect(http.post(f"/v1/requests/{request.id}/answers", json=answering(answer)), 201)
        self.answers.append((request.id, answer.envelope.signatures[0].sig))
        if len(self.requests) % 3 == 0:
            self._expect(http.post(f"/v1/requests/{request.id}/withdraw", json={"token": "secret"}), 200)
            self.withdrawn.add(request.id)

    def _expect(self, response: httpx.Response, status: int) -> None:
        if response.status_code != status:
            self.unexpected.append(response.text)


def write_until_killed(relay: RelayProcess, seconds: float) -> list[Writer]:
    writers = [Writer(relay.url) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    relay.kill()
    for writer in writers:
        writer.join(timeout=30)
        assert not writer.is_alive()
        assert writer.unexpected == []
    return writers


def test_nothing_acknowledged_is_lost_when_the_relay_is_killed(tmp_path: Path) -> None:
    writers: list[Writer] = []
    rng = random.Random(20260501)
    for _ in range(ROUNDS):
        with running(tmp_path, "--no-limits") as relay:
            writers += write_until_killed(relay, rng.uniform(0.1, 0.6))
    requests = {key: value for writer in writers for key, value in writer.requests.items()}
    answers = [answer for writer in writers for answer in writer.answers]
    withdrawn = set().union(*(writer.withdrawn for writer in writers))
    assert len(requests) > 5 * ROUNDS, "too few writes to prove anything"
    with (
        running(tmp_path, "--no-limits") as relay,
        httpx.Client(base_url=relay.url, timeout=20, trust_env=False) as http,
    ):
        kept = {request_id: http.get(f"/v1/requests/{request_id}").json() for request_id in requests}
        everything = [item["id"] for item in listing(http)]
    for request_id, container in requests.items():
        assert kept[request_id]["request"] == container
    # What was not acknowledged is there in full or not at all, and nothing is there twice.
    assert len(everything) == len(set(everything))
    assert set(requests) <= set(everything)
    assert main(["relay", "check", "--state", str(tmp_path)]) == 0
    for request_id, signature in answers:
        (answer,) = kept[request_id]["answers"]
        assert sha256_hex(signature) == sha256_hex(_signature(answer))
    assert all(kept[request_id]["state"] == "withdrawn" for request_id in withdrawn)


def listing(http: httpx.Client) -> Iterator[dict[str, Any]]:
    query = {"state": "all", "limit": "100"}
    while True:
        page = http.get("/v1/requests", params=query).json()
        yield from page["requests"]
        if page["next"] is None:
            return
        query["after"] = page["next"]


def _signature(answer: dict[str, dict[str, list[dict[str, str]]]]) -> bytes:
    import base64

    return base64.b64decode(answer["envelope"]["signatures"][0]["sig"])
