"""Static tiles: whole at every moment, resumed where they ended, never of two histories."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from log_inside import SIGNER, Clock

from placet.core.errors import IndeterminateError, Reason, VerificationError
from placet.core.tlog.checkpoint import Checkpoint, verify_checkpoint
from placet.core.tlog.merkle import CompactRange, extend, hash_leaf
from placet.core.tlog.tiles import parse_entries, read_node_from_tiles, tile_path, tiles_of
from placet.log import tiles_export
from placet.log.service import LogService
from placet.log.tiles_export import CHECKPOINT, export_tiles, keep_exporting
from placet.ports.log_store import LogEntry
from placet.testing.log_store import MemoryLog


def service(store: MemoryLog) -> LogService:
    return LogService(store, Clock())


async def grow(store: MemoryLog, size: int, *, start: int = 0) -> None:
    await store.append([LogEntry(b"leaf %d" % i, b"record") for i in range(start, size)])


def check_folder(folder: Path) -> Checkpoint:
    """Checks that a web server that shows this folder shows a whole log; returns its checkpoint."""
    checkpoint = verify_checkpoint((folder / CHECKPOINT).read_bytes(), SIGNER.verifier_key)
    size = checkpoint.tree_size
    leaves = []
    for tile in tiles_of(0, size):
        if tile.level is None:
            leaves += parse_entries((folder / str(tile)).read_bytes())
    assert leaves == [b"leaf %d" % i for i in range(size)]
    assert extend(CompactRange(0, ()), [hash_leaf(leaf) for leaf in leaves])[0].root() == checkpoint.root_hash
    if size:
        read = read_node_from_tiles(lambda *tile: (folder / tile_path(*tile)).read_bytes(), size)
        assert [read(0, i) for i in range(size)] == [hash_leaf(leaf) for leaf in leaves]
    return checkpoint


@pytest.mark.parametrize("sizes", [(0, 1), (3,), (255, 256, 257), (10, 10, 600), (511, 513)])
def test_the_folder_is_a_whole_log_after_each_export(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    async def main() -> None:
        store = MemoryLog(SIGNER)
        done = 0
        for size in sizes:
            await grow(store, size, start=done)
            exported = await export_tiles(service(store), tmp_path)
            assert (exported.old_size, exported.new_size) == (done, size)
            assert check_folder(tmp_path).tree_size == size
            done = size
            assert (await export_tiles(service(store), tmp_path)).files == 0

    asyncio.run(main())


def test_a_web_server_may_read_what_is_there_and_no_partial_tile_outlives_its_full_one(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = MemoryLog(SIGNER)
        await grow(store, 200)
        await export_tiles(service(store), tmp_path)
        assert (tmp_path / "tile/0/000.p/200").exists()
        await grow(store, 256, start=200)
        await export_tiles(service(store), tmp_path)
        assert not (tmp_path / "tile/0/000.p").exists()
        for path in (tmp_path / CHECKPOINT, tmp_path / "tile/0/000"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o644

    asyncio.run(main())


class Interrupted(LogService):
    """Stops in the middle, as a process that is killed."""

    left = 3

    async def export_tile(self, path: str) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return await super().export_tile(path)


def test_an_export_that_was_interrupted_shows_the_log_from_before(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryLog(SIGNER)
        await grow(store, 10)
        await export_tiles(service(store), tmp_path)
        await grow(store, 600, start=10)
        with pytest.raises(KeyboardInterrupt):
            await export_tiles(Interrupted(store, Clock()), tmp_path)
        checkpoint = verify_checkpoint((tmp_path / CHECKPOINT).read_bytes(), SIGNER.verifier_key)
        assert checkpoint.tree_size == 10
        await export_tiles(service(store), tmp_path)
        assert check_folder(tmp_path).tree_size == 600

    asyncio.run(main())


def test_a_folder_of_another_history_is_left_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        store, forked, shorter = MemoryLog(SIGNER), MemoryLog(SIGNER), MemoryLog(SIGNER)
        await grow(store, 10)
        await export_tiles(service(store), tmp_path)
        await forked.append([LogEntry(b"other %d" % i, b"record") for i in range(20)])
        await grow(shorter, 9)
        for other in (forked, shorter):
            with pytest.raises(VerificationError) as caught:
                await export_tiles(service(other), tmp_path)
            assert caught.value.reason is Reason.LOG_INCONSISTENT
            assert check_folder(tmp_path).tree_size == 10

    asyncio.run(main())


def test_a_damaged_full_tile_is_noticed(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryLog(SIGNER)
        (tmp_path / "tile/0").mkdir(parents=True)
        (tmp_path / "tile/0/000").write_bytes(b"x" * 8192)
        await grow(store, 256)
        with pytest.raises(IndeterminateError) as caught:
            await export_tiles(service(store), tmp_path)
        assert caught.value.reason is Reason.LOG_DAMAGED
        assert not (tmp_path / CHECKPOINT).exists()

    asyncio.run(main())


def test_exporting_goes_on_after_a_full_disk_and_stops_at_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([OSError(28, "No space left on device")])
    real = tiles_export.write_atomically

    def write(path: Path, data: bytes, **more: Any) -> None:
        for failure in failures:
            raise failure
        real(path, data, **more)

    monkeypatch.setattr(tiles_export, "write_atomically", write)
    monkeypatch.setattr(tiles_export, "_PAUSE_AFTER_FAILURE", 0.0)

    async def main() -> None:
        store = MemoryLog(SIGNER)
        await grow(store, 3)
        running = asyncio.ensure_future(keep_exporting(service(store), tmp_path))
        async with asyncio.timeout(10):
            while not (tmp_path / CHECKPOINT).exists():
                await asyncio.sleep(0.01)
            await grow(store, 5, start=3)
            while check_folder(tmp_path).tree_size != 5:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert "No space left" in caplog.text
        forked = MemoryLog(SIGNER)
        await grow(forked, 4)
        async with asyncio.timeout(10):
            await keep_exporting(service(forked), tmp_path)
        assert "no longer exported" in caplog.text
        assert check_folder(tmp_path).tree_size == 5

    asyncio.run(main())
