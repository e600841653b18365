"""Scopes: a rule that reaches out of its own is found before it is signed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.ceremony.trust_scopes import check_rules_inside, find_outside
from placet.core.errors import MalformedError, Reason
from placet.core.patterns import matches
from placet.core.policy import parse_policy
from placet.testing.world import DEFAULT_POLICY

PATTERNS = st.lists(st.sampled_from(["a", "b", "/", "*", "**"]), min_size=1, max_size=6).map("".join)
SIMPLE = PATTERNS.filter(lambda text: "***" not in text)
TARGETS = ["".join(letters) for n in range(6) for letters in itertools.product("abx/", repeat=n)]


@given(pattern=SIMPLE, scope=st.lists(SIMPLE, min_size=1, max_size=3))
def test_what_is_found_is_what_the_gate_would_match(pattern: str, scope: list[str]) -> None:
    """Held against the gate's own matcher on every short target."""
    outside = find_outside(pattern, scope)
    if outside is None:
        assert not [
            t for t in TARGETS if matches(pattern, t) and not any(matches(allowed, t) for allowed in scope)
        ]
    else:
        assert matches(pattern, outside)
        assert not any(matches(allowed, outside) for allowed in scope)


@pytest.mark.parametrize(
    ("pattern", "scope", "inside"),
    [
        ("k8s://pay/**", ["k8s://pay/**"], True),
        ("k8s://pay/ns/*/deploy/app", ["k8s://pay/**"], True),
        ("k8s://pay/a", ["k8s://pay/*"], True),
        ("k8s://pay/**", ["k8s://pay/*"], False),
        ("k8s://pay/*", ["k8s://pay/a*", "k8s://pay/*"], True),
        ("k8s://**", ["k8s://pay/**"], False),
        ("**", ["k8s://pay/**"], False),
        ("**", ["**"], True),
        ("k8s://payroll/x", ["k8s://pay/**"], False),
        ("k8s://pay/**", ["k8s://pay/*", "k8s://pay/*/**"], True),
    ],
)
def test_inside_and_outside(pattern: str, scope: list[str], inside: bool) -> None:
    assert (find_outside(pattern, scope) is None) is inside


def test_patterns_made_to_be_hard_are_refused_and_soon() -> None:
    hard = "*".join("ab" * 100 for _ in range(9))
    scope = ["*".join("ab" * n for _ in range(9)) for n in range(20, 80)]
    assert find_outside(hard, scope) is not None


def test_a_rule_that_reaches_out_is_named_with_its_place() -> None:
    rules = parse_policy(DEFAULT_POLICY.encode(), scope="pay", file="pay.toml")
    check_rules_inside(rules, "pay", ["**"])
    with pytest.raises(MalformedError, match="reaches out of the scope pay") as error:
        check_rules_inside(rules, "pay", [rules[0].target])
    assert (error.value.reason, error.value.path) == (Reason.BAD_POLICY, "/rule/1/target")
