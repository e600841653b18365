"""``placet trust``: who may approve what; drafted, signed by administrators, read by gates."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from placet.adapters.paths import data_dir
from placet.cli import UserError
from placet.ports.authenticator import AuthenticatorError

DESCRIPTION = """\
Who may approve what: people with their keys, terminals, gates and rules, in a TUF repository that the
administrators sign with their own hardware keys.

Changes go into a draft. Each administrator sees what changes and signs; `publish` puts it where gates read;
`refresh` runs at the gate and leaves its verified snapshot.
"""

# Subcommand → the module that runs it; imported only then, since most of them need python-tuf.
_MODULES = {
    "init": "_trust_draft",
    "add-person": "_trust_draft",
    "add-terminal": "_trust_draft",
    "add-gate": "_trust_draft",
    "enroll": "_trust_draft",
    "invite": "_trust_prove",
    "prove": "_trust_prove",
    "set-policy": "_trust_draft",
    "sign": "_trust_sign",
    "publish": "_trust_sign",
    "refresh": "_trust_gate",
    "verify": "_trust_gate",
    "show": "_trust_show",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="trust_command", required=True, metavar="COMMAND")
    _configure_draft(commands)
    commands.add_parser("invite", help="print a fresh invite, to be told to one person")
    _configure_prove(commands.add_parser("prove", help="as a person: show that you hold a new key"))
    _configure_enroll(commands.add_parser("enroll", help="record a person's key"))
    _configure_sign(commands)
    _configure_gate(commands)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        module = importlib.import_module(f"placet.cli.{_MODULES[args.trust_command]}")
    except ModuleNotFoundError as e:
        if e.name not in ("tuf", "securesystemslib"):
            raise
        raise UserError(
            "This command needs python-tuf.", "Install it with: pip install 'placet[trust]'"
        ) from e
    try:
        code: int = module.run(args)
    except AuthenticatorError as e:
        raise UserError(str(e)) from e
    return code


def default_repository() -> Path:
    """Where the administrators' repository lies unless another is named."""
    return data_dir() / "trust-repository"


def _configure_draft(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    init = commands.add_parser("init", help="make a new trust root, not yet signed")
    init.add_argument("--deployment", required=True, metavar="NAME", help="its name, as in a host name")
    init.add_argument("--rp-id", metavar="HOST", help="its RP ID (default: NAME.placet.localhost)")
    init.add_argument(
        "--admin",
        required=True,
        nargs="+",
        action="extend",
        metavar="ID=PUBKEYFILE",
        help="an administrator with the one key that counts for them",
    )
    init.add_argument("--threshold", required=True, type=int, metavar="K", help="how many of them must sign")
    init.add_argument(
        "--admin-origin",
        nargs="+",
        action="extend",
        default=[],
        metavar="URL",
        help="pages on which administrators' browser keys may sign",
    )
    init.add_argument(
        "--admin-no-uv",
        action="store_true",
        help="accept administrators' signatures without PIN or fingerprint (not advised)",
    )
    _add_repository(init)
    _configure_edits(commands)


def _configure_edits(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    person = commands.add_parser("add-person", help="add a person")
    person.add_argument("id", metavar="ID", help="such as alice@example.com")
    person.add_argument("--group", nargs="+", action="extend", default=[], metavar="G", help="their groups")
    person.add_argument(
        "--account",
        nargs=2,
        action="append",
        default=[],
        metavar=("ISSUER", "SUBJECT"),
        help="an OIDC identity that is this person",
    )
    terminal = commands.add_parser("add-terminal", help="add an approval terminal")
    terminal.add_argument("id", metavar="ID", help="its name, the first part of its page's host name")
    terminal.add_argument("--key", required=True, metavar="FILE|BASE64", help="its identity's public key")
    terminal.add_argument("--origin", nargs="+", action="extend", default=[], metavar="URL", help="its page")
    gate = commands.add_parser("add-gate", help="add a gate")
    gate.add_argument("id", metavar="ID", help="such as prod-eu")
    gate.add_argument("--ledger", metavar="NAME", help="its use ledger (default: ID)")
    policy = commands.add_parser("set-policy", help="set the rules of a scope")
    policy.add_argument("file", type=Path, metavar="FILE.toml")
    policy.add_argument("--scope", required=True, metavar="NAME")
    policy.add_argument(
        "--targets", nargs="+", default=[], metavar="PATTERN", help="the targets that the scope governs"
    )
    for command in (person, terminal, gate, policy):
        _add_repository(command)


def _configure_enroll(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Records a person's key from an OpenSSH .pub file, or from the *.enrolment.json file that their "
        "terminal wrote, which proves that the key answers your invite."
    )
    parser.add_argument("person", metavar="PERSON")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help=".pub or .enrolment.json")
    parser.add_argument(
        "--kind", choices=["sk", "webauthn"], help="how it signs (default: what it was made for)"
    )
    parser.add_argument(
        "--assurance",
        required=True,
        choices=["vouched", "software", "attested"],
        help="vouched: you saw the hardware; software: a key in software, level 1 at most",
    )
    parser.add_argument("--invite", metavar="TEXT", help="the invite that you gave to the person")
    parser.add_argument("--no-uv", action="store_true", help="accept signatures without PIN or fingerprint")
    parser.add_argument("--valid", default="365d", metavar="DURATION", help="from now on (default: 365d)")
    _add_repository(parser)


def _configure_prove(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Signs an administrator's invite with your new OpenSSH FIDO key, and writes the *.enrolment.json "
        "file from which they enroll it. The invite itself is not in the file."
    )
    parser.add_argument("person", metavar="PERSON", help="your ID")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="your OpenSSH FIDO key")
    parser.add_argument("--deployment", required=True, metavar="NAME")
    parser.add_argument("--invite", required=True, metavar="TEXT", help="as the administrator told you")
    parser.add_argument("--root-sha256", required=True, metavar="HEX", help="as the administrator told you")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.enrolment.json")


