"""`placet run --verdict`: the verdict of a use, there before the command starts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_world import SHELL, CommandWorld

from placet.adapters.verdict_key import VerdictKey
from placet.core.verdict.check import ExpectedVerdict, verify_verdict
from placet.core.verdict.statements import SINGLE_USE

PLACET = [sys.executable, "-c", "import sys; from placet.cli import main; sys.exit(main())"]
VERIFIER = "https://demo.placet.localhost/gates/prod"


@pytest.fixture
def world(tmp_path: Path) -> CommandWorld:
    return CommandWorld(tmp_path)


@pytest.fixture
def key(world: CommandWorld) -> VerdictKey:
    return VerdictKey.create(world.state / "placet" / "gate" / "verdict.pem")


def run(world: CommandWorld, bundle: bytes, *more: str) -> subprocess.CompletedProcess[str]:
    options = ["--intent", str(world.save(bundle)), "--trust", str(world.trust_path), "--gate", "prod"]
    options += ["--inputs", str(world.inputs), "--verdict", str(world.folder / "v.json"), *more]
    done = subprocess.run(
        [*PLACET, "run", *options],
        env=os.environ | {"XDG_STATE_HOME": str(world.state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def approve(world: CommandWorld, script: str) -> bytes:
    return world.approve("sh", "-c", script, program=SHELL, environment={"PATH": "/usr/bin:/bin"})


def predicate(path: Path) -> dict[str, Any]:
    envelope = json.loads(path.read_text())
    return dict(json.loads(base64.b64decode(envelope["payload"]))["predicate"])


def test_the_command_finds_the_verdict_of_its_own_use(world: CommandWorld, key: VerdictKey) -> None:
    verdict = world.folder / "v.json"
    done = run(world, approve(world, f"test -s {verdict} && echo there; exit 7"))
    assert (done.returncode, done.stdout) == (7, "there\n"), done.stderr
    assert f"Verdict: VSA in {verdict}" in done.stderr
    said = predicate(verdict)
    assert said[SINGLE_USE] == "consumed"
    subjects = frozenset(
        f"sha256:{s['digest']['sha256']}"
        for s in json.loads(base64.b64decode(json.loads(verdict.read_text())["payload"]))["subject"]
    )
    expected = ExpectedVerdict(VERIFIER, said["resourceUri"], subjects, ("INTENT_LEVEL_1",))
    verify_verdict(verdict.read_bytes(), key=key.public, expected=expected, now=world.now + 5)


def test_a_second_use_gets_no_verdict(world: CommandWorld, key: VerdictKey) -> None:
    bundle = approve(world, "true")
    assert run(world, bundle).returncode == 0
    (world.folder / "v.json").unlink()
    assert (run(world, bundle).returncode, (world.folder / "v.json").exists()) == (125, False)


def test_without_a_key_nothing_is_used_up(world: CommandWorld) -> None:
    bundle = approve(world, "true")
    done = run(world, bundle)
    assert (done.returncode, "This gate has no verdict key" in done.stderr) == (125, True)
    VerdictKey.create(world.state / "placet" / "gate" / "verdict.pem")
    assert run(world, bundle).returncode == 0


def test_a_rehearsal_writes_none(world: CommandWorld, key: VerdictKey) -> None:
    done = run(world, approve(world, "true"), "--dry-run")
    assert (done.returncode, (world.folder / "v.json").exists()) == (0, False)


def test_a_verdict_that_cannot_be_written_does_not_stop_what_was_approved(
    world: CommandWorld, key: VerdictKey
) -> None:
    (world.folder / "v.json").mkdir()
    done = run(world, approve(world, "echo done"))
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "The verdict could not be written" in done.stderr
