"""``placet trust add-…``, ``set-gate`` and ``set-policy``: additions to the draft."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.ceremony import trust_edit, trust_gates
from placet.ceremony.enrol_terminal import parse_terminal_enrolment, verify_terminal_enrolment
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.ceremony.trust_change import group_digits
from placet.cli import UserError
from placet.cli._shared import read_file
from placet.cli.trust.shared import (
    MAX_KEY_FILE_BYTES,
    add_repository,
    open_repository,
    read_plain_key,
    stage,
)
from placet.core.encoding import sha256_hex
from placet.core.policy import MAX_POLICY_BYTES
from placet.core.sshsig import PublicKey

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    person = commands.add_parser("add-person", help="add a person")
    person.add_argument("id", metavar="ID", help="such as alice@example.com")
    person.add_argument("--group", nargs="+", action="extend", default=[], metavar="G", help="their groups")
    person.add_argument(
        "--account",
        nargs=2,
        action="append",
        default=[],
        metavar=("ISSUER", "SUBJECT"),
        help="an OIDC identity that is this person: the issuer's https address (or github, gitlab), and its "
        "name for them",
    )
    terminal = commands.add_parser("add-terminal", help="add an approval terminal")
    terminal.add_argument("id", metavar="ID", help="its name, the first part of its page's host name")
    terminal.add_argument("--key", required=True, metavar="FILE|BASE64", help="its proof or public key")
    terminal.add_argument("--invite", metavar="TEXT", help="the invite that you gave for this terminal")
    terminal.add_argument("--origin", nargs="+", action="extend", default=[], metavar="URL", help="its page")
    gate = commands.add_parser("add-gate", help="add a gate")
    gate.add_argument("id", metavar="ID", help="such as prod-eu")
    gate.add_argument("--ledger", metavar="NAME", help="its use ledger (default: ID)")
    ledger = commands.add_parser("set-gate", help="give a gate another ledger or other keys")
    ledger.add_argument("id", metavar="ID", help="a gate of the trust root")
    ledger.add_argument("--ledger", metavar="NAME", help="as `placet ledger reborn` prints it")
    for command in (gate, ledger):
        command.add_argument(
            "--verdict-key",
            action="append",
            default=[],
            metavar="FILE.pub",
            help="public key that signs its verdicts, as `placet verdict init` writes it; repeat for several",
        )
        command.add_argument(
            "--use-key",
            action="append",
            default=[],
            metavar="FILE.pub",
            help="public key that logs its uses, as `placet ledger use-key` writes it; repeat for several",
        )
    ledger.add_argument("--no-verdict-keys", action="store_true", help="it signs no verdicts any more")
    policy = commands.add_parser("set-policy", help="set the rules of a scope")
    policy.add_argument("file", type=Path, metavar="FILE.toml")
    policy.add_argument("--scope", required=True, metavar="NAME")
    policy.add_argument(
        "--targets", nargs="+", default=[], metavar="PATTERN", help="the targets that the scope governs"
    )
    for command in (person, terminal, gate, ledger, policy):
        add_repository(command)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    before = repository.draft_files()
    match args.trust_command:
        case "add-person":
            changes, said = _add_person(args, before)
        case "add-terminal":
            changes, said = _add_terminal(args, repository, before)
        case "add-gate":
            keys, uses = _read_keys(args.verdict_key), _read_keys(args.use_key)
            ledger = args.ledger or args.id
            changes = trust_gates.add_gate(before, args.id, ledger=ledger, verdict_keys=keys, use_keys=uses)
            said = _say_gate(args.id, [f"the ledger {ledger}", *_say_keys(keys, uses)])
        case "set-gate":
            changes, said = _set_gate(args, before)
        case _:
            changes, said = _set_policy(args, repository, before)
    return stage(repository, changes, said)


def _set_gate(args: argparse.Namespace, before: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    keys = _read_keys(args.verdict_key) if args.verdict_key or args.no_verdict_keys else None
    uses = _read_keys(args.use_key) if args.use_key else None
    if (args.ledger is None and keys is None and uses is None) or (args.no_verdict_keys and args.verdict_key):
        raise UserError(
            "What shall change about this gate?",
            "Name it: --ledger NAME, --verdict-key FILE.pub, --no-verdict-keys, or --use-key FILE.pub.",
        )
    changes = trust_gates.set_gate(before, args.id, ledger=args.ledger, verdict_keys=keys, use_keys=uses)
    said = [f"the ledger {args.ledger}"] if args.ledger else []
    said += ["no verdict key"] if keys == [] else []
    return changes, _say_gate(args.id, [*said, *_say_keys(keys or [], uses or [])])


def _read_keys(paths: list[str]) -> list[bytes]:
    from placet.adapters.gate_key import read_public_key

    return [read_public_key(Path(path)).der for path in paths]


def _say_gate(gate: str, parts: list[str]) -> str:
    return f"Gate {gate} is in the draft, with {' and '.join(parts)}."


def _say_keys(verdicts: list[bytes], uses: list[bytes]) -> list[str]:
    named = [("verdict", key) for key in verdicts] + [("use", key) for key in uses]
    return [f"the {name} key {group_digits(sha256_hex(key))}" for name, key in named]


def _set_policy(
    args: argparse.Namespace, repository: TrustRepository, before: dict[str, bytes]
) -> tuple[dict[str, bytes], str]:
    from placet.adapters.tuf.owners import scope_owners

    owners = scope_owners(repository).get(args.scope)
    if owners is not None and args.targets:
        raise UserError(
            f"The rules of the scope {args.scope} are signed by its owners; which targets it governs, by the "
            "administrators. These are two changes.",
            f"Run first: placet trust set-scope {args.scope} --targets PATTERN ...",
        )
    data = read_file(args.file, "policy", MAX_POLICY_BYTES)
    changes = trust_edit.set_policy(before, args.scope, data, targets=args.targets, shown_as=str(args.file))
    said = f"The rules of {args.file} are in the draft, as those of the scope {args.scope}."
    if owners is not None:
        people = ", ".join(person for person, _ in owners.owners)
        said += f"\nIts owners sign them, {owners.threshold} of: {people}. Administrators need not."
    return changes, said


def _add_person(args: argparse.Namespace, before: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    accounts = [(issuer, subject) for issuer, subject in args.account]
    changes = trust_edit.add_person(before, args.id, groups=args.group, accounts=accounts)
    groups = f"in {', '.join(args.group)}" if args.group else "in no group"
    said = (
        f"{args.id} is in the draft, {groups}, without a key: enrol one with `placet trust enroll {args.id}`."
    )
    return changes, said


def _add_terminal(
    args: argparse.Namespace, repository: TrustRepository, before: dict[str, bytes]
) -> tuple[dict[str, bytes], str]:
    path = Path(args.key)
    data = read_file(path, "key", MAX_KEY_FILE_BYTES) if path.is_file() else b""
    key, origins, proof = None, args.origin, "Nothing proves yet that this machine holds its key."
    if data.lstrip().startswith(b"{"):
        key, origins = _prove_terminal(args, repository, before, data)
        proof = "It answers your invite."
    key = key or read_plain_key(args.key)
    changes = trust_edit.add_terminal(before, args.id, key=key, origins=origins)
    added = trust_edit.read_terminals(before | changes)[-1]
    return changes, (
        f"Terminal {args.id} is in the draft, with its page at {', '.join(added.origins)}.\n{proof}\n"
        f"Have its fingerprint read aloud to you: {spoken_fingerprint(key.keyid)}"
    )


def _prove_terminal(
    args: argparse.Namespace, repository: TrustRepository, before: dict[str, bytes], data: bytes
) -> tuple[PublicKey, list[str]]:
    from placet.adapters.tuf.signing import root_digests

    if args.invite is None:
        raise UserError(
            "A terminal's proof answers an invite, and none was given.",
            "Give it as --invite, as you gave it to whoever runs the terminal.",
        )
    enrolment = parse_terminal_enrolment(data)
    verify_terminal_enrolment(
        enrolment,
        terminal=args.id,
        deployment=trust_edit.read_deployment(before),
        invite=args.invite.strip(),
        root_digests=root_digests(repository),
    )
    if args.origin and tuple(args.origin) != enrolment.origins:
        raise UserError(
            f"The terminal's page is at {', '.join(enrolment.origins)}, and --origin says otherwise.",
            "Leave --origin out.",
        )
    return enrolment.public_key, list(enrolment.origins)
