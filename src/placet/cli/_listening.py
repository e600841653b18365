"""What the commands that run a service share: its address, and a socket on it."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from collections.abc import Callable

from placet.cli import UserError

DEFAULT_HOST = "127.0.0.1"


def add_listen_options(parser: argparse.ArgumentParser, default_port: int) -> argparse._ArgumentGroup:
    """Declares where a service listens; returns the group, for more of the kind."""
    group = parser.add_argument_group("where it listens")
    add = group.add_argument
    add("--host", default=DEFAULT_HOST, metavar="ADDRESS", help=f"the address to listen on ({DEFAULT_HOST})")
    add(
        "--port",
        type=port_number,
        default=default_port,
        metavar="N",
        help=f"the port; 0 takes a free one ({default_port})",
    )
    add("--allow-remote", action="store_true", help="listen on an address that other machines can reach")
    return group


def check_policy_url(url: str, example: str) -> None:
    """Checks an address that goes into the line of a log policy; "" is none.

    Raises:
        UserError: it is not one word that begins with https:// or http://, so nobody could read the line.
    """
    if url and (not url.startswith(("https://", "http://")) or len(url.split()) != 1):
        raise UserError("An address is one word that begins with https:// or http://.", f"Such as {example}")


def open_listener(args: argparse.Namespace, service: str, risk: str) -> socket.socket:
    """Returns a listening socket for what `add_listen_options` read.

    Args:
        args: has `host`, `port` and `allow_remote`.
        service: such as "relay".
        risk: ends the sentence "nobody on the way could forge an approval, but".

    Raises:
        UserError: other machines could reach it, which was not said, or it cannot listen there.
    """
    try:
        # Imported here: what `--help` needs is small, and a missing extra deserves a sentence.
        from placet.adapters.serving.server import ListenError, bind
    except ModuleNotFoundError as e:
        raise UserError(
            f"The {service} needs the Python package {e.name}, which is not installed.",
            f"Install placet with its {service}: pip install 'placet[relay]'.",
        ) from e
    if not args.allow_remote and not _is_loopback(args.host):
        raise UserError(
            f"{args.host} can be reached by other machines, and the {service} speaks plain HTTP.",
            "Let it listen on 127.0.0.1 with a reverse proxy in front that speaks TLS. If that proxy is on "
            f"another machine, add --allow-remote: nobody on the way could forge an approval, but {risk}.",
        )
    try:
        return bind(args.host, args.port)
    except ListenError as e:
        raise _cannot_listen(args, service, e) from e


def describe_address(host: str, listener: socket.socket) -> str:
    """Returns the URL of a service that listens."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Other names may come to mean another address tomorrow; RFC 6761 fixes this one.
        return host == "localhost"


def _cannot_listen(args: argparse.Namespace, service: str, why: Exception) -> UserError:
    host, port = args.host, args.port
    if getattr(why, "in_use", False):
        return UserError(
            f"Port {port} on {host} is already in use.",
            f"Perhaps a {service} is running already: `ss -ltnp sport = :{port}` shows which program has the "
            "port. Stop that one, or choose another port with --port.",
        )
    if getattr(why, "not_permitted", False):
        return UserError(
            f"Port {port} is reserved for administrators.", "Choose one above 1023 with --port, such as 8471."
        )
    return UserError(
        f"The {service} cannot listen on {host}: {why}.", "Give an address of this machine with --host."
    )


def reader(read: Callable[[str], object], what: str) -> Callable[[str], object]:
    """Returns an argparse type that says `what` was expected."""

    def parse(text: str) -> object:
        try:
            return read(text)
        except (ValueError, UserError) as e:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from e

    return parse


def read_port(text: str) -> int:
    """Reads a port number.

    Raises:
        ValueError: it is none.
    """
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise ValueError


port_number = reader(read_port, "a port number from 0 to 65535")
