"""Typed actions: what an action may say, and how it is put into words (spec/03-statement.md).

An action definition is a file of the trust root, ``actions/<type>/vN.json``, immutable
once published.  It holds a closed subset of JSON Schema for the action's parameters and
annotations, a template for the one-line summary, and labels for the full view.  There
are no conditionals and no locale: the same bytes read the same everywhere, forever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from placet.core.decode import (
    Object,
    read_ascii,
    read_bool,
    read_choice,
    read_list,
    read_map,
    read_object,
    read_string,
)
from placet.core.encoding import Digest, is_hex, parse_json, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason

MAX_ACTION_BYTES = 64 * 1024
# Long argument lists belong in a script that is an input file, where they are hashed.
MAX_ITEMS = 256
MAX_SCHEMA_DEPTH = 6

USE_UNITS = ("action", "subject")
SUBJECT_KINDS = ("artifacts", "files")


class TemplatePart(NamedTuple):
    """A piece of the summary: a literal, or the value at `pointer`, lists joined by `join`."""

    literal: str
    pointer: str
    join: str


class Label(NamedTuple):
    """A caption for every leaf at or below `pointer`."""

    pointer: str
    text: str


class ActionDefinition(NamedTuple):
    """A parsed action definition and the digest of its file."""

    file: str
    digest: Digest
    type: str
    title: str
    use_unit: str
    subject_kind: str
    allow_no_subject: bool
    target_schemes: tuple[str, ...]
    parameters: Object
    annotations: Object
    template: tuple[TemplatePart, ...]
    labels: tuple[Label, ...]


def parse_action(data: bytes, *, file: str) -> ActionDefinition:
    """Parses an action definition file.

    Args:
        data: the file's bytes; its SHA-256 is what statements pin.
        file: its name in the trust root, such as ``actions/deploy/v1.json``.

    Raises:
        MalformedError: the definition uses anything outside the closed subset (ACT-01).
    """
    value = parse_json(data, max_bytes=MAX_ACTION_BYTES, what=f"action definition {file}")
    return action_from_object(value, file=file, digest=sha256_hex(data))


def action_from_object(value: Any, *, file: str, digest: Digest) -> ActionDefinition:
    """Reads a decoded action definition.

    Raises:
        MalformedError: as `parse_action`.
    """
    names = ["type", "title", "useUnit", "subjects", "targetSchemes", "parameters", "annotations"]
    top = read_object(value, "", required=[*names, "text", "labels"])
    subjects = read_object(top["subjects"], "/subjects", required=["kind", "optional"])
    for name in ("parameters", "annotations"):
        _check_schema(top[name], f"/{name}", 0)
    return ActionDefinition(
        file=file,
        digest=digest,
        type=read_ascii(top["type"], "/type"),
        title=read_ascii(top["title"], "/title", max_length=80),
        use_unit=read_choice(top["useUnit"], "/useUnit", USE_UNITS),
        subject_kind=read_choice(subjects["kind"], "/subjects/kind", SUBJECT_KINDS),
        allow_no_subject=read_bool(subjects["optional"], "/subjects/optional"),
        target_schemes=tuple(
            read_ascii(scheme, f"/targetSchemes/{i}", max_length=32)
            for i, scheme in enumerate(read_list(top["targetSchemes"], "/targetSchemes", max_items=16))
        ),
        parameters=top["parameters"],
        annotations=top["annotations"],
        template=tuple(
            _read_part(part, f"/text/{i}")
            for i, part in enumerate(read_list(top["text"], "/text", max_items=32, min_items=1))
        ),
        labels=tuple(
            _read_label(label, f"/labels/{i}")
            for i, label in enumerate(read_list(top["labels"], "/labels", max_items=64))
        ),
    )


def _read_part(value: Any, path: str) -> TemplatePart:
    if isinstance(value, str):
        return TemplatePart(read_ascii(value, path, max_length=200), "", "")
    members = read_object(value, path, required=["field"], optional=["join"])
    join = members.get("join", "")
    if join:
        read_ascii(join, f"{path}/join", max_length=8)
    return TemplatePart("", read_ascii(members["field"], f"{path}/field", max_length=200), join)


def _read_label(value: Any, path: str) -> Label:
    members = read_object(value, path, required=["field", "label"])
    return Label(
        read_ascii(members["field"], f"{path}/field", max_length=200),
        read_ascii(members["label"], f"{path}/label", max_length=80),
    )


def _check_schema(schema: Any, path: str, depth: int) -> None:
    """Refuses any schema outside the closed subset, when trust is compiled rather than when it is used."""
    if depth > MAX_SCHEMA_DEPTH:
        raise MalformedError(Reason.TOO_DEEP, "The schema is nested too deeply.", path=path)
    kind = read_map(schema, path, max_items=8).get("type")
    if kind == "string":
        members = read_object(schema, path, required=["type"], optional=["format", "enum"])
        read_choice(members.get("format", "text"), f"{path}/format", tuple(_FORMATS))
        for i, choice in enumerate(read_list(members.get("enum", []), f"{path}/enum", max_items=64)):
            read_string(choice, f"{path}/enum/{i}")
    elif kind == "array":
        members = read_object(schema, path, required=["type", "items"], optional=["minItems"])
        if not isinstance(members.get("minItems", 0), int):
            raise MalformedError(Reason.WRONG_TYPE, "A whole number was expected.", path=f"{path}/minItems")
        _check_schema(members["items"], f"{path}/items", depth + 1)
    elif kind == "object":
        members = read_object(schema, path, required=["type"], optional=["properties", "required", "values"])
        if "values" in members and "properties" in members:
            raise MalformedError(Reason.BAD_VALUE, "An object is a map or a record, not both.", path=path)
        for name, child in read_map(members.get("properties", {}), path, max_items=64).items():
            _check_schema(child, f"{path}/properties/{name}", depth + 1)
        for i, name in enumerate(read_list(members.get("required", []), f"{path}/required", max_items=64)):
            read_choice(name, f"{path}/required/{i}", tuple(members.get("properties", {})))
        if "values" in members:
            _check_schema(members["values"], f"{path}/values", depth + 1)
    else:
        raise MalformedError(Reason.BAD_VALUE, "A schema is of type string, array or object.", path=path)


def check_against_schema(value: Any, schema: Object, path: str) -> None:
    """Checks `value` against an action's schema; unknown members are refused (ACT-02).

    Raises:
        MalformedError: ACTION_SCHEMA, with the offending path.
    """
    try:
        _check_value(value, schema, path)
    except PlacetError as e:
        raise MalformedError(
            Reason.ACTION_SCHEMA,
            f"The action does not fit its definition: {e.message}",
            path=e.path,
            hint="`placet trust show` lists the members that each action takes.",
        ) from e


def _check_value(value: Any, schema: Object, path: str) -> None:
    kind = schema["type"]
    if kind == "string":
        # The empty string is a leaf that a screen could not tell from nothing.
        text = read_string(value, path, max_length=4096)
        if "format" in schema and not _FORMATS[schema["format"]](text):
            raise MalformedError(Reason.BAD_VALUE, f"A {schema['format']} was expected.", path=path)
        if "enum" in schema and text not in schema["enum"]:
            listed = ", ".join(schema["enum"])
            raise MalformedError(Reason.BAD_VALUE, f"One of {listed} was expected.", path=path)
    elif kind == "array":
        items = read_list(value, path, max_items=MAX_ITEMS, min_items=schema.get("minItems", 0))
        for i, item in enumerate(items):
            _check_value(item, schema["items"], f"{path}/{i}")
    elif "values" in schema:
        for name, member in read_map(value, path, max_items=MAX_ITEMS).items():
            _check_value(member, schema["values"], f"{path}/{name}")
    else:
        properties = schema.get("properties", {})
        required = frozenset(schema.get("required", ()))
        for name, member in read_object(value, path, required=required, optional=properties).items():
            _check_value(member, properties[name], f"{path}/{name}")


def is_relative_path(text: str) -> bool:
    """Tells whether `text` is a plain relative path: printable ASCII, no empty, ``.`` or ``..`` part."""
    return (
        text.isascii()
        and text.isprintable()
        and "\\" not in text
        and all(part not in ("", ".", "..") for part in text.split("/"))
    )


def _is_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _is_absolute_path(text: str) -> bool:
    return text == "/" or (text.startswith("/") and is_relative_path(text[1:]))


_FORMATS: dict[str, Callable[[str], bool]] = {
    "text": lambda text: True,
    "ascii": _is_ascii,
    "name": lambda text: _is_ascii(text) and len(text) <= 128 and " " not in text,
    "decimal": lambda text: text.isascii() and text.isdigit() and str(int(text[:18])) == text,
    "sha256": lambda text: is_hex(text, 64),
    "absolute-path": _is_absolute_path,
    "relative-path": is_relative_path,
    "directory": lambda text: text == "." or _is_absolute_path(text),
}


def is_plain_place(rest: str) -> bool:
    """Tells whether what follows the scheme is the one spelling of a place: nothing that means another."""
    parts = rest.split("/")
    spelled_otherwise = "%2e" in rest.lower() or "%2f" in rest.lower()
    return bool(rest) and "" not in parts[:-1] and not {".", ".."} & set(parts) and not spelled_otherwise
