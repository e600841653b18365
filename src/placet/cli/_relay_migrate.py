"""``placet relay migrate``: make or upgrade the relay's tables in PostgreSQL."""

from __future__ import annotations

import argparse

from placet.cli import UserError
from placet.cli._shared import describe_migration, setting
from placet.ports.request_store import RequestStoreError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--store", metavar="URL", help="the database (postgresql://…; default: PLACET_STORE)")


def run(args: argparse.Namespace) -> int:
    """Makes or upgrades the tables; returns the exit code.

    Raises:
        UserError: no database was named, or it cannot be used.
    """
    from placet.adapters.places import migrate_store, show_place
    from placet.adapters.postgres.address import is_postgres

    address = setting(args.store, "store")
    if not is_postgres(address):
        raise UserError(
            "Which database? None was named." if address is None else "Only PostgreSQL needs this.",
            "Name it: --store postgresql://USER@HOST/DATABASE. A file is upgraded when the relay opens it.",
        )
    try:
        before, after = migrate_store(str(address))
    except RequestStoreError as e:
        raise UserError(e.message, e.hint) from e
    print(describe_migration(show_place(str(address)), before, after))
    return 0
