"""``placet trust revoke``, ``edit-person`` and ``remove-policy``: taking out of the trust root."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from placet.ceremony import trust_revoke
from placet.ceremony.trust_change import group_digits
from placet.cli import UserError
from placet.cli.trust.shared import add_repository, open_repository, stage

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository

Files = dict[str, bytes]

_WHEN = (
    "It is in force once it is signed, published and refreshed. Records of what was approved before stay "
    "what they were."
)


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    revoke = commands.add_parser("revoke", help="take out a person, a key, a terminal or a gate")
    revoke.description = "Takes a person, a key, a terminal or a gate out of the trust root; into the draft."
    kinds = revoke.add_subparsers(dest="kind", required=True, metavar="person|key|terminal|gate")
    for kind, name, text in (
        ("person", "ID", "a person, with all their keys"),
        ("key", "KEYID", "one key of a person: its ID, the first digits of it, or SHA256:… of ssh-keygen"),
        ("terminal", "ID", "an approval terminal"),
        ("gate", "ID", "a gate"),
    ):
        parser = kinds.add_parser(kind, help=text)
        parser.add_argument("id", metavar=name)
        if kind == "key":
            parser.add_argument("--of", dest="person", metavar="PERSON", help="only a key of this person")
        add_reason(parser)
        add_repository(parser)
    _configure_edits(commands)


def _configure_edits(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    edit = commands.add_parser("edit-person", help="change a person's groups and accounts")
    edit.add_argument("id", metavar="ID")
    for flag, what in (("--add-group", "put them in"), ("--remove-group", "take them out of")):
        edit.add_argument(flag, nargs="+", action="extend", default=[], metavar="G", help=f"groups to {what}")
    for flag, what in (("--add-account", "is"), ("--remove-account", "is no longer")):
        edit.add_argument(
            flag,
            nargs=2,
            action="append",
            default=[],
            metavar=("ISSUER", "SUBJECT"),
            help=f"an OIDC identity that {what} this person: the issuer's https address (or github, gitlab), "
            "and its name for them",
        )
    policy = commands.add_parser("remove-policy", help="take out a scope with its rules")
    policy.add_argument("scope", metavar="SCOPE")
    for parser in (edit, policy):
        add_reason(parser)
        add_repository(parser)


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Declares ``--reason``."""
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="why; kept in `placet trust history`, never published"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    before = repository.draft_files()
    removals: tuple[str, ...] = ()
    match args.trust_command:
        case "edit-person":
            changes, said = _edit(args, before)
        case "remove-policy":
            _refuse_owned(repository, args.scope)
            changes, removals = trust_revoke.remove_policy(before, args.scope)
            said = f"The draft takes out the scope {args.scope} and its rules.\n{_WHEN}"
        case _:
            changes, said = _revoke(args, repository, before)
            said = f"{said}\n{_WHEN}"
    return stage(repository, changes, said, removals=removals, reason=args.reason)


def _revoke(args: argparse.Namespace, repository: TrustRepository, before: Files) -> tuple[Files, str]:
    match args.kind:
        case "person":
            say_other_roles(repository, args.id)
            changes = trust_revoke.remove_person(before, args.id)
            return changes, f"The draft takes out {args.id}, with all their keys."
        case "key":
            key = trust_revoke.find_key(before, args.id, person=args.person)
            changes = trust_revoke.remove_key(before, key)
            say_other_roles(repository, key.person)
            return changes, (
                f"The draft takes out this key of {key.person}: {group_digits(key.keyid)}\n"
                f"They get another with `placet trust enroll {key.person}`; both at once: `replace-key`."
            )
        case "terminal":
            return (
                trust_revoke.remove_terminal(before, args.id),
                f"The draft takes out the terminal {args.id}.",
            )
        case _:
            return trust_revoke.remove_gate(before, args.id), f"The draft takes out the gate {args.id}."


def say_other_roles(repository: TrustRepository, person: str) -> None:
    """Says where else a person signs: that is a list of its own, with keys of its own."""
    from placet.adapters.tuf.owners import scope_owners
    from placet.adapters.tuf.trust import administrators_of

    if person in administrators_of(repository.current_root()).values():
        print(
            f"Note: {person} is an administrator too, and stays one: that is another list. To change it: "
            f"placet trust remove-administrator {person}, or replace-administrator {person} --key FILE."
        )
    for scope, owners in sorted(scope_owners(repository).items()):
        if person in (owner.person for owner in owners.owners):
            print(
                f"Note: {person} is an owner of the scope {scope} too, and stays one: see placet trust "
                "delegate."
            )


def _refuse_owned(repository: TrustRepository, scope: str) -> None:
    from placet.adapters.tuf.owners import scope_owners

    if scope in scope_owners(repository):
        raise UserError(
            f"The scope {scope} has owners, who say its rules.",
            f"Take it back first: placet trust undelegate {scope}",
        )


def _edit(args: argparse.Namespace, before: Files) -> tuple[Files, str]:
    if not (args.add_group or args.remove_group or args.add_account or args.remove_account):
        raise UserError("Nothing to change was named.", "As in: --add-group release --remove-group interns")
    changes = trust_revoke.edit_person(
        before,
        args.id,
        add_groups=args.add_group,
        remove_groups=args.remove_group,
        add_accounts=[(issuer, subject) for issuer, subject in args.add_account],
        remove_accounts=[(issuer, subject) for issuer, subject in args.remove_account],
    )
    return changes, f"The groups and accounts of {args.id} are changed in the draft."
