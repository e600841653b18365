"""The time of day, as seen by whoever asks.

The core takes ``now`` as an argument; rooms outside it take a `Clock`, so that a test
can move the time without waiting for it.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time.

    Obligations:

    - The answer is Unix time in whole seconds, UTC.
    - It may jump, forwards or backwards, when an administrator or NTP sets it.  Callers
      must not use it to measure how long something took.
    - Asking never blocks and never fails.
    """

    def now(self) -> int:
        """Returns the current Unix time in seconds."""
        ...
