"""From an approval to a signed checkpoint that covers it, over HTTP, against the disk's own sync.

Two sides, in turn, on the same disk:

- sync      append 4 KiB to a file and `fdatasync` it: what any durable acknowledgement waits for at least
- approve   POST an approval to a relay with its log, on one kept connection, until 201: its signature is
            verified, and answer, leaf and signed checkpoint are on disk

The relay is the shipped command in a process of its own, with a trust snapshot.  The client is the standard
library's, in this process; its time counts.

    python benchmarks/log_http.py [--count 200] [--rounds 5] [--dir FOLDER]

Exits with 1 where the 99th percentile of an approval is above three of the disk's and five milliseconds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from placet.core.bundle import encode_answer, encode_request
from placet.core.encoding import encode_canonical, sha256_hex
from placet.testing.world import ALICE, World

FACTOR, ALLOWANCE_SECONDS = 3.0, 0.005
PERCENTILE = 99


def timed(action: Callable[[], None]) -> float:
    """Returns how long `action` takes, in seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def percentile(values: list[float], of: int = PERCENTILE) -> float:
    """Returns a percentile."""
    return statistics.quantiles(values, n=100)[of - 1]


class Relay:
    """A relay with its log, and one connection to it."""

    def __init__(self, folder: Path, world: World) -> None:
        snapshot = folder / "snapshot.json"
        snapshot.write_bytes(world.snapshot())
        command = [sys.executable, "-m", "placet", "relay", "serve", "--port", "0", "--no-limits"]
        self._process = subprocess.Popen(
            [*command, "--state", str(folder / "state"), "--trust-snapshot", str(snapshot)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        found = re.search(r"http://([^:]+):(\d+)", self._process.stdout.readline())
        assert found is not None
        self._http = http.client.HTTPConnection(found[1], int(found[2]), timeout=30)

    def post(self, path: str, body: bytes) -> None:
        """Makes a call that creates something."""
        self._http.request("POST", path, body, {"Content-Type": "application/json"})
        response = self._http.getresponse()
        answer = response.read()
        assert response.status == 201, answer

    def close(self) -> None:
        """Ends it."""
        self._http.close()
        self._process.terminate()
        self._process.wait()


def make_approvals(world: World, relay: Relay, count: int) -> list[tuple[str, bytes]]:
    """Submits requests; returns path and body of an approval of each."""
    found = []
    for _ in range(count):
        request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
        body = {"request": json.loads(encode_request(request)), "withdrawToken": {"sha256": sha256_hex(b"t")}}
        relay.post("/v1/requests", encode_canonical(body))
        answer = json.loads(encode_answer(world.approve(request, ALICE)))
        found.append((f"/v1/requests/{request.id}/answers", encode_canonical({"answer": answer})))
    return found


def measure(folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Returns the seconds of each sync and of each approval."""
    world = World(now=int(time.time()) - 100)
    relay = Relay(folder, world)
    descriptor = os.open(folder / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    block = os.urandom(4096)

    def sync() -> None:
        os.write(descriptor, block)
        os.fdatasync(descriptor)

    syncs, approvals = [], []
    try:
        for path, body in make_approvals(world, relay, count):
            syncs.append(timed(sync))
            approvals.append(timed(lambda path=path, body=body: relay.post(path, body)))  # type: ignore[misc]
    finally:
        relay.close()
        os.close(descriptor)
    return syncs, approvals


def main() -> int:
    """Measures, prints, and says whether the goal is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="approvals in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="on the disk that is meant (default: here)")
    args = parser.parse_args()
    syncs: list[float] = []
    approvals: list[float] = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory(dir=args.dir or Path.cwd()) as folder:
            some_syncs, some_approvals = measure(Path(folder), args.count)
        syncs += some_syncs
        approvals += some_approvals
    for name, values in (("sync", syncs), ("approve", approvals)):
        middle, high = statistics.median(values) * 1e3, percentile(values) * 1e3
        print(f"{name:8} median {middle:6.2f} ms, p{PERCENTILE} {high:6.2f} ms")
    limit = FACTOR * percentile(syncs) + ALLOWANCE_SECONDS
    is_met = percentile(approvals) <= limit
    print(
        f"approve to signed checkpoint: p{PERCENTILE} {percentile(approvals) * 1e3:.2f} ms; "
        f"goal at most {limit * 1e3:.2f} ms ({FACTOR:g} x sync + {ALLOWANCE_SECONDS * 1e3:g} ms): "
        f"{'met' if is_met else 'MISSED'}"
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
