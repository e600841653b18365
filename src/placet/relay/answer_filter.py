"""Keeps junk answers out of the places that honest ones need, where the relay has a trust snapshot.

An answer is admitted when its signature is an enrolled key's and its report an enrolled
terminal's, and its in-toto link, where it has one, is the same key's for the same statement.
This decides nothing: the gate verifies everything again with its own snapshot.
A relay that lies here withholds an approval, which it can do anyway; a snapshot that is older
than a key keeps that key's answers out until the operator refreshes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from placet.ceremony.second_touch import check_link
from placet.core.approvals import verify_approvals
from placet.core.bundle import IntentBundle, parse_answer
from placet.core.errors import PlacetError
from placet.core.report import parse_report
from placet.core.trust import MAX_SNAPSHOT_BYTES, Trust, parse_trust
from placet.relay._shape import ShapedAnswer
from placet.relay.errors import RelayError

log = logging.getLogger("placet.relay")

# A refreshed snapshot counts after so many seconds.
_LOOK_EVERY_SECONDS = 5.0


class AnswerFilter:
    """Admits answers of enrolled keys.  Make one with `load`.

    The file is read again when it changed; one that cannot be read leaves the last good one in force.
    """

    def __init__(self, path: Path, trust: Trust, stamp: tuple[int, int]) -> None:
        self._path = path
        self._trust = trust
        self._stamp = stamp
        self._looked_at = time.monotonic()

    @classmethod
    def load(cls, path: Path) -> AnswerFilter:
        """Loads the snapshot at `path`.

        Raises:
            OSError: it cannot be read.
            PlacetError: it is not a snapshot.
        """
        return cls(path, *_read(path))

    async def check(self, shaped: ShapedAnswer, *, now: int) -> str:
        """Checks that an enrolled key signed the answer on an enrolled terminal.

        Returns:
            The ID of the key.

        Raises:
            RelayError: ``answer-not-admitted``.
        """
        await self._follow()
        try:
            return _verify(shaped, self._trust, now)
        except PlacetError as e:
            raise RelayError(
                "answer-not-admitted",
                f"The relay keeps answers of enrolled keys and terminals only, and this is none: {e.message}",
                hint="If the key or the terminal was enrolled lately, the relay's operator runs "
                "`placet trust refresh`; a file with the answer can be carried to the requester meanwhile.",
            ) from e

    async def _follow(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        self._looked_at = now
        try:
            if _stamp(self._path) != self._stamp:
                # In a thread: a snapshot of thousands of people takes a moment to parse.
                self._trust, self._stamp = await asyncio.to_thread(_read, self._path)
        except (OSError, PlacetError) as e:
            log.warning("the trust snapshot %s cannot be used, the earlier one stays: %s", self._path, e)


def _verify(shaped: ShapedAnswer, trust: Trust, now: int) -> str:
    answer = parse_answer(shaped.answer.container)
    report = parse_report(answer.report.payload)
    bundle = IntentBundle(
        envelope=answer.envelope, reports=(answer.report,), evidence=(), trust_versions=report.trust_versions
    )
    # Whose clock is right is the gate's business; here a decision is never made in the future.
    at = max(now, report.decided_at)
    counted, ignored = verify_approvals(bundle, shaped.statement, trust=trust, at=at)
    for one in ignored:
        raise one.error
    # A link rides along for others; here it must be the one of this statement, by the same key, or none.
    if answer.link is not None:
        check_link(answer, shaped.statement, trust=trust, at=at)
    return counted[0].keyid


def _read(path: Path) -> tuple[Trust, tuple[int, int]]:
    stamp = _stamp(path)
    with path.open("rb") as file:
        return parse_trust(file.read(MAX_SNAPSHOT_BYTES + 1)), stamp


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
