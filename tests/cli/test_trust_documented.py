"""What the guide and the systemd units call is what `placet trust` takes."""

import argparse
import configparser
import re
import shlex
from pathlib import Path

import pytest

from placet.cli import trust

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "how-to-keep-trust.md"
UNITS = ROOT / "deploy" / "systemd"


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    trust.configure(parser)
    return parser.parse_args(words)


def documented() -> list[str]:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = [
        line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    found = [line[line.index("placet trust ") :] for line in blocks if "placet trust " in line]
    return [line for line in found if "`" not in line]


def test_there_is_something_to_check() -> None:
    assert len(documented()) > 15


@pytest.mark.parametrize("line", documented())
def test_each_command_of_the_guide_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert parse(words[2:]).trust_command == words[2]


def test_the_unit_calls_what_there_is_and_holds_no_network() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / "placet-trust-keep-fresh.service")
    service = unit["Service"]
    program, command, *words = shlex.split(service["ExecStart"])
    args = parse(words)
    assert (Path(program).name, command, args.trust_command, args.once) == (
        "placet",
        "trust",
        "keep-fresh",
        True,
    )
    for folder in (args.repository, *args.to):
        assert str(folder) in service["ReadWritePaths"].split()
    assert service["PrivateNetwork"] == "yes"
    assert service["User"] != "root"
    timer = configparser.ConfigParser(strict=False, interpolation=None)
    timer.read(UNITS / "placet-trust-keep-fresh.timer")
    assert timer["Timer"]["persistent"] == "true"
