"""``placet trust replace-key``: a person's old key goes and a new one comes, in one change."""

from __future__ import annotations

import argparse

from placet.ceremony import trust_revoke
from placet.ceremony.trust_change import group_digits
from placet.ceremony.trust_edit import decode_file
from placet.cli import UserError
from placet.cli.trust.enroll import add_key_arguments, record_key
from placet.cli.trust.revoke import add_reason, say_other_roles
from placet.cli.trust.shared import add_repository, open_repository, stage
from placet.core.trust import PEOPLE_FILE


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("replace-key", help="give a person another key for a lost or ending one")
    parser.description = (
        "Takes a person's key out and enrols another, in one change. With the same key in --key, it is "
        "recorded anew, for another year."
    )
    parser.add_argument(
        "--lost",
        metavar="KEYID",
        help="the key that goes: its ID, the first digits of it, or SHA256:… (default: their only one)",
    )
    add_key_arguments(parser)
    add_reason(parser)
    add_repository(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    before = repository.draft_files()
    lost = trust_revoke.find_key(before, args.lost or _only_key(args.person, before), person=args.person)
    say_other_roles(repository, args.person)
    without = before | trust_revoke.remove_key(before, lost)
    changes, said = record_key(args, repository, without)
    said = f"The draft takes out this key of {args.person}: {group_digits(lost.keyid)}\n{said}"
    return stage(repository, {PEOPLE_FILE: (without | changes)[PEOPLE_FILE]}, said, reason=args.reason)


def _only_key(person: str, files: dict[str, bytes]) -> str:
    people = {item["id"]: item for item in decode_file(files, PEOPLE_FILE)["people"]}
    keys = [str(credential["keyid"]) for credential in people.get(person, {}).get("credentials", [])]
    if len(keys) == 1:
        return keys[0]
    if person in people:
        there = ", ".join(key[:16] for key in keys) or "none"
        raise UserError(
            f"Which key of {person} goes? They have: {there}.",
            "Name it with --lost, by the first digits of its ID."
            if keys
            else f"Enrol one: placet trust enroll {person}",
        )
    raise UserError(f"The trust root has no person {person}.", "`placet trust show` lists people.")
