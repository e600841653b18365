"""``placet terminal serve``: the approval page."""

from __future__ import annotations

import argparse
import threading

from placet.adapters.system_clock import SystemClock
from placet.cli import UserError
from placet.cli._evidence import evidence_verifier
from placet.cli._relay import relay_settings
from placet.cli._terminal_files import load_identity, open_credentials, open_history, outbox, trust_path
from placet.cli._terminal_shared import origin_of, serve_page
from placet.core.errors import PlacetError
from placet.terminal.desk import Desk
from placet.terminal.desk_app import create_desk_app
from placet.terminal.relay_source import RelaySource
from placet.terminal.sources import FileSource, Source
from placet.terminal.trust_file import TrustFile
from placet.terminal.web import Guard


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    identity = load_identity()
    trust_file = TrustFile(trust_path(args.trust))
    origin = origin_of(identity.terminal_id, trust_file.load().deployment, args.port)
    source = _source(args)
    desk = Desk(
        source=source,
        trust_file=trust_file,
        identity=identity,
        credentials=open_credentials(),
        history=open_history(),
        clock=SystemClock(),
        web_origin=origin,
    )
    started = f"placet terminal {identity.terminal_id} shows the requests of {source.name}."
    try:
        desk.check_ready()
    except PlacetError as e:
        # The page says the same and notices when it is put right, so the terminal starts all the same.
        started += f"\nNothing can be decided here yet: {e}\n  {e.hint}\n"
    guard = Guard(origin)
    source.start()
    try:
        serve_page(
            create_desk_app(desk, guard),
            guard,
            args.port,
            done=threading.Event(),
            quiet=args.no_open,
            started=started,
        )
    finally:
        desk.close()
        source.stop()
    return 0


def _source(args: argparse.Namespace) -> Source:
    if args.file:
        if args.relay is not None:
            raise UserError("Requests come from --file or from --relay, not from both.")
        if args.bundle is not None and len(args.file) > 1:
            raise UserError(
                "--bundle is for one request; there are several.",
                "Leave it out: each bundle then lies beside its request.",
            )
        return FileSource(args.file, args.bundle, evidence=evidence_verifier(trust_path(args.trust)))
    if args.bundle is not None:
        raise UserError(
            "--bundle goes with --file.", "With a relay, `placet request --wait` writes the bundle."
        )
    try:
        settings = relay_settings(args.relay)
        return RelaySource(settings.url, outbox(), token=settings.token, ca_file=settings.ca_file)
    except PlacetError as e:
        raise UserError(e.message, e.hint) from e
