"""Keeps junk answers out of the places that honest ones need, where the relay has a trust snapshot.

An answer is admitted when its signature is an enrolled key's and its report an enrolled
terminal's, and its in-toto link, where it has one, is the same key's for the same statement.
This decides nothing: the gate verifies everything again with its own snapshot.
A relay that lies here withholds an approval, which it can do anyway; a snapshot that is older
than a key keeps that key's answers out until the operator refreshes it.
"""

from __future__ import annotations

from pathlib import Path

from placet.adapters.followed_trust import FollowedTrust
from placet.ceremony.log_records import verify_decision
from placet.core.bundle import parse_answer
from placet.core.errors import PlacetError
from placet.relay._shape import ShapedAnswer
from placet.relay.errors import RelayError


class AnswerFilter:
    """Admits answers of enrolled keys.

    Args:
        followed: the snapshot.
    """

    def __init__(self, followed: FollowedTrust) -> None:
        self.followed = followed

    @classmethod
    def load(cls, path: Path) -> AnswerFilter:
        """Loads the snapshot at `path`.

        Raises:
            OSError: it cannot be read.
            PlacetError: it is not a snapshot.
        """
        return cls(FollowedTrust.load(path, service="relay"))

    async def check(self, shaped: ShapedAnswer, *, now: int) -> str:
        """Checks that an enrolled key signed the answer on an enrolled terminal.

        Returns:
            The ID of the key.

        Raises:
            RelayError: ``answer-not-admitted``.
        """
        trust = await self.followed.current()
        answer = parse_answer(shaped.answer.container)
        try:
            return verify_decision(answer, shaped.statement, trust=trust, now=now)
        except PlacetError as e:
            raise RelayError(
                "answer-not-admitted",
                f"The relay keeps answers of enrolled keys and terminals only, and this is none: {e.message}",
                hint="If the key or the terminal was enrolled lately, the relay's operator runs "
                "`placet trust refresh`; a file with the answer can be carried to the requester meanwhile.",
            ) from e
