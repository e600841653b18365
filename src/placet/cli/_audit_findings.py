"""``placet audit findings`` and ``settle``: what is open, and what somebody has looked into."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from placet.adapters.sqlite.audit import AuditStore, StoredFinding
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._shared import now
from placet.cli.verify import print_json
from placet.core.encoding import format_time
from placet.core.errors import visible
from placet.log.monitor import finding_of
from placet.log.monitor_findings import SEVERITIES, Finding
from placet.log.monitor_report import finding_to_object

STATE_FILE = "audit.sqlite"
_COLUMNS = 100
_INDENT = " " * 12


def open_store(folder: Path, *, must_exist: bool = True) -> AuditStore:
    """Opens what the monitor remembers.

    Raises:
        UserError: no audit has run yet.
        AuditStateError: it cannot be used.
    """
    path = folder / STATE_FILE
    if must_exist and not path.exists():
        raise UserError(
            f"No monitor has remembered anything in {folder}.", "Run `placet audit` first, or name --state."
        )
    return AuditStore(path)


def run_findings(args: argparse.Namespace, folder: Path) -> int:
    """Lists findings; returns the exit code."""
    with open_store(folder) as store:
        stored = store.list_findings(settled=args.all)
    if args.json:
        print_json({"findings": [stored_to_object(item) for item in stored]})
        return EXIT_ALLOW
    if not stored:
        print("Nothing is open." if not args.all else "Nothing was ever found.")
    ordered = sorted(stored, key=lambda item: SEVERITIES.index(finding_of(item).severity))
    for item in ordered:
        for line in describe(finding_of(item)):
            print(line)
        if item.settled_at is not None:
            print(f"            Settled {format_time(item.settled_at)}: {visible(item.settled_because)}")
    if any(item.settled_at is None for item in stored):
        print('When you have looked into one: placet audit settle ID --because "what it was"')
    return EXIT_ALLOW


def run_settle(args: argparse.Namespace, folder: Path) -> int:
    """Settles findings; returns the exit code."""
    because = args.because.strip()
    if not because or len(because) > 500 or not because.isprintable():
        raise UserError("--because is one line of 1 to 500 printable characters.")
    with open_store(folder) as store:
        known = {item.id for item in store.list_findings()}
        if unknown := [item for item in args.finding if item not in known]:
            raise UserError(f"No finding {visible(unknown[0])} is open.", "See them: placet audit findings")
        with store.transaction():
            for item in args.finding:
                store.settle(item, because=because, at=now())
    print(f"{len(args.finding)} settled.")
    return EXIT_ALLOW


def describe(found: Finding) -> Sequence[str]:
    """Returns a finding, line by line."""
    return (
        f"  {found.severity.upper():<9} {found.name}  [{found.id}]",
        *_wrap(found.message),
        *_wrap(f"Next: {found.next_step}"),
    )


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(
        text, _COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False
    )


def stored_to_object(stored: StoredFinding) -> dict[str, object]:
    """Returns a finding as JSON members, with when it was found and settled."""
    return finding_to_object(finding_of(stored)) | {
        "firstAt": format_time(stored.first_at),
        "lastAt": format_time(stored.last_at),
        "settledAt": None if stored.settled_at is None else format_time(stored.settled_at),
        "settledBecause": stored.settled_because or None,
    }
