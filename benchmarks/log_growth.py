"""A log in SQLite that grows from a thousand leaves to a million, and proofs from its tiles.

At each size, by turns with a table that has the same rows and an index on the hash: single durable appends,
single ones without sync (which a slow disk does not blur), and batches of 256 without sync; and what opening
the log, its memory and its file have come to.  At the end: inclusion proofs made from what is stored, and
their verification against the bare hashes and one signature check.

    python benchmarks/log_growth.py [--leaves 1000000] [--dir FOLDER]

Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from log_append import BATCH, LEAF_BYTES, RECORD_BYTES, SIGNER, append, make_entries

from placet.adapters.sqlite import database as sqlite_database
from placet.adapters.sqlite._log_open import open_log_writer
from placet.adapters.sqlite.log import SqliteLog
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import TlogProof, encode_proof, parse_proof, verify_proof
from placet.ports.log_store import LogEntry

SINGLES = 300
MEMORY_GOAL_MB = 150.0
# Of the dearest size by the cheapest: more than noise would be growth.
FLAT_GOAL = 1.5
VERIFY_GOAL = 2.0
PROOFS = 200
UNLIMITED = 2**40


def peak_mb() -> float:
    """Returns the peak resident set of this process in MB (of 1000 * 1000 bytes)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        sys.exit("log_growth: this needs Linux")
    return int(found[1]) * 1024 / 1e6


class Row(NamedTuple):
    """Median seconds of an append, each followed by those of the bare row."""

    durable: float
    bare_durable: float
    unsynced: float
    bare_unsynced: float


