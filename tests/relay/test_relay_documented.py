"""What the operator's guide and the systemd unit call is what `placet relay` takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from placet.cli import _parser

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "deploy" / "systemd" / "placet-relay.service"
GUIDE = ROOT / "docs" / "how-to-run-a-relay.md"


def commands() -> list[str]:
    unit = re.findall(r"^ExecStart=\S*(placet relay .*)$", UNIT.read_text(), re.M)
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.S)
    guide = re.findall(r"^(placet relay [^#\n]*)", "\n".join(blocks), re.M)
    inline = re.findall(r"`(placet relay [^`]*)`", GUIDE.read_text())
    return [*unit, *guide, *inline]


def test_the_commands_are_there() -> None:
    assert len(commands()) >= 7


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    _, *arguments = shlex.split(command)
    parser, _ = _parser(arguments)
    parser.parse_args(arguments)


def test_every_option_that_the_guide_names_exists() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", GUIDE.read_text()))
    _, relay = _parser(["relay", "serve", "--help"])
    assert relay is not None
    (choices,) = (action.choices for action in relay._actions if action.dest == "relay_command")
    known = {name for command in choices.values() for name in command._option_string_actions}  # type: ignore[union-attr]
    assert named and named <= known, named - known
