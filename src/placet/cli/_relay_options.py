"""The options of `placet relay serve`, and how their values are read."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path

from placet.cli._listening import add_listen_options, read_port, reader
from placet.cli._log_parts import add_log_options
from placet.cli._shared import parse_duration

DEFAULT_PORT = 8471
_SNAPSHOT_HELP = "keep answers of enrolled keys only, so that no flood of others takes their places"
_SIZES = {"K": 1024, "M": 1024**2, "G": 1024**3}
# Anything smaller is full after one request of the largest size.
_MIN_SIZE = 4 * 1024**2


def add_serve_options(serve: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_listening(serve, DEFAULT_PORT)
    _add_keeping(serve)
    add_limits(serve)
    _add_log(serve)
    _add_telling(serve)


def add_listening(serve: argparse.ArgumentParser, default_port: int) -> None:
    """Declares where a service listens, and behind which proxies."""
    add = add_listen_options(serve, default_port).add_argument
    add(
        "--trusted-proxy",
        type=_network,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy, or network of proxies, whose X-Forwarded-For is believed; may be repeated",
    )


def _add_keeping(serve: argparse.ArgumentParser) -> None:
    add = serve.add_argument_group("what it keeps").add_argument
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="the folder of the relay's database (default: the user's state)",
    )
    add(
        "--store",
        metavar="URL",
        help="instead, a PostgreSQL database (postgresql://…), which several relays may share",
    )
    add(
        "--keep",
        type=_duration,
        default="30d",
        metavar="TIME",
        help="how long closed requests stay, such as 90d or 12h (30d)",
    )
    add(
        "--max-bytes",
        type=_size,
        default="4G",
        metavar="SIZE",
        help="how large the database may become, such as 512M (4G)",
    )


def add_limits(serve: argparse.ArgumentParser, snapshot_help: str = _SNAPSHOT_HELP) -> None:
    """Declares whom a service serves, and how much."""
    group = serve.add_argument_group("whom it serves, and how much")
    add = group.add_argument
    limits = group.add_mutually_exclusive_group()
    limits.add_argument(
        "--callers",
        type=Path,
        metavar="FILE",
        help="known callers and everybody's limits (TOML); read again on SIGHUP",
    )
    limits.add_argument(
        "--no-limits", action="store_true", help="for measurements: hold nobody to any rate or quota"
    )
    add("--require-caller", action="store_true", help="serve known callers only")
    add(
        "--trust-snapshot",
        type=Path,
        metavar="FILE",
        help=snapshot_help,
    )


def _add_log(serve: argparse.ArgumentParser) -> None:
    group = add_log_options(serve)
    add = group.add_mutually_exclusive_group().add_argument
    add("--no-log", action="store_true", help="log nothing: approvals then reach level 2 at most")
    add(
        "--log",
        metavar="URL",
        help="log decisions there instead of in the relay's own log, such as http://127.0.0.1:8472",
    )
    add(
        "--log-name",
        metavar="NAME",
        help="what a new log of the relay's own is called, such as relay.example/log (a random name)",
    )


def _add_telling(serve: argparse.ArgumentParser) -> None:
    add = serve.add_argument_group("what it tells").add_argument
    add(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="text: what an operator must hear; json: that, and a line for each call (text)",
    )
    add(
        "--metrics-listen",
        type=_listen,
        metavar="ADDRESS:PORT",
        help="offer Prometheus metrics there, such as 127.0.0.1:9471",
    )
    add(
        "--notify",
        type=Path,
        metavar="FILE",
        help="tell people that requests wait (TOML with apprise addresses)",
    )


def _read_listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or read_port(port) == 0:
        raise ValueError
    return host, read_port(port)


def _read_size(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) < 10) or unit not in _SIZES:
        raise ValueError
    size = int(number) * _SIZES[unit]
    if size < _MIN_SIZE:
        raise ValueError
    return size


_listen = reader(_read_listen, "an address with a port, such as 127.0.0.1:9471")
_size = reader(_read_size, "a size of at least 4M, such as 512M or 4G")
_duration = reader(parse_duration, 'a time, such as "30d" or "12h"')
_network = reader(
    lambda text: ipaddress.ip_network(text, strict=False),
    "an address or network, such as 10.0.0.5 or fd00::/64",
)
