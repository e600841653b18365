"""The JSON Schema of the vector files."""

from __future__ import annotations

from typing import Any

from placet.core.errors import Reason

_TEXT = {"type": "string", "minLength": 1}
_CATEGORIES = ["malformed", "verification", "policy", "indeterminate"]


def _closed(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": required | optional,
        "required": sorted(required),
        "additionalProperties": False,
    }


def schema(kinds: list[str]) -> dict[str, Any]:
    """Returns the schema; `kinds` are the kinds of vectors that there are."""
    accept = _closed({"outcome": {"const": "accept"}, "facts": {"type": "object"}})
    refuse = _closed(
        {"outcome": {"const": "refuse"}, "reason": {"$ref": "#/$defs/reason"}},
        category={"enum": _CATEGORIES},
        path={"type": "string"},
        causes={"type": "array", "items": {"$ref": "#/$defs/reason"}},
    )
    vector = _closed(
        {
            "id": _TEXT,
            "kind": {"$ref": "#/$defs/kind"},
            "description": _TEXT,
            "requirements": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {"type": "string", "pattern": "^([A-Z]{3}-[0-9]{2}|INV-[1-9])$"},
            },
            "now": {"type": "string", "pattern": "^[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}Z$"},
            "inputs": {"type": "object"},
            "expect": {"oneOf": [accept, refuse]},
        }
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://placet.dev/vectors/v1/schema.json",
        "title": "Test vectors of placet",
        "$defs": {
            "reason": {"enum": sorted(reason.value for reason in Reason)},
            "kind": {"enum": kinds},
            "vector": vector,
        },
        **_closed(
            {"area": _TEXT, "vectors": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/vector"}}}
        ),
    }
