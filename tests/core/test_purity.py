"""The core is pure: audited at run time, banned by ruff, layered by import-linter, small enough to read."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from placet.core.bundle import encode_bundle, parse_bundle
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, NOW, World, expected_of

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "src" / "placet" / "core"
BIN = Path(sys.executable).parent

MAX_CORE_CODE_LINES = 3100
# What other frameworks say, and what is said to them, are rooms of their own beside the decision.
MAX_ROOM_CODE_LINES = {"evidence": 1600, "tlog": 1300, "verdict": 500}
MAX_CORE_MODULE_LINES = 300
MAX_MODULE_LINES = 400


@pytest.mark.parametrize("logged", [False, True], ids=["unlogged", "logged"])
def test_a_whole_decision_opens_nothing_and_asks_neither_clock_nor_chance(
    tmp_path: Path, logged: bool
) -> None:
    world, log = World(seed=b"purity"), SmallLog()
    if logged:
        world.more_files["log-policy"] = log.policy()
    request = world.request_run(argv=["/usr/bin/true", "naïve"], executable=b"x")
    expected = expected_of(request)
    bundle = world.bundle(request, ALICE, BOB)
    if logged:
        bundle = encode_bundle(log.prove(parse_bundle(bundle), at=NOW + 90))
    (tmp_path / "bundle").write_bytes(bundle)
    (tmp_path / "trust").write_bytes(world.snapshot())
    (tmp_path / "expected").write_text(
        json.dumps(
            {
                "target": expected.target,
                "subjects": sorted(expected.subjects),
                "actionType": expected.action_type,
                "parameters": expected.parameters,
            }
        )
    )
    files = [str(tmp_path / name) for name in ("bundle", "trust", "expected")]
    probe = [sys.executable, str(Path(__file__).with_name("purity_probe.py")), *files, str(NOW + 120)]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["people"], told["refused"]) == ([ALICE, BOB], "not-json")
    assert told["seen"] == []
    assert ("placet.core.tlog.merkle" in told["loaded"]) is logged
    banned = {"socket", "ssl", "subprocess", "asyncio", "sqlite3", "http.client", "urllib.request", "logging"}
    banned |= {
        "tuf",
        "securesystemslib",
        "fido2",
        "datetime",
        "secrets",
        "tempfile",
        "dataclasses",
        "tomllib",
    }
    assert banned & set(told["loaded"]) == set()


def test_the_core_imports_itself_cryptography_and_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"cryptography"}
    for path in sorted(CORE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [node.module or ""]
            for name in names:
                assert name.startswith("placet.core.") or name.split(".")[0] in allowed, (path, name)


def test_the_core_calls_nothing_that_opens_or_executes() -> None:
    banned = {"open", "exec", "eval", "compile", "print", "input", "__import__", "breakpoint"}
    for path in sorted(CORE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in banned, (path.name, node.lineno)


@pytest.mark.parametrize("line", ["import socket", "from os import path", "import time"])
@pytest.mark.parametrize("room", ["core", "ports"])
def test_ruff_bans_effects(room: str, line: str) -> None:
    file = f"src/placet/{room}/example.py"
    done = subprocess.run(
        [BIN / "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", file, "-"],
        input=f"{line}\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert "TID251" in done.stdout, done.stdout + done.stderr


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def code_lines(path: Path) -> int:
    """Counts the lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text()
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for item in body if isinstance(body, list) else []:
            if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
                docstrings |= set(range(item.lineno, (item.end_lineno or item.lineno) + 1))
    lines: set[int] = set()
    quiet = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in quiet:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_the_core_can_be_read_in_one_sitting() -> None:
    counted = {path.name: code_lines(path) for path in CORE.glob("*.py") if path.name != "_unicode_tables.py"}
    assert len(counted) > 15
    assert sum(counted.values()) <= MAX_CORE_CODE_LINES, sorted(counted.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("room", sorted(MAX_ROOM_CODE_LINES))
def test_each_room_of_the_core_can_be_read_in_one_sitting(room: str) -> None:
    counted = sum(code_lines(path) for path in (CORE / room).glob("*.py"))
    assert counted <= MAX_ROOM_CODE_LINES[room], counted


def test_the_core_has_no_other_rooms() -> None:
    rooms = {path.name for path in CORE.iterdir() if any(path.glob("*.py"))}
    assert rooms <= set(MAX_ROOM_CODE_LINES)


def test_no_module_is_too_long() -> None:
    for path in sorted((ROOT / "src" / "placet").rglob("*.py")):
        limit = MAX_CORE_MODULE_LINES if path.is_relative_to(CORE) else MAX_MODULE_LINES
        length = len(path.read_text().splitlines())
        assert length <= limit, f"{path.relative_to(ROOT)} has {length} lines; at most {limit} are allowed"


def test_no_function_is_too_long() -> None:
    for path in sorted((ROOT / "src" / "placet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                described = ast.get_docstring(node) or ""
                length -= len(described.splitlines())
                assert length <= 50, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"
