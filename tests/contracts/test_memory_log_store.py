"""The log in memory keeps the contract of every log store."""

from __future__ import annotations

from pathlib import Path

from placet.core.tlog.note import NoteSigner
from placet.testing.contracts.log_store import LogStoreContract
from placet.testing.log_store import MemoryLog, MemoryPlace


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


class TestMemoryLog(LogStoreContract):
    async def open_log(self, place: Path, key: NoteSigner) -> MemoryLog:
        self.__dict__.setdefault("kept", MemoryPlace())
        return MemoryLog(key, self.kept)

    kept: MemoryPlace

    def damage(self, place: Path, what: str) -> None:
        kept = self.kept
        match what:
            case "leaf":
                kept.leaves[0] = flipped(kept.leaves[0])
            case "record":
                kept.records[0] = flipped(kept.records[0])
            case "tile":
                kept.tiles[0, 0] = flipped(kept.tiles[0, 0])
            case "checkpoint":
                kept.checkpoint = flipped(kept.checkpoint)
            case "lost":
                del kept.leaves[-1]
