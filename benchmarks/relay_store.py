"""Group commit against one commit per write, on the same disk, in one interleaved run.

Three sides, each making every write durable before it is acknowledged:

- bare      the standard library's sqlite3 in a loop, one INSERT per commit: no store can be
            faster that commits each write by itself
- alone     the relay's store with groups of one, many writers at once
- group     the relay's store as it ships, the same writers

Then once more with a delay added to each sync (slowsync.c), because the disk of a development
machine often answers from a cache.  Quotable are the ratios of medians; the rates depend on the machine.

    python benchmarks/relay_store.py [--writers 64 128] [--rounds 7] [--dir FOLDER]

Exits with 1 when group commit is less than four times as fast as either other side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from placet.adapters.sqlite import database as sqlite_database
from placet.adapters.sqlite.group_commit import MAX_GROUP
from placet.adapters.sqlite.store import _INSERT_REQUEST, SqliteRequestStore
from placet.adapters.stored_requests import seal_of
from placet.core.encoding import Digest
from placet.ports.request_store import NewRequest, RequestId

NOW = 1_800_000_000
# What a usual request takes: a statement of 1.5 KB in base64, without evidence.
CONTAINER_BYTES = 2048
GOAL = 4.0
SLOW_SYNC_MICROSECONDS = 2000
# A side runs about this long per round: enough for hundreds of syncs, short enough to interleave.
SECONDS_PER_TURN = 0.4


def make_requests(count: int) -> list[NewRequest]:
    """Makes requests of a usual size with random content."""
    return [
        NewRequest(
            RequestId(Digest(secrets.token_hex(32))),
            os.urandom(CONTAINER_BYTES),
            Digest(secrets.token_hex(32)),
            NOW + 60,
        )
        for _ in range(count)
    ]


def run_bare(folder: Path, count: int) -> float:
    """Returns writes per second of a plain loop with one commit per write."""
    requests = make_requests(count)
    connection, _ = sqlite_database.open_database(folder / "bare.sqlite3", sqlite_database.DEFAULT_MAX_BYTES)
    start = time.perf_counter()
    for request in requests:
        connection.execute("BEGIN IMMEDIATE")
        values = (request.id, request.container, request.withdraw_hash, NOW, request.expires_at)
        seal = seal_of(request.id, request.withdraw_hash, NOW, request.expires_at, request.container)
        connection.execute(_INSERT_REQUEST, (*values, "", seal))
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - start
    connection.close()
    return count / elapsed


def run_store(folder: Path, count: int, writers: int, max_group: int) -> float:
    """Returns acknowledged writes per second of the store under `writers` concurrent writers."""

    async def main() -> float:
        store = SqliteRequestStore.open(folder / "relay.sqlite3", max_group=max_group)
        requests = iter(make_requests(count))

        async def write() -> None:
            for request in requests:
                await store.submit(request, now=NOW)

        start = time.perf_counter()
        await asyncio.gather(*(write() for _ in range(writers)))
        elapsed = time.perf_counter() - start
        await store.close()
        return count / elapsed

    return uvloop.run(main())


def measure(root: Path, writers: int, rounds: int) -> dict[str, float]:
    """Runs the three sides by turns; returns the median rate of each."""
    sides: dict[str, Callable[[Path, int], float]] = {
        "bare": run_bare,
        "alone": lambda folder, count: run_store(folder, count, writers, 1),
        "group": lambda folder, count: run_store(folder, count, writers, MAX_GROUP),
    }
    counts = dict.fromkeys(sides, 500)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory(dir=root) as folder:
                rate = side(Path(folder), counts[name])
            # The first turn warms up and says how many writes fill a turn.
            if turn == 0:
                counts[name] = max(200, int(rate * SECONDS_PER_TURN))
            else:
                rates[name].append(rate)
    return {name: statistics.median(values) for name, values in rates.items()}


def sync_microseconds(root: Path) -> float:
    """Returns the median time of a 4 KiB append with fdatasync."""
    with tempfile.TemporaryFile(dir=root) as file:
        times = []
        for _ in range(200):
            os.write(file.fileno(), bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def report(root: Path, writers: list[int], rounds: int) -> dict[str, object]:
    """Measures everything once under the sync that this process has."""
    return {
        "sync": sync_microseconds(root),
        "rates": {str(count): measure(root, count, rounds) for count in writers},
    }


def report_with_slow_sync(root: Path, arguments: list[str]) -> dict[str, object]:
    """Measures in a child process whose syncs take longer."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("relay_store: no C compiler; install gcc to measure with a slower sync")
    shim = root / "slowsync.so"
    source = Path(__file__).with_name("slowsync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", shim, source, "-ldl"], check=True)
    delay = {"LD_PRELOAD": str(shim), "SLOWSYNC_MICROSECONDS": str(SLOW_SYNC_MICROSECONDS)}
    child = subprocess.run(
        [sys.executable, __file__, "--as-child", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **delay},
    )
    result: dict[str, object] = json.loads(child.stdout)
    if float(str(result["sync"])) < SLOW_SYNC_MICROSECONDS:
        sys.exit("relay_store: the delay did not reach the syncs of the child process")
    return result


def print_table(title: str, result: dict[str, object]) -> float:
    """Prints one table; returns the smallest ratio in it."""
    print(f"\n{title} (fdatasync: median {result['sync']:.0f} us)\n")
    print("| writers | bare /s | alone /s | group /s | group : bare | group : alone |")
    print("|---:|---:|---:|---:|---:|---:|")
    ratios = []
    rates = result["rates"]
    assert isinstance(rates, dict)
    for writers, side in rates.items():
        bare, alone = side["group"] / side["bare"], side["group"] / side["alone"]
        ratios += [bare, alone]
        print(
            f"| {writers} | {side['bare']:,.0f} | {side['alone']:,.0f} | {side['group']:,.0f} "
            f"| {bare:.1f} | {alone:.1f} |"
        )
    return min(ratios)


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Group commit against one commit per write.")
    parser.add_argument("--writers", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--dir", type=Path, default=Path(__file__).parent, help="a folder on the disk to measure"
    )
    parser.add_argument("--as-child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_child:
        print(json.dumps(report(args.dir, args.writers, args.rounds)))
        return 0
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        root = Path(folder)
        arguments = ["--dir", str(root), "--rounds", str(args.rounds)]
        arguments += ["--writers", *map(str, args.writers)]
        plain = report(root, args.writers, args.rounds)
        slow = report_with_slow_sync(root, arguments)
    smallest = min(
        print_table("This disk", plain),
        print_table(f"With {SLOW_SYNC_MICROSECONDS / 1000:g} ms added to each sync", slow),
    )
    met = smallest >= GOAL
    print(f"\nsmallest ratio {smallest:.1f}, goal {GOAL:g}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
