"""``placet terminal``: this machine's identity, its approval page, and the pages of enrolment and trust."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from placet.cli import UserError
from placet.cli._shared import root_digest
from placet.cli.trust.sign import add_signing
from placet.ports.authenticator import AuthenticatorError

DEFAULT_PORT = 8470
DEFAULT_RELAY = "http://127.0.0.1:8471"

DESCRIPTION = """\
The approval terminal. Without a command it serves the approval page on this machine's loopback and opens
it. Requests come from the relay, or from files; a person reads one in full and decides with their key.
"""

_MODULES = {
    "init": "_terminal_identity",
    "show": "_terminal_identity",
    "serve": "_terminal_serve",
    "enroll": "_terminal_enroll",
    "prove": "_terminal_prove",
    "sign-trust": "_terminal_trust",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _configure_serve(parser)
    commands = parser.add_subparsers(dest="terminal_command", metavar="COMMAND")
    init = commands.add_parser("init", help="make this terminal's identity, once")
    init.add_argument("name", metavar="NAME", help="the terminal's name, such as desk-1")
    init.add_argument(
        "--deployment", metavar="NAME", help="the deployment (default: the one of the trust snapshot)"
    )
    init.add_argument(
        "--port", type=port_number, default=DEFAULT_PORT, metavar="N", help="the page's port (8470)"
    )
    show = commands.add_parser("show", help="print this terminal's public key and how to enrol it")
    show.add_argument(
        "--deployment", metavar="NAME", help="the deployment (default: the one of the trust snapshot)"
    )
    show.add_argument(
        "--port", type=port_number, default=DEFAULT_PORT, metavar="N", help="the page's port (8470)"
    )
    _configure_serve(
        commands.add_parser("serve", help="serve the approval page", argument_default=argparse.SUPPRESS)
    )
    enroll = commands.add_parser("enroll", help="make a person's credential on this terminal")
    _configure_enroll(enroll)
    _configure_page(enroll)
    _configure_prove(commands.add_parser("prove", help="answer an administrator's invite for this terminal"))
    sign = commands.add_parser("sign-trust", help="show a change of the trust root, and sign it")
    sign.add_argument(
        "repository",
        type=Path,
        nargs="?",
        metavar="REPOSITORY",
        help="the administrators' repository (or: --challenge)",
    )
    sign.add_argument("--as", dest="person", required=True, metavar="ADMIN", help="who signs")
    add_signing(sign)
    _configure_page(sign)


def _configure_serve(parser: argparse.ArgumentParser) -> None:
    given = parser.argument_default is argparse.SUPPRESS
    # Defaults of a sub-parser would overwrite what stands before its name; so only the outer one has them.
    parser.add_argument(
        "--relay", metavar="URL", default=argparse.SUPPRESS if given else None, help="the relay to watch"
    )
    parser.add_argument(
        "--file",
        type=Path,
        nargs="+",
        action="extend",
        default=argparse.SUPPRESS if given else None,
        metavar="REQUEST.json",
        help="show these requests instead of a relay's",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        default=argparse.SUPPRESS if given else None,
        metavar="OUT.intent.json",
        help="where the approval of --file goes (default: beside the request)",
    )
    _configure_page(parser, suppress=given)


def _configure_page(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    none = argparse.SUPPRESS if suppress else None
    parser.add_argument(
        "--port",
        type=port_number,
        default=argparse.SUPPRESS if suppress else DEFAULT_PORT,
        metavar="N",
        help="the page's port (8470); it is part of the enrolled origin",
    )
    parser.add_argument(
        "--trust",
        type=Path,
        default=none,
        metavar="SNAPSHOT",
        help="the trust snapshot (default: the refreshed one)",
    )
    parser.add_argument(
        "--no-open",
        action="store_true",
        default=argparse.SUPPRESS if suppress else False,
        help="print the link and open no browser",
    )


def _add_invite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--invite", required=True, metavar="WORDS", help="what the administrator told you")
    parser.add_argument(
        "--root-sha256",
        required=True,
        type=root_digest,
        metavar="HEX",
        help="the trust root's digest, from the administrator",
    )
    parser.add_argument("--deployment", metavar="NAME", help="needed while there is no trust snapshot yet")


def _configure_enroll(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serves a page on which PERSON makes a new credential with their security key and proves that it "
        "answers the administrator's invite; with --ctap it speaks to the key itself, without a browser. "
        "The file it writes goes to the administrator."
    )
    parser.add_argument("person", metavar="PERSON")
    _add_invite(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.enrolment.json", help="where the proof goes")
    parser.add_argument(
        "--ctap", action="store_true", help="speak to the security key directly, without a browser"
    )
    parser.add_argument(
        "--device", type=Path, metavar="/dev/hidrawN", help="with --ctap: which key, where several are in"
    )
    parser.add_argument(
        "--allow-shared-key",
        action="store_true",
        help="accept a security key that is enrolled here already, as when one person plays two in a demo",
    )


def _configure_prove(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes the *.terminal.json file from which an administrator enrols this terminal. It proves that "
        "this machine holds the identity key and was told the invite, which is not in the file."
    )
    _add_invite(parser)
    parser.add_argument(
        "--port", type=port_number, default=DEFAULT_PORT, metavar="N", help="the page's port (8470)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.terminal.json", help="where the proof goes")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        # Imported here: a missing extra deserves a sentence.
        module = importlib.import_module(f"placet.cli.{_MODULES[args.terminal_command or 'serve']}")
    except ModuleNotFoundError as e:
        raise UserError(
            f"The terminal needs the Python package {e.name}, which is not installed.",
            "Install placet with its terminal: pip install 'placet[terminal]'.",
        ) from e
    try:
        return int(module.run(args))
    except AuthenticatorError as e:
        raise UserError(str(e)) from e


def port_number(text: str) -> int:
    """Reads a port from the command line."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 1 to 65535")
