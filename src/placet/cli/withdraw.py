"""``placet withdraw``: take a request back before anybody decides."""

from __future__ import annotations

import argparse
import contextlib

from placet.cli import EXIT_ALLOW, UndecidedError
from placet.cli._relay import (
    DEFAULT_RELAY,
    open_relay,
    read_request_id,
    read_token,
    relay_failed,
    token_path,
)
from placet.ports.request_store import RequestState


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
            unclear = "As far as is known here, the request was not withdrawn."
            raise relay_failed(e, "The request was not withdrawn.", unclear=unclear) from e
        # A courier may nod and do nothing.  Whoever takes a request back should know.
        shown = RequestState.WITHDRAWN
        with contextlib.suppress(RelayClientError):
            shown = relay.fetch(request_id).state
    if shown is RequestState.OPEN:
        raise UndecidedError(
            "The relay acknowledged the withdrawal, and still shows the request as open. [relay-lied]",
            "People may still approve it. Tell them and the relay's operator; it ends when it expires.",
        )
    if not args.token:
        token_path(request_id).unlink(missing_ok=True)
    print("Withdrawn, says the relay. An honest one shows it to nobody any more; a bundle that is already")
    print("complete stays valid until the request expires.")
    return EXIT_ALLOW
