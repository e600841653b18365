"""What was decided on this terminal: one JSON line per decision, appended and synced.

Each line holds the whole answer, so the record of a decision outlives the relay.  A crash can tear the
last line; it is then skipped and counted, and never hides the others.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from placet.core.bundle import Answer, encode_answer, parse_answer
from placet.core.encoding import Digest, KeyId, b64decode_strict, b64encode, sha256_hex
from placet.core.errors import PlacetError
from placet.core.statement import IntentStatement, parse_statement

# Shown on one page; the file keeps all.
MAX_SHOWN = 200


class Decision(NamedTuple):
    """One decision.  `destination` is where the answer was sent."""

    decided_at: int
    decision: str
    person: str
    keyid: KeyId
    request_id: Digest
    destination: str
    answer: Answer

    @property
    def record(self) -> Digest:
        """SHA-256 of the encoded answer: the decision's name on this terminal."""
        return sha256_hex(encode_answer(self.answer))

    def statement(self) -> IntentStatement:
        """Returns what was signed."""
        return parse_statement(self.answer.envelope.payload)


class History:
    """The file ``history.jsonl``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._cached: tuple[tuple[int, int], list[Decision], int] | None = None

    def append(self, decision: Decision) -> None:
        """Keeps a decision; when this returns, it survives a crash.

        Raises:
            OSError: the disk is full, or the folder is not writable.
        """
        value = {
            "decidedAt": decision.decided_at,
            "decision": decision.decision,
            "person": decision.person,
            "keyid": decision.keyid,
            "request": decision.request_id,
            "destination": decision.destination,
            "answer": b64encode(encode_answer(decision.answer)),
        }
        line = json.dumps(value, sort_keys=True).encode() + b"\n"
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = (b"\n" if torn else b"") + line
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def decisions(self) -> list[Decision]:
        """Returns all decisions, oldest first."""
        return self._read()[0]

    def unreadable(self) -> int:
        """Returns how many lines cannot be read."""
        return self._read()[1]

    def last_approval(self, asked: IntentStatement, request_id: Digest) -> IntentStatement | None:
        """Returns the newest approved statement of the same action on the same target.

        Args:
            asked: what is asked for now.
            request_id: the request that is left out: the first approver's decision about it must not tell
                the second one that nothing changed.
        """
        for decision in reversed(self.decisions()):
            if decision.decision == "approve" and decision.request_id != request_id:
                statement = decision.statement()
                if (statement.action_type, statement.target) == (asked.action_type, asked.target):
                    return statement
        return None

    def deciders(self, payload: bytes) -> frozenset[KeyId]:
        """Returns the keys that signed exactly these bytes here."""
        return frozenset(d.keyid for d in self.decisions() if d.answer.envelope.payload == payload)

    def find(self, record: str) -> Decision | None:
        """Returns the decision of that name."""
        return next((d for d in self.decisions() if d.record == record), None)

    def _read(self) -> tuple[list[Decision], int]:
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    state = (status.st_ino, status.st_size)
                    if self._cached is None or self._cached[0] != state:
                        found = list(_parse_lines(file.read()))
                        good = [d for d in found if d is not None]
                        self._cached = (state, good, len(found) - len(good))
            except FileNotFoundError:
                return [], 0
            return self._cached[1], self._cached[2]


def _parse_lines(data: bytes) -> Iterator[Decision | None]:
    for line in data.split(b"\n"):
        if not line:
            continue
        try:
            yield _parse_line(line)
        except (ValueError, KeyError, TypeError, PlacetError):
            yield None


def _parse_line(line: bytes) -> Decision:
    value = json.loads(line)
    answer = parse_answer(b64decode_strict(value["answer"], "/answer"))
    parse_statement(answer.envelope.payload)
    return Decision(
        decided_at=int(value["decidedAt"]),
        decision=str(value["decision"]),
        person=str(value["person"]),
        keyid=KeyId(str(value["keyid"])),
        request_id=Digest(str(value["request"])),
        destination=str(value["destination"]),
        answer=answer,
    )


def rate_notice(asked_at: list[int], decided_at: list[int], now: int) -> str:
    """Returns a sentence when far more requests arrive than are usual here, or "".

    Args:
        asked_at: when the waiting requests were issued, Unix seconds.
        decided_at: when decisions were made on this terminal.
    """
    recent = sum(now - _RECENT <= t <= now for t in asked_at)
    past = [t for t in decided_at if now - _USUAL_OVER <= t < now - _RECENT]
    days = max(1.0, (now - min(past)) / 86_400) if past else 1.0
    usual = len(past) / days
    if recent < _MANY or recent <= 3 * usual:
        return ""
    said = f"usual here is {max(1, round(usual))} a day" if past else "this terminal has no usual rate yet"
    return (
        f"{recent} requests in 10 minutes; {said}. Somebody may want to tire you. "
        "Nothing happens without your key: take them one at a time, or leave them."
    )


_RECENT = 600
_USUAL_OVER = 14 * 86_400
# Fewer are a release with several parts.
_MANY = 5
