"""What the monitor's guide and its systemd unit call is what `placet` takes; every finding is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented_commands import parse_command

from placet.cli import _parser
from placet.log.monitor_findings import FindingName, is_condition, severity_of
from placet.log.monitor_telling import parse_recipients

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "deploy" / "systemd" / "placet-audit.service"
GUIDE = ROOT / "docs" / "how-to-monitor.md"


def commands() -> list[str]:
    unit = re.findall(r"^ExecStart=\S*(placet .*)$", UNIT.read_text(), re.M)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(), re.S | re.M)
    shell = "\n".join(text for language, text in blocks if language in ("sh", ""))
    guide = re.findall(r"(?:^|[*] |&& )(placet [^#\n&]*)", shell, re.M)
    return [*unit, *(line.replace(" HEX", f" {'ab' * 32}") for line in guide)]


def test_the_commands_are_there() -> None:
    assert len(commands()) >= 12


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    parse_command(command)


def test_every_option_that_the_guide_names_exists() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", GUIDE.read_text()))
    _, audit = _parser(["audit", "--help"])
    assert audit is not None
    (choices,) = (action.choices for action in audit._actions if action.dest == "audit_command")
    known = {name for command in choices.values() for name in command._option_string_actions}  # type: ignore[union-attr]
    assert named and named <= known | set(audit._option_string_actions), named


def test_every_finding_is_explained_with_its_severity() -> None:
    rows = re.findall(r"^\| (`.*?) \| (\w+) \|", GUIDE.read_text(), re.M)
    told = {
        name: (severity, "*" in cell) for cell, severity in rows for name in re.findall("`([a-z-]+)`", cell)
    }
    assert told == {str(name): (severity_of(name).value, is_condition(name)) for name in FindingName}


def test_the_file_of_the_guide_is_one() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(), re.S)
    assert len(parse_recipients(text.encode())) == 3
