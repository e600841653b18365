"""What the guide to logs and its systemd unit call is what `placet` takes, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented_commands import commands_of, parse_command

from placet.cli.log import DEFAULT_PORT, STORE_NAME
from placet.log.app import STATUS
from placet.log.service import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "deploy" / "systemd" / "placet-log.service"
GUIDE = ROOT / "docs" / "how-to-run-a-log.md"


def commands() -> list[str]:
    inline = re.findall(r"`(placet log (?:append|attach|declare) -[a-z-]*)`", GUIDE.read_text())
    return [*commands_of(UNIT, GUIDE), *inline]


def test_the_commands_are_there() -> None:
    assert len(commands()) >= 15


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    parse_command(command)


def test_the_names_of_the_guide_are_right() -> None:
    text = GUIDE.read_text()
    assert f"127.0.0.1:{DEFAULT_PORT}" in text
    assert f"--database {STORE_NAME}" in text
    assert PATIENCE_SECONDS == 60  # "silent for a minute"
    for status, reason in re.findall(r"(\d{3})\s+`([a-z-]+)`", text):
        assert STATUS[reason] == int(status)
