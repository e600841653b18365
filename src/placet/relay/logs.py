"""What a service says while it runs: calm lines for people, or one JSON line per call for machines.

No line holds a token, a container, a network address or a person's name: only routes, times,
reasons, names of known callers and the beginning of request ids.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import structlog

    from placet.adapters.serving.door import Observer, Seen

_SECONDS_BETWEEN_REPEATS = 60.0
_MAX_REMEMBERED_LINES = 100
# Enough of an id to find the request, as people see it elsewhere.
_SHORT_ID = 12


class CalmFilter(logging.Filter):
    """Lets a line through once a minute: a full disk is one thing to know, not one per request."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tells whether `record` says something that was not said lately."""
        text, now = record.getMessage(), time.monotonic()
        if now - self._last.get(text, float("-inf")) < _SECONDS_BETWEEN_REPEATS:
            return False
        if len(self._last) >= _MAX_REMEMBERED_LINES:
            self._last.clear()
        self._last[text] = now
        return True


def set_up_log(service: str = "relay") -> None:
    """Sends warnings and errors, the service's and uvicorn's, to the standard error stream as plain lines."""
    _set_up(logging.Formatter(f"placet {service}: %(message)s"))


def set_up_json_log() -> Observer:
    """Sends the same as JSON lines; returns the observer that adds a line for each call."""
    # Imported here: an idle relay that logs for people does without it.
    import structlog

    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = structlog.processors.JSONRenderer()
    final: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    _set_up(structlog.stdlib.ProcessorFormatter(processors=[*final, renderer], foreign_pre_chain=shared))
    calls = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr), processors=[*shared, renderer], wrapper_class=structlog.BoundLogger
    )
    return _CallLog(calls.bind())


def _set_up(formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(CalmFilter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _CallLog:
    """Writes one line per call."""

    def __init__(self, logger: structlog.BoundLogger) -> None:
        self._logger = logger

    def saw(self, seen: Seen) -> None:
        """See `placet.relay.app.Observer`."""
        try:
            self._logger.info(
                "call",
                method=seen.method if seen.method in _METHODS else "other",
                route=seen.route,
                status=seen.status,
                reason=seen.reason,
                seconds=round(seen.seconds, 6),
                caller=seen.caller,
                request=seen.request_id[:_SHORT_ID],
            )
        except OSError:
            # A log that cannot be written, on a full disk or a closed pipe, is no reason to stop serving.
            return


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