def _configure_sign(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sign = commands.add_parser("sign", help="see what changes, and sign it")
    sign.add_argument("--as", dest="person", metavar="ADMIN", help="the administrator who signs")
    sign.add_argument("--key", type=Path, metavar="FILE", help="their OpenSSH FIDO key")
    sign.add_argument(
        "--root-sha256", metavar="HEX", help="the root's SHA-256, told by another administrator; needed once"
    )
    sign.add_argument("--yes", action="store_true", help="do not ask before signing")
    sign.add_argument(
        "--renew", action="store_true", help="prepare root and targets with new expiry dates first"
    )
    sign.add_argument("--export", type=Path, metavar="FILE", help="write the challenge for another terminal")
    sign.add_argument("--import", dest="signatures", type=Path, metavar="FILE", help="add its signatures")
    publish = commands.add_parser("publish", help="publish what is signed, or renew the timestamp")
    publish.add_argument("--to", type=Path, metavar="DIR", help="copy what is published there, too")
    publish.add_argument("--json", action="store_true", help="for programs")
    for command in (sign, publish):
        _add_repository(command)


def _configure_gate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    refresh = commands.add_parser("refresh", help="at the gate: verify what is published, keep a snapshot")
    refresh.add_argument(
        "--from", dest="source", metavar="DIR|URL", help="where it is published (setting: trust_source)"
    )
    refresh.add_argument(
        "--root", type=Path, metavar="FILE", help="the first root, where it was brought along"
    )
    refresh.add_argument(
        "--root-sha256", metavar="HEX", help="the first root's SHA-256, told by an administrator; needed once"
    )
    refresh.add_argument("--to", type=Path, metavar="SNAPSHOT", help="the snapshot (default: this machine's)")
    show = commands.add_parser("show", help="show people, keys, terminals, gates, rules and signatures")
    show.add_argument("--snapshot", type=Path, metavar="FILE", help="show a gate's snapshot instead")
    show.add_argument("--json", action="store_true", help="for programs")
    show.add_argument(
        "--allowed-signers", action="store_true", help="print people's keys for `ssh-keygen -Y verify`"
    )
    verify = commands.add_parser("verify", help="check everything published, as a fresh gate would")
    verify.add_argument("--root-sha256", metavar="HEX", help="the root's SHA-256 that gates are given")
    for command in (show, verify):
        _add_repository(command)


def _add_repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repository", type=Path, default=default_repository(), metavar="DIR", help="the working repository"
    )
