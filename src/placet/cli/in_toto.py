"""``placet in-toto``: human approval as a step of in-toto layouts, and in-toto's own tools with our keys."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from typing import Any

from placet.cli import HelpFormatter, Parser, UserError

DESCRIPTION = """\
Human approval as a step of in-toto layouts.

A layout that asks for approval names hardware keys as the functionaries of a step. Whoever approves on a
terminal also signs, with a second touch, the link of that step.
"""

_COMMANDS = {
    "layout": ("_in_toto_layout", "write a layout that asks for approval, or add that step to yours"),
    "links": ("_in_toto_links", "write the links out of an approval, for in-toto"),
    "gate-link": ("_in_toto_gate_link", "as a functionary: check an approval, use it up, write the link"),
    "sign": ("_in_toto_stock", "in-toto-sign, for layouts that name hardware keys"),
    "verify": ("_in_toto_stock", "in-toto-verify, for layouts that name hardware keys"),
}
_VERBATIM = ("sign", "verify")


class _CommandParser(Parser):
    """A parser of one command; that of in-toto's own tools hands on every word as it is."""

    verbatim = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses, or takes the words for a tool that parses them itself."""
        if not self.verbatim:
            return super().parse_known_args(args, namespace)
        return argparse.Namespace(words=list(args or ())), []


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    commands = parser.add_subparsers(
        dest="in_toto_command", required=True, metavar="COMMAND", parser_class=_CommandParser
    )
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=HelpFormatter, add_help=name not in _VERBATIM
        )
        command.verbatim = name in _VERBATIM
        if not command.verbatim:
            importlib.import_module(f"placet.cli.{module}").configure(command)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if importlib.util.find_spec("in_toto") is None and args.in_toto_command != "links":
        raise UserError("in-toto is not installed here.", "Install it with: pip install 'placet[intoto]'")
    module, _ = _COMMANDS[args.in_toto_command]
    return int(importlib.import_module(f"placet.cli.{module}").run(args))
