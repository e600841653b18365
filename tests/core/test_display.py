"""The view is complete and unambiguous; the summary comes from the template (DSP)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.actions import ActionDefinition, Label, TemplatePart
from placet.core.display import (
    check_text,
    denial_text,
    escape_value,
    iter_leaves,
    render_text,
    render_view,
)
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.statement import MAX_TEXT, IntentStatement, parse_statement
from placet.testing.world import DEPLOY, World

TRUST = World(seed=b"display").trust()
DEFINITION = TRUST.actions[DEPLOY]
STATEMENT = parse_statement(World(seed=b"display").request_deploy(reason="why").payload)


def shown(text: str) -> ActionDefinition:
    return DEFINITION._replace(template=(TemplatePart("", text, ""),))


@given(st.text(), st.text())
@settings(max_examples=500, deadline=None)
def test_the_escape_is_injective_and_printable(one: str, other: str) -> None:
    assert escape_value(one).isascii()
    assert not escape_value(one) or escape_value(one).isprintable()
    assert (escape_value(one) == escape_value(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("~ a", "~ a"),
        ("\x7f", "\\u{7f}"),
        ("\x1f", "\\u{1f}"),
        ("\\", "\\u{5c}"),
        ("\0", "\\u{0}"),
        ("\U0010ffff", "\\u{10ffff}"),
        ("a\n", "a\\u{a}"),
        (" ~é", " ~\\u{e9}"),
    ],
)
def test_escapes(text: str, escaped: str) -> None:
    assert escape_value(text) == escaped


def test_leaves_of_every_kind() -> None:
    value = {"a": [1, True, 0, False, None, "", [], {}], "~/": {"b": "x"}, "n": -5}
    assert dict(iter_leaves(value)) == {
        "/a/0": "1",
        "/a/1": "true",
        "/a/2": "0",
        "/a/3": "false",
        "/a/4": "null",
        "/a/5": "",
        "/a/6": "(none)",
        "/a/7": "(none)",
        "/~0~1/b": "x",
        "/n": "-5",
    }


def with_member(**members: Any) -> IntentStatement:
    return STATEMENT._replace(value=STATEMENT.value | members)


@pytest.mark.parametrize("members", [{"extra": "x"}, {"extra": []}, {"extra": {"deep": [None]}}])
def test_a_leaf_that_no_section_shows_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        render_view(with_member(**members), DEFINITION)
    assert caught.value.reason is Reason.DISPLAY_INCOMPLETE
    assert caught.value.path.startswith("/extra")


def test_each_section_in_its_order_and_labels_from_the_definition() -> None:
    rows = render_view(STATEMENT, DEFINITION).rows
    sections = list(dict.fromkeys(row.section for row in rows))
    assert sections == [
        "What will happen",
        "Who asks",
        "Evidence",
        "When and where it counts",
        "Form of the record",
    ]
    labels = {row.pointer: row.label for row in rows}
    assert labels["/predicate/action/parameters/strategy"] == "Strategy"
    assert labels["/predicate/request/reason"] == "In their words"
    plain = render_view(STATEMENT, DEFINITION._replace(labels=())).rows
    assert {row.pointer: row.label for row in plain}[
        "/predicate/action/parameters/strategy"
    ] == "Parameter strategy"
    sloppy = DEFINITION._replace(labels=(Label("/predicate/action/parameters/strat", "Wrong"),))
    assert "Wrong" not in {row.label for row in render_view(STATEMENT, sloppy).rows}


@pytest.mark.parametrize(
    "pointer",
    [
        "/nothing",
        "/predicate/action/parameters/*",
        "/subject/0/name",
        "/subject",
        "/predicate",
        "/subject/*/nothing",
        "/_type/https",
        "/_type/*",
    ],
)
def test_a_template_that_names_no_text_is_refused(pointer: str) -> None:
    with pytest.raises(MalformedError) as caught:
        render_text(STATEMENT.value, shown(pointer))
    assert (caught.value.reason, caught.value.path) == (Reason.ACTION_SCHEMA, pointer)


def test_a_member_named_star_is_a_member() -> None:
    assert render_text({"*": "x", "a": ["y", "z"]}, shown("/*")) == "x"
    assert render_text({"a": ["y", "z"]}, shown("/a/*")) == "yz"


def test_a_summary_has_at_most_512_characters() -> None:
    assert render_text({"a": "x" * MAX_TEXT}, shown("/a")) == "x" * 512
    for long in ("x" * 513, "é" * 86):  # six characters each
        with pytest.raises(MalformedError) as caught:
            render_text({"a": long}, shown("/a"))
        assert caught.value.reason is Reason.DISPLAY_TOO_LONG


@given(st.lists(st.text('a "\\é', min_size=1, max_size=4), min_size=1, max_size=4).filter(bool))
@settings(max_examples=300, deadline=None)
def test_items_of_a_summary_can_be_told_apart(items: list[str]) -> None:
    definition = DEFINITION._replace(template=(TemplatePart("", "/a/*", " "),))
    text = render_text({"a": items}, definition)
    again, rest = [], text
    while rest:
        if rest[0] == '"':
            item, _, rest = rest[1:].partition('"')
            assert not rest or rest[0] == " "
            rest = rest[1:]
        else:
            item, _, rest = rest.partition(" ")
        again.append(item.replace("\\u{22}", '"').replace("\\u{e9}", "é").replace("\\u{5c}", "\\"))
    assert again == items


def test_a_denial_says_so_and_fits() -> None:
    assert denial_text("x" * 512) == "Deny: " + "x" * 506
    with pytest.raises(VerificationError) as caught:
        check_text(STATEMENT._replace(decision="deny"), DEFINITION)
    assert caught.value.expected == denial_text(STATEMENT.text)
    denied = json.loads(STATEMENT.payload)["predicate"]["display"]["text"]
    check_text(STATEMENT._replace(decision="deny", text=denial_text(denied)), DEFINITION)
