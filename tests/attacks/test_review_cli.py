"""Review: files that nobody approved are not touched, and no hostile name or file breaks a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gates"))

from command_world import CommandWorld

from placet.cli import main
from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.encoding import sha256_hex
from placet.testing.world import ALICE, BOB, DEPLOY_TARGET, GATE, NOW, World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandWorld:
    world = CommandWorld(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(world.state))
    return world


def test_a_bundle_that_nobody_signed_tells_no_digest_of_a_file(
    world: CommandWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = world.add_input("secret", b"a password")
    signed = parse_bundle(world.approve("cat", "secret", inputs={"secret": b"a guess"}))
    envelope = signed.envelope._replace(signatures=())
    bundle = encode_bundle(signed._replace(envelope=envelope, reports=(), trust_versions={}))
    called = ["run", "--intent", str(world.save(bundle)), "--trust", str(world.trust_path), "--gate", "prod"]
    assert main([*called, "--inputs", str(world.inputs)]) == 125
    said = capsys.readouterr().err
    assert "quorum-not-met" in said
    assert sha256_hex(secret.read_bytes()) not in said


def test_a_hostile_file_name_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\x1b[31m\xff")
    for called in (
        ["verify", name, "--unsafe-any-action"],
        ["ledger", "show", "--ledger", name],
        ["ledger", "create", "--ledger", f"{name}.sqlite3"],
        ["ledger", "show", "--ledger", f"{name}.sqlite3"],
    ):
        main(called)
        out = capsys.readouterr()
        assert "\x1b" not in out.err, called


@pytest.mark.parametrize("text", [b"x=" + b"[" * 5000, b"x = " + b"9" * 6000, b"\xff", b"[[["])
def test_a_broken_configuration_file_is_a_sentence(
    text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "placet").mkdir()
    (tmp_path / "placet" / "config.toml").write_bytes(text)
    bundle = tmp_path / "some.intent.json"
    bundle.write_bytes(b"{}")
    assert main(["verify", str(bundle), "--unsafe-any-action"]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_a_folder_that_others_can_write_holds_nothing_that_is_executed(
    world: CommandWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.folders.mkdir(parents=True, exist_ok=True)
    world.folders.chmod(0o777)
    bundle = str(world.save(world.approve("echo", "once")))
    called = ["run", "--intent", bundle, "--trust", str(world.trust_path), "--gate", "prod"]
    assert main(called) == 125
    assert "could exchange what is about to be executed" in capsys.readouterr().err
    world.folders.chmod(0o700)
    assert main(called) == 0


def test_a_refusal_that_nobody_can_read_is_a_refusal(world: CommandWorld) -> None:
    bundle = parse_bundle(world.approve("echo", "once"))
    unsigned = encode_bundle(
        bundle._replace(envelope=bundle.envelope._replace(signatures=()), reports=(), trust_versions={})
    )
    command = [sys.executable, "-m", "placet", "run", "--intent", str(world.save(unsigned))]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--trust", str(world.trust_path), "--gate", "prod"], stderr=full, check=False
        )
    assert done.returncode == 125


def test_parameters_that_were_not_compared_are_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed = World()
    request = deployed.request_deploy()
    snapshot, bundle = tmp_path / "snapshot.json", tmp_path / "some.intent.json"
    snapshot.write_bytes(deployed.snapshot())
    bundle.write_bytes(deployed.bundle(request, ALICE, BOB))
    monkeypatch.setattr("placet.cli.verify.now", lambda: NOW + 120)
    called = ["verify", str(bundle), "--trust", str(snapshot), "--gate", GATE, "--action", "deploy"]
    called += ["--target", DEPLOY_TARGET, "--artifact", f"sha256:{sha256_hex(b'image')}"]
    assert main(called) == 0
    assert "act on the approved parameters" in capsys.readouterr().out
    assert main([*called, "--json"]) == 0
    assert '"parametersCompared":false' in capsys.readouterr().out
    parameters = tmp_path / "parameters.json"
    parameters.write_bytes(b'{"strategy":"rolling","replicas":"6"}')
    assert main([*called, "--json", "--parameters", str(parameters)]) == 0
    assert '"parametersCompared":true' in capsys.readouterr().out
