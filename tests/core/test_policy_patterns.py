"""Target patterns against a regular expression, and against a hostile target (POL-02, A15)."""

from __future__ import annotations

import re
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.patterns import matches
from placet.core.policy import Rule, parse_policy, rule_from_object, rule_to_object, select_rules

PATTERNS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", ".", "ab"]), max_size=8).map("".join)
TARGETS = st.text("ab/.", max_size=12)


@given(PATTERNS.filter(lambda p: "***" not in p), TARGETS)
@settings(max_examples=2000, deadline=None)
def test_patterns_mean_what_a_regular_expression_would(pattern: str, target: str) -> None:
    pieces = re.split(r"(\*\*|\*)", pattern)
    expression = "".join({"**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces)
    assert matches(pattern, target) == (re.fullmatch(expression, target, re.DOTALL) is not None)


def test_a15_no_target_stalls_the_gate() -> None:
    started = time.process_time()
    for pattern in ("**a" * 8 + "b", "*a" * 8 + "b", "**/*/" * 4 + "b"):
        for target in ("a" * 1024, "a/" * 512, "/" * 1024):
            assert not matches(pattern, target)
    assert time.process_time() - started < 2


def test_a_compiled_rule_reads_back_the_same() -> None:
    toml = b"""
    [[rule]]
    action = "https://placet.dev/actions/deploy/v1"
    target = "k8s://prod-*/**"
    level = 3
    quorum = { threshold = 2, of = ["group:a", { threshold = 1, of = ["person:b", "group:c"] }] }
    exclude_requester = false
    distinct_terminals = true
    max_window = "90s"
    layout = "layouts/app.layout"
    [[rule.evidence]]
    kind = "slsa-provenance"
    min_level = 3
    builders = ["https://github.com/actions/runner/github-hosted"]
    source = "https://github.com/a/b"
    """
    rules = parse_policy(toml, scope="s", file="policy/s.toml")
    assert tuple(rule_from_object(rule_to_object(rule), "") for rule in rules) == rules
    (rule,) = rules
    assert (rule.max_window, rule.level, rule.evidence[0].options["min_level"]) == (90, 3, 3)


def test_a_rule_counts_only_for_its_action_its_target_and_its_scope() -> None:
    (rule,) = parse_policy(
        b'[[rule]]\naction = "x:a"\ntarget = "host://**"\nlevel = 1\n'
        b'quorum = { threshold = 1, of = ["group:g"] }',
        scope="s",
        file="policy/s.toml",
    )

    def selected(action: str, target: str, scopes: dict[str, tuple[str, ...]]) -> tuple[Rule, ...]:
        return select_rules([rule], scopes, action=action, target=target)

    wide = {"s": ("nothing", "**"), "t": ("**",)}
    assert selected("x:a", "host://h", wide) == (rule,)
    assert selected("x:b", "host://h", wide) == ()
    assert selected("x:a", "ssh://h", wide) == ()
    assert selected("x:a", "host://h", {"s": ("host://other/**",)}) == ()
    assert selected("x:a", "host://h", {"t": ("**",)}) == ()
