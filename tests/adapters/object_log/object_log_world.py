"""Servers of a log that die, race and come late, on a real S3 server behind a wire that can break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import obstore
from obstore.store import S3Store

from placet.adapters.object_log.address import BucketAddress
from placet.adapters.object_log.store import ObjectLog
from placet.core.tlog.checkpoint import Checkpoint, verify_checkpoint
from placet.core.tlog.merkle import CompactRange, hash_leaf, verify_consistency
from placet.core.tlog.tiles import parse_entries, read_node_from_tiles, tile_path
from placet.ports.log_store import LogEntry
from placet.testing.contracts._log_scene import SIGNER, root_of
from placet.testing.object_storage import BUCKET, Fate, ObjectStorage, StorageWire, WireRequest


def is_of_the_log(request: WireRequest) -> bool:
    """Tells the writes of the log from those of the probe."""
    return request.method == "PUT" and "/private/probe" not in request.path


class Place(NamedTuple):
    """A prefix of a server, for one log."""

    server: ObjectStorage
    prefix: str

    def address(self, wire: StorageWire | None = None) -> BucketAddress:
        """Returns the log's address, straight or over a wire."""
        return BucketAddress(BUCKET, self.prefix, (wire or self.server).url)

    @property
    def bucket(self) -> S3Store:
        """The bucket as anybody with the right key sees it."""
        options = {"allow_http": True}
        return S3Store(BUCKET, prefix=self.prefix, endpoint=self.server.url, client_options=options)  # type: ignore[arg-type]

    def set_up(self) -> Place:
        """Leaves the probe of an earlier start: servers make a race for a new object wait for a second."""
        obstore.put(self.bucket, "private/probe", b"of an earlier start")
        return self

    def objects(self) -> dict[str, bytes]:
        """Returns everything but the probe."""
        names = [one["path"] for page in obstore.list(self.bucket) for one in page]
        return {
            name: obstore.get(self.bucket, name).bytes().to_bytes()
            for name in names
            if not name.startswith("private/probe")
        }

    @asynccontextmanager
    async def open(self, wire: StorageWire | None = None) -> AsyncIterator[ObjectLog]:
        """Opens the log."""
        log = await ObjectLog.open(self.address(wire), SIGNER)
        try:
            yield log
        finally:
            await log.close()


class Death:
    """Ends a server at its n-th write: nothing of it arrives any more.

    Args:
        at: which write, from 0.
        last: what becomes of that one.
    """

    def __init__(self, at: int, last: Fate) -> None:
        self.came = asyncio.Event()
        self.held: WireRequest | None = None
        self._loop = asyncio.get_running_loop()
        self._at, self._last, self._writes = at, last, 0

    def __call__(self, request: WireRequest) -> Fate:
        if self.held is not None:
            return Fate.DROP
        if is_of_the_log(request):
            self._writes += 1
            if self._writes > self._at:
                self.held = request
                self._loop.call_soon_threadsafe(self.came.set)
                return self._last
        return Fate.PASS


async def live_until(death: Death, life: asyncio.Task[None]) -> bool:
    """Lets a server live until its death; returns whether that came."""
    waiting = asyncio.create_task(death.came.wait())
    await asyncio.wait((life, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life
    return death.came.is_set()


def signed_in(*wires: StorageWire) -> list[Checkpoint]:
    """Returns every checkpoint that was ever signed, as it left a server."""
    bodies = {request.body for wire in wires for request in wire.puts("/checkpoint")}
    return [verify_checkpoint(body, SIGNER.verifier_key) for body in bodies]


async def check_one_history(log: ObjectLog, *wires: StorageWire) -> None:
    """Checks that the log continues every checkpoint that was ever signed."""
    now = verify_checkpoint(await log.checkpoint(), SIGNER.verifier_key)
    for old in signed_in(*wires):
        assert old.tree_size <= now.tree_size
        proof = await log.prove_consistency(old.tree_size, now.tree_size)
        verify_consistency(old.tree_size, old.root_hash, now.tree_size, now.root_hash, proof)


def check_written_once(*wires: StorageWire) -> None:
    """Checks that no two writes to one name, of whatever server, carried other bytes."""
    seen: dict[str, bytes] = {}
    for wire in wires:
        for request in filter(is_of_the_log, wire.seen):
            if not request.path.endswith(("/checkpoint", "/private/journal")):
                assert seen.setdefault(request.path, request.body) == request.body, request.path


def read_as_anybody(place: Place, checkpoint: bytes | None = None) -> tuple[bytes, ...]:
    """Returns the leaves of the log, read as C2SP tlog-tiles and checked without any code of the store."""
    bucket = place.bucket

    def fetch(path: str) -> bytes:
        return obstore.get(bucket, path).bytes().to_bytes()

    found = verify_checkpoint(checkpoint or fetch("checkpoint"), SIGNER.verifier_key)
    size, leaves = found.tree_size, []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        suffix = "" if width == 256 else f".p/{width}"
        leaves += parse_entries(fetch(f"tile/entries/{index:03d}{suffix}"))
    assert len(leaves) == size
    assert root_of([hash_leaf(leaf) for leaf in leaves]) == found.root_hash
    read = read_node_from_tiles(lambda level, index, width: fetch(tile_path(level, index, width)), size)
    hashes, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(read(level, start >> level))
            start += 1 << level
    assert CompactRange(size, tuple(hashes)).root() == found.root_hash
    return tuple(leaves)


def leaves_of(entries: list[LogEntry]) -> set[bytes]:
    """Returns the leaves."""
    return {entry.leaf for entry in entries}
