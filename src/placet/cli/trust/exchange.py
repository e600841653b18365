"""``placet trust export`` and ``collect``: the coordinator's two ends of a ceremony on several machines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli import UserError
from placet.cli._shared import read_file
from placet.cli.trust.shared import add_repository, open_repository
from placet.cli.trust.sign import mailbox_cache
from placet.core.errors import PlacetError, visible

if TYPE_CHECKING:
    from placet.adapters.tuf.exchange import Collected
    from placet.adapters.tuf.repository import TrustRepository


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    export = commands.add_parser("export", help="write what other administrators sign on their terminals")
    export.description = (
        "Writes the challenge: what is published, what is prepared, and the evidence of new keys. It "
        "holds no key that signs, and whoever carries it changes nothing unseen; but it lists your staff."
    )
    export.add_argument(
        "place", metavar="DIR|FILE", help="a shared folder, a stick, a file, or git+https://HOST/PATH#branch"
    )
    collect = commands.add_parser("collect", help="take up the signatures that came back")
    collect.add_argument(
        "places", nargs="+", metavar="DIR|FILE", help="where they lie: folders, files, or git+https://…"
    )
    for command in (export, collect):
        command.add_argument("--json", action="store_true", help="for programs")
        add_repository(command)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    return _export(args, repository) if args.trust_command == "export" else _collect(args, repository)


def _export(args: argparse.Namespace, repository: TrustRepository) -> int:
    from placet.adapters.tuf.ceremony_box import open_box
    from placet.adapters.tuf.exchange import encode_challenge
    from placet.adapters.tuf.signing import pending_roles
    from placet.adapters.tuf.state import state_lines, state_object
    from placet.core.encoding import sha256_hex

    pending = pending_roles(repository)
    if not pending:
        raise UserError(
            "Nothing waits for signatures.", "Change something first; `placet trust --help` lists how."
        )
    where = open_box(args.place, mailbox_cache()).write_challenge(encode_challenge(repository))
    if args.json:
        print(json.dumps({"challenge": where, "pending": state_object(pending)}, indent=2))
        return 0
    print(f"The challenge is {where}.")
    for item in pending:
        print(f"  {item.role} version {item.version}, SHA-256 {sha256_hex(item.message)}")
    print("\n".join(state_lines(pending)))
    print("Next: each who is missing runs, on their own terminal:")
    print(f"  placet trust sign --challenge {args.place} --as ID --key FILE")
    print(f"  (or on the page: placet terminal sign-trust --challenge {args.place} --as ID)")
    print("Their signatures come back beside it, or as a file in any other way. Then:")
    print(f"  placet trust collect {args.place}")
    return 0


def _collect(args: argparse.Namespace, repository: TrustRepository) -> int:
    from placet.adapters.tuf.exchange import attach_signatures
    from placet.adapters.tuf.signing import pending_roles
    from placet.adapters.tuf.state import is_complete, state_lines, state_object

    found: list[tuple[str, Collected]] = []
    broken: list[tuple[str, PlacetError]] = []
    for name, data in _signature_files(args.places):
        try:
            found += [(name, item) for item in attach_signatures(repository, data)]
        except PlacetError as e:  # one broken file takes nothing away from the others
            broken.append((name, e))
    refused = [(name, item.refusal) for name, item in found if item.refusal is not None] + broken
    pending = pending_roles(repository)
    # What an earlier ceremony left in the folder stands in nobody's way once this one is complete.
    only_stale = is_complete(pending) and not broken and all(i.stale for _, i in found if i.refusal)
    code = 1 if refused and not only_stale else 0
    if args.json:
        value = {
            "collected": [
                {"file": name, "person": item.person, "role": item.role}
                for name, item in found
                if item.refusal is None
            ],
            "refused": [{"file": n, "reason": e.reason, "message": e.message} for n, e in refused],
            "pending": state_object(pending),
        }
        print(json.dumps(value, indent=2))
        return code
    _print_collected(found, broken, only_stale=bool(refused) and only_stale)
    print("\n".join(state_lines(pending)) or "Nothing waits for signatures.")
    if pending:
        print(
            "Next: `placet trust publish`." if is_complete(pending) else "Next: those who are missing sign."
        )
    return code


def _print_collected(
    found: list[tuple[str, Collected]], broken: list[tuple[str, PlacetError]], *, only_stale: bool
) -> None:
    for name, item in found:
        if item.refusal is None:
            print(visible(f"{item.person} has signed {item.role} ({name})."))
        else:
            print(visible(f"Refused, of {item.person}: {item.refusal} [{item.refusal.reason}] ({name})"))
            print(visible(f"  {item.refusal.hint}"))
    for name, error in broken:
        print(visible(f"Refused: {name} is no file of signatures. {error} [{error.reason}]"))
    if only_stale:
        print("Note: nothing is missing without what was refused; it is of an earlier draft, and can go.")
    if not found and not broken:
        print("No signatures are there yet.")


def _signature_files(places: list[str]) -> Iterator[tuple[str, bytes]]:
    from placet.adapters.git.courier import is_git_address
    from placet.adapters.tuf.ceremony_box import open_box
    from placet.adapters.tuf.exchange import MAX_SIGNATURES_BYTES

    for place in places:
        if is_git_address(place) or "://" in place or Path(place).is_dir():
            yield from open_box(place, mailbox_cache()).read_signatures(MAX_SIGNATURES_BYTES)
        else:
            yield place, read_file(place, "signature file", MAX_SIGNATURES_BYTES)
