"""What every `placet.ports.log_store.LogStore` must do, as tests to inherit (they need pytest).

An implementation subclasses `LogStoreContract` in a test module and says how to open a log and how to damage
what it keeps.  ``open_log`` is called again within one test to see what a restart finds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from placet.core.errors import PlacetError, Reason
from placet.core.tlog.checkpoint import Checkpoint
from placet.core.tlog.merkle import EMPTY_ROOT, hash_leaf, verify_consistency, verify_inclusion
from placet.core.tlog.note import NoteSigner
from placet.core.tlog.tiles import parse_entries
from placet.ports.log_store import (
    MAX_APPENDED,
    MAX_LEAF_BYTES,
    MAX_PAGE_BYTES,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    LogEntry,
    LogStore,
    NotInLogError,
)
from placet.testing.contracts._log_cosigning import CosigningContract
from placet.testing.contracts._log_scene import (
    SIGNER,
    Open,
    entries,
    entry,
    fill,
    refused,
    root_of,
    signer,
    verified,
)

__all__ = ["SIGNER", "LogStoreContract", "entry", "refused", "signer", "verified"]


class LogStoreContract(CosigningContract):
    """Inherit, and implement `open_log` and `damage`."""

    async def open_log(self, place: Path, key: NoteSigner) -> LogStore:
        """Opens the log at `place`, an empty folder at first, or raises as the store does."""
        raise NotImplementedError

    def damage(self, place: Path, what: str) -> None:
        """Changes a byte, while the log is closed.

        Args:
            place: as given to `open_log`.
            what: `leaf` or `record` for that of the leaf 0, `tile` for the first hash of tile 0 of level 0,
                `checkpoint` for the newest one, `lost` to lose the newest leaf and nothing else.
        """
        raise NotImplementedError

    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[[Callable[[Open], Awaitable[None]]], None]:
        """Runs a scenario, which is given what opens the log."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[LogStore]:
            log = await self.open_log(tmp_path, SIGNER)
            try:
                yield log
            finally:
                await log.close()

        async def main(scenario: Callable[[Open], Awaitable[None]]) -> None:
            await scenario(opened)

        return lambda scenario: asyncio.run(main(scenario))

    def test_a_new_log_has_a_signed_checkpoint_of_nothing(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                assert await verified(log) == Checkpoint(SIGNER.name, 0, EMPTY_ROOT)
                assert log.log_origin == SIGNER.name
                assert await log.cosigned() is None
                assert await log.find(hash_leaf(b"")) is None
                assert await log.read_records(0, 10) == ()
                assert await log.append([]) == ()
                assert (await verified(log)).tree_size == 0

        run(scenario)

    def test_what_is_acknowledged_is_there_after_a_restart(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                appended = await log.append(entries(0, 3))
                assert [a.leaf_index for a in appended] == [0, 1, 2]
                assert [a.leaf_hash for a in appended] == [hash_leaf(e.leaf) for e in entries(0, 3)]
                assert all(a.created for a in appended)
                before = await log.checkpoint()
            async with opened() as log:
                assert await log.checkpoint() == before
                assert [await log.find(hash_leaf(e.leaf)) for e in entries(0, 4)] == [0, 1, 2, None]
                assert await log.read_records(0, 9) == tuple(enumerate(e.record for e in entries(0, 3)))
                assert (await log.append([entry(3)]))[0].leaf_index == 3

        run(scenario)

    def test_the_same_leaf_keeps_its_place_and_its_record(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                twice = [entry("a"), entry("b"), entry("a", b"another record")]
                assert [a[::2] for a in await log.append(twice)] == [(0, True), (1, True), (0, False)]
                mixed = [entry("c"), entry("b"), entry("d")]
                assert [a[::2] for a in await log.append(mixed)] == [(2, True), (1, False), (3, True)]
            async with opened() as log:
                before = await log.checkpoint()
                again = await log.append([entry("d"), entry("a", b"a third record")])
                assert [a[::2] for a in again] == [(3, False), (0, False)]
                assert await log.checkpoint() == before
                assert (await log.read_records(0, 1)) == ((0, entry("a").record),)

        run(scenario)

    def test_many_writers_get_places_without_gaps(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                calls = [log.append([entry(f"{n} {i}") for i in range(3)]) for n in range(40)]
                same = [log.append([entry("same")]) for _ in range(10)]
                results = await asyncio.gather(*calls, *same)
                for appended in results[:40]:
                    first = appended[0].leaf_index
                    assert [a.leaf_index for a in appended] == [first, first + 1, first + 2]
                assert sorted({a.leaf_index for r in results for a in r}) == list(range(121))
                assert sum(a.created for r in results[40:] for a in r) == 1
                assert (await verified(log)).tree_size == 121

        run(scenario)

    def test_what_append_returned_is_covered_by_the_checkpoint(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:

                async def writer(name: int) -> None:
                    for turn in range(5):
                        appended = await log.append([entry(f"{name} {turn}")])
                        assert (await verified(log)).tree_size > appended[0].leaf_index

                await asyncio.gather(*map(writer, range(10)))

        run(scenario)

    def test_every_checkpoint_continues_every_earlier_one(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            seen: list[Checkpoint] = []
            for size in (1, 2, 3, 8, 255, 256, 257, 511, 512, 700):
                async with opened() as log:
                    await fill(log, size)
                    new = await verified(log)
                    assert new.root_hash == root_of([hash_leaf(e.leaf) for e in entries(0, size)])
                    seen.append(new)
                    for old in seen:
                        proof = await log.prove_consistency(old.tree_size, new.tree_size)
                        verify_consistency(old.tree_size, old.root_hash, size, new.root_hash, proof)

        run(scenario)

    def test_each_leaf_is_proven_in_each_tree(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 600)
                hashes = [hash_leaf(e.leaf) for e in entries(0, 600)]
                chosen = random.Random(1)
                for size in (1, 2, 7, 256, 257, 599, 600):
                    root = root_of(hashes[:size])
                    for index in {0, size - 1, *(chosen.randrange(size) for _ in range(5))}:
                        proof = await log.prove_inclusion(index, size)
                        verify_inclusion(hashes[index], index, size, proof, root)

        run(scenario)

    def test_what_the_tree_does_not_have_cannot_be_proven(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 5)
                for index, size in ((5, 5), (0, 6), (-1, 5), (0, 0)):
                    with pytest.raises(NotInLogError):
                        await log.prove_inclusion(index, size)
                for old, new in ((3, 6), (4, 3), (-1, 5)):
                    with pytest.raises(NotInLogError):
                        await log.prove_consistency(old, new)

        run(scenario)

    def test_tiles_and_entries_are_those_of_the_tree(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 700)
            async with opened() as log:
                hashes = [hash_leaf(e.leaf) for e in entries(0, 700)]
                for index, width in ((0, 256), (1, 256), (2, 188), (2, 1), (0, 100)):
                    start = index * 256
                    assert await log.read_tile(0, index, width) == b"".join(hashes[start : start + width])
                    leaves = parse_entries(await log.read_entries(index, width))
                    assert leaves == tuple(e.leaf for e in entries(start, start + width))
                roots = [root_of(hashes[:256]), root_of(hashes[256:512])]
                assert await log.read_tile(1, 0, 2) == b"".join(roots)
                assert await log.read_tile(1, 0, 1) == roots[0]

        run(scenario)

    @pytest.mark.parametrize(
        ("level", "index", "width"),
        [
            (0, 1, 2),
            (0, 2, 1),
            (0, 0, 0),
            (0, 0, 257),
            (0, -1, 1),
            (1, 0, 2),
            (1, 1, 1),
            (2, 0, 1),
            (-1, 0, 1),
            (63, 0, 1),
            (10**6, 0, 1),
            (0, 2**70, 1),
        ],
    )
    def test_tiles_that_are_not_there_are_named(self, run: Any, level: int, index: int, width: int) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 257)
                with pytest.raises(NotInLogError):
                    await log.read_tile(level, index, width)
                if level == 0:
                    with pytest.raises(NotInLogError):
                        await log.read_entries(index, width)

        run(scenario)

    def test_records_come_in_pages(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 300)
                for start, limit, count in ((0, 7, 7), (250, 20, 20), (295, 20, 5), (0, 10**6, MAX_RECORDS)):
                    page = await log.read_records(start, limit)
                    assert page == tuple((n, entry(n).record) for n in range(start, start + count))
                assert await log.read_records(300, 5) == ()
                assert len(await log.read_records(0, 0)) == 1

        run(scenario)

    def test_large_records_come_in_smaller_pages(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            large = [entry(n, bytes([n]) * (MAX_RECORD_BYTES - n)) for n in range(8)]
            async with opened() as log:
                await log.append(large)
                found: list[tuple[int, bytes]] = []
                while page := await log.read_records(len(found), 100):
                    assert sum(len(record) for _, record in page) <= MAX_PAGE_BYTES + MAX_RECORD_BYTES
                    found += page
                assert found == list(enumerate(e.record for e in large))

        run(scenario)

    def test_the_largest_leaf_and_the_empty_one_are_taken(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                leaves = (b"", bytes(MAX_LEAF_BYTES))
                await log.append([LogEntry(leaf, b"") for leaf in leaves])
                assert parse_entries(await log.read_entries(0, 2)) == leaves

        run(scenario)

    @pytest.mark.parametrize(
        "wanted",
        [
            [entry(0), LogEntry(bytes(MAX_LEAF_BYTES + 1), b"")],
            [entry(0), entry(1, bytes(MAX_RECORD_BYTES + 1))],
            entries(0, MAX_APPENDED + 1),
        ],
        ids=["leaf", "record", "entries"],
    )
    def test_too_much_is_refused_and_nothing_of_it_appended(self, run: Any, wanted: list[LogEntry]) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                assert await refused(log.append(wanted)) is Reason.LOG_REFUSED
                assert (await verified(log)).tree_size == 0

        run(scenario)

    def test_a_cancelled_append_leaves_a_whole_log(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                for turn in range(10):
                    task = asyncio.create_task(log.append([entry(f"{turn} {i}") for i in range(5)]))
                    await asyncio.sleep(0 if turn % 2 else 0.0005)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                again = await log.append([entry(f"{turn} {i}") for turn in range(10) for i in range(5)])
                assert sorted(a.leaf_index for a in again) == list(range(50))
                for five in range(0, 50, 5):
                    assert len({a.created for a in again[five : five + 5]}) == 1

        run(scenario)

    def test_a_closed_log_says_so(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 1)
                await log.check_health()
                await log.close()
                assert await refused(log.append([entry(1)])) is Reason.LOG_UNAVAILABLE
                assert await refused(log.check_health()) is Reason.LOG_UNAVAILABLE

        run(scenario)

    def test_another_key_signs_nothing_here(self, run: Any, tmp_path: Path) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 1)
            for other in (signer("another.example"), SIGNER._replace(private_key=signer("x").private_key)):
                assert await refused(self.open_log(tmp_path, other)) is Reason.LOG_DAMAGED
            async with opened() as log:
                assert (await verified(log)).tree_size == 1

        run(scenario)

    @pytest.mark.parametrize("size", [3, 256, 300])
    @pytest.mark.parametrize("what", ["leaf", "record", "tile", "checkpoint", "lost"])
    def test_damage_is_noticed_and_never_served(self, run: Any, tmp_path: Path, what: str, size: int) -> None:
        if what == "tile" and size < 256:
            return  # There is none to damage: the hashes come from the leaves.

        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, size)
            self.damage(tmp_path, what)
            with pytest.raises(PlacetError) as refusal:
                async with opened() as log:
                    await log.read_entries(0, min(size, 256))
                    await log.read_tile(0, 0, 1)
                    await log.prove_inclusion(2, size)
                    await log.read_records(0, 3)
            assert refusal.value.reason is Reason.LOG_DAMAGED
            assert refusal.value.hint

        run(scenario)
