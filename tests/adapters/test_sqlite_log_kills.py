"""A process that writes the log is killed at any moment: no acknowledged leaf is lost, no history forks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from placet.adapters.sqlite import _log_index
from placet.adapters.sqlite.log import SqliteLog
from placet.core.tlog.checkpoint import Checkpoint, verify_checkpoint
from placet.core.tlog.merkle import hash_leaf, verify_consistency, verify_inclusion
from placet.ports.log_store import LogEntry
from placet.testing.contracts.log_store import SIGNER, verified

KILLS = 200
LIVES_PER_CHECK = 5
# Of half the writers from their birth, so that opening the log is hit; of the others from their first
# acknowledgement, so that commits are.
LONGEST_LIFE = 0.008
WRITERS = 3


async def write_until_killed(path: Path, life: int, acknowledge: int) -> None:
    log = SqliteLog.open(path, SIGNER)

    async def write(writer: int) -> None:
        for turn in range(10_000):
            names = [f"{life} {writer} {turn} {i}".encode() for i in range(1 + turn * 7 % 30)]
            appended = await log.append([LogEntry(name, b"record of " + name) for name in names])
            # The acknowledgement, and what a witness would have seen by then: one line, one write.
            first, last = appended[0].leaf_index, names[-1].decode()
            checkpoint = (await log.checkpoint()).hex()
            os.write(acknowledge, f"{first} {len(names)} {last} {checkpoint}\n".encode())

    await asyncio.gather(*map(write, range(WRITERS)))


def live_and_die(path: Path, life: int, seconds: float) -> list[tuple[int, list[bytes], Checkpoint]]:
    """Kills a writer after so many seconds of work; returns what it had acknowledged."""
    receive, acknowledge = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(receive)
            asyncio.run(write_until_killed(path, life, acknowledge))
        os._exit(1)
    os.close(acknowledge)
    with os.fdopen(receive, "rb") as lines:
        heard = lines.readline() if life % 2 else b""
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        heard += lines.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"
    acknowledged = []
    for line in heard.decode().splitlines():
        first, count, *last, checkpoint = line.split(" ")
        stem = " ".join(last[:-1])
        names = [f"{stem} {i}".encode() for i in range(int(count))]
        seen = verify_checkpoint(bytes.fromhex(checkpoint), SIGNER.verifier_key)
        acknowledged.append((int(first), names, seen))
    return acknowledged


async def check(
    path: Path, acknowledged: list[tuple[int, list[bytes], Checkpoint]], seen: list[Checkpoint]
) -> Checkpoint:
    """Checks the log that a killed writer left behind; returns its newest checkpoint."""
    log = SqliteLog.open(path, SIGNER)
    try:
        newest = await verified(log)
        for first, names, at_that_time in acknowledged:
            assert first + len(names) <= at_that_time.tree_size
            assert [await log.find(hash_leaf(name)) for name in names] == list(
                range(first, first + len(names))
            )
        for first, names, _ in acknowledged[-3:]:
            proof = await log.prove_inclusion(first, newest.tree_size)
            verify_inclusion(hash_leaf(names[0]), first, newest.tree_size, proof, newest.root_hash)
            assert await log.read_records(first, 1) == ((first, b"record of " + names[0]),)
        for old in seen:
            proof = await log.prove_consistency(old.tree_size, newest.tree_size)
            verify_consistency(old.tree_size, old.root_hash, newest.tree_size, newest.root_hash, proof)
        return newest
    finally:
        await log.close()


def test_killed_at_any_moment_nothing_acknowledged_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that leaves move into the table of hashes again and again.
    monkeypatch.setattr(_log_index, "MAX_RECENT", 300)
    monkeypatch.setattr(_log_index, "_SLICE", 30)
    chosen = random.Random(20)
    path = tmp_path / "log.sqlite3"
    roots: dict[int, bytes] = {}
    everything: list[tuple[int, list[bytes], Checkpoint]] = []
    newest: list[Checkpoint] = []
    for start in range(0, KILLS, LIVES_PER_CHECK):
        acknowledged = []
        for life in range(start, start + LIVES_PER_CHECK):
            # Each writer opens what the one before it left.
            acknowledged += live_and_die(path, life, chosen.random() * LONGEST_LIFE)
        seen = [checkpoint for *_, checkpoint in acknowledged]
        newest = [asyncio.run(check(path, acknowledged, seen[::5] + newest))]
        for checkpoint in seen + newest:
            assert roots.setdefault(checkpoint.tree_size, checkpoint.root_hash) == checkpoint.root_hash
        everything += acknowledged
    assert len(everything) >= KILLS // 2
    asyncio.run(check(path, everything, [Checkpoint(SIGNER.name, *one) for one in list(roots.items())[::20]]))
