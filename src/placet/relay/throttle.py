"""How fast somebody may go: token buckets, in memory, of this process alone.

A bucket holds half a minute's worth, so that a burst passes and a flood does not.  With n relay
processes behind one address the rates are n times as high; the quotas, which the store holds, are not.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

# A bucket takes some 200 bytes.  Whoever has more addresses than this gains full buckets, as they had anyway.
MAX_BUCKETS = 20_000
_BURST_SECONDS = 30.0


class Throttle:
    """Token buckets by key.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Least recently used first; the value is the level, and when it was that.
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(
        self, key: Hashable, per_minute: float, *, count: float = 1.0, burst: float = _BURST_SECONDS
    ) -> float:
        """Takes tokens; returns 0.0, or after how many seconds there will be so many.

        Args:
            key: whose bucket.
            per_minute: how many come back.
            count: how many are taken, all or none.
            burst: how many seconds' worth the bucket holds.
        """
        rate = per_minute / 60
        capacity = max(count, rate * burst)
        now = self._clock()
        level, then = self._buckets.pop(key, (capacity, now))
        level = min(capacity, level + (now - then) * rate)
        missing = count - level
        self._buckets[key] = (level if missing > 0 else level - count, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return missing / rate if missing > 0 else 0.0
