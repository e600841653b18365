"""Policy files at their limits (POL-01)."""

from __future__ import annotations

import pytest

from placet.core import policy
from placet.core.errors import MalformedError, Reason
from placet.core.policy import Rule, parse_policy, parse_scopes, rule_from_object, rule_to_object

RULE = """[[rule]]
action = "x:a"
target = "host://**"
level = 1
quorum = { threshold = 1, of = ["group:g"] }
"""


def parse(text: str) -> tuple[Rule, ...]:
    return parse_policy(text.encode(), scope="s", file="policy/s.toml")


def refusal(text: str) -> Reason:
    with pytest.raises(MalformedError) as caught:
        parse(text)
    return caught.value.reason


def test_the_size_of_a_file() -> None:
    assert policy.MAX_POLICY_BYTES == 256 * 1024
    assert parse(RULE.ljust(policy.MAX_POLICY_BYTES))
    assert refusal(RULE.ljust(policy.MAX_POLICY_BYTES + 1)) is Reason.TOO_LARGE


def test_the_number_of_rules() -> None:
    short = RULE.replace("host://**", "a").replace("group:g", "group:g")
    assert len(parse(short * 1000)) == 1000
    assert refusal(short * 1001) is Reason.TOO_MANY


def test_the_number_of_members_of_a_quorum() -> None:
    def of(count: int) -> str:
        members = ", ".join(f'"person:p{i}"' for i in range(count))
        return RULE.replace('["group:g"]', f"[{members}]")

    assert len(parse(of(64))[0].quorum.of) == 64
    assert refusal(of(65)) is Reason.TOO_MANY


def test_the_depth_of_a_quorum() -> None:
    def deep(levels: int) -> str:
        quorum = '{ threshold = 1, of = ["group:g"] }'
        for _ in range(levels - 1):
            quorum = f"{{ threshold = 1, of = [{quorum}] }}"
        return RULE.replace('{ threshold = 1, of = ["group:g"] }', quorum)

    assert parse(deep(5))
    assert refusal(deep(6)) is Reason.TOO_DEEP


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("1h", 3600), ("1d", 86_400), ("999999s", 999_999)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse(f'{RULE}max_window = "{text}"\n')[0].max_window == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "0s", "1", "h1", "1.5h", "-1h", "1w", "1 h", "xh", "1hh", "99999999h"]
)
def test_other_durations_are_refused(text: str) -> None:
    assert refusal(f'{RULE}max_window = "{text}"\n') is Reason.BAD_VALUE


@pytest.mark.parametrize("level", ["0", "5", "true", '"1"', "1.0"])
def test_levels_are_whole_numbers_from_one_to_four(level: str) -> None:
    assert refusal(RULE.replace("level = 1", f"level = {level}")) is Reason.BAD_VALUE


@pytest.mark.parametrize("threshold", ["0", "65", "true", '"1"', "[]"])
def test_thresholds_are_whole_numbers_from_one_to_64(threshold: str) -> None:
    assert refusal(RULE.replace("threshold = 1", f"threshold = {threshold}")) is Reason.BAD_VALUE


def test_a_threshold_of_64_of_a_group() -> None:
    assert parse(RULE.replace("threshold = 1", "threshold = 64"))[0].quorum.threshold == 64


@pytest.mark.parametrize("member", ["group:", "person:", "g", "role:g", ":g", ""])
def test_a_member_of_a_quorum_is_a_group_or_a_person(member: str) -> None:
    assert refusal(RULE.replace("group:g", member)) is Reason.BAD_VALUE


@pytest.mark.parametrize(
    "evidence", ["[1]", "[{}]", '[{ kind = "" }]', "[{ kind = 1 }]", "{}", '[{ kind = "x" }]' + "]"]
)
def test_evidence_names_its_kind(evidence: str) -> None:
    assert refusal(f"{RULE}evidence = {evidence}\n")


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("maxWindow", 0, Reason.BAD_VALUE),
        ("maxWindow", 10**9 + 1, Reason.BAD_VALUE),
        ("level", True, Reason.BAD_VALUE),
        ("excludeRequester", 1, Reason.WRONG_TYPE),
        ("evidence", [{"kind": 1, "options": {}}], Reason.WRONG_TYPE),
        ("evidence", [{"kind": "x", "options": []}], Reason.WRONG_TYPE),
        ("evidence", [{"kind": "x"}], Reason.MISSING_MEMBER),
        ("quorum", {}, Reason.MISSING_MEMBER),
        ("target", "a***", Reason.BAD_VALUE),
        ("note", "x", Reason.UNKNOWN_MEMBER),
    ],
)
def test_a_compiled_rule_is_read_as_strictly(member: str, value: object, reason: Reason) -> None:
    compiled = rule_to_object(parse(RULE)[0])
    assert rule_from_object(compiled, "") == parse(RULE)[0]
    with pytest.raises(MalformedError) as caught:
        rule_from_object(compiled | {member: value}, "/rules/0")
    assert caught.value.reason is reason
    assert caught.value.path.startswith("/rules/0")


@pytest.mark.parametrize("name", ["", "A", "a/b", "a.b", "-a"])
def test_a_scopes_name_is_plain(name: str) -> None:
    assert parse_scopes({"scopes": {"production": ["**"]}}) == {"production": ("**",)}
    for bad in ({name: ["**"]}, {"a": []}, {"a": "**"}, {"a": ["***"]}):
        with pytest.raises(MalformedError):
            parse_scopes({"scopes": bad})
