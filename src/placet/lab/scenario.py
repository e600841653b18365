"""What a scenario is made of: acts, and what each verifier answered in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from placet.lab.stage import Stage


class Side(StrEnum):
    """Who answers: a framework as its authors ship it, or placet's gate."""

    FRAMEWORK = "framework"
    GATE = "gate"


class Answer(NamedTuple):
    """One verifier's answer.

    Args:
        asked: who was asked, such as ``sigstore-python``.
        question: what it was asked to verify.
        accepted: what it answered.
        said: in its own words.
        reason: the name of placet's refusal, "" elsewhere.
    """

    side: Side
    asked: str
    question: str
    accepted: bool
    said: str
    reason: str = ""


class Act(NamedTuple):
    """One thing that somebody tries.  `approved` tells whether people approved exactly that action."""

    title: str
    approved: bool
    answers: tuple[Answer, ...]

    @property
    def holds(self) -> bool:
        """Whether the gate answered yes if and only if people approved exactly this."""
        gate = [answer.accepted for answer in self.answers if answer.side is Side.GATE]
        return bool(gate) and all(accepted == self.approved for accepted in gate)


class Scenario(NamedTuple):
    """An attack, and what it is modelled after, or "".  `play` builds it on a fresh stage, act by act."""

    id: str
    title: str
    after: str
    story: str
    play: Callable[[Stage], Iterator[Act]]
