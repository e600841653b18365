"""Each requirement is in the specification, in the code, and in vectors of both outcomes."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
from vector_runner import load_vectors

ROOT = Path(__file__).resolve().parents[2]
DEFINED = re.compile(r"^- \*\*(INV-[1-9]|[A-Z]{3}-[0-9]{2})\*\*", re.MULTILINE)
AREAS = (
    *("INV", "LVL", "ADM", "STM", "ACT", "ENV", "SIG", "WAN", "DSP"),
    *("PPL", "TRU", "POL", "BND", "RPT", "REQ", "APR", "DLG", "VER", "USE", "VSA", "EVD", "LOG"),
)
MENTIONED = re.compile(rf"\b((?:{'|'.join(AREAS)})-[0-9]{{1,2}})\b")


def specified() -> list[str]:
    paths = sorted((ROOT / "spec").glob("*.md"))
    return [found for path in paths for found in DEFINED.findall(path.read_text())]


def mentions(folder: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / folder).rglob("*.py"):
        for name in MENTIONED.findall(path.read_text()):
            found[name].add(path.relative_to(ROOT).as_posix())
    return found


IDS = specified()


def test_the_specification_defines_each_id_once() -> None:
    assert len(IDS) > 100
    assert len(set(IDS)) == len(IDS)
    assert {name.split("-")[0] for name in IDS} == set(AREAS)


@pytest.mark.parametrize("outcome", ["accept", "refuse"])
def test_every_requirement_has_a_vector_of_each_outcome(outcome: str) -> None:
    covered = {
        name
        for vector in load_vectors()
        if vector["expect"]["outcome"] == outcome
        for name in vector["requirements"]
    }
    assert sorted(set(IDS) - covered) == []


def test_vectors_cite_no_unknown_requirement() -> None:
    assert {name for vector in load_vectors() for name in vector["requirements"]} - set(IDS) == set()


def test_every_requirement_is_named_in_the_code() -> None:
    assert sorted(set(IDS) - set(mentions("src"))) == []


@pytest.mark.parametrize("folder", ["src", "tests", "scripts", "fuzz", "benchmarks"])
def test_no_code_names_an_unknown_requirement(folder: str) -> None:
    unknown = {name: sorted(where) for name, where in mentions(folder).items() if name not in IDS}
    assert unknown == {}


def test_each_requirement_binds_and_says_why() -> None:
    for path in (ROOT / "spec").glob("[0-9]*.md"):
        for line in path.read_text().splitlines():
            if DEFINED.match(line):
                assert "MUST" in line or "is the highest level" in line, line
                assert "*Why:*" in line, line
