"""Signed states that contradict each other, kept as files: whoever has both can show that a log lied."""

from __future__ import annotations

import re
from pathlib import Path

from placet.adapters.private_file import write_atomically
from placet.core.encoding import sha256_hex

EVIDENCE_FOLDER = "evidence"
# Of each log: whoever holds its key could sign another one for each audit, and the first few say it all.
MAX_KEPT = 200


def keep_evidence(folder: Path, origin: str, *checkpoints: bytes) -> Path:
    """Keeps signed checkpoints, each once; returns the folder.

    Raises:
        OSError: they cannot be written.
    """
    place = folder / EVIDENCE_FOLDER / re.sub("[^A-Za-z0-9.-]+", "_", origin)[:80].strip(".")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for data in filter(None, checkpoints):
        path = place / f"{sha256_hex(data)[:16]}.checkpoint"
        if not path.exists() and sum(1 for _ in place.iterdir()) < MAX_KEPT:
            write_atomically(path, data)
    return place