class Growing:
    """A log and, beside it, a bare table with as many rows."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.sqlite3"
        self.size = 0
        self._bare, _ = sqlite_database.open_database(folder / "bare.sqlite3", UNLIMITED)
        columns = "i INTEGER PRIMARY KEY, hash BLOB UNIQUE, leaf BLOB, record BLOB"
        self._bare.execute(f"CREATE TABLE bare ({columns})")

    def open(self) -> float:
        """Opens the log as a start of the server does; returns the seconds."""
        start = time.perf_counter()
        self._connection, _ = sqlite_database.open_database(self.path, UNLIMITED)
        self._writer = open_log_writer(self._connection, self.path, SIGNER)
        return time.perf_counter() - start

    def close(self) -> None:
        """Closes the log, which folds its write-ahead log into the file."""
        self._connection.close()
        self._writer.close()

    def _sync(self, level: str) -> None:
        for connection in (self._connection, self._bare):
            connection.execute(f"PRAGMA synchronous = {level}")

    def grow(self, size: int) -> tuple[list[float], list[float]]:
        """Grows both to a size without sync; returns the seconds for each batch, of the log and bare."""
        log, bare = [], []
        self._sync("OFF")
        while self.size < size:
            # Records of a realistic size would fill the disk with what no figure here depends on.
            entries = make_entries(min(BATCH, size - self.size), LEAF_BYTES, 0)
            one, other = self._append_both(entries)
            log.append(one)
            bare.append(other)
        return log, bare

    def append_singles(self) -> Row:
        """Appends one by one, durable and not."""
        medians = []
        for level in ("FULL", "OFF"):
            self._sync(level)
            entries = make_entries(SINGLES, LEAF_BYTES, RECORD_BYTES)
            both = [self._append_both([entry]) for entry in entries]
            medians += [statistics.median(side) for side in zip(*both, strict=True)]
        return Row(*medians)

    def _append_both(self, entries: list[LogEntry]) -> tuple[float, float]:
        times = [time.perf_counter()]
        append(self._connection, self._writer, entries)
        times.append(time.perf_counter())
        rows = [(hash_leaf(leaf), leaf, record) for leaf, record in entries]
        self._bare.execute("BEGIN IMMEDIATE")
        self._bare.executemany("INSERT INTO bare (hash, leaf, record) VALUES (?, ?, ?)", rows)
        self._bare.execute("COMMIT")
        times.append(time.perf_counter())
        self.size += len(entries)
        return times[1] - times[0], times[2] - times[1]


def measure_growth(growing: Growing, sizes: list[int]) -> list[float]:
    """Prints a row for each size; returns the seconds of a single append without sync at each."""
    heads = ("leaves", "durable append", "times bare", "without sync", "times bare", "in batches, a leaf")
    heads += ("times bare", "slowest batch", "open", "peak memory", "file")
    print(f"| {' | '.join(heads)} |\n|{'---:|' * len(heads)}")
    growing.open()
    singles = []
    for size in sizes:
        log, bare = growing.grow(size)
        row = growing.append_singles()
        growing.close()
        opened = growing.open()
        singles.append(row.unsynced)
        cells = (
            f"{size:,}",
            f"{row.durable * 1e6:.0f} µs",
            f"{row.durable / row.bare_durable:.2f}",
            f"{row.unsynced * 1e6:.0f} µs",
            f"{row.unsynced / row.bare_unsynced:.2f}",
            f"{sum(log) / len(log) / BATCH * 1e6:.1f} µs",
            f"{sum(log) / sum(bare):.2f}",
            f"{max(log) * 1e3:.0f} ms",
            f"{opened * 1e3:.0f} ms",
            f"{peak_mb():.0f} MB",
            f"{growing.path.stat().st_size / 1e6:.0f} MB",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    growing.close()
    return singles


async def make_proofs(path: Path) -> tuple[list[tuple[bytes, str]], float]:
    """Returns proofs of random leaves with the leaves' hashes, and the median seconds for making one."""
    log = SqliteLog.open(path, SIGNER)
    checkpoint = await log.checkpoint()
    size = parse_checkpoint(parse_note(checkpoint).text).tree_size
    proofs, seconds = [], []
    for index in random.Random(5).sample(range(size), PROOFS):
        ((_, _),) = await log.read_records(index, 1)
        tile = await log.read_tile(0, index // BATCH, min(BATCH, size - index // BATCH * BATCH))
        start = time.perf_counter()
        hashes = await log.prove_inclusion(index, size)
        seconds.append(time.perf_counter() - start)
        leaf_hash = tile[index % BATCH * 32 :][:32]
        proofs.append((leaf_hash, encode_proof(TlogProof(index, hashes, checkpoint))))
    await log.close()
    return proofs, statistics.median(seconds)


def bare_check(leaf_hash: bytes, text: str) -> Callable[[], None]:
    """Returns the hashes of one proof and the check of the log's signature, with everything parsed before."""
    proof = parse_proof(text)
    note = parse_note(proof.checkpoint)
    key, signature = SIGNER.private_key.public_key(), note.signatures[0].signature

    def run() -> None:
        found = leaf_hash
        for sibling in proof.hashes:
            found = sha256(b"\1" + found + sibling).digest()
        key.verify(signature, note.text)

    return run


def measure_verification(proofs: list[tuple[bytes, str]]) -> tuple[float, float]:
    """Returns the median seconds for verifying a proof from its text on, and for the bare checks."""
    policy = parse_log_policy(f"log {SIGNER.verifier_key}\nquorum none\n".encode())
    whole, bare = [], []
    for _ in range(5):
        for leaf_hash, text in proofs:
            check = bare_check(leaf_hash, text)
            times = [time.perf_counter()]
            verify_proof(parse_proof(text), leaf_hash, policy)
            times.append(time.perf_counter())
            check()
            times.append(time.perf_counter())
            whole.append(times[1] - times[0])
            bare.append(times[2] - times[1])
    return statistics.median(whole), statistics.median(bare)


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="A log that grows to a million leaves, and its proofs.")
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument(
        "--dir", type=Path, default=Path(__file__).parent, help="a folder on the disk to measure"
    )
    args = parser.parse_args()
    sizes = [size for size in (1_000, 10_000, 100_000, 300_000) if size < args.leaves] + [args.leaves]
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        growing = Growing(Path(folder))
        singles = measure_growth(growing, sizes)
        memory = peak_mb()
        proofs, making = asyncio.run(make_proofs(growing.path))
    whole, bare = measure_verification(proofs)
    flat = max(singles) / min(singles)
    hashes = len(parse_proof(proofs[0][1]).hashes)
    print(
        f"\nproof: {hashes} hashes, {len(proofs[0][1])} bytes as text; made in {making * 1e3:.2f} ms; "
        f"verified in {whole * 1e6:.0f} µs, {whole / bare:.2f} times the bare hashes and one signature check"
    )
    print(f"single append without sync: dearest by cheapest size {flat:.2f}, goal {FLAT_GOAL:g}")
    print(f"peak memory {memory:.0f} MB, goal {MEMORY_GOAL_MB:g}; verification goal {VERIFY_GOAL:g}")
    met = flat <= FLAT_GOAL and memory < MEMORY_GOAL_MB and whole / bare <= VERIFY_GOAL
    print("all met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
