"""The terminal's trust snapshot, read again whenever `placet trust refresh` has replaced it."""

from __future__ import annotations

import threading
from pathlib import Path

from placet.core.errors import IndeterminateError, Reason
from placet.core.trust import MAX_SNAPSHOT_BYTES, Trust, parse_trust


class TrustFile:
    """A snapshot in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[int, int, int], Trust] | None = None

    def load(self) -> Trust:
        """Returns the trust that the file holds now, expired or not.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE where there is no file.
            MalformedError: it is not a snapshot.
        """
        with self._lock:
            try:
                status = self.path.stat()
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._loaded is None or self._loaded[0] != state:
                    with self.path.open("rb") as file:
                        self._loaded = (state, parse_trust(file.read(MAX_SNAPSHOT_BYTES + 1)))
            except OSError as e:
                raise IndeterminateError(
                    Reason.TRUST_UNAVAILABLE,
                    f"This terminal has no trust snapshot ({self.path}: {e.strerror}).",
                    hint="Run `placet trust refresh` here, or name the snapshot with --trust.",
                ) from e
            return self._loaded[1]
