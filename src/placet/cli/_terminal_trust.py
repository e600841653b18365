"""``placet terminal sign-trust``: an administrator reads a change of the trust root, and signs it."""

from __future__ import annotations

import argparse
import threading

from placet.adapters.tuf_anchor import TrustAnchors
from placet.adapters.tuf_repository import TrustRepository
from placet.cli._terminal_files import load_identity, open_credentials
from placet.cli._terminal_shared import origin_of, serve_page
from placet.core.encoding import parse_json
from placet.core.people import parse_deployment
from placet.core.trust import DEPLOYMENT_FILE, MAX_FILE_BYTES
from placet.terminal.trust_app import create_trust_app
from placet.terminal.trust_desk import TrustDesk
from placet.terminal.web import Guard


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    identity = load_identity()
    repository = TrustRepository(args.repository)
    data = repository.draft_files()[DEPLOYMENT_FILE]
    deployment = parse_deployment(parse_json(data, max_bytes=MAX_FILE_BYTES, what=DEPLOYMENT_FILE))
    origin = origin_of(identity.terminal_id, deployment, args.port)
    done = threading.Event()
    desk = TrustDesk(
        repository,
        args.person,
        anchors=TrustAnchors(),
        root_sha256=args.root_sha256,
        web_origin=origin,
        credentials=open_credentials(),
        # The page needs a moment to fetch the answer before the server goes away.
        on_done=lambda: threading.Timer(1.0, done.set).start(),
    )
    if not desk.left():
        print(f"Nothing waits for a signature of {args.person}.")
        return 0
    guard = Guard(origin)
    serve_page(create_trust_app(desk, guard), guard, args.port, done=done, quiet=args.no_open)
    left = desk.left()
    if left:
        print(f"Not signed by {args.person}: {', '.join(left)}.")
        return 1
    print(f"{args.person} has signed all that was shown.")
    print("Next: the others sign, then `placet trust publish`.")
    return 0
