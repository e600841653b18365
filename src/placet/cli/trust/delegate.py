"""``placet trust delegate``, ``undelegate``, ``renew-scope`` and ``set-scope``: owners of scopes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.ceremony import trust_edit
from placet.ceremony.trust_change import group_digits
from placet.ceremony.trust_scopes import find_outside, read_scopes, say_rules_outside
from placet.cli import UserError
from placet.cli._shared import now
from placet.cli.trust.shared import (
    add_repository,
    kind_of,
    open_repository,
    people_who_signed,
    say_who_signs_again,
    stage,
)
from placet.core.encoding import is_hex
from placet.core.people import Credential, Person, parse_people
from placet.core.sshsig import parse_public_key
from placet.core.trust import PEOPLE_FILE

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository
    from placet.adapters.tuf.trust import Administrator

_NEXT = (
    "Next: each of those who sign runs `placet trust sign --as ID --key FILE`; then `placet trust publish`."
)


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    delegate = commands.add_parser("delegate", help="give the rules of a scope to owners of its own")
    delegate.description = (
        "Gives the rules of a scope to a group of people, or changes who they are. From then on they sign "
        "policy/SCOPE.toml and nothing else, every 30 days, without the administrators; a rule of theirs "
        "never matches outside of the scope."
    )
    delegate.add_argument("scope", metavar="SCOPE")
    delegate.add_argument(
        "--to",
        required=True,
        nargs="+",
        action="extend",
        metavar="ID[=PUBKEYFILE|KEYID]",
        help="an owner with the one key that counts for them; an administrator or an enrolled person by ID",
    )
    delegate.add_argument("--threshold", required=True, type=int, metavar="K", help="how many must sign")
    delegate.add_argument(
        "--owner-origin",
        nargs="+",
        action="extend",
        default=[],
        metavar="URL",
        help="pages on which owners' browser keys may sign (default: those of all terminals)",
    )
    back = commands.add_parser("undelegate", help="let administrators sign the rules of a scope again")
    back.add_argument("scope", metavar="SCOPE")
    back.add_argument(
        "--drop-rules", action="store_true", help="leave the scope without rules instead of keeping them"
    )
    renew = commands.add_parser("renew-scope", help="as owners: prepare a scope's rules with a new date")
    renew.add_argument("scope", metavar="SCOPE")
    patterns = commands.add_parser("set-scope", help="set which targets a scope governs")
    patterns.add_argument("scope", metavar="SCOPE")
    patterns.add_argument("--targets", required=True, nargs="+", metavar="PATTERN")
    for command in (delegate, back, renew, patterns):
        add_repository(command)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    match args.trust_command:
        case "delegate":
            return _delegate(args, repository)
        case "undelegate":
            return _undelegate(args, repository)
        case "renew-scope":
            return _renew(args, repository)
        case _:
            return _set_scope(args, repository)


def _delegate(args: argparse.Namespace, repository: TrustRepository) -> int:
    from placet.adapters.tuf.delegations import ScopeOwners
    from placet.adapters.tuf.owners import delegate

    files = repository.draft_files()
    patterns = _patterns(files, args.scope)
    owners = ScopeOwners(
        args.scope, args.threshold, tuple(_read_owner(text, repository, files, args) for text in args.to)
    )
    signed = people_who_signed(repository)
    prepared = delegate(repository, owners, now=now())
    if not prepared.changed:
        print("The trust root says so already; nothing was changed.")
        return 0
    people = ", ".join(person for person, _ in owners.owners)
    print(f"In the draft: {args.threshold} of {people} sign {owners.file}, and nothing else.")
    for person, key in owners.owners:
        print(f"  {person}: key {group_digits(key.keyid)}")
    print("The administrators sign that it is so, in `targets`.")
    print(
        f"The owners sign the rules as they are now, in `{owners.role}`, and again every 30 days."
        if prepared.to_sign
        else "The rules that are published are signed by enough of them; they need not sign anything now."
    )
    print(f"If they forget, gates refuse everything in the scope ({', '.join(patterns)}), and nothing else.")
    _record(repository, f"{args.threshold} of {people} own the scope {args.scope}", signed)
    for note in _notes(owners.owners, args.threshold, patterns, args.scope, files):
        print(f"Note: {note}")
    print(_NEXT)
    return 0


def _notes(
    owners: tuple[Administrator, ...],
    threshold: int,
    patterns: tuple[str, ...],
    scope: str,
    files: dict[str, bytes],
) -> list[str]:
    notes = []
    if find_outside("**", patterns) is None:
        notes.append(f"The scope {scope} governs every target: its owners can have gates refuse everything.")
    if threshold == 1:
        notes.append("One lost or stolen key is enough to change the rules of the scope.")
    elif threshold == len(owners):
        notes.append("One lost key is enough to close the scope until you change its owners.")
    software: dict[str, str] = {
        credential.keyid: person.id
        for person in _people(files)
        for credential in person.credentials
        if credential.assurance == "software"
    }
    notes += [
        f"The key of {software[key.keyid]} is in software; malware can sign with it."
        for _, key in owners
        if key.keyid in software
    ]
    return notes


def _read_owner(
    text: str, repository: TrustRepository, files: dict[str, bytes], args: argparse.Namespace
) -> Administrator:
    """Reads ``ID=PUBKEYFILE``, ``ID=KEYID``, or ``ID`` of an administrator or of a person with one key."""
    from placet.adapters.fido.ssh_keygen import read_public_key_file
    from placet.adapters.tuf.trust import make_administrator

    person, equals, named = text.partition("=")
    if not person or (equals and not named):
        raise UserError(
            f"{text!r} is neither ID nor ID=PUBKEYFILE.",
            "As in: --to olga@example.com=olga.pub pia@example.com",
        )
    if not equals:
        known = _administrator_key(repository, person)
        if known is not None:
            return known
    if not equals or (is_hex(named.lower(), len(named)) and not Path(named).exists()):
        credential = _find_credential(files, person, named.lower())
        return make_administrator(
            person,
            credential.public_key.wire,
            kind=credential.kind,
            origins=_origins(files, args) if credential.kind == "webauthn" else (),
            uv=credential.uv,
        )
    deployment = trust_edit.read_deployment(files)
    key = parse_public_key(read_public_key_file(Path(named)))
    kind = kind_of(key, deployment, named)
    origins = _origins(files, args) if kind == "webauthn" else ()
    return make_administrator(person, key.wire, kind=kind, origins=origins, uv=True)


def _origins(files: dict[str, bytes], args: argparse.Namespace) -> list[str]:
    """Returns the pages on which owners' browser keys may sign."""
    terminals = trust_edit.read_terminals(files)
    return args.owner_origin or sorted({origin for terminal in terminals for origin in terminal.origins})


