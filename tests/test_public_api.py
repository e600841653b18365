"""What `import placet` promises, and what the README shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import placet
from placet.core.statement import parse_statement
from placet.testing.world import ALICE, BOB, GATE, NOW, World

README = Path(__file__).parent.parent / "README.md"


def test_every_public_name_exists_and_comes_from_the_core() -> None:
    assert placet.__all__ == sorted(placet.__all__)
    for name in placet.__all__:
        assert getattr(placet, name).__module__.startswith("placet.core")


def test_the_readme_example_verifies_a_real_bundle_in_three_lines() -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S))
    assert len([line for line in ast.parse(code).body if not isinstance(line, ast.Import)]) == 3
    world = World()
    world.gates.append("release")
    request = world.request_release({"app.whl": b"wheel"}, gate="release", target="pkg:pypi/app")
    statement = parse_statement(request.payload)
    names = {
        "snapshot": world.snapshot(),
        "bundle": world.bundle(request, ALICE, BOB),
        "wheel_digest": statement.subjects[0].digest,
        "action": statement.action_type,
        "now": NOW + 120,
    }
    exec(compile(code, "README.md", "exec"), names)
    approval = names["approval"]
    assert isinstance(approval, placet.VerifiedApproval)
    assert approval.people == (ALICE, BOB)
    assert GATE != "release"
