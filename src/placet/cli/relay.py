"""``placet relay``: run the relay on this machine; look after its database; make its tables in PostgreSQL."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.adapters.paths import state_dir
from placet.cli import UserError, _relay_check, _relay_migrate
from placet.cli._listening import open_listener
from placet.cli._relay_options import add_serve_options
from placet.cli._shared import setting

STORE_NAME = "relay.sqlite3"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = "The relay carries requests to approval terminals and answers back."
    commands = parser.add_subparsers(dest="relay_command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the relay",
        description="Runs the relay until it is stopped. It stores and forwards and decides nothing: whoever "
        "owns it can withhold or delay an approval, and cannot forge one. Its only key is that of its log.",
    )
    add_serve_options(serve)
    check = commands.add_parser(
        "check",
        help="see whether the relay's database is whole",
        description="Reads everything in the relay's database and compares it with its digests, also while "
        "the relay runs. Exits with 0 where all is whole, with 1 where something is damaged.",
    )
    check.add_argument(
        "--state", type=Path, metavar="DIR", help="the folder of the database (default: the user's state)"
    )
    check.add_argument("--store", metavar="URL", help="instead, a PostgreSQL database (postgresql://…)")
    _relay_check.configure(check)
    migrate = commands.add_parser(
        "migrate",
        help="make or upgrade the relay's tables in PostgreSQL",
        description="Makes the relay's tables in a PostgreSQL database, or upgrades those of an earlier "
        "version. A relay that may do so makes missing tables itself; it never upgrades any in passing.",
    )
    _relay_migrate.configure(migrate)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.relay_command == "migrate":
        return _relay_migrate.run(args)
    place = choose_store(args.state, args.store)
    if args.relay_command == "check":
        return _relay_check.run(args, place)
    listener = open_listener(args, "relay", "they could read requests and withdraw them")
    from placet.cli._relay_serve import serve

    with listener:
        serve(args, listener, place)
    return 0


def choose_store(state: Path | None, store: str | None) -> str | Path:
    """Returns the relay's database: a folder's file, or an address; flag over environment over configuration.

    Raises:
        UserError: both were given, or the address is none, or PostgreSQL's driver is missing.
    """
    from placet.adapters.places import missing_driver
    from placet.adapters.postgres.address import is_postgres

    if state is not None and store is not None:
        raise UserError("--state and --store name two places; the relay keeps everything in one.")
    address = None if state is not None else setting(store, "store")
    if address is None:
        return (state or state_dir() / "relay") / STORE_NAME
    if not is_postgres(address):
        raise UserError(
            "The store must be the address of a PostgreSQL database.",
            "Write it like postgresql://USER@HOST/DATABASE; for a folder, use --state.",
        )
    if problem := missing_driver(address):
        raise UserError(*problem)
    return address
