"""``placet relay check``: whether the relay's database is whole, and saving what is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from placet.cli import UserError
from placet.core.errors import visible
from placet.ports.request_store import RequestStoreError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--salvage-to",
        type=Path,
        metavar="FILE",
        help="save every request that is whole, with its answers, into a new database; stop the relay first",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace, place: str | Path) -> int:
    """Checks the database; returns 0 where it is whole, 1 where it is not.

    Raises:
        UserError: there is none, or it cannot be read at all.
    """
    if isinstance(place, str):
        return _check_postgres(args, place)
    return _check_file(args, place)


def _check_postgres(args: argparse.Namespace, address: str) -> int:
    from placet.adapters.places import show_place
    from placet.adapters.postgres.check import check_database

    if args.salvage_to:
        raise UserError(
            "--salvage-to saves from a file, not from PostgreSQL.", "There, restore a backup of the database."
        )
    try:
        result = check_database(address)
    except RequestStoreError as e:
        raise UserError(e.message, e.hint) from e
    shown = show_place(address)
    if args.json:
        print(json.dumps({"database": shown, **result._asdict()}))
        return 1 if result.findings else 0
    print(f"{shown}: {result.requests} requests with {result.answers} answers are whole.")
    for finding in result.findings:
        print(f"  {visible(finding)}")
    if result.findings:
        print(
            "\nNext: something other than the relay, or a failing disk, changed these rows. Look at the"
            " server's log and its disk; restore a backup, or delete these rows."
        )
        return 1
    print("Nothing is damaged.")
    return 0


def _check_file(args: argparse.Namespace, path: Path) -> int:
    from placet.adapters.sqlite.check import check_database, salvage

    try:
        result = salvage(path, args.salvage_to) if args.salvage_to else check_database(path)
    except RequestStoreError as e:
        raise UserError(e.message, e.hint) from e
    if args.json:
        print(json.dumps({"database": str(path), **result._asdict()}))
        return 1 if result.findings else 0
    print(f"{path}: {result.requests} requests with {result.answers} answers are whole.")
    if args.salvage_to:
        print(f"They are saved in {args.salvage_to}.")
    if not result.findings:
        print("Nothing is damaged.")
        return 0
    print(f"{result.damaged} requests are damaged. Found:" if result.damaged else "Found:")
    for finding in result.findings:
        print(f"  {visible(finding)}")
    if not args.salvage_to:
        print(
            "\nNext: stop the relay and copy its folder away. Then restore a backup, or save what is whole:\n"
            f"  placet relay check --state {path.parent} --salvage-to {path.parent / 'salvaged.sqlite3'}\n"
            f"and move that to {path}. Remove {path.name}-wal and {path.name}-shm beside it.\n"
            "Find out what is wrong with the disk (dmesg, smartctl): it damages what is written next, too."
        )
    return 1
