"""Who is enough: quorums over distinct people (spec/09-policy.md).

Thresholds count people, never keys or signatures (INV-5).  Adding an approver never turns a met
quorum into an unmet one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

from placet.core.policy import Quorum, Rule


class QuorumResult(NamedTuple):
    """How far a quorum is met.  It has no truth value: ask for `met`."""

    met: bool
    present: frozenset[str]
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        raise TypeError("ask for QuorumResult.met")


def evaluate_quorum(quorum: Quorum, people: dict[str, tuple[str, ...]]) -> QuorumResult:
    """Evaluates a quorum over distinct people (POL-05).

    Every person named directly (by ID or group) is one voice; a nested quorum that is met is
    one voice more.  Nobody has two voices anywhere in the tree, whatever groups they are in.

    Args:
        quorum: the tree.
        people: person ID → groups, of those who approved.

    Returns:
        Whether it is met, by whom, and what is still missing in words.
    """
    present = frozenset(person for person, groups in people.items() if _is_named(quorum, person, groups))
    if _nested(quorum):
        met = _can_be_met(quorum, people)
    else:
        met = len(present) >= quorum.threshold
    return QuorumResult(met, present, () if met else tuple(_missing(quorum, people)))


def _can_be_met(quorum: Quorum, people: dict[str, tuple[str, ...]]) -> bool:
    """Tells whether some assignment of people, each to one place, gives every voice that is needed.

    Taking people greedily could give one of them two voices, or none where another place needs them.
    So each choice of nested quorums that might count is tried (a policy holds at most eight), and for
    each the people are matched to the places of a voice.
    """
    return any(_can_be_filled(places, people) for places in _places(quorum))


def _places(quorum: Quorum) -> Iterator[list[Quorum]]:
    """Yields, for each choice of nested quorums that count, the quorum of every single voice still needed."""
    nested = _nested(quorum)
    for count in range(min(len(nested), quorum.threshold) + 1):
        for chosen in combinations(nested, count):
            own = [quorum] * (quorum.threshold - count)
            for below in product(*(_places(member) for member in chosen)):
                yield [*own, *(place for places in below for place in places)]


def _can_be_filled(places: list[Quorum], people: dict[str, tuple[str, ...]]) -> bool:
    """Matches people to places, one each, by augmenting paths (Kuhn's algorithm)."""
    if len(places) > len(people):
        return False
    holder: dict[str, int] = {}

    def fill(place: int, asked: set[str]) -> bool:
        for person, groups in people.items():
            if person not in asked and _is_voice(places[place], person, groups):
                asked.add(person)
                if person not in holder or fill(holder[person], asked):
                    holder[person] = place
                    return True
        return False

    return all(fill(place, set()) for place in range(len(places)))


def _is_voice(quorum: Quorum, person: str, groups: tuple[str, ...]) -> bool:
    return f"person:{person}" in quorum.of or any(f"group:{group}" in quorum.of for group in groups)


def _is_named(quorum: Quorum, person: str, groups: tuple[str, ...]) -> bool:
    return _is_voice(quorum, person, groups) or any(_is_named(q, person, groups) for q in _nested(quorum))


def _nested(quorum: Quorum) -> list[Quorum]:
    return [member for member in quorum.of if isinstance(member, Quorum)]


def _missing(quorum: Quorum, people: dict[str, tuple[str, ...]]) -> list[str]:
    """Says what an unmet quorum lacks, for a person to read; it decides nothing."""
    voices = sum(_is_voice(quorum, p, groups) for p, groups in people.items())
    nested = _nested(quorum)
    open_ones = [q for q in nested if not _can_be_met(q, people)]
    lacking = max(1, quorum.threshold - voices - (len(nested) - len(open_ones)))
    named = ", ".join(member for member in quorum.of if isinstance(member, str))
    text = f"{lacking} more of {named}" if named else f"{lacking} more of the nested quorums"
    return [text, *(part for q in open_ones for part in _missing(q, people))]


def evaluate_without_requester(
    rule: Rule, people: dict[str, tuple[str, ...]], requester: str | None
) -> QuorumResult:
    """Evaluates a rule's quorum, the requester left out where the rule says so (POL-06, POL-07).

    A verified requester never counts.  An unverified one could be any of the approvers, so the
    quorum must hold whoever of them is taken away: one person more.
    """
    if not rule.exclude_requester:
        return evaluate_quorum(rule.quorum, people)
    if requester is not None:
        return evaluate_quorum(rule.quorum, {p: g for p, g in people.items() if p != requester})
    for absent in people:
        result = evaluate_quorum(rule.quorum, {p: g for p, g in people.items() if p != absent})
        if not result.met:
            extra = "one person more, because the requester is not verified"
            return QuorumResult(False, frozenset(people), (*result.missing, extra))
    return evaluate_quorum(rule.quorum, people)
