"""What was done to a trust root and when: one line of JSON each, in the working repository, never published.

It is for people who ask later why somebody was revoked.  Nothing decides by it, and nothing proves it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.adapters.tuf.repository import TrustRepository
from placet.core.encoding import format_time

HISTORY_FILE = "history.jsonl"
# Years of a busy deployment; a longer file is shown from its end.
_MAX_BYTES = 8 * 1024 * 1024


class Event(NamedTuple):
    """One line of the history."""

    at: str
    what: str
    text: str
    reason: str
    versions: Mapping[str, int]


def record(
    repository: TrustRepository,
    what: str,
    text: str,
    *,
    now: int,
    reason: str = "",
    versions: Mapping[str, int] | None = None,
) -> None:
    """Adds a line, on the disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    members: dict[str, Any] = {"at": format_time(now), "what": what, "text": text}
    members |= {"reason": reason} if reason else {}
    members |= {"versions": dict(versions)} if versions else {}
    line = json.dumps(members, ensure_ascii=True, sort_keys=True).encode() + b"\n"
    descriptor = os.open(
        repository.path / HISTORY_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # the half of a line that a crash left stays a line of its own
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_history(repository: TrustRepository) -> tuple[Event, ...]:
    """Returns what is recorded, oldest first; lines that a crash left unfinished are left out."""
    path = repository.path / HISTORY_FILE
    if not path.exists():
        return ()
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_BYTES))
        lines = file.read(_MAX_BYTES).splitlines()
    return tuple(event for line in lines if (event := _parse(line)) is not None)


def _parse(line: bytes) -> Event | None:
    try:
        members = json.loads(line)
        at, what, text, reason = (str(members.get(name, "")) for name in ("at", "what", "text", "reason"))
        versions = {str(role): int(version) for role, version in members.get("versions", {}).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return Event(at, what, text, reason, versions)
