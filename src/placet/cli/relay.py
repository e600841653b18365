"""``placet relay serve``: run the relay on this machine."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path

from placet.adapters.paths import state_dir
from placet.cli import UserError
from placet.ports.request_store import RequestStoreError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8471
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
    serve.add_argument(
        "--host", default=DEFAULT_HOST, metavar="ADDRESS", help=f"the address to listen on ({DEFAULT_HOST})"
    )
    serve.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        metavar="N",
        help=f"the port; 0 takes a free one ({DEFAULT_PORT})",
    )
    serve.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="the folder of the relay's database (default: the user's state)",
    )
    serve.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that other machines can reach"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        # Imported here: what `placet relay --help` needs is small, and a missing extra deserves a sentence.
        from placet.relay.server import ListenError, bind
    except ModuleNotFoundError as e:
        raise UserError(
            f"The relay needs the Python package {e.name}, which is not installed.",
            "Install placet with its relay: pip install 'placet[relay]'.",
        ) from e
    _check_reach(args.host, allow_remote=args.allow_remote)
    folder = args.state or state_dir() / "relay"
    try:
        listener = bind(args.host, args.port)
    except ListenError as e:
        raise _cannot_listen(args.host, args.port, str(e), in_use=e.in_use, reserved=e.not_permitted) from e
    with listener:
        _serve(listener, args.host, folder / STORE_NAME)
    return 0


def _serve(listener: socket.socket, host: str, path: Path) -> None:
    from placet.adapters.sqlite_store import SqliteRequestStore
    from placet.adapters.system_clock import SystemClock
    from placet.relay.app import create_app
    from placet.relay.courier import Courier
    from placet.relay.server import serve, set_up_log

    try:
        store = SqliteRequestStore.open(path)
    except RequestStoreError as e:
        raise UserError(e.message, e.hint) from e
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    set_up_log()

    def say_ready() -> None:
        # Flushed: whoever starts the relay from a script reads this line from a pipe.
        print(f"placet relay listens on http://{shown}:{port}, keeps its state in {path}", flush=True)

    courier = Courier(store, SystemClock())
    serve(create_app(courier, close=store.close), courier, listener, on_start=say_ready)
    print("placet relay has stopped; everything that it acknowledged is stored", flush=True)


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


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 0 to 65535")