def _administrator_key(repository: TrustRepository, person: str) -> Administrator | None:
    from placet.adapters.securesystemslib import SkKey
    from placet.adapters.tuf.trust import ROOT, Administrator, person_of, role_keys

    for key in role_keys(repository.current_root(), ROOT).values():
        if isinstance(key, SkKey) and person_of(key) == person:
            return Administrator(person, key)
    return None


def _find_credential(files: dict[str, bytes], person_id: str, keyid: str) -> Credential:
    person = next((person for person in _people(files) if person.id == person_id), None)
    if person is None:
        raise UserError(
            f"{person_id} is neither an administrator nor a person of the trust root.",
            f"Give their public key: --to {person_id}=FILE.pub",
        )
    found = [c for c in person.credentials if c.keyid.startswith(keyid) and c.not_after > now()]
    if len(found) == 1:
        return found[0]
    which = ", ".join(group_digits(c.keyid) for c in found)
    raise UserError(
        f"{person_id} has several keys: {which}." if found else f"{person_id} has no such key that is valid.",
        f"Name the one that counts: --to {person_id}={found[0].keyid[:16]}"
        if found
        else f"Give their public key: --to {person_id}=FILE.pub",
    )


def _people(files: dict[str, bytes]) -> tuple[Person, ...]:
    return parse_people(trust_edit.decode_file(files, PEOPLE_FILE), trust_edit.read_deployment(files))


def _patterns(files: dict[str, bytes], scope: str) -> tuple[str, ...]:
    scopes = read_scopes(files)
    if scope not in scopes:
        raise UserError(
            f"The trust root has no scope {scope}. It has: {', '.join(sorted(scopes))}.",
            f"Make it first: placet trust set-scope {scope} --targets PATTERN ...",
        )
    return scopes[scope]


def _undelegate(args: argparse.Namespace, repository: TrustRepository) -> int:
    from placet.adapters.tuf.owners import undelegate

    signed = people_who_signed(repository)
    undelegate(repository, args.scope, keep_rules=not args.drop_rules, now=now())
    print(f"In the draft: the scope {args.scope} has no owners; administrators sign its rules again.")
    name = f"policy/{args.scope}.toml"
    if args.drop_rules:
        print("It has no rules from then on: only what rules of other scopes allow is allowed in it.")
    elif name in repository.draft_files():
        print("Its rules stay as its owners last published them; what they only drafted is gone.")
    _record(repository, f"The scope {args.scope} has no owners", signed)
    print(_NEXT)
    return 0


def _renew(args: argparse.Namespace, repository: TrustRepository) -> int:
    from placet.adapters.tuf.owners import renew_scope, scope_owners

    signed = people_who_signed(repository)
    renew_scope(repository, args.scope, now=now())
    owners = scope_owners(repository)[args.scope]
    people = ", ".join(person for person, _ in owners.owners)
    print(f"The rules of {args.scope} are in the draft with a new date, for {owners.threshold} of: {people}.")
    _record(repository, f"The rules of {args.scope} get a new date", signed)
    print(_NEXT)
    return 0


def _record(repository: TrustRepository, text: str, signed: dict[str, tuple[str, ...]]) -> None:
    """Keeps what was done in the history, and names whose signatures are void by it."""
    from placet.adapters.tuf.history import record

    record(repository, "staged", text, now=now())
    say_who_signs_again(repository, signed)


def _set_scope(args: argparse.Namespace, repository: TrustRepository) -> int:
    before = repository.draft_files()
    changes = trust_edit.set_scope(before, args.scope, args.targets)
    for sentence in say_rules_outside(before | changes, args.scope):
        print(f"Note: {sentence}")
    if f"policy/{args.scope}.toml" not in before:
        print(f"Note: The scope {args.scope} has no rules yet: placet trust set-policy, or delegate it.")
    said = f"The scope {args.scope} governs {', '.join(args.targets)} in the draft; administrators sign that."
    return stage(repository, changes, said)
