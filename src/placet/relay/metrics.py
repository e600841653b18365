"""What the relay counts, for Prometheus, on a listener of its own.

Labels have few values by design: routes as the API has them, methods, status codes, and
reasons from a closed list.  No id, name or address is ever a label.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from placet.adapters.serving.door import Seen
from placet.core.errors import Reason
from placet.ports.clock import Clock
from placet.ports.request_store import RequestStore, RequestStoreError
from placet.relay.errors import CALL_REASONS, STATUS

log = logging.getLogger("placet.relay")

_METHODS = frozenset({"GET", "HEAD", "POST"})
_REASONS = frozenset({*STATUS, *CALL_REASONS, *map(str, Reason), "client-gone"})
# Long polls end after up to a minute; everything else takes milliseconds.
_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 61)
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_COMMIT_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS_BETWEEN_LOOKS = 15.0


@runtime_checkable
class _ObservableStore(Protocol):
    def observe_commits(self, observer: Callable[[int, float], None]) -> None: ...


class _Witness(Protocol):
    """How it stands with one witness of the relay's own log."""

    @property
    def name(self) -> str: ...
    @property
    def tree_size(self) -> int: ...
    @property
    def answered_at(self) -> int | None: ...
    @property
    def failures(self) -> int: ...


def _read_one(
    statuses: Callable[[], Sequence[_Witness]], index: int, read: Callable[[_Witness], float]
) -> float:
    return read(statuses()[index])


class Metrics:
    """Counts calls, looks at the store, and has the numbers in `registry`."""

    def __init__(self) -> None:
        # When each series began is noise here: it is when the relay did.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._calls = Counter(
            "placet_relay_calls", "Calls answered.", ["route", "method", "status"], registry=registry
        )
        self._refusals = Counter("placet_relay_refusals", "Calls refused.", ["reason"], registry=registry)
        self._seconds = Histogram(
            "placet_relay_call_seconds",
            "Time until the answer was ready; of long polls with the waiting.",
            ["route"],
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._waiters = Gauge("placet_relay_waiters", "Long polls open now.", registry=registry)
        self._deleted = Gauge(
            "placet_relay_deleted_requests", "Closed requests deleted since the start.", registry=registry
        )
        self._usage = {
            name: Gauge(f"placet_relay_{name}", text, registry=registry)
            for name, text in (
                ("requests", "Requests kept, open or closed."),
                ("open_requests", "Requests that can still be answered."),
                ("answers", "Answers kept."),
                ("kept_bytes", "Bytes of the requests and answers kept."),
                ("disk_bytes", "Bytes that the store takes on its disk; 0 where it cannot know."),
            )
        }
        self._looked_at = Gauge(
            "placet_relay_store_looked_at_seconds", "When the store was last counted.", registry=registry
        )
        self._commit_writes = Histogram(
            "placet_relay_commit_writes", "Writes in one commit.", buckets=_COMMIT_WRITES, registry=registry
        )
        self._commit_seconds = Histogram(
            "placet_relay_commit_seconds",
            "Time of one commit with its sync to disk.",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self._notifications = Counter(
            "placet_relay_notifications", "Requests told to people.", ["outcome"], registry=registry
        )

    def saw(self, seen: Seen) -> None:
        """See `placet.relay.app.Observer`."""
        route = seen.route or "none"
        method = seen.method if seen.method in _METHODS else "other"
        self._calls.labels(route, method, str(seen.status)).inc()
        self._seconds.labels(route).observe(seen.seconds)
        if seen.reason:
            self._refusals.labels(seen.reason if seen.reason in _REASONS else "other").inc()

    def saw_notification(self, outcome: str, count: int) -> None:
        """Counts requests that were told to people, or not: ``sent``, ``failed`` or ``dropped``."""
        self._notifications.labels(outcome).inc(count)

    def watch(self, *, waiters: Callable[[], int], deleted: Callable[[], int]) -> None:
        """Reads these numbers whenever somebody asks."""
        self._waiters.set_function(waiters)
        self._deleted.set_function(deleted)

    def watch_commits(self, store: RequestStore) -> None:
        """Counts the store's commits, where it tells of them."""
        if isinstance(store, _ObservableStore):
            store.observe_commits(self._saw_commit)

    def watch_witnesses(self, statuses: Callable[[], Sequence[_Witness]]) -> None:
        """Reads how it stands with the log's witnesses whenever somebody asks."""
        gauges: dict[str, tuple[str, Callable[[_Witness], float]]] = {
            "tree_size": ("Leaves of the newest checkpoint that it cosigned.", lambda it: it.tree_size),
            "answered_seconds": ("When it cosigned last.", lambda it: it.answered_at or 0),
            "failures": ("How often it failed since.", lambda it: it.failures),
        }
        for name, (text, read) in gauges.items():
            gauge = Gauge(f"placet_log_witness_{name}", text, ["witness"], registry=self.registry)
            for index, status in enumerate(statuses()):
                # Names are the log policy's, a few that its administrators chose.
                gauge.labels(status.name).set_function(partial(_read_one, statuses, index, read))

    async def look_at(self, store: RequestStore, clock: Clock) -> None:
        """Counts what is in the store, for ever."""
        while True:
            try:
                usage = await store.measure(now=clock.now())
            except RequestStoreError as e:
                if not e.operator_knows:
                    log.warning("the store could not be counted: %s", e)
            else:
                for name, gauge in self._usage.items():
                    gauge.set(getattr(usage, name))
                self._looked_at.set_to_current_time()
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    def _saw_commit(self, writes: int, seconds: float) -> None:
        self._commit_writes.observe(writes)
        self._commit_seconds.observe(seconds)
