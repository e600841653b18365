"""What the guide to witnesses and its systemd unit call is what `placet` takes, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented_commands import commands_of, parse_command

from placet.adapters.sqlite.witness import EvidenceKind
from placet.adapters.witness_protocol import MAX_REQUEST_BYTES
from placet.cli.witness import DEFAULT_PORT
from placet.log.witness_app import _STATUS

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "deploy" / "systemd" / "placet-witness.service"
GUIDE = ROOT / "docs" / "how-to-run-a-witness.md"


def commands() -> list[str]:
    inline = re.findall(r"`(placet witness [a-z -]*)`", GUIDE.read_text())
    return [*commands_of(UNIT, GUIDE), *(line for line in inline if not line.endswith("init"))]


def test_the_commands_are_there() -> None:
    assert len(commands()) >= 9


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    parse_command(command)


def test_every_status_of_the_guide_is_one_of_the_witness_s() -> None:
    told = {int(status) for status in re.findall(r"^\| (\d{3})[ ,]", GUIDE.read_text(), re.M)}
    assert told == {404, 403, 409, 422, 400, 503}
    # 400 is what is in no table, 409 has a form of its own, and 503 is also the witness's own trouble.
    assert told - {400, 409} <= set(_STATUS.values())


def test_what_the_guide_calls_wrong_is_what_is_kept() -> None:
    assert len(EvidenceKind) == len(re.findall(r"^\| `(?:FORK|Not proven)` \|", GUIDE.read_text(), re.M))


def test_the_numbers_of_the_guide_are_right() -> None:
    text = GUIDE.read_text()
    assert f"127.0.0.1:{DEFAULT_PORT}" in text
    assert "some 70 KB" in text
    assert 65_000 < MAX_REQUEST_BYTES < 75_000
