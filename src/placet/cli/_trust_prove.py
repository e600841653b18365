"""``placet trust invite`` and ``prove``: both ends of an enrolment, with stock ``ssh-keygen``."""

from __future__ import annotations

import argparse

from placet.adapters.private_file import write_atomically
from placet.adapters.ssh_keygen import SshKeygenAuthenticator
from placet.ceremony.enrol import Enrolment, check_invite, encode_enrolment, enrolment_message, make_invite
from placet.ceremony.trust_change import group_digits
from placet.core.decode import read_hex_digest, read_name
from placet.core.sshsig import NAMESPACE_ENROL, key_id, parse_public_key


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.trust_command == "invite":
        print(make_invite())  # alone, so that a script can take it
        return 0
    check_invite(args.invite)
    deployment = read_name(args.deployment, "")
    root_sha256 = read_hex_digest(args.root_sha256.lower(), "")
    authenticator = SshKeygenAuthenticator(args.key)
    key = parse_public_key(authenticator.wire)
    message = enrolment_message(args.person, deployment, key.wire, root_sha256, args.invite, aaguid="")
    enrolment = Enrolment(
        person=args.person,
        deployment=deployment,
        public_key=key,
        kind="sk",
        root_sha256=root_sha256,
        aaguid="",
        sig=authenticator.sign(NAMESPACE_ENROL, message),
    )
    write_atomically(args.out, encode_enrolment(enrolment))
    print(f"The proof is in {args.out}. Next: send it to the administrator, by any way.")
    print(f"They will ask for this fingerprint by voice: {group_digits(key_id(key.wire))}")
    return 0
