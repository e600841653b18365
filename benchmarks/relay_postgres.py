"""Relays on PostgreSQL beside a relay on SQLite: requests per second and latency, in one interleaved run.

Three sides, each a real `placet relay serve`, each making every request durable before it answers:

- sqlite      one relay, its file on this disk
- postgres-1  one relay, a PostgreSQL of its own on this disk
- postgres-3  three relays on that PostgreSQL, the clients spread over them

The same clients send the same load to each in turn: they submit requests of a usual size, then fetch
them.  Clients, relays and server share this machine's cores, so three relays show here what sharing
costs; what more machines bring can only be measured with more machines.

    python benchmarks/relay_postgres.py [--clients 1 16 64] [--rounds 5] [--seconds 1.0]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import uvloop
from relay_store import sync_microseconds

from placet.core.bundle import encode_request
from placet.testing.postgres import start_postgres
from placet.testing.world import World

START = [sys.executable, "-m", "placet", "relay", "serve", "--port", "0", "--no-limits"]
RELAYS = 3


class Sample(NamedTuple):
    """What one turn of one side gave."""

    rate: float
    """Answers per second."""
    latencies: list[float]
    """Seconds of each call."""


class Client:
    """One connection to one relay, as lean as it can be: the load must not be the bottleneck."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    async def __aenter__(self) -> Client:
        host, port = self._address.hostname, self._address.port
        self._reader, self._writer = await asyncio.open_connection(host, port)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def call(self, head: bytes, body: bytes = b"") -> int:
        """Sends a request; returns its status."""
        self._writer.write(head + b"Host: relay\r\nContent-Length: %d\r\n" % len(body))
        self._writer.write(b"Content-Type: application/json\r\n\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer.lower())
        await self._reader.readexactly(int(length[1]) if length else 0)
        return int(answer[9:12])


class Supply:
    """Submissions, each of its own, made before the clock runs."""

    def __init__(self) -> None:
        self._world = World()
        self._world.expires_at = int(time.time()) + 86_400
        self._trust = self._world.trust()
        self._world.trust = lambda: self._trust  # type: ignore[method-assign]

    def take(self, count: int) -> list[tuple[str, bytes]]:
        """Returns ids and bodies."""
        now, made = int(time.time()), []
        for _ in range(count):
            request = self._world.request_deploy(now=now)
            body = {"request": json.loads(encode_request(request)), "withdrawToken": {"sha256": "0" * 64}}
            made.append((request.id, json.dumps(body).encode()))
        return made


@contextmanager
def relay(*arguments: str) -> Iterator[str]:
    """Runs a relay; yields its address."""
    process = subprocess.Popen(
        [*START, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[^,]+", process.stdout.readline())
        if found is None:
            sys.exit("relay_postgres: a relay did not start")
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


async def submit(urls: list[str], clients: int, seconds: float, supply: list[tuple[str, bytes]]) -> Sample:
    """Submits for some seconds; leaves in `supply` what was not sent."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def one(number: int) -> None:
        async with Client(urls[number % len(urls)]) as client:
            while supply and (begin := time.perf_counter()) < deadline:
                _, body = supply.pop()
                status = await client.call(b"POST /v1/requests HTTP/1.1\r\n", body)
                assert status == 201, status
                latencies.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*map(one, range(clients)))
    return Sample(len(latencies) / (time.perf_counter() - begin), latencies)


async def fetch(urls: list[str], clients: int, seconds: float, ids: list[str]) -> Sample:
    """Fetches requests that are there."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def one(number: int) -> None:
        async with Client(urls[number % len(urls)]) as client:
            while (begin := time.perf_counter()) < deadline:
                path = ids[len(latencies) % len(ids)].encode()
                assert await client.call(b"GET /v1/requests/%s HTTP/1.1\r\n" % path) == 200
                latencies.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*map(one, range(clients)))
    return Sample(len(latencies) / (time.perf_counter() - begin), latencies)


Results = dict[tuple[str, int, str], list[Sample]]


def measure(sides: dict[str, list[str]], clients: list[int], rounds: int, seconds: float) -> Results:
    """Runs every side in turn, round after round; the first round warms up."""
    supply = Supply()
    results: Results = {}
    most = dict.fromkeys(clients, 4000)
    for turn in range(rounds + 1):
        for count in clients:
            for side, urls in sides.items():
                made = supply.take(int(most[count] * seconds))
                ids = [request_id for request_id, _ in made]
                written = uvloop.run(submit(urls, count, seconds, made))
                if not made:
                    most[count] *= 2
                stored = ids[len(made) :]
                read = uvloop.run(fetch(urls, count, seconds, stored))
                if turn:
                    results.setdefault((side, count, "submit"), []).append(written)
                    results.setdefault((side, count, "fetch"), []).append(read)
                else:
                    # What the next turns need, with room for a faster one.
                    most[count] = max(int(2 * written.rate) + 50, 200)
    return results


def print_table(results: Results, clients: list[int], sides: list[str]) -> None:
    """Prints medians of the rounds; latencies over all calls of all rounds."""
    print("| clients | store | submits/s | p50 | p99 | fetches/s | p50 | p99 |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for count in clients:
        for side in sides:
            cells = []
            for what in ("submit", "fetch"):
                samples = results[side, count, what]
                every = sorted(latency for sample in samples for latency in sample.latencies)
                cells += [
                    f"{statistics.median(sample.rate for sample in samples):,.0f}",
                    f"{every[len(every) // 2] * 1e3:.1f} ms",
                    f"{every[int(len(every) * 0.99)] * 1e3:.1f} ms",
                ]
            print(f"| {count} | {side} | {' | '.join(cells)} |")


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Relays on PostgreSQL beside one on SQLite.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    args = parser.parse_args()
    with ExitStack() as stack:
        # Both on the disk of temporary files, where the server of the tests keeps its data.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(start_postgres("shared_buffers=128MB", "max_wal_size=4GB"))
        stores = {1: server.create_database(), RELAYS: server.create_database()}
        sides = {"sqlite": [stack.enter_context(relay("--state", str(folder)))]}
        for count, url in stores.items():
            sides[f"postgres-{count}"] = [stack.enter_context(relay("--store", url)) for _ in range(count)]
        sync = sync_microseconds(folder)
        results = measure(sides, args.clients, args.rounds, args.seconds)
    print(f"\n{os.cpu_count()} cores for clients, relays and server; fdatasync: median {sync:.0f} us\n")
    print_table(results, args.clients, list(sides))
    most = max(args.clients)
    rates = {
        side: statistics.median(sample.rate for sample in results[side, most, "submit"]) for side in sides
    }
    print(
        f"\nsubmits with {most} clients, to sqlite: one relay {rates['postgres-1'] / rates['sqlite']:.2f},"
        f" three relays {rates['postgres-3'] / rates['sqlite']:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
