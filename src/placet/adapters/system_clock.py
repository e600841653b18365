"""The machine's own clock."""

from __future__ import annotations

import time


class SystemClock:
    """A `placet.ports.clock.Clock` that reads the operating system's time."""

    def now(self) -> int:
        """Returns the current Unix time in seconds."""
        return int(time.time())
