"""The predicates' specifications have every section, and examples that our parsers take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from placet.core.encoding import encode_canonical
from placet.core.errors import MalformedError
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.report import parse_report
from placet.core.statement import parse_statement

SPEC = Path(__file__).resolve().parents[3] / "spec"
EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)
# What in-toto/attestation asks for (spec/predicates/template/template.md).
SECTIONS = ("Purpose", "Use Cases", "Prerequisites", "Model", "Schema", "Example", "Changelog and Migrations")
PREDICATES = {"intent": parse_statement, "terminal-report": parse_report}


def text(name: str) -> str:
    return (SPEC / "predicates" / f"{name}.md").read_text(encoding="utf-8")


def example(name: str) -> Any:
    (found,) = EXAMPLE.findall(text(name))
    return json.loads(found)


@pytest.mark.parametrize("name", PREDICATES)
def test_the_example_is_a_whole_statement_that_parses(name: str) -> None:
    PREDICATES[name](encode_canonical(example(name)))


@pytest.mark.parametrize("name", PREDICATES)
def test_an_unrecognized_member_is_refused_as_the_parsing_rules_say(name: str) -> None:
    value = example(name)
    value["predicate"]["https://example.com/extension"] = "x"
    with pytest.raises(MalformedError):
        PREDICATES[name](encode_canonical(value))


@pytest.mark.parametrize("name", PREDICATES)
def test_it_has_every_section_and_the_conventions_of_the_framework(name: str) -> None:
    said = text(name)
    assert [s for s in SECTIONS if f"\n## {s}\n" not in said] == []
    assert "\n### Parsing Rules\n" in said
    assert "\n### Fields\n" in said
    value = example(name)
    assert f"Type URI: {value['predicateType']}\n" in said
    for member in members(value["predicate"]):
        assert re.fullmatch("[a-z][A-Za-z0-9]*", member), member
    for member in value["predicate"]:
        assert f"`{member}" in said, member


def members(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(members(item) for item in value.values()))
    return set().union(*(members(item) for item in value)) if isinstance(value, list) else set()


def test_the_levels_are_those_of_the_code() -> None:
    said = (SPEC / "intent-levels.md").read_text(encoding="utf-8")
    for level, name in LEVEL_NAMES.items():
        assert f"\n## Intent L{level}: {name}\n" in said
    assert f"`{level_name(1)}` to `{level_name(4)}`" in said
