"""``placet trust keep-fresh`` and ``online-keys``: what needs no person, on any host but the relay's."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.private_file import write_atomically
from placet.ceremony.trust_status import EXPIRED, OK, judge_trust, time_left
from placet.cli import EXIT_UNDECIDED, UserError
from placet.cli._shared import now, parse_duration, read_file
from placet.cli.trust.shared import add_repository, open_repository
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.documents.role_dates import RoleDates

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository

_BY_PEOPLE = ("root", "targets")
_DEFAULT_EVERY, _DEFAULT_VALID = "6h", "7d"
# After a failure, such as a full disk: soon enough for any timestamp, rare enough for a log.
_RETRY_SECONDS = 300
_MAX_KEYS_BYTES = 64 * 1024


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    fresh = commands.add_parser("keep-fresh", help="renew timestamp and snapshot, again and again")
    fresh.description = (
        "Renews the timestamp with the online key, and the snapshot once half of its time has passed; drafts "
        "are left alone. For any host but the relay's. Prints one line for each renewal. Exit codes with "
        "--once: 0 renewed; 1 renewed, and administrators must sign before the timestamp ends; 3 not renewed."
    )
    how = fresh.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="renew once, such as from a timer")
    how.add_argument("--every", default=_DEFAULT_EVERY, metavar="DURATION", help=f"default: {_DEFAULT_EVERY}")
    fresh.add_argument(
        "--valid",
        default=_DEFAULT_VALID,
        metavar="DURATION",
        help=f"how long a timestamp is good for (default: {_DEFAULT_VALID})",
    )
    fresh.add_argument(
        "--to",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="copy what is published there, too",
    )
    fresh.add_argument(
        "--commit", action="store_true", help="where --to lies in a git checkout: commit it, and nothing else"
    )
    add_repository(fresh)
    online = commands.add_parser(
        "online-keys", help="move the online keys to the host that keeps trust fresh"
    )
    verbs = online.add_subparsers(dest="verb", required=True, metavar="export|import")
    export = verbs.add_parser("export", help="write them into a file that only you can read")
    export.add_argument("file", type=Path, metavar="FILE")
    export.add_argument("--remove", action="store_true", help="and remove them here")
    bring = verbs.add_parser("import", help="put the keys of such a file into a working repository")
    bring.add_argument("file", type=Path, metavar="FILE")
    for parser in (export, bring):
        add_repository(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    if args.trust_command == "online-keys":
        return _export(repository, args) if args.verb == "export" else _import(repository, args.file)
    if args.commit:
        _check_checkouts(args.to)
    if args.once:
        return _renew(repository, args)
    return _keep(repository, args)


def _check_checkouts(folders: list[Path]) -> None:
    from placet.adapters.tuf.git import is_working_tree

    if not folders or not all(is_working_tree(folder) for folder in folders):
        raise UserError("--commit needs --to with a folder of a git checkout.", "Make one with: git clone")


def _keep(repository: TrustRepository, args: argparse.Namespace) -> int:
    every, stop = parse_duration(args.every), threading.Event()
    if every * 2 > parse_duration(args.valid):
        raise UserError(
            f"A timestamp of {args.valid}, renewed every {args.every}: one missed renewal is an outage.",
            "Renew at least twice in its time, as in: --every 6h --valid 2d",
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        try:
            code = _renew(repository, args)
        except (PlacetError, OSError) as e:
            print(f"{format_time(now())} not renewed: {e}", file=sys.stderr, flush=True)
            code = EXIT_UNDECIDED
        stop.wait(every if code != EXIT_UNDECIDED else min(every, _RETRY_SECONDS))
    return 0


def _renew(repository: TrustRepository, args: argparse.Namespace) -> int:
    """Renews once, prints one line, and returns the exit code."""
    from placet.adapters.tuf.git import commit_published
    from placet.adapters.tuf.online import renew_online
    from placet.adapters.tuf.publish import mirror
    from placet.adapters.tuf.status import repository_dates

    people = [dates for dates in repository_dates(repository) if dates.role in _BY_PEOPLE]
    judged = judge_trust("", people, (), now=now(), at_gate=False).roles
    if expired := [item.dates for item in judged if item.state == EXPIRED]:
        raise IndeterminateError(
            Reason.TRUST_EXPIRED,
            f"{_say_dates(expired)}; a new timestamp would help nobody. These must sign: "
            f"{_administrators(repository)}.",
            hint="`placet trust sign --renew`, each of them signs, then `placet trust publish`.",
        )
    valid = parse_duration(args.valid)
    renewal = renew_online(repository, now=now(), validity={"timestamp": valid})
    message = f"Trust root: {', '.join(f'{role} {version}' for role, version in renewal.versions.items())}"
    for folder in args.to:
        mirror(repository, folder)
        if args.commit:
            commit_published(folder, message)
    parts = [
        f"{role} {version} until {format_time(renewal.expires_at[role])}"
        for role, version in renewal.versions.items()
    ]
    line = f"{format_time(now())} renewed: {', '.join(parts)}"
    late = [dates for dates in people if dates.expires_at < renewal.expires_at["timestamp"]]
    soon = [item.dates for item in judged if item.state != OK]
    if soon:
        line += (
            f"; ATTENTION: {_say_dates(soon)}: `placet trust sign --renew` by {_administrators(repository)}"
        )
    print(line, flush=True)
    return 1 if late else 0


def _say_dates(roles: list[RoleDates]) -> str:
    return ", ".join(f"{dates.role} {time_left(dates.expires_at, now())}" for dates in roles)


def _administrators(repository: TrustRepository) -> str:
    from placet.adapters.tuf.trust import ROOT, administrators_of

    root = repository.current_root()
    people = ", ".join(sorted(administrators_of(root).values()))
    return f"{root.roles[ROOT].threshold} of {people}"


def _export(repository: TrustRepository, args: argparse.Namespace) -> int:
    if args.file.exists():
        raise UserError(
            f"{args.file} is already there.", "Name a file that is not; keys are not overwritten."
        )
    data = repository.online_keys.encode()
    write_atomically(args.file, data)
    print(f"The online keys are in {args.file}, which only you can read. Whoever has them can withhold news")
    print("from gates until a role of yours expires, and nothing more; still, carry the file with care.")
    if args.remove:
        with repository.lock():
            repository.online_keys.forget_all_but([])
        print("They are removed here: `placet trust publish` runs where they are from now on.")
    print("Next, there: placet trust online-keys import FILE; then remove the file.")
    return 0


def _import(repository: TrustRepository, file: Path) -> int:
    if file.stat().st_mode & 0o077:
        raise UserError(f"Others can read {file}.", f"If nobody did: chmod 600 {file}")
    with repository.lock():
        roots = [root for root in (repository.draft_root(), repository.published_root()) if root is not None]
        added = repository.online_keys.decode(read_file(file, "key file", _MAX_KEYS_BYTES), roots)
    print(f"The online keys of {' and '.join(added)} are here. Next: remove {file}, and run")
    print("  placet trust keep-fresh --once")
    return 0
