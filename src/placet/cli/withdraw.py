"""``placet withdraw``: take a request back before anybody decides."""

from __future__ import annotations

import argparse

from placet.cli import EXIT_ALLOW, UserError
from placet.cli._shared import setting
from placet.cli.request import DEFAULT_RELAY
from placet.core.encoding import Digest, is_hex


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("request", metavar="ID", help="the request's ID, as `placet request` printed it")
    parser.add_argument("--token", required=True, help="the secret that `placet request` printed")
    parser.add_argument("--relay", metavar="URL", help=f"the relay (default {DEFAULT_RELAY})")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.relay_client import RelayClient, RelayClientError

    if not is_hex(args.request, 64):
        raise UserError("A request's ID is 64 hexadecimal characters.")
    try:
        with RelayClient(setting(args.relay, "relay") or DEFAULT_RELAY) as relay:
            relay.withdraw(Digest(args.request), args.token)
    except RelayClientError as e:
        raise UserError(f"{e.message} The request was not withdrawn.", e.hint) from e
    print("Withdrawn. Terminals no longer show it; a bundle that is already complete stays valid.")
    return EXIT_ALLOW
