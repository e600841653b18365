"""``placet trust invite`` and ``prove``: both ends of an enrolment, with stock ``ssh-keygen``."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.adapters.private_file import write_atomically
from placet.adapters.ssh_keygen import SshKeygenAuthenticator
from placet.ceremony.enrol import Enrolment, check_invite, encode_enrolment, enrolment_message, make_invite
from placet.ceremony.trust_change import group_digits
from placet.core.decode import read_hex_digest, read_name
from placet.core.sshsig import NAMESPACE_ENROL, key_id, parse_public_key


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    commands.add_parser("invite", help="print a fresh invite, to be told to one person")
    parser = commands.add_parser("prove", help="as a person: show that you hold a new key")
    parser.description = (
        "Signs an administrator's invite with your new OpenSSH FIDO key, and writes the *.enrolment.json "
        "file from which they enroll it. The invite itself is not in the file."
    )
    parser.add_argument("person", metavar="PERSON", help="your ID")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="your OpenSSH FIDO key")
    parser.add_argument("--deployment", required=True, metavar="NAME")
    parser.add_argument("--invite", required=True, metavar="TEXT", help="as the administrator told you")
    parser.add_argument("--root-sha256", required=True, metavar="HEX", help="as the administrator told you")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.enrolment.json")


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
