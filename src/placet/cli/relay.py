"""``placet relay``: run the relay on this machine; look after its database; make its tables in PostgreSQL."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path

from placet.adapters.paths import state_dir
from placet.cli import UserError, _relay_check, _relay_migrate
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
        description="Runs the relay until it is stopped. It stores and forwards, holds no key and decides "
        "nothing: whoever owns it can withhold or delay an approval, and cannot forge one.",
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
    try:
        # Imported here: what `placet relay --help` needs is small, and a missing extra deserves a sentence.
        from placet.adapters.serving.server import ListenError, bind
        from placet.cli._relay_serve import serve
    except ModuleNotFoundError as e:
        raise UserError(
            f"The relay needs the Python package {e.name}, which is not installed.",
            "Install placet with its relay: pip install 'placet[relay]'.",
        ) from e
    _check_reach(args.host, allow_remote=args.allow_remote)
    try:
        listener = bind(args.host, args.port)
    except ListenError as e:
        raise _cannot_listen(args.host, args.port, str(e), in_use=e.in_use, reserved=e.not_permitted) from e
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


def _check_reach(host: str, *, allow_remote: bool) -> None:
    if allow_remote or _is_loopback(host):
        return
    raise UserError(
        f"{host} can be reached by other machines, and the relay speaks plain HTTP.",
        "Let it listen on 127.0.0.1 with a reverse proxy in front that speaks TLS. If that proxy is on "
        "another machine, add --allow-remote: nobody on the way could forge an approval, but they could "
        "read requests and withdraw them.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Other names may come to mean another address tomorrow; RFC 6761 fixes this one.
        return host == "localhost"


def _cannot_listen(host: str, port: int, why: str, *, in_use: bool, reserved: bool) -> UserError:
    if in_use:
        return UserError(
            f"Port {port} on {host} is already in use.",
            f"Perhaps a relay is running already: `ss -ltnp sport = :{port}` shows which program has the "
            "port. Stop that one, or choose another port with --port.",
        )
    if reserved:
        return UserError(
            f"Port {port} is reserved for administrators.", "Choose one above 1023 with --port, such as 8471."
        )
    return UserError(
        f"The relay cannot listen on {host}: {why}.", "Give an address of this machine with --host."
    )
