"""``placet trust status``: how long it is good for, and who must act; for people and for cron."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.adapters.paths import snapshot_path
from placet.ceremony.trust_status import (
    ATTENTION,
    EXPIRED,
    OK,
    TrustStatus,
    judge_trust,
    status_lines,
    status_object,
    summary_line,
)
from placet.cli import EXIT_UNDECIDED, UserError
from placet.cli._shared import load_trust, now, parse_duration, root_digest
from placet.cli.trust.shared import default_repository, open_repository
from placet.core.errors import IndeterminateError, PlacetError
from placet.core.trust import parse_trust

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository
    from placet.adapters.tuf.signing import PendingRole

_EXIT = {OK: 0, ATTENTION: 1, EXPIRED: EXIT_UNDECIDED}
_MAX_ROOT_BYTES = 512_000


class _Found(NamedTuple):
    status: TrustStatus
    pending: tuple[PendingRole, ...]


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("status", help="how long it is valid, who has signed, who must act")
    parser.description = (
        "Says how long the trust root is good for, who has signed a draft and who is missing, and what needs "
        "somebody soon: from half of a role's time on, and 30 days before a person's last key ends. "
        "Exit codes: 0 all is well, 1 attention soon, 3 expired or unreadable, 2 wrong usage."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--repository", type=Path, metavar="DIR", help="of a working repository")
    where.add_argument("--snapshot", type=Path, metavar="FILE", help="of what a gate goes by")
    where.add_argument("--from", dest="source", metavar="DIR|URL", help="of what is published there")
    parser.add_argument(
        "--root-sha256",
        type=root_digest,
        metavar="HEX",
        help="with --from: the first root, where this machine knows none",
    )
    parser.add_argument(
        "--soon",
        metavar="DURATION",
        help="warn when less than this is left (default: half of each role's time)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--quiet", action="store_true", help="for cron: print nothing while all is well")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        found = _find(args)
    except PlacetError as e:
        if isinstance(e, IndeterminateError):
            raise
        # Unreadable is no verdict about anything: exit code 3, as for what has expired.
        raise IndeterminateError(e.reason, e.message, path=e.path, hint=e.hint) from e
    code = _EXIT[found.status.state]
    if not (args.quiet and code == 0):
        _print(args, found)
    return code


def _find(args: argparse.Namespace) -> _Found:
    soon = None if args.soon is None else parse_duration(args.soon)
    if args.source is not None:
        with tempfile.TemporaryDirectory(prefix="placet-trust-") as folder:
            return _Found(_fetch(args, Path(folder) / "snapshot.json", soon), ())
    if args.repository is None and (args.snapshot is not None or not default_repository().exists()):
        return _Found(_judge_snapshot(args.snapshot or snapshot_path(), soon, at_gate=True), ())
    args.repository = args.repository or default_repository()
    return _judge_repository(open_repository(args), soon)


def _judge_snapshot(snapshot: Path, soon: int | None, *, at_gate: bool) -> TrustStatus:
    from placet.adapters.tuf.status import snapshot_dates

    trust = load_trust(snapshot, option="--snapshot")
    return judge_trust(
        trust.deployment.name,
        snapshot_dates(trust, snapshot),
        trust.people,
        now=now(),
        at_gate=at_gate,
        soon=soon,
    )


def _fetch(args: argparse.Namespace, snapshot: Path, soon: int | None) -> TrustStatus:
    """Judges what a fresh gate would see there."""
    from placet.adapters.tuf.refresh import refresh
    from placet.core.encoding import sha256_hex

    first, digest = snapshot_path().with_suffix(".tuf") / "first.root.json", args.root_sha256
    if digest is None and not first.is_file():
        raise UserError(
            "This machine knows no root to begin with.",
            "Give its SHA-256 as --root-sha256 HEX, told by an administrator.",
        )
    root = None
    if digest is None:
        root = first.read_bytes()[:_MAX_ROOT_BYTES]
        digest = sha256_hex(root)
    refresh(args.source, snapshot, root=root, root_sha256=digest)
    return _judge_snapshot(snapshot, soon, at_gate=False)


def _judge_repository(repository: TrustRepository, soon: int | None) -> _Found:
    from placet.adapters.tuf.signing import pending_roles
    from placet.adapters.tuf.status import repository_dates
    from placet.core.trust import compile_trust

    files = repository.published_files() or repository.draft_files()
    trust = parse_trust(compile_trust(files=files, versions={"root": 1}, expires_at=now()))
    status = judge_trust(
        trust.deployment.name,
        repository_dates(repository),
        trust.people,
        now=now(),
        at_gate=False,
        soon=soon,
    )
    return _Found(status, pending_roles(repository))


def _print(args: argparse.Namespace, found: _Found) -> None:
    status, at = found.status, now()
    if args.json:
        pending = _pending_object(found.pending)
        print(json.dumps(status_object(status, now=at) | {"pending": pending}, indent=2))
        return
    print(summary_line(status, now=at))
    for line in status_lines(status, now=at):
        print(f"  {line}")
    if found.pending:
        _print_pending(found.pending)


def _pending_object(pending: tuple[PendingRole, ...]) -> list[dict[str, Any]]:
    if not pending:
        return []  # a gate need not load python-tuf
    from placet.adapters.tuf.state import state_object

    return state_object(pending)


def _print_pending(pending: tuple[PendingRole, ...]) -> None:
    from placet.adapters.tuf.state import is_complete, state_lines

    print("In the draft, not yet published:")
    for line in state_lines(pending):
        print(f"  {line}")
    print(
        "Next: `placet trust publish`."
        if is_complete(pending)
        else "Next: each who is missing runs `placet trust sign --as ID --key FILE`."
    )
