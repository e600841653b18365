"""Appending to a log against what the disk and the hashes alone would take, in one interleaved run.

One append at a time, durable before it is acknowledged:

- bare      the standard library's sqlite3 in a loop, the same leaf and record in a row with an index on the
            hash, one commit each: no log in SQLite can be faster
- writer    the log's own writer in the same loop: leaf, record, hashes and a signed checkpoint
- client    `SqliteLog.append` from an event loop, as a server does it: the same and two changes of thread
- files     record, bundle, tile and checkpoint as files, each written aside, synced and renamed
- 64        `SqliteLog.append` for 64 clients at once

Batches of 256 leaves without any sync, against the hash-only limit: hashing 256 leaves and 255 nodes:

- memory    the growing tree and a signed checkpoint
- sqlite    the writer with SQLite's syncs turned off

Once more without the processor's SHA instructions, which not every machine has, and with 2 ms added to each
sync.  Quotable are the ratios of medians; the rates depend on the machine.

    python benchmarks/log_append.py [--rounds 9] [--dir FOLDER]

Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.adapters.log_tree import TreeEdge, grow_edge, sign_edge
from placet.adapters.sqlite import database as sqlite_database
from placet.adapters.sqlite._log_open import open_log_writer
from placet.adapters.sqlite._log_writer import LogWriter
from placet.adapters.sqlite.log import SqliteLog
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import ED25519, NoteSigner
from placet.core.tlog.tiles import encode_entries
from placet.ports.log_store import LogEntry

SIGNER = NoteSigner("log.example/benchmark", ED25519, Ed25519PrivateKey.generate())
# A decision's leaf takes 370 bytes, and its record, without much of a report, some 3 KB.
LEAF_BYTES, RECORD_BYTES = 370, 3000
BATCH = 256
BATCHED_LEAVES = (100, 370, 512)
CLIENTS = 64
SLOW_SYNC_MICROSECONDS = 2000
SECONDS_PER_TURN = 0.25
# OPENSSL_ia32cap: AVX2 as it is, the SHA extensions (bit 29 of the second word) off.
WITHOUT_SHA = ":~0x20000000"
GOALS = {
    "writer : bare": 0.6,
    "writer : files": 20.0,
    "64 : client": 4.0,
    "memory : limit": 0.7,
    "sqlite : limit": 0.45,
}
SINGLE_SIDES = ("bare", "writer", "client", "files", "64")


def make_entries(
    count: int, leaf_bytes: int = LEAF_BYTES, record_bytes: int = RECORD_BYTES
) -> list[LogEntry]:
    """Makes entries with random content."""
    return [LogEntry(os.urandom(leaf_bytes), os.urandom(record_bytes)) for _ in range(count)]


def open_writer(folder: Path, *, sync: str = "FULL") -> tuple[sqlite3.Connection, LogWriter]:
    """Opens a log without the thread that writes it in a server."""
    path = folder / "log.sqlite3"
    connection, _ = sqlite_database.open_database(path, sqlite_database.DEFAULT_MAX_BYTES)
    connection.execute(f"PRAGMA synchronous = {sync}")
    return connection, open_log_writer(connection, path, SIGNER)


def append(connection: sqlite3.Connection, writer: LogWriter, entries: list[LogEntry]) -> None:
    """Appends entries in one transaction, as the group commit does."""
    connection.execute("BEGIN IMMEDIATE")
    writer.stage(connection, entries)
    writer.before_commit(connection)
    connection.execute("COMMIT")
    writer.after_commit()


def run_bare(folder: Path, entries: list[LogEntry]) -> float:
    """Returns the seconds for inserting each entry in a commit of its own."""
    connection, _ = sqlite_database.open_database(folder / "bare.sqlite3", sqlite_database.DEFAULT_MAX_BYTES)
    connection.execute("CREATE TABLE bare (i INTEGER PRIMARY KEY, hash BLOB UNIQUE, leaf BLOB, record BLOB)")
    insert = "INSERT INTO bare (hash, leaf, record) VALUES (?, ?, ?)"
    start = time.perf_counter()
    for leaf, record in entries:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(insert, (hash_leaf(leaf), leaf, record))
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - start
    connection.close()
    return elapsed


def run_writer(folder: Path, entries: list[LogEntry]) -> float:
    """Returns the seconds for appending each entry in a commit of its own, without an event loop."""
    connection, writer = open_writer(folder)
    start = time.perf_counter()
    for entry in entries:
        append(connection, writer, [entry])
    elapsed = time.perf_counter() - start
    connection.close()
    return elapsed


def run_clients(folder: Path, entries: list[LogEntry], clients: int) -> float:
    """Returns the seconds for appending the entries through so many clients of one event loop."""

    async def main() -> float:
        log = SqliteLog.open(folder / "log.sqlite3", SIGNER)
        waiting = iter(entries)

        async def client() -> None:
            for entry in waiting:
                await log.append([entry])

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        elapsed = time.perf_counter() - start
        await log.close()
        return elapsed

    return uvloop.run(main())


def run_files(folder: Path, entries: list[LogEntry]) -> float:
    """Returns the seconds for a log that keeps the newest tile, bundle and checkpoint as synced files."""
    edge, bundle = TreeEdge(), []
    start = time.perf_counter()
    for entry in entries:
        edge, full = grow_edge(edge, [hash_leaf(entry.leaf)])
        bundle = [entry.leaf] if len(bundle) == BATCH else [*bundle, entry.leaf]
        tile = full[0].data if full else b"".join(edge.tiles[0])
        write_synced(folder / "entries", encode_entries(bundle))
        write_synced(folder / "record", entry.record)
        write_synced(folder / "tile", tile)
        write_synced(folder / "checkpoint", sign_edge(edge, SIGNER).checkpoint)
    return time.perf_counter() - start


def write_synced(path: Path, data: bytes) -> None:
    """Replaces a file so that either the old one or the new one survives."""
    aside = path.with_suffix(".new")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def measure_singles(root: Path, rounds: int) -> dict[str, float]:
    """Runs the sides by turns; returns the median rate of each."""
    sides: dict[str, Callable[[Path, list[LogEntry]], float]] = {
        "bare": run_bare,
        "writer": run_writer,
        "client": lambda folder, entries: run_clients(folder, entries, 1),
        "files": run_files,
        "64": lambda folder, entries: run_clients(folder, entries, CLIENTS),
    }
    counts = dict.fromkeys(sides, 60)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            entries = make_entries(counts[name])
            with tempfile.TemporaryDirectory(dir=root) as folder:
                rate = counts[name] / side(Path(folder), entries)
            # The first turn warms up and says how many appends fill a turn.
            if turn == 0:
                counts[name] = max(40, int(rate * SECONDS_PER_TURN))
            else:
                rates[name].append(rate)
    return {name: statistics.median(values) for name, values in rates.items()}


def hash_only(leaves: list[bytes]) -> bytes:
    """Hashes 256 leaves and their 255 nodes, and nothing else."""
    row = [sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


def measure_batches(root: Path, leaf_bytes: int, batches: int) -> dict[str, float]:
    """Returns the median rate, in leaves per second, of the limit, of the tree in memory, and of SQLite."""
    seconds: dict[str, list[float]] = {"limit": [], "memory": [], "sqlite": []}
    with tempfile.TemporaryDirectory(dir=root) as folder:
        connection, writer = open_writer(Path(folder), sync="OFF")
        edge = TreeEdge()
        for _ in range(batches):
            entries = make_entries(BATCH, leaf_bytes, 0)
            leaves = [entry.leaf for entry in entries]
            times = [time.perf_counter()]
            hash_only(leaves)
            times.append(time.perf_counter())
            edge, _ = grow_edge(edge, [sha256(b"\0" + leaf).digest() for leaf in leaves])
            sign_edge(edge, SIGNER)
            times.append(time.perf_counter())
            append(connection, writer, entries)
            times.append(time.perf_counter())
            for values, start, end in zip(seconds.values(), times, times[1:], strict=False):
                values.append(end - start)
        connection.close()
    return {name: BATCH / statistics.median(values) for name, values in seconds.items()}


def report_in_child(
    args: argparse.Namespace, part: str, environment: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Measures one part in a process with another environment."""
    arguments = ["--dir", str(args.dir), "--rounds", str(args.rounds), "--part", part]
    child = subprocess.run(
        [sys.executable, __file__, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    result: dict[str, dict[str, float]] = json.loads(child.stdout)
    return result


def compile_slow_sync(root: Path) -> dict[str, str]:
    """Returns the environment in which each sync takes longer."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("log_append: no C compiler; install gcc to measure with a slower sync")
    shim = root / "slowsync.so"
    source = Path(__file__).with_name("slowsync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", shim, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(shim), "SLOWSYNC_MICROSECONDS": str(SLOW_SYNC_MICROSECONDS)}


def print_singles(title: str, rates: dict[str, float]) -> dict[str, float]:
    """Prints the rates of single appends; returns their ratios."""
    print(f"\n{title}\n\n| {' | '.join(f'{name} /s' for name in SINGLE_SIDES)} |")
    print(f"|{'---:|' * len(SINGLE_SIDES)}")
    print(f"| {' | '.join(f'{rates[name]:,.0f}' for name in SINGLE_SIDES)} |")
    pairs = [("writer", "bare"), ("client", "bare"), ("writer", "files"), ("64", "client"), ("64", "bare")]
    ratios = {f"{one} : {other}": rates[one] / rates[other] for one, other in pairs}
    print("\n" + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    return ratios


def print_batches(title: str, rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """Prints the rates of batches; returns the ratios of the smallest leaves."""
    heads = ("bytes of a leaf", "limit /s", "memory /s", "sqlite /s", "memory : limit", "sqlite : limit")
    print(f"\n{title}\n\n| {' | '.join(heads)} |")
    print("|---:|---:|---:|---:|---:|---:|")
    ratios = {}
    for leaf_bytes, side in rates.items():
        memory, sqlite = side["memory"] / side["limit"], side["sqlite"] / side["limit"]
        ratios.setdefault("memory : limit", memory)
        ratios.setdefault("sqlite : limit", sqlite)
        print(
            f"| {leaf_bytes} | {side['limit']:,.0f} | {side['memory']:,.0f} | {side['sqlite']:,.0f} "
            f"| {memory:.2f} | {sqlite:.2f} |"
        )
    return ratios


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Appending to a log against its limits.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--dir", type=Path, default=Path(__file__).parent, help="a folder on the disk to measure"
    )
    parser.add_argument("--part", choices=["singles", "batches"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        root = Path(folder)
        if args.part == "singles":
            print(json.dumps({"singles": measure_singles(root, args.rounds)}))
            return 0
        if args.part == "batches":
            # Fewer leaves than move into the index at once; `log_growth.py` shows what that costs.
            sizes = BATCHED_LEAVES
            print(json.dumps({str(size): measure_batches(root, size, 6 * args.rounds) for size in sizes}))
            return 0
        singles = print_singles("One append, this disk", report_in_child(args, "singles", {})["singles"])
        slow = report_in_child(args, "singles", compile_slow_sync(root))["singles"]
        print_singles(f"One append, {SLOW_SYNC_MICROSECONDS / 1000:g} ms added to each sync", slow)
        batches = print_batches("Batches of 256, no sync", report_in_child(args, "batches", {}))
        plain = report_in_child(args, "batches", {"OPENSSL_ia32cap": WITHOUT_SHA})
        without = print_batches("The same without SHA instructions", plain)
    missed = [name for name, goal in GOALS.items() if {**singles, **batches}[name] < goal]
    print("\ngoals: " + ", ".join(f"{name} {goal:g}" for name, goal in GOALS.items()))
    print(f"without SHA instructions: sqlite : limit {without['sqlite : limit']:.2f}")
    print(f"missed: {', '.join(missed)}" if missed else "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
