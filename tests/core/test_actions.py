"""Action definitions: every keyword, every format, every limit (ACT-01, ACT-02)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placet.core.actions import (
    MAX_ACTION_BYTES,
    MAX_ITEMS,
    MAX_SCHEMA_DEPTH,
    check_against_schema,
    is_relative_path,
    parse_action,
)
from placet.core.errors import MalformedError, Reason
from placet.testing.world import shipped_actions

DEPLOY: dict[str, Any] = json.loads(shipped_actions()["actions/deploy/v1.json"])
TEXT = {"type": "string"}

FORMATS = {
    "text": (["é", "a b", "x" * 4096], ["", "x" * 4097]),
    "ascii": (["a b", "~"], ["é", "\x7f", "a\n"]),
    "name": (["a", "1.0+b_c/d", "x" * 128], ["a b", "é", "\x7f", "x" * 129]),
    "decimal": (["0", "6", "1" * 18], ["06", "-1", "+1", "1.0", "٦", "²", "1" * 19, "x"]),
    "sha256": (["0" * 64], ["0" * 63, "A" * 64]),
    "absolute-path": (["/", "/a", "/a/b c"], ["a", "ab", "//", "/a/", "/a//b", "/../a", "/.", "/é", "/a\\b"]),
    "relative-path": (["a", "a/b"], ["/a", "", "a/", "../a", "a/..", ".", "a//b", "é", "a\\b", "a\x7f"]),
    "directory": ([".", "/", "/a"], ["..", "a", "./", "/a/"]),
}


def refusal(value: Any, schema: Any) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        check_against_schema(value, schema, "/p")
    assert caught.value.reason is Reason.ACTION_SCHEMA
    return caught.value


@pytest.mark.parametrize("name", FORMATS)
def test_each_format(name: str) -> None:
    good, bad = FORMATS[name]
    for text in good:
        check_against_schema(text, {"type": "string", "format": name}, "/p")
    for text in bad:
        assert refusal(text, {"type": "string", "format": name}).path == "/p"


def test_a_choice_is_one_of_those_listed() -> None:
    schema = {"type": "string", "enum": ["a", "b"]}
    check_against_schema("a", schema, "/p")
    assert "a, b" in str(refusal("c", schema))


def test_lists_and_maps_have_limits_and_their_items_are_checked() -> None:
    items = {"type": "array", "items": TEXT, "minItems": 1}
    check_against_schema(["x"] * MAX_ITEMS, items, "/p")
    assert refusal(["x"] * (MAX_ITEMS + 1), items)
    assert refusal([], items)
    assert refusal("x", items)
    assert refusal(["x", 1], items).path == "/p/1"
    check_against_schema([], {"type": "array", "items": TEXT}, "/p")
    values = {"type": "object", "values": TEXT}
    check_against_schema({str(i): "x" for i in range(MAX_ITEMS)}, values, "/p")
    assert refusal({str(i): "x" for i in range(MAX_ITEMS + 1)}, values)
    assert refusal({"a": []}, values).path == "/p/a"
    assert refusal([], values)


def test_records_have_their_members_and_these_are_checked() -> None:
    record = {
        "type": "object",
        "properties": {"a": TEXT, "b": {"type": "array", "items": TEXT}},
        "required": ["a"],
    }
    check_against_schema({"a": "x"}, record, "/p")
    check_against_schema({"a": "x", "b": ["y"]}, record, "/p")
    assert refusal({"b": ["y"]}, record).path == "/p"
    assert refusal({"a": "x", "c": "y"}, record).path == "/p"
    assert refusal({"a": "x", "b": [""]}, record).path == "/p/b/0"
    assert refusal({"a": "x"}, {"type": "object"}).path == "/p"


def test_the_shipped_definitions_are_good() -> None:
    for file, data in shipped_actions().items():
        assert parse_action(data, file=file).file == file


def with_schema(schema: Any) -> bytes:
    return json.dumps(DEPLOY | {"parameters": schema}).encode()


def nested(depth: int) -> Any:
    schema: Any = TEXT
    for _ in range(depth):
        schema = {"type": "object", "values": schema}
    return schema


BAD_SCHEMAS: list[tuple[Any, Reason]] = [
    ("string", Reason.WRONG_TYPE),
    ({}, Reason.BAD_VALUE),
    ({"type": "null"}, Reason.BAD_VALUE),
    ({"type": ["string"]}, Reason.BAD_VALUE),
    ({"type": "string", "pattern": "."}, Reason.UNKNOWN_MEMBER),
    ({"type": "string", "format": "uri"}, Reason.BAD_VALUE),
    ({"type": "string", "format": 1}, Reason.WRONG_TYPE),
    ({"type": "string", "enum": "ab"}, Reason.WRONG_TYPE),
    ({"type": "string", "enum": [""]}, Reason.BAD_VALUE),
    ({"type": "string", "enum": [1]}, Reason.WRONG_TYPE),
    ({"type": "string", "enum": [str(i) for i in range(65)]}, Reason.TOO_MANY),
    ({"type": "array"}, Reason.MISSING_MEMBER),
    ({"type": "array", "items": {"type": "number"}}, Reason.BAD_VALUE),
    ({"type": "array", "items": TEXT, "minItems": "1"}, Reason.WRONG_TYPE),
    ({"type": "array", "items": TEXT, "uniqueItems": True}, Reason.UNKNOWN_MEMBER),
    ({"type": "object", "additionalProperties": True}, Reason.UNKNOWN_MEMBER),
    ({"type": "object", "properties": {"a": {"type": "x"}}}, Reason.BAD_VALUE),
    ({"type": "object", "properties": {str(i): TEXT for i in range(65)}}, Reason.TOO_MANY),
    ({"type": "object", "required": ["a"]}, Reason.BAD_VALUE),
    ({"type": "object", "values": {"type": "x"}}, Reason.BAD_VALUE),
    ({"type": "object", "values": TEXT, "properties": {}}, Reason.BAD_VALUE),
    (nested(MAX_SCHEMA_DEPTH + 1), Reason.TOO_DEEP),
]


@pytest.mark.parametrize(("schema", "reason"), BAD_SCHEMAS)
def test_a_schema_outside_the_subset_is_refused(schema: Any, reason: Reason) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_action(with_schema(schema), file="actions/x/v1.json")
    assert caught.value.reason is reason
    assert caught.value.path.startswith("/parameters")


def test_the_deepest_schema_is_accepted() -> None:
    assert parse_action(with_schema(nested(MAX_SCHEMA_DEPTH)), file="actions/x/v1.json")


BAD_DEFINITIONS: list[tuple[dict[str, Any], Reason, str]] = [
    ({"text": ["é"]}, Reason.BAD_VALUE, "/text/0"),
    ({"text": [""]}, Reason.BAD_VALUE, "/text/0"),
    ({"text": [{"field": "/a", "join": "é"}]}, Reason.BAD_VALUE, "/text/0/join"),
    ({"text": [{"field": "/a", "join": "x" * 9}]}, Reason.BAD_VALUE, "/text/0/join"),
    ({"text": [{"field": "/a", "upper": True}]}, Reason.UNKNOWN_MEMBER, "/text/0"),
    ({"text": [{"field": ""}]}, Reason.BAD_VALUE, "/text/0/field"),
    ({"text": ["x"] * 33}, Reason.TOO_MANY, "/text"),
    ({"labels": [{"field": "/a", "label": "é"}]}, Reason.BAD_VALUE, "/labels/0/label"),
    ({"labels": [{"field": "/a"}]}, Reason.MISSING_MEMBER, "/labels/0"),
    ({"targetSchemes": ["é"]}, Reason.BAD_VALUE, "/targetSchemes/0"),
    ({"subjects": {"kind": "people", "optional": False}}, Reason.BAD_VALUE, "/subjects/kind"),
    ({"subjects": {"kind": "files", "optional": "no"}}, Reason.WRONG_TYPE, "/subjects/optional"),
    ({"useUnit": "day"}, Reason.BAD_VALUE, "/useUnit"),
    ({"annotations": {"type": "number"}}, Reason.BAD_VALUE, "/annotations"),
    ({"type": "é"}, Reason.BAD_VALUE, "/type"),
    ({"note": "x"}, Reason.UNKNOWN_MEMBER, ""),
]


@pytest.mark.parametrize(("changes", "reason", "path"), BAD_DEFINITIONS)
def test_a_definition_outside_the_form_is_refused(changes: dict[str, Any], reason: Reason, path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_action(json.dumps(DEPLOY | changes).encode(), file="actions/x/v1.json")
    assert (caught.value.reason, caught.value.path) == (reason, path)


def test_a_definition_has_at_most_64_kibibytes() -> None:
    data = json.dumps(DEPLOY).encode()
    assert parse_action(data.ljust(MAX_ACTION_BYTES), file="actions/x/v1.json")
    with pytest.raises(MalformedError) as caught:
        parse_action(data.ljust(MAX_ACTION_BYTES + 1), file="actions/x/v1.json")
    assert (caught.value.reason, MAX_ACTION_BYTES, MAX_ITEMS) == (Reason.TOO_LARGE, 65536, 256)


@pytest.mark.parametrize("path", ["a", "a b/c.d", "..a", "a..", "...", "-rf"])
def test_plain_relative_paths(path: str) -> None:
    assert is_relative_path(path)


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/", "/a", "a/", "a//b", "a/../b", "./a", "a\\b", "a\n", "é", "a\x7f"]
)
def test_paths_that_lead_elsewhere(path: str) -> None:
    assert not is_relative_path(path)
