"""Who is enough: quorums over distinct people (spec/09-policy.md).

Thresholds count people, never keys or signatures (INV-5).  Adding an approver never turns a met
quorum into an unmet one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
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
        met = next(_ways(quorum, people, present), None) is not None
    else:
        met = len(present) >= quorum.threshold
    return QuorumResult(met, present, () if met else tuple(_missing(quorum, people)))


def _ways(
    quorum: Quorum, people: dict[str, tuple[str, ...]], free: frozenset[str]
) -> Iterator[frozenset[str]]:
    """Yields the sets of people, out of those still free, whose voices meet the quorum.

    The search is exhaustive, because taking people greedily could give one of them two voices or
    none.  It is small: an envelope holds at most 16 signatures.
    """
    nested = _nested(quorum)
    direct = frozenset(p for p in free if _is_voice(quorum, p, people[p]))
    for count in range(min(len(nested), quorum.threshold) + 1):
        for chosen in combinations(nested, count):
            for used in _ways_of_all(chosen, people, free):
                voices = sorted(direct - used)
                for more in combinations(voices, quorum.threshold - count):
                    yield used.union(more)


def _ways_of_all(
    quorums: tuple[Quorum, ...], people: dict[str, tuple[str, ...]], free: frozenset[str]
) -> Iterator[frozenset[str]]:
    if not quorums:
        yield frozenset()
        return
    for used in _ways(quorums[0], people, free):
        for more in _ways_of_all(quorums[1:], people, free - used):
            yield used | more


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
    open_ones = [q for q in nested if next(_ways(q, people, frozenset(people)), None) is None]
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
