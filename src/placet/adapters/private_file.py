"""Files that must be whole or absent, and readable by their owner alone."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Writes `data` so that a crash at any moment leaves the old file or the new one, never half of one.

    Raises:
        OSError: the disk is full, the folder is missing or not writable; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_unfinished(folder: Path) -> None:
    """Removes what `write_atomically` left below a folder when it was killed; only for its one writer."""
    for path in list(folder.rglob(".*.tmp")):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
