"""A copy of a log elsewhere takes nothing that the log's checkpoint does not prove."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from log_inside import SIGNER, Clock

from placet.core.errors import PlacetError, Reason
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.tiles import encode_entries, parse_entries, tiles_of
from placet.log import mirror
from placet.log.mirror import MirrorSource
from placet.log.service import LogService
from placet.log.tiles_export import CHECKPOINT, export_tiles
from placet.ports.log_store import LogEntry
from placet.testing.log_store import MemoryLog


def served(size: int) -> tuple[bytes, dict[str, bytes]]:
    """Returns the checkpoint of a log of `size` leaves, and its tiles by their path."""

    async def main() -> tuple[bytes, dict[str, bytes]]:
        store = MemoryLog(SIGNER)
        for start in range(0, size, 1000):
            leaves = range(start, min(size, start + 1000))
            await store.append([LogEntry(b"leaf %d" % i, b"record") for i in leaves])
        service = LogService(store, Clock())
        tiles = {str(tile): await service.export_tile(str(tile)) for tile in tiles_of(0, size)}
        return await store.checkpoint(), tiles

    return asyncio.run(main())


def copy(folder: Path, note: bytes, fetch: Callable[[str], bytes]) -> None:
    source = MirrorSource(fetch, note, verify_checkpoint(note, SIGNER.verifier_key))
    source.check_root()
    asyncio.run(export_tiles(source, folder))


@pytest.mark.parametrize("sizes", [(0,), (1,), (255, 256, 257), (100, 70_000)])
def test_a_copy_is_the_log(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        note, tiles = served(size)
        copy(tmp_path, note, tiles.__getitem__)
        assert (tmp_path / CHECKPOINT).read_bytes() == note
        for path, data in tiles.items():
            assert (tmp_path / path).read_bytes() == data


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def another_leaf(data: bytes) -> bytes:
    return encode_entries([b"made up", *parse_entries(data)[1:]])


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("tile/0/000", lambda data: flip(data, 0)),
        ("tile/0/001", lambda data: flip(data, 8191)),
        ("tile/0/002.p/88", lambda data: flip(data, 5)),
        ("tile/1/000.p/2", lambda data: flip(data, 33)),
        ("tile/entries/001", another_leaf),
        ("tile/entries/002.p/88", another_leaf),
        ("tile/entries/002.p/88", lambda data: b""),
    ],
)
def test_nothing_that_was_made_up_on_the_way_is_shown(
    tmp_path: Path, path: str, change: Callable[[bytes], bytes]
) -> None:
    note, tiles = served(600)
    with pytest.raises(PlacetError) as caught:
        copy(tmp_path, note, {**tiles, path: change(tiles[path])}.__getitem__)
    assert caught.value.reason is Reason.LOG_PROOF_INVALID
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("bound", ["MAX_TILES", "MAX_BYTES"])
def test_a_log_without_end_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    note, tiles = served(3000)
    monkeypatch.setattr(mirror, bound, 9 if bound == "MAX_TILES" else 60_000)
    with pytest.raises(PlacetError) as caught:
        copy(tmp_path, note, tiles.__getitem__)
    assert caught.value.reason is Reason.LOG_UNAVAILABLE and not (tmp_path / CHECKPOINT).exists()
