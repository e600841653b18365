"""``placet terminal sign-trust``: an administrator reads a change of the trust root, and signs it."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading

from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.state import is_complete, state_lines
from placet.cli import UserError
from placet.cli._terminal_files import load_identity, open_credentials
from placet.cli._terminal_shared import origin_of, serve_page
from placet.cli.trust.sign import deliver, open_session, open_source
from placet.terminal.trust_app import create_trust_app
from placet.terminal.trust_desk import TrustDesk
from placet.terminal.trust_session import TrustSession
from placet.terminal.web import Guard


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if (args.repository is None) == (args.challenge is None):
        raise UserError(
            "What is to be signed?", "Name the administrators' repository, or a challenge with --challenge."
        )
    identity = load_identity()
    with open_source(args) as repository:
        return _sign(args, identity.terminal_id, repository)


def _sign(args: argparse.Namespace, terminal_id: str, repository: TrustRepository) -> int:
    if not repository.draft_roles():
        print("Nothing waits for signatures.")
        return 0
    session = open_session(args, repository)
    if not session.left():
        print(f"Nothing waits for a signature of {args.person}.")
        return 0
    origin = origin_of(terminal_id, session.review.deployment, args.port)
    done = threading.Event()
    desk = TrustDesk(
        session,
        args.person,
        web_origin=origin,
        credentials=open_credentials(),
        # The page needs a moment to fetch the answer before the server goes away.
        on_done=lambda: threading.Timer(1.0, done.set).start(),
        command=_command_line(args),
    )
    for obstacle in desk.find_obstacles().values():
        print(f"Note: {obstacle.message}\n  {obstacle.hint}", file=sys.stderr)
    guard = Guard(origin)
    try:
        serve_page(create_trust_app(desk, guard), guard, args.port, done=done, quiet=args.no_open)
    finally:
        # What was touched before the page was closed counts, too.
        where = deliver(args, session)
    return _say(args, session, where)


def _command_line(args: argparse.Namespace) -> str:
    """Returns the command that signs the same with an OpenSSH key."""
    words = ["placet", "trust", "sign", "--as", args.person, "--key", "FILE"]
    if args.challenge is not None:
        words += ["--challenge", args.challenge]
    else:
        words += ["--repository", str(args.repository)]
    if args.out is not None:
        words += ["--out", str(args.out)]
    return shlex.join(words)


def _say(args: argparse.Namespace, session: TrustSession, where: str) -> int:
    left = session.left()
    pending = session.pending()
    if left:
        print(f"Not signed by {args.person}: {', '.join(left)}.")
    else:
        print(f"{args.person} has signed all that was shown.")
    print("\n".join(state_lines(pending)))
    if where:
        print(f"Your signatures: {where}")
        print("Next: the coordinator runs `placet trust collect` where they lie.")
    elif not left:
        print("Next: `placet trust publish`." if is_complete(pending) else "Next: the others sign.")
    return 1 if left else 0
