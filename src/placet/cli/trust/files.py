"""``placet trust set-file``, ``remove-file`` and ``add-action``: further files, signed by administrators."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.ceremony.trust_change import split_facts
from placet.cli import UserError
from placet.cli._shared import read_file
from placet.cli.trust.init import shipped_actions
from placet.cli.trust.shared import add_repository, open_repository, stage
from placet.core.trust import LOG_POLICY_FILE
from placet.documents.pinned import (
    MAX_PINNED_BYTES,
    check_pinned,
    describe_pinned,
    is_pinned,
    missing_of_log_policy,
)

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    add = commands.add_parser(
        "set-file", help="pin a Sigstore root, an in-toto layout, a public key or the log policy"
    )
    add.description = (
        "Gates and terminals verify evidence with these files alone. sigstore/trusted_root.json replaces the "
        "built-in root of the public good instance; further instances lie beside it, such as "
        "sigstore/github.json. Rules name layouts/NAME.layout, layouts/keys/NAME.pub and keys/NAME.pub. "
        "log-policy says which log and which witnesses count (C2SP tlog-policy)."
    )
    add.add_argument("name", metavar="NAME", help="such as sigstore/trusted_root.json")
    add.add_argument("file", type=Path, metavar="FILE")
    remove = commands.add_parser("remove-file", help="no longer pin such a file")
    remove.add_argument("name", metavar="NAME", help="as `placet trust show` lists it")
    action = commands.add_parser("add-action", help="define a kind of action that placet ships")
    action.description = (
        "`placet trust init` defines all of them; a trust root that an older placet made may lack one."
    )
    action.add_argument("name", metavar="NAME", help="such as sign")
    for command in (add, remove, action):
        add_repository(command)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    if args.trust_command == "add-action":
        return _add_action(repository, args.name)
    if args.trust_command == "remove-file":
        pinned = sorted(name for name in repository.draft_files() if is_pinned(name))
        if args.name not in pinned:
            raise UserError(
                f"No such file is pinned: {args.name}.", f"There are: {', '.join(pinned) or 'none'}."
            )
        return stage(repository, {}, f"{args.name} is no longer pinned.", removals=[args.name])
    data = read_file(args.file, "file", MAX_PINNED_BYTES)
    check_pinned(args.name, data)
    said = [f"{args.name} is pinned in the draft.", *split_facts(describe_pinned(args.name, data))]
    if args.name == LOG_POLICY_FILE:
        said += [f"Note: {missing}" for missing in missing_of_log_policy(data)]
    return stage(repository, {args.name: data}, "\n".join(said))


def _add_action(repository: TrustRepository, name: str) -> int:
    shipped = shipped_actions()
    wanted = {file: data for file, data in shipped.items() if file.startswith(f"actions/{name}/")}
    if not wanted:
        known = ", ".join(sorted({file.split("/")[1] for file in shipped}))
        raise UserError(f"placet ships no action named {name!r}.", f"There are: {known}.")
    return stage(repository, wanted, f"The action {name} is defined in the draft.")
