"""Quorums against a naive model: every assignment of people to places is tried (POL-05 to POL-07, POL-12)."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.approvals import Approver
from placet.core.encoding import KeyId
from placet.core.errors import PolicyError
from placet.core.policy import Quorum, Rule
from placet.core.quorum import evaluate_quorum, evaluate_without_requester
from placet.core.rules import check_rule_quorum, reached_level

PEOPLE = ("a", "b", "c", "d", "e")
GROUPS = ("x", "y", "z")
NAMES = st.sampled_from([f"group:{g}" for g in GROUPS] + [f"person:{p}" for p in PEOPLE[:3]])
QUORUMS = st.recursive(
    st.builds(Quorum, st.integers(1, 3), st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple)),
    lambda inner: st.builds(
        Quorum, st.integers(1, 3), st.lists(NAMES | inner, min_size=1, max_size=3, unique=True).map(tuple)
    ),
    max_leaves=4,
)
MEMBERS = st.dictionaries(
    st.sampled_from(PEOPLE), st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(tuple), max_size=5
)


def nodes(quorum: Quorum) -> list[Quorum]:
    return [quorum, *(n for m in quorum.of if isinstance(m, Quorum) for n in nodes(m))]


def names(quorum: Quorum, person: str, groups: tuple[str, ...]) -> bool:
    return any(m in (f"person:{person}", *(f"group:{g}" for g in groups)) for m in quorum.of)


def model_met(quorum: Quorum, people: dict[str, tuple[str, ...]]) -> bool:
    """Tries every way to give each person at most one place in the tree."""
    # Equal sub-quorums are separate places, so a place is a position, not a value.
    places = nodes(quorum)
    choices = [
        [None, *(i for i, node in enumerate(places) if names(node, person, groups))]
        for person, groups in people.items()
    ]
    return any(_counts(quorum, list(chosen)) for chosen in product(*choices))


def _counts(root: Quorum, chosen: list[int | None]) -> bool:
    at = -1

    def met(quorum: Quorum) -> bool:
        nonlocal at
        at += 1
        voices = chosen.count(at)
        nested = [met(member) for member in quorum.of if isinstance(member, Quorum)]
        return voices + sum(nested) >= quorum.threshold

    return met(root)


def a_rule(quorum: Quorum, **changes: object) -> Rule:
    rule = Rule(
        scope="default",
        file="policy/default.toml",
        action="https://placet.dev/actions/run/v1",
        target="**",
        level=1,
        quorum=quorum,
        exclude_requester=False,
        distinct_terminals=False,
        max_window=3600,
        evidence=(),
    )
    return rule._replace(**changes)  # type: ignore[arg-type]


def an_approver(person: str, groups: tuple[str, ...], terminal: str, level: int = 1) -> Approver:
    return Approver(person, groups, KeyId("0" * 64), "sk", "attested", level, ("x",), 0, 0, terminal)


def is_met(rule: Rule, approvers: list[Approver], requester: str | None) -> bool:
    try:
        check_rule_quorum(rule, tuple(approvers), (), requester)
    except PolicyError:
        return False
    return True


@given(QUORUMS, MEMBERS)
@settings(max_examples=600, deadline=None)
def test_a_quorum_is_met_where_some_assignment_meets_it(
    quorum: Quorum, people: dict[str, tuple[str, ...]]
) -> None:
    result = evaluate_quorum(quorum, people)
    assert result.met == model_met(quorum, people)
    assert bool(result.missing) != result.met
    assert result.present == {p for p in people if any(names(n, p, people[p]) for n in nodes(quorum))}


@given(QUORUMS, MEMBERS, st.sampled_from(PEOPLE), st.sampled_from(GROUPS))
@settings(max_examples=300, deadline=None)
def test_one_more_approver_never_unmeets_a_quorum(
    quorum: Quorum, people: dict[str, tuple[str, ...]], more: str, group: str
) -> None:
    if evaluate_quorum(quorum, people).met:
        assert evaluate_quorum(quorum, {more: (group,)} | people).met


@given(QUORUMS, MEMBERS)
@settings(max_examples=200, deadline=None)
def test_a_met_quorum_needs_at_least_its_voices(quorum: Quorum, people: dict[str, tuple[str, ...]]) -> None:
    """Nobody has two voices: fewer people than the smallest possible number never meet it."""

    def fewest(q: Quorum) -> int:
        nested = sorted(fewest(m) for m in q.of if isinstance(m, Quorum))
        costs = sorted([*nested, *[1] * (q.threshold if any(isinstance(m, str) for m in q.of) else 0)])
        return sum(costs[: q.threshold]) if len(costs) >= q.threshold else 99

    if evaluate_quorum(quorum, people).met:
        assert len(people) >= fewest(quorum)


@given(QUORUMS, MEMBERS, st.sampled_from([None, *PEOPLE]))
@settings(max_examples=300, deadline=None)
def test_the_requester_never_counts_and_an_unverified_one_costs_one(
    quorum: Quorum, people: dict[str, tuple[str, ...]], requester: str | None
) -> None:
    rule = a_rule(quorum, exclude_requester=True)
    met = evaluate_without_requester(rule, people, requester).met
    without = [{p: g for p, g in people.items() if p != absent} for absent in people]
    if requester is None:
        assert met == (bool(people) and all(model_met(quorum, rest) for rest in without))
    else:
        assert met == model_met(quorum, {p: g for p, g in people.items() if p != requester})


VOICES = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["t1", "t2", "t3", ""]), st.integers(1, 2)), max_size=5
)


@given(QUORUMS, MEMBERS, VOICES, st.sampled_from([None, "a"]), st.booleans(), st.integers(1, 2))
@settings(max_examples=400, deadline=None)
def test_distinct_terminals_against_every_choice(
    quorum: Quorum,
    groups: dict[str, tuple[str, ...]],
    voices: list[tuple[str, str, int]],
    requester: str | None,
    exclude: bool,
    level: int,
) -> None:
    rule = a_rule(quorum, distinct_terminals=True, exclude_requester=exclude, level=level)
    approvers = [an_approver(p, groups.get(p, ()), t, reached) for p, t, reached in voices]
    strong = [a for a in approvers if a.level >= level]
    terminals = sorted({a.terminal_id for a in strong} - {""})
    choices = product(*([a for a in strong if a.terminal_id == t] for t in terminals))
    plain = rule._replace(distinct_terminals=False)
    expected = any(
        evaluate_without_requester(plain, {a.person_id: a.groups for a in choice}, requester).met
        for choice in choices
    )
    assert is_met(rule, approvers, requester) == expected
    assert (reached_level((rule._replace(level=1),), tuple(approvers), requester) >= level) == expected


@given(QUORUMS, MEMBERS, VOICES, st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["t1", "t4", ""])))
@settings(max_examples=300, deadline=None)
def test_one_more_signature_never_unmeets_a_rule(
    quorum: Quorum,
    groups: dict[str, tuple[str, ...]],
    voices: list[tuple[str, str, int]],
    more: tuple[str, str],
) -> None:
    approvers = [an_approver(p, groups.get(p, ()), t) for p, t, _ in voices]
    another = an_approver(more[0], groups.get(more[0], ()), more[1])
    for exclude, distinct in product((False, True), repeat=2):
        rule = a_rule(quorum, exclude_requester=exclude, distinct_terminals=distinct)
        if is_met(rule, approvers, None):
            assert is_met(rule, [*approvers, another], None)


def test_a_result_has_no_truth_value() -> None:
    result = evaluate_quorum(Quorum(1, ("group:x",)), {})
    with pytest.raises(TypeError, match="met"):
        bool(result)


def test_it_says_who_is_missing() -> None:
    quorum = Quorum(2, ("group:x", Quorum(1, ("group:y",))))
    assert evaluate_quorum(quorum, {"a": ("x",)}).missing == ("1 more of group:x", "1 more of group:y")
    rule = a_rule(Quorum(1, ("group:x",)), exclude_requester=True)
    assert "not verified" in evaluate_without_requester(rule, {"a": ("x",)}, None).missing[-1]
    only_nested = Quorum(2, (Quorum(1, ("group:x",)), Quorum(1, ("group:y",))))
    assert evaluate_quorum(only_nested, {"a": ("x",)}).missing == (
        "1 more of the nested quorums",
        "1 more of group:y",
    )
