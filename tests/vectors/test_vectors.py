"""Each vector gives what it says, for the reason that it says; regenerating changes no byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from vector_runner import KINDS, VECTORS, load_vectors, run_vector

from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
)

ROOT = VECTORS.parent
ALL = load_vectors()
CATEGORIES = {
    "malformed": MalformedError,
    "verification": VerificationError,
    "policy": PolicyError,
    "indeterminate": IndeterminateError,
}


def contains(actual: Any, expected: Any) -> bool:
    """Tells whether `actual` has everything that `expected` names; lists and leaves must be equal."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(name in actual and contains(actual[name], value) for name, value in expected.items())
    return bool(actual == expected)


def test_there_are_vectors_of_every_kind() -> None:
    assert {vector["kind"] for vector in ALL} == set(KINDS)


def test_ids_are_unique() -> None:
    assert len({vector["id"] for vector in ALL}) == len(ALL)


@pytest.mark.parametrize("vector", ALL, ids=lambda vector: vector["id"])
def test_vector(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    if expect["outcome"] == "accept":
        facts = run_vector(vector)
        assert contains(facts, expect["facts"]), facts
        return
    with pytest.raises(PlacetError) as caught:
        run_vector(vector)
    error = caught.value
    assert error.reason == expect["reason"], error
    if "category" in expect:
        assert type(error) is CATEGORIES[expect["category"]]
    if "path" in expect:
        assert error.path == expect["path"]
    if "causes" in expect:
        assert [cause.reason.value for cause in error.causes] == expect["causes"]


def test_every_file_follows_the_schema() -> None:
    validator = Draft202012Validator(json.loads((VECTORS / "schema.json").read_text()))
    paths = [path for path in VECTORS.glob("*.json") if path.name != "schema.json"]
    assert paths
    for path in paths:
        validator.validate(json.loads(path.read_text()))


def test_the_schema_knows_every_reason_and_kind() -> None:
    definitions = json.loads((VECTORS / "schema.json").read_text())["$defs"]
    assert set(definitions["reason"]["enum"]) == {reason.value for reason in Reason}
    assert set(definitions["kind"]["enum"]) == set(KINDS)


def test_regenerating_changes_no_byte(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_vectors.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True, capture_output=True)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.json")}
    kept = {path.relative_to(VECTORS) for path in VECTORS.rglob("*.json")}
    assert made == kept, "run scripts/make_vectors.py and remove files that it does not write"
    changed = [
        str(path) for path in sorted(made) if (tmp_path / path).read_bytes() != (VECTORS / path).read_bytes()
    ]
    assert changed == [], "these differ: run scripts/make_vectors.py and read the difference"
