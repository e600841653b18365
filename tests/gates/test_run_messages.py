"""What `placet run` and `placet ledger` say to somebody who called them wrongly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_world import CommandWorld

PLACET = [sys.executable, "-c", "import sys; from placet.cli import main; sys.exit(main())"]


@pytest.fixture
def world(tmp_path: Path) -> CommandWorld:
    return CommandWorld(tmp_path)


def placet(world: CommandWorld, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_STATE_HOME": str(world.state)}
    done = subprocess.run(
        [*PLACET, *words],
        env=environment,
        cwd=world.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def run(world: CommandWorld, bundle: bytes, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["--intent", str(world.save(bundle)), "--trust", str(world.trust_path), "--gate", "prod"]
    return placet(world, "run", *words, *more)


def test_a_bundle_without_its_option_is_told_where_to_go(world: CommandWorld) -> None:
    done = placet(world, "run", "hello.intent.json")
    assert done.returncode == 125
    assert "Name it with --intent: --intent hello.intent.json." in done.stderr


def test_inputs_elsewhere_are_found_by_a_hint(world: CommandWorld) -> None:
    bundle = world.approve("cat", "app.whl", inputs={"app.whl": b"wheel"})
    done = run(world, bundle)
    assert done.returncode == 125
    assert f"It was looked for in {world.folder}; say where the inputs are with --inputs DIR." in done.stderr
    world.add_input("app.whl", b"wheel")
    assert run(world, bundle, "--inputs", str(world.inputs)).stdout == "wheel"


def test_an_approval_that_was_used_needs_no_arithmetic(world: CommandWorld) -> None:
    bundle = world.approve("echo", "once")
    assert run(world, bundle).returncode == 0
    done = run(world, bundle)
    assert "already-used" in done.stderr
    assert "Expected" not in done.stderr
    assert "Found" not in done.stderr


def test_a_file_that_is_no_bundle_is_named(world: CommandWorld) -> None:
    done = run(world, b"hello")
    assert done.stderr.startswith("DENIED: ")
    assert str(world.save(b"hello")) in done.stderr.splitlines()[0]


def test_a_new_ledger_says_how_the_gate_is_bound_to_it(world: CommandWorld, tmp_path: Path) -> None:
    done = placet(world, "ledger", "create", "--ledger", str(tmp_path / "new.sqlite3"))
    ledger = done.stdout.split()[1]
    assert f"placet trust add-gate GATE --ledger placet-ledger:{ledger}" in done.stdout
    done = placet(world, "ledger", "reborn", "--yes", "--ledger", str(tmp_path / "new.sqlite3"))
    ledger = done.stdout.split()[1]
    assert f"placet trust set-gate GATE --ledger placet-ledger:{ledger}" in done.stdout
    assert "revoke" not in done.stdout
