"""A server dies between any two of its writes, or one of them comes late: nothing is lost, nothing forks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from object_log_world import (
    Death,
    Place,
    check_one_history,
    check_written_once,
    live_until,
    read_as_anybody,
    signed_in,
)

from placet.adapters.object_log.store import ObjectLog
from placet.core.tlog.merkle import hash_leaf
from placet.ports.log_store import LogEntry
from placet.testing.contracts._log_scene import SIGNER, entries, entry, fill
from placet.testing.object_storage import Fate, StorageWire

# The journal and the checkpoint of a new log, and then, for each of two rounds of two leaves,
# the journal, a tile, a bundle of entries, two leaves, the checkpoint.
WRITES = 2 + 2 * 6
ROUNDS = [entries(0, 2), entries(2, 4)]


async def append_rounds(place: Place, wire: StorageWire, acknowledged: list[LogEntry]) -> None:
    # Not closed: the dead do not tidy up.
    log = await ObjectLog.open(place.address(wire), SIGNER)
    for wanted in ROUNDS:
        await log.append(wanted)
        acknowledged += wanted


@pytest.mark.parametrize("last", [Fate.DROP, Fate.DROP_ANSWER])
@pytest.mark.parametrize("at", range(WRITES))
def test_death_at_any_write_loses_nothing_that_was_acknowledged(
    place: Place, wire: Callable[[], StorageWire], at: int, last: Fate
) -> None:
    async def scenario() -> None:
        dying, living = wire(), wire()
        acknowledged: list[LogEntry] = []
        death = dying.fate = Death(at, last)
        assert await live_until(death, asyncio.create_task(append_rounds(place, dying, acknowledged)))
        async with place.open(living) as log:
            for one in acknowledged:
                assert await log.find(hash_leaf(one.leaf)) == int(one.leaf.split()[1])
            await check_one_history(log, dying, living)
            # Of a round, all or nothing came.
            before = len(read_as_anybody(place))
            assert before % 2 == 0
            others = [entry("after"), *ROUNDS[1], *ROUNDS[0]]
            placed = await log.append(others)
            assert sorted(one.leaf_index for one in placed) == list(range(5))
            assert sum(not one.created for one in placed) == before
            await check_one_history(log, dying, living)
        assert set(read_as_anybody(place)) == {one.leaf for one in others}
        check_written_once(dying, living)

    asyncio.run(scenario())


@pytest.mark.parametrize("at", range(WRITES))
def test_a_write_that_comes_late_changes_nothing(
    place: Place, wire: Callable[[], StorageWire], at: int
) -> None:
    """It was sent by a server that died long ago; meanwhile the log went on with other leaves."""

    async def scenario() -> None:
        dying, living = wire(), wire()
        death = dying.fate = Death(at, Fate.DROP)
        assert await live_until(death, asyncio.create_task(append_rounds(place, dying, [])))
        async with place.open(living) as log:
            await log.append([entry(f"other {n}") for n in range(5)])
            before = place.objects()
            assert death.held is not None
            assert living.send(death.held.raw) == 412
            assert place.objects() == before
            await log.append([entry("one more")])
            await check_one_history(log, dying, living)
        read_as_anybody(place)

    asyncio.run(scenario())


@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_death_while_a_tile_becomes_full(place: Place, wire: Callable[[], StorageWire], at: int) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 255)
        dying, living = wire(), wire()
        dying.fate = Death(at, Fate.DROP)

        async def life() -> None:
            log = await ObjectLog.open(place.address(dying), SIGNER)
            await log.append(entries(255, 258))

        assert await live_until(dying.fate, asyncio.create_task(life()))
        async with place.open(living) as log:
            await log.append([entry("other")])
            await check_one_history(log, dying, living)
        leaves = read_as_anybody(place)
        assert set(leaves) == {one.leaf for one in [*entries(0, 258), entry("other")]}
        check_written_once(dying, living)

    asyncio.run(scenario())


def test_whoever_sees_a_checkpoint_finds_its_tiles(place: Place, wire: Callable[[], StorageWire]) -> None:
    async def scenario() -> None:
        observed = wire()

        def look(request: object) -> Fate:
            # At this moment the checkpoint has not arrived yet, so it must all be there before it.
            if getattr(request, "path", "").endswith("/checkpoint") and getattr(request, "body", b""):
                read_as_anybody(place, request.body)  # type: ignore[attr-defined]
                looked.append(True)
            return Fate.PASS

        looked: list[bool] = []
        observed.fate = look
        async with place.open(observed) as log:
            for size in (1, 2, 3, 256, 257):
                await fill(log, size)
        assert len(looked) == len(signed_in(observed)) == 6

    asyncio.run(scenario())


CHILD = """
import asyncio, sys
from placet.adapters.object_log.address import BucketAddress
from placet.adapters.object_log.store import ObjectLog
from placet.testing.contracts._log_scene import SIGNER, entry

async def main(bucket, prefix, endpoint, name):
    log = await ObjectLog.open(BucketAddress(bucket, prefix, endpoint), SIGNER)
    async def write(one):
        for n in range(10**6):
            (placed,) = await log.append([entry(f"{name} {one} {n}")])
            print(placed.leaf_index, f"{name} {one} {n}", flush=True)
    await asyncio.gather(*map(write, range(3)))

asyncio.run(main(*sys.argv[1:]))
"""
# Each takes a second; the moment is not chosen.
KILLS = int(os.environ.get("PLACET_KILLS", "2"))


def test_sigkill_at_any_moment(place: Place, wire: Callable[[], StorageWire], tmp_path: Path) -> None:
    observed = wire()
    address = place.address(observed)
    acknowledged: dict[str, int] = {}
    for turn in range(KILLS):
        with (tmp_path / f"{turn}").open("w+") as output:
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, address.bucket, address.prefix, address.endpoint, f"t{turn}"],
                stdout=output,
            )
            while (tmp_path / f"{turn}").stat().st_size < 100 + 37 * turn and child.poll() is None:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            output.seek(0)
            for line in output.read().splitlines(keepends=True):
                if line.endswith("\n"):
                    index, name = line.rstrip().split(" ", 1)
                    assert acknowledged.setdefault(name, int(index)) == int(index)
    assert len(set(acknowledged.values())) == len(acknowledged) > KILLS

    async def scenario() -> None:
        async with place.open(observed) as log:
            for name, index in acknowledged.items():
                assert await log.find(hash_leaf(entry(name).leaf)) == index
            await check_one_history(log, observed)

    asyncio.run(scenario())
    read_as_anybody(place)
    check_written_once(observed)
