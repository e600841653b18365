"""The commands that guides and systemd units show, and whether `placet` takes them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from placet.cli import _parser


def commands_of(unit: Path, guide: Path) -> list[str]:
    """Returns what a unit starts, what it has run before, and what a guide shows in its shell blocks."""
    started = re.findall(r"^ExecStart=\S*/(placet .*)$", unit.read_text(), re.M)
    comments = re.findall(r"^#   sudo -u placet (placet .*)$", unit.read_text(), re.M)
    blocks = re.findall(r"^```sh\n(.*?)^```$", guide.read_text(), re.S | re.M)
    return [*started, *comments, *re.findall(r"^(placet [^#\n>]*)", "\n".join(blocks), re.M)]


def parse_command(command: str) -> None:
    """Parses a command as `placet` would; ends the process where it does not take it."""
    _, *arguments = shlex.split(command)
    parser, _ = _parser(arguments)
    parser.parse_args(arguments)
