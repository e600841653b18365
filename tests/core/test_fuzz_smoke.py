"""Ten thousand mutated inputs: only `PlacetError` escapes, and what is accepted reads back the same.

`fuzz/run.py` does the same for as long as one likes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fuzz"))

from run import Finding, run_target, try_input
from targets import TARGETS

CASES = 10_000 // len(TARGETS) + 1


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_only_our_errors_escape(name: str) -> None:
    try:
        ran, _ = run_target(TARGETS[name], Random(f"smoke {name}"), cases=CASES)
    except Finding as finding:
        pytest.fail(f"{finding} broke the property: {finding.__cause__!r}")
    assert ran == CASES


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_seeds_are_accepted(name: str) -> None:
    assert TARGETS[name].seeds
    assert any(try_input(TARGETS[name], seed) for seed in TARGETS[name].seeds)
