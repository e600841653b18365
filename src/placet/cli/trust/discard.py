"""``placet trust discard`` and ``history``: giving a draft up, and what was done when."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from placet.cli import UserError
from placet.cli._shared import now
from placet.cli.trust.revoke import add_reason
from placet.cli.trust.shared import add_repository, open_repository
from placet.core.errors import visible

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    discard = commands.add_parser("discard", help="give up the draft, with the signatures on it")
    discard.add_argument("--yes", action="store_true", help="do not ask, even where signatures are lost")
    discard.add_argument("--scope", metavar="SCOPE", help="only the drafted rules of this scope's owners")
    add_reason(discard)
    history = commands.add_parser("history", help="what was changed, published and given up, when and why")
    history.add_argument("--json", action="store_true", help="for programs")
    for parser in (discard, history):
        add_repository(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    return _history(repository, args) if args.trust_command == "history" else _discard(repository, args)


def _discard(repository: TrustRepository, args: argparse.Namespace) -> int:
    from placet.adapters.tuf.delegations import scope_role
    from placet.adapters.tuf.history import record
    from placet.adapters.tuf.signing import pending_roles

    if repository.published_root() is None:
        raise UserError(
            "Nothing is published yet, so the draft is all there is.",
            f"To start again, move {repository.path} away and run `placet trust init`.",
        )
    only = None if args.scope is None else scope_role(args.scope)
    pending = [item for item in pending_roles(repository) if only in (None, item.role)]
    if not pending:
        print("There is no draft; nothing was changed.")
        return 0
    names = ", ".join(f"{item.role} {item.version}" for item in pending)
    lost = sorted({person for item in pending for person in item.signed})
    print(f"The draft has {names}.")
    if lost:
        print(f"Signed already by: {', '.join(lost)}. Their signatures are lost with it.")
        if not args.yes and not _confirmed():
            print("Nothing was changed.")
            return 1
    with repository.lock():
        repository.clear_drafts(None if only is None else [only])
    record(repository, "discarded", f"the draft of {names}", now=now(), reason=args.reason)
    print("The draft is gone; what is published stays as it is.")
    if lost:
        print("Note: the machines of those who signed remember it; their next `placet trust sign` says so.")
    return 0


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("This needs a confirmation, and there is no terminal to ask at.", "Add --yes.")
    print("Give it up? Type `discard`: ", end="", flush=True)
    return sys.stdin.readline().strip() == "discard"


def _history(repository: TrustRepository, args: argparse.Namespace) -> int:
    from placet.adapters.tuf.history import read_history

    events = read_history(repository)
    if args.json:
        print(json.dumps([dict(event._asdict()) for event in events], indent=2))
        return 0
    if not events:
        print("Nothing is recorded yet.")
    for event in events:
        versions = ", ".join(f"{role} {version}" for role, version in event.versions.items())
        line = f"{event.at}  {event.what:<10} {event.text}{f' ({versions})' if versions else ''}"
        print(visible(line))
        if event.reason:
            print(visible(f"{'':22}because: {event.reason}"))
    return 0
