"""``placet trust invite`` and ``prove``: both ends of an enrolment, with stock ``ssh-keygen``."""

from __future__ import annotations

import argparse
import shlex
import tempfile
from pathlib import Path

from placet.adapters.fido.ssh_keygen import KEY_TYPES, SshKeygenAuthenticator, make_key, make_key_command
from placet.adapters.private_file import write_atomically
from placet.ceremony.enrol import (
    check_invite,
    draft_enrolment,
    encode_enrolment,
    enrolment_message,
    make_invite,
)
from placet.ceremony.enrol_evidence import SSH_SK, check_challenge, registration_challenge
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.cli import UserError
from placet.cli._shared import read_file, root_digest
from placet.core.decode import read_ascii, read_name
from placet.core.people import Deployment
from placet.core.sshsig import NAMESPACE_ENROL, parse_public_key
from placet.ports.attestation_verifier import AttestationEvidence

_MAX_ATTESTATION_BYTES = 32 * 1024


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    commands.add_parser("invite", help="print a fresh invite, to be told to one person")
    parser = commands.add_parser("prove", help="as a person: show that you hold a new key")
    parser.description = (
        "Signs an administrator's invite with your OpenSSH FIDO key, and writes the *.enrolment.json file "
        "from which they enroll it. The invite itself is not in the file. With --new it makes the key, so "
        "that the security key also says, for this invite, what model it is."
    )
    parser.add_argument("person", metavar="PERSON", help="your ID")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="your OpenSSH FIDO key")
    parser.add_argument("--deployment", required=True, metavar="NAME")
    parser.add_argument("--invite", required=True, metavar="TEXT", help="as the administrator told you")
    parser.add_argument(
        "--root-sha256", required=True, type=root_digest, metavar="HEX", help="as the administrator told you"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.enrolment.json", help="where the proof goes")
    parser.add_argument("--new", action="store_true", help="make the key now, with ssh-keygen")
    parser.add_argument("--type", choices=KEY_TYPES, default=KEY_TYPES[0], help="with --new: of this type")
    parser.add_argument(
        "--challenge",
        type=Path,
        metavar="FILE",
        help="only write the challenge, and print the ssh-keygen command for the machine with the key",
    )
    parser.add_argument(
        "--attestation", type=Path, metavar="FILE", help="what ssh-keygen -O write-attestation wrote for it"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.trust_command == "invite":
        print(make_invite())  # alone, so that a script can take it
        return 0
    args.invite = args.invite.strip()
    check_invite(args.invite)
    read_ascii(args.person, "/person", max_length=254)
    deployment = Deployment(read_name(args.deployment, ""), f"{args.deployment}.placet.localhost")
    root_sha256 = args.root_sha256
    challenge = registration_challenge(args.person, deployment.name, root_sha256, args.invite)
    if args.challenge is not None:
        return _write_challenge(args, deployment, challenge)
    if args.out is None:
        raise UserError("Where does the proof go?", "Name a file, as in: --out alice.enrolment.json")
    attestation = _make(args, deployment, challenge) if args.new else _given(args)
    authenticator = SshKeygenAuthenticator(args.key)
    evidence = AttestationEvidence(SSH_SK, attestation, challenge) if attestation else None
    drafted = draft_enrolment(
        person=args.person,
        deployment=deployment.name,
        public_key=parse_public_key(authenticator.wire),
        kind="sk",
        root_sha256=root_sha256,
        invite=args.invite,
        aaguid=_aaguid(evidence, challenge),
        evidence=evidence,
    )
    proof = drafted._replace(sig=authenticator.sign(NAMESPACE_ENROL, enrolment_message(drafted)))
    write_atomically(args.out, encode_enrolment(proof))
    print(f"The proof is in {args.out}. Next: send it to the administrator, by any way.")
    if evidence is None:
        print("It says nothing about your key's model, so the key can be recorded as vouched at most.")
    spoken = spoken_fingerprint(proof.public_key.keyid)
    print(f"Each administrator who signs asks you, by voice, for this fingerprint:\n  {spoken}")
    return 0


def _make(args: argparse.Namespace, deployment: Deployment, challenge: bytes) -> bytes:
    if args.key.exists():
        raise UserError(
            f"{args.key} is already there; no key is overwritten.",
            "To prove the key that is there, leave out --new. To make another, name another file with --key.",
        )
    with tempfile.TemporaryDirectory(prefix="placet-prove-") as folder:
        challenge_file, attestation_file = Path(folder, "challenge"), Path(folder, "attestation")
        challenge_file.write_bytes(challenge)
        command = make_key_command(
            args.key,
            application=deployment.ssh_application,
            challenge_file=challenge_file,
            attestation_file=attestation_file,
            key_type=args.type,
            comment=args.person,
        )
        make_key(command)
        return _unless_empty(read_file(attestation_file, "attestation", _MAX_ATTESTATION_BYTES))


def _given(args: argparse.Namespace) -> bytes:
    if args.attestation is None:
        return b""
    return _unless_empty(read_file(args.attestation, "attestation", _MAX_ATTESTATION_BYTES))


def _unless_empty(data: bytes) -> bytes:
    from placet.adapters.fido.attestation import ssh_attestation_is_empty

    return b"" if ssh_attestation_is_empty(data) else data


def _aaguid(evidence: AttestationEvidence | None, challenge: bytes) -> str:
    """Returns the model; what the administrator would refuse is refused now, while the key is at hand."""
    if evidence is None:
        return ""
    from placet.adapters.fido.attestation import FidoAttestationVerifier

    check_challenge(evidence, challenge)
    return FidoAttestationVerifier().read(evidence).aaguid


def _write_challenge(args: argparse.Namespace, deployment: Deployment, challenge: bytes) -> int:
    attestation = Path(f"{args.key.name}.attestation")
    write_atomically(args.challenge, challenge, mode=0o644)
    command = make_key_command(
        Path(args.key.name),
        application=deployment.ssh_application,
        challenge_file=Path(args.challenge.name),
        attestation_file=attestation,
        key_type=args.type,
        comment=args.person,
    )
    print(f"The challenge is in {args.challenge}. Where the security key is, beside that file:\n")
    print(f"  {shlex.join(command)}\n")
    print(f"Then, where {args.key.name} and its .pub file are: the same `placet trust prove` command, with")
    print(
        f"  --attestation {shlex.quote(str(attestation))} --out FILE.enrolment.json  instead of --challenge"
    )
    return 0
