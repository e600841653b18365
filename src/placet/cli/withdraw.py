"""``placet withdraw``: take a request back before anybody decides."""

from __future__ import annotations

import argparse

from placet.cli import EXIT_ALLOW
from placet.cli._relay import (
    DEFAULT_RELAY,
    open_relay,
    read_request_id,
    read_token,
    relay_failed,
    token_path,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("request", metavar="ID", help="the request's ID, as `placet request` printed it")
    parser.add_argument(
        "--token", help="the secret that the machine which asked has kept (default: this machine's own)"
    )
    parser.add_argument("--relay", metavar="URL", help=f"the relay (default {DEFAULT_RELAY})")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    request_id = read_request_id(args.request)
    token = args.token or read_token(request_id)
    with open_relay(args.relay) as relay:
        from placet.client import RelayClientError

        try:
            relay.withdraw(request_id, token)
        except RelayClientError as e:
            raise relay_failed(e, "The request was not withdrawn.") from e
    if not args.token:
        token_path(request_id).unlink(missing_ok=True)
    print("Withdrawn. Terminals no longer show it; a bundle that is already complete stays valid.")
    return EXIT_ALLOW
