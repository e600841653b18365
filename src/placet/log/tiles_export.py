"""A log as files that any web server can serve: C2SP tlog-tiles in a folder.

Tiles come first, each whole by one rename, and the checkpoint last: whoever reads the folder at any moment,
also after a crash in the middle, finds every tile that its checkpoint needs.  Going on is by the checkpoint
that lies there, so nothing is written twice.  Full tiles never change; partial ones go once theirs is full.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import NamedTuple, Protocol

from placet.adapters.private_file import remove_unfinished, write_atomically
from placet.core.errors import IndeterminateError, PlacetError, Reason, VerificationError
from placet.core.tlog.checkpoint import Checkpoint, parse_checkpoint
from placet.core.tlog.merkle import verify_consistency
from placet.core.tlog.note import parse_note
from placet.core.tlog.tiles import TILE_WIDTH, TilePath, tiles_of

log = logging.getLogger("placet.log")

CHECKPOINT = "checkpoint"
# Everybody may read what a web server shows to everybody.
_MODE = 0o644
# Checked against disks that fill up: a pause, and no busy loop.
_PAUSE_AFTER_FAILURE = 5.0


class TileSource(Protocol):
    """Where tiles come from: a log's service here, or a client of one elsewhere."""

    async def checkpoint(self) -> bytes:
        """Returns the newest checkpoint to show."""
        ...

    async def export_tile(self, path: str) -> bytes:
        """Returns a tile by its path."""
        ...

    async def prove_consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Returns the proof that the larger tree starts with the smaller one."""
        ...


class GrowingSource(TileSource, Protocol):
    """A source that can be waited for."""

    async def wait_for_news(self, tree_size: int) -> None:
        """Returns when the log may have more to show than a checkpoint of that size."""
        ...


class Exported(NamedTuple):
    """What one run wrote."""

    old_size: int
    new_size: int
    files: int


async def export_tiles(source: TileSource, folder: Path) -> Exported:
    """Brings `folder` up to the newest checkpoint.

    Raises:
        VerificationError: LOG_INCONSISTENT: the folder holds another log, or more of this one.
        PlacetError: the source could not be read.
        OSError: the folder cannot be written.
    """
    note = await source.checkpoint()
    new = _read(note)
    folder.mkdir(parents=True, exist_ok=True)
    old_note = await asyncio.to_thread(_read_old, folder / CHECKPOINT)
    old = Checkpoint(new.log_origin, 0, b"") if old_note is None else _read(old_note)
    await _check_continues(source, old, new)
    files = 0
    for tile in tiles_of(old.tree_size, new.tree_size):
        await asyncio.to_thread(_write_tile, folder, tile, await source.export_tile(str(tile)))
        files += 1
    if note != old_note:
        await asyncio.to_thread(write_atomically, folder / CHECKPOINT, note, mode=_MODE)
    return Exported(old.tree_size, new.tree_size, files)


async def keep_exporting(source: GrowingSource, folder: Path) -> None:
    """Exports for ever: once now, and again whenever there is more to show."""
    await asyncio.to_thread(_tidy, folder)
    size = 0
    while True:
        try:
            size = (await export_tiles(source, folder)).new_size
        except VerificationError as e:
            # It would never become right by itself, and half a log is worse than an old one.
            log.error("tiles are no longer exported to %s: %s %s", folder, e, e.hint)
            return
        except (OSError, PlacetError) as e:
            log.error("tiles could not be exported to %s, trying again: %s", folder, e)
            await asyncio.sleep(_PAUSE_AFTER_FAILURE)
            continue
        await source.wait_for_news(size)


async def _check_continues(source: TileSource, old: Checkpoint, new: Checkpoint) -> None:
    try:
        if old.log_origin != new.log_origin or old.tree_size > new.tree_size:
            raise VerificationError(Reason.LOG_INCONSISTENT, "other log")
        if old.tree_size:
            proof = await source.prove_consistency(old.tree_size, new.tree_size)
            verify_consistency(old.tree_size, old.root_hash, new.tree_size, new.root_hash, proof)
    except VerificationError as e:
        raise VerificationError(
            Reason.LOG_INCONSISTENT,
            "The folder holds tiles of another log, or of a history of this one that it does not continue.",
            expected=f"{old.log_origin}, at least {old.tree_size} leaves",
            actual=f"{new.log_origin}, {new.tree_size} leaves",
            hint="Export to another folder. If this log was put back from a backup, keep both checkpoints: "
            "docs/how-to-run-a-log.md says what then.",
        ) from e


def _read(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)


def _read_old(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write_tile(folder: Path, tile: TilePath, data: bytes) -> None:
    path = folder / str(tile)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_atomically(path, data, mode=_MODE)
    elif path.read_bytes() != data:
        raise IndeterminateError(
            Reason.LOG_DAMAGED,
            f"{path} is not what the log has at this place.",
            hint="Remove it; it is written anew.",
        )
    if tile.width == TILE_WIDTH:
        shutil.rmtree(path.with_name(path.name + ".p"), ignore_errors=True)


def _tidy(folder: Path) -> None:
    if folder.is_dir():
        remove_unfinished(folder)
