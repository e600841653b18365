"""``placet trust``: who may approve what; drafted, signed by administrators, read by gates."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import cast

from placet.cli import UserError
from placet.cli._shared import root_digest
from placet.cli.trust.help import GroupedCommands
from placet.cli.trust.shared import add_repository
from placet.ports.authenticator import AuthenticatorError

DESCRIPTION = """\
Who may approve what: people with their keys, terminals, gates and rules, in a TUF repository that the
administrators sign with their own hardware keys.

Changes go into a draft. Each administrator sees what changes and signs; `publish` puts it where gates read;
`refresh` runs at the gate and leaves its verified snapshot.
"""

# The modules of the subcommands, in the order of the help.  Each declares its own arguments; what needs
# python-tuf is imported only when one runs.
_MODULES = (
    "init",
    "draft",
    "delegate",
    "prove",
    "enroll",
    "models",
    "files",
    "issuers",
    "revoke",
    "replace",
    "root",
    "status",
    "fresh",
    "discard",
    "fingerprint",
    "sign",
    "exchange",
    "checklist",
    "publish",
    "attach",
)

# Subcommands whose arguments are declared below, and the modules that run them.
_OLDER_MODULES = {
    "refresh": "gate",
    "verify": "gate",
    "show": "show",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "placet trust COMMAND …"
    commands = parser.add_subparsers(
        dest="trust_command",
        required=True,
        metavar="COMMAND",
        action=GroupedCommands,
        help="one of those below; `placet trust COMMAND --help` says more",
        prog="placet trust",
    )
    for name in _MODULES:
        known = set(commands.choices)
        importlib.import_module(f"placet.cli.trust.{name}").configure(commands)
        for command in commands.choices.keys() - known:
            commands.choices[command].set_defaults(module=name)
    _configure_gate(commands)
    for command, name in _OLDER_MODULES.items():
        commands.choices[command].set_defaults(module=name)
    parser.epilog = cast(GroupedCommands, commands).describe()


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        code: int = importlib.import_module(f"placet.cli.trust.{args.module}").run(args)
    except ModuleNotFoundError as e:
        if e.name not in ("tuf", "securesystemslib", "fido2"):
            raise
        raise UserError(
            f"This command needs the Python package {e.name}.", "Install it with: pip install 'placet[trust]'"
        ) from e
    except AuthenticatorError as e:
        raise UserError(str(e)) from e
    return code


def _configure_gate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    refresh = commands.add_parser("refresh", help="at the gate: verify what is published, keep a snapshot")
    refresh.add_argument(
        "--from", dest="source", metavar="DIR|URL", help="where it is published (setting: trust_source)"
    )
    refresh.add_argument(
        "--root", type=Path, metavar="FILE", help="the first root, where it was brought along"
    )
    refresh.add_argument(
        "--root-sha256",
        type=root_digest,
        metavar="HEX",
        help="the first root's SHA-256, told by an administrator; needed once",
    )
    refresh.add_argument("--to", type=Path, metavar="SNAPSHOT", help="the snapshot (default: this machine's)")
    show = commands.add_parser("show", help="show people, keys, terminals, gates, rules and signatures")
    show.add_argument("--snapshot", type=Path, metavar="FILE", help="show a gate's snapshot instead")
    show.add_argument("--json", action="store_true", help="for programs")
    show.add_argument(
        "--allowed-signers", action="store_true", help="print people's keys for `ssh-keygen -Y verify`"
    )
    verify = commands.add_parser("verify", help="check everything published, as a fresh gate would")
    verify.add_argument(
        "--root-sha256", type=root_digest, metavar="HEX", help="the root's SHA-256 that gates are given"
    )
    for command in (show, verify):
        add_repository(command)
