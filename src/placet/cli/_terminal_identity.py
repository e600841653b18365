"""``placet terminal init`` and ``placet terminal show``."""

from __future__ import annotations

import argparse

from placet.adapters.terminal_identity import FileTerminalIdentity
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.cli import UserError
from placet.cli._terminal_files import load_identity, terminal_folder, trust_path
from placet.cli._terminal_shared import origin_of
from placet.cli.terminal import DEFAULT_PORT
from placet.core.decode import read_name
from placet.core.encoding import b64encode
from placet.core.errors import PlacetError
from placet.core.people import Deployment
from placet.core.sshsig import key_id
from placet.terminal.readiness import check_terminal
from placet.terminal.screen import group_digest
from placet.terminal.trust_file import TrustFile


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    deployment = find_deployment(args)
    if args.terminal_command == "init":
        identity = FileTerminalIdentity.create(terminal_folder() / "identity.json", args.name)
        print(f"This machine is now the terminal {identity.terminal_id}.")
    else:
        identity = load_identity()
        print(f"This machine is the terminal {identity.terminal_id}.")
    key = b64encode(identity.wire)
    print(f"Public key:  {key}")
    print(f"Key ID:      {' '.join(group_digest(key_id(identity.wire)))}")
    command, origin = f"placet trust add-terminal {identity.terminal_id} --key {key}", None
    if deployment is not None:
        origin = origin_of(identity.terminal_id, deployment, args.port)
        print(f"Page:        {origin}")
        command += f" --origin {origin}"
    else:
        print(f"Page:        http://{identity.terminal_id}.<deployment>.placet.localhost:{DEFAULT_PORT}")
    if origin in _enrolled_at(identity):
        print("Enrolled:    yes, with this page")
    else:
        print(f"\nNext, an administrator enrols it:\n  {command}")
        print("If they are not beside you, answer their invite instead: placet terminal prove --help")
    print("\nEach administrator who signs asks for this fingerprint. Read it aloud, on a line on which")
    print(f"they know your voice: {spoken_fingerprint(key_id(identity.wire))}")
    return 0


def _enrolled_at(identity: FileTerminalIdentity) -> tuple[str, ...]:
    """Returns the pages with which the trust root knows this terminal; none where it does not."""
    try:
        return check_terminal(TrustFile(trust_path(None)).load(), identity).origins
    except PlacetError:
        return ()


def find_deployment(args: argparse.Namespace) -> Deployment | None:
    """Returns the deployment, or None where it is not known and the administrator's line needs none of it.

    Raises:
        UserError: the port is not the usual one; without the origin, the line would enrol the usual one.
    """
    if args.deployment is not None:
        return Deployment(read_name(args.deployment, "/deployment"), f"{args.deployment}.placet.localhost")
    try:
        return TrustFile(trust_path(None)).load().deployment
    except PlacetError as e:
        if args.port == DEFAULT_PORT:
            return None
        raise UserError(
            f"Port {args.port} becomes part of this terminal's enrolled address, which needs the "
            "deployment's name, and this terminal has no trust snapshot that would tell it.",
            "Name it with --deployment; the administrator knows it.",
        ) from e
