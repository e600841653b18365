"""`placet trust refresh` remembers where it was; `placet trust show` speaks to ssh-keygen."""

from __future__ import annotations

import argparse
import importlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from placet.adapters.paths import snapshot_path
from placet.cli import main
from placet.cli.trust import gate as _trust_gate
from placet.cli.trust.help import GROUPS
from placet.core.bundle import parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.sshsig import armor
from placet.testing.world import ALICE, World


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each refresh was made from; the refresh itself is tests/adapters/test_tuf_refresh.py's."""
    from placet.adapters.tuf.refresh import Refreshed

    sources: list[str] = []
    world = World()

    def refresh(source: str, snapshot: Path, **_words: object) -> Refreshed:
        sources.append(source)
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.write_bytes(world.snapshot())
        return Refreshed(world.trust(), world.versions, world.expires_at, True)

    monkeypatch.setattr(_trust_gate, "refresh", refresh)
    monkeypatch.chdir(tmp_path)
    return sources


def test_allowed_signers_name_people_namespace_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], require_tool: Callable[[str], str]
) -> None:
    world = World()
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(world.snapshot())
    assert main(["trust", "show", "--allowed-signers", "--snapshot", str(snapshot)]) == 0
    signers = tmp_path / "allowed_signers"
    signers.write_text(capsys.readouterr().out)
    assert f'{ALICE} namespaces="intent-v1@placet.dev" ' in signers.read_text()
    request = world.request_deploy()
    bundle = parse_bundle(world.bundle(request, ALICE))
    (signature,) = bundle.envelope.signatures
    (tmp_path / "sig").write_text(armor(signature.sig))
    for namespace, code in (("intent-v1@placet.dev", 0), ("request-v1@placet.dev", 255)):
        words = [require_tool("ssh-keygen"), "-Y", "verify", "-n", namespace, "-f", str(signers)]
        done = subprocess.run(
            [*words, "-I", ALICE, "-s", str(tmp_path / "sig")],
            input=pae(PAYLOAD_TYPE, request.payload),
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done.stderr


def test_refresh_remembers_its_source_beside_the_snapshot(
    published: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["trust", "refresh"]) == 2
    assert main(["trust", "refresh", "--from", "web"]) == 0
    assert main(["trust", "refresh"]) == 0
    assert main(["trust", "refresh", "--from", "https://trust.example"]) == 0
    assert main(["trust", "refresh"]) == 0
    assert main(["trust", "refresh", "--to", "elsewhere.json"]) == 2
    assert published == ["web", str(tmp_path / "web"), *["https://trust.example"] * 2]
    assert snapshot_path().with_suffix(".source").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("PLACET_TRUST_SOURCE", "https://set.example")
    assert main(["trust", "refresh"]) == 0
    assert published[-1] == "https://set.example"


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _options(command)
        yield action


@pytest.mark.parametrize("command", ["trust", "terminal", "verify"])
def test_a_root_is_told_in_groups_and_any_case_wherever_it_is_told(command: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"placet.cli.{command}").configure(parser)
    options = [option for option in _options(parser) if "--root-sha256" in option.option_strings]
    assert options
    digest = "97e9" * 16
    for option in options:
        assert callable(option.type)
        for told in (digest, " ".join(["97E9"] * 16), f" {digest.upper()}\n"):
            assert option.type(told) == digest


@pytest.mark.parametrize(("told", "sentence"), [("97e9 97", "this has 6"), ("z" * 64, "not 'zzz")])
def test_what_is_no_digest_is_refused_before_anybody_is_asked(
    told: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["trust", "refresh", "--from", "nowhere", "--root-sha256", told])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_refresh_says_whether_trust_came_or_was_updated(
    published: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["trust", "refresh", "--from", "web"])
    main(["trust", "refresh"])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[::3]] == [
        "The trust of demo is here",
        "The trust of demo was updated",
    ]


@pytest.mark.parametrize("command", [["trust", "refresh"], ["ledger", "show"], ["trust", "revoke", "key"]])
def test_an_unknown_option_is_answered_with_the_usage_of_the_command(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--nonsense", *(["0f"] if "key" in command else [])])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: placet {' '.join(command)} [-h]")
    assert "unrecognized arguments: --nonsense" in said


@pytest.mark.parametrize("command", ["status", "show"])
def test_a_snapshot_that_is_not_there_is_named_with_the_option_that_names_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trust", command, "--snapshot", str(tmp_path / "none.json")]) == 3
    assert "name a snapshot with --snapshot" in capsys.readouterr().err


def test_the_help_lists_every_command_once_by_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module("placet.cli.trust").configure(parser)
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(commands.choices)
    with pytest.raises(SystemExit):
        main(["trust", "--help"])
    said = capsys.readouterr().out
    assert [line[:-1] for line in said.splitlines() if line[:-1] in GROUPS] == list(GROUPS)
    for name in commands.choices:
        assert sum(line.startswith(f"  {name} ") for line in said.splitlines()) == 1
    assert all(len(line) <= 110 for line in said.splitlines())


def test_the_script_without_us_says_how_it_is_called(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "check-with-ssh-keygen.sh"
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert (done.returncode, "BUNDLE ALLOWED_SIGNERS" in done.stderr) == (2, True)
    done = subprocess.run([script, "x", tmp_path / "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "placet trust show --allowed-signers" in done.stderr
    assert f"Cannot be read: x or {tmp_path / 'none'}" in done.stderr
