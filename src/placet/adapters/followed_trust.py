"""A trust snapshot that a service follows: read again when it changed, and kept where it cannot be read.

`placet trust refresh` replaces the file in one rename; a service that runs for months must not need a restart
for each person who is enrolled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from placet.core.errors import PlacetError
from placet.core.trust import MAX_SNAPSHOT_BYTES, Trust, parse_trust

# A refreshed snapshot counts after so many seconds.
LOOK_EVERY_SECONDS = 5.0


class FollowedTrust:
    """A snapshot in a file.  Make one with `load`.

    Args:
        path: the file.
        trust: what stood in it.
        stamp: which version of the file that was.
        log: told where a later version cannot be used.
    """

    def __init__(self, path: Path, trust: Trust, stamp: tuple[int, int], log: logging.Logger) -> None:
        self._path = path
        self._trust = trust
        self._stamp = stamp
        self._log = log
        self._looked_at = time.monotonic()

    @classmethod
    def load(cls, path: Path, *, service: str) -> FollowedTrust:
        """Loads the snapshot at `path` for a service, such as "relay".

        Raises:
            OSError: it cannot be read.
            PlacetError: it is not a snapshot.
        """
        return cls(path, *_read(path), logging.getLogger(f"placet.{service}"))

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def trust(self) -> Trust:
        """What was read last."""
        return self._trust

    async def current(self) -> Trust:
        """Returns the trust of now: looks at the file every few seconds."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_SECONDS:
            return self._trust
        self._looked_at = now
        try:
            if _stamp(self._path) != self._stamp:
                # In a thread: a snapshot of thousands of people takes a moment to parse.
                self._trust, self._stamp = await asyncio.to_thread(_read, self._path)
        except (OSError, PlacetError) as e:
            self._log.warning(
                "the trust snapshot %s cannot be used, the earlier one stays: %s", self._path, e
            )
        return self._trust


def _read(path: Path) -> tuple[Trust, tuple[int, int]]:
    stamp = _stamp(path)
    with path.open("rb") as file:
        return parse_trust(file.read(MAX_SNAPSHOT_BYTES + 1)), stamp


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
