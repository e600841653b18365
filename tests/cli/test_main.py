"""The frame of the command line: help, versions, and that no traceback ever reaches a user."""

from __future__ import annotations

import pytest

from placet import cli
from placet.cli import COMMANDS, EXIT_UNDECIDED, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"usage: placet {command}" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("words", [[], ["request"], ["ledger"], ["relay"], ["trust"]])
def test_a_command_that_does_nothing_alone_prints_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert f"usage: {' '.join(['placet', *words])} " in capsys.readouterr().err


def test_an_unknown_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as done:
        main(["aprove"])
    assert done.value.code == 2


def test_a_bug_of_ours_is_a_sentence_and_undecided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import placet.cli.ledger

    def fail(_args: object) -> int:
        raise RuntimeError("surprise\x1b[2J")

    monkeypatch.setattr(placet.cli.ledger, "run", fail)
    assert main(["ledger", "show"]) == EXIT_UNDECIDED
    shown = capsys.readouterr().err
    assert "a bug of placet" in shown
    assert "Traceback" not in shown
    assert "\x1b" not in shown
    monkeypatch.setenv("PLACET_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["ledger", "show"])


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert version("placet") == cli.VERSION
