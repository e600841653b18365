"""``placet terminal prove``: this terminal's identity key answers an administrator's invite."""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote

from placet.adapters.private_file import write_atomically
from placet.ceremony.enrol import check_invite
from placet.ceremony.enrol_terminal import (
    draft_terminal_enrolment,
    encode_terminal_enrolment,
    terminal_message,
)
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.cli import UserError
from placet.cli._terminal_files import load_identity
from placet.cli._terminal_identity import find_deployment
from placet.cli._terminal_shared import origin_of
from placet.core.sshsig import NAMESPACE_ENROL, parse_public_key


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    identity = load_identity()
    deployment = find_deployment(args)
    if deployment is None:
        raise UserError(
            "Which deployment is this? This terminal has no trust snapshot yet.",
            "Name it with --deployment; the administrator knows it.",
        )
    invite = args.invite.strip()
    check_invite(invite)
    key = parse_public_key(identity.wire)
    drafted = draft_terminal_enrolment(
        terminal=identity.terminal_id,
        deployment=deployment.name,
        public_key=key,
        origins=(origin_of(identity.terminal_id, deployment, args.port),),
        root_sha256=args.root_sha256,
        invite=invite,
    )
    proof = drafted._replace(sig=identity.sign(NAMESPACE_ENROL, terminal_message(drafted)))
    out = args.out or Path(f"{identity.terminal_id}.terminal.json")
    write_atomically(out, encode_terminal_enrolment(proof), mode=0o644)
    print(f"The proof is in {out}. Next: send it to the administrator, by any way.")
    line = f'placet trust add-terminal {identity.terminal_id} --key {quote(str(out))} --invite "<the invite>"'
    print(f"They record it with:\n  {line}")
    print(f"Read this fingerprint aloud to each administrator who asks:\n  {spoken_fingerprint(key.keyid)}")
    return 0
