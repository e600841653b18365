"""``placet trust enroll``: a person's key enters the draft."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.ssh_keygen import read_public_key_file
from placet.ceremony import trust_edit
from placet.ceremony.enrol import check_assurance, parse_enrolment, verify_enrolment
from placet.ceremony.trust_change import group_digits
from placet.cli import UserError
from placet.cli._shared import now, parse_duration, read_file
from placet.cli._trust_shared import MAX_KEY_FILE_BYTES, add_repository, kind_of, open_repository, stage
from placet.core.encoding import format_time
from placet.core.sshsig import PublicKey, key_id, parse_public_key

if TYPE_CHECKING:
    from placet.adapters.tuf_repository import TrustRepository


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("enroll", help="record a person's key")
    parser.description = (
        "Records a person's key from an OpenSSH .pub file, or from the *.enrolment.json file that their "
        "terminal wrote, which proves that the key answers your invite."
    )
    parser.add_argument("person", metavar="PERSON")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help=".pub or .enrolment.json")
    parser.add_argument(
        "--kind", choices=["sk", "webauthn"], help="how it signs (default: what it was made for)"
    )
    parser.add_argument(
        "--assurance",
        required=True,
        choices=["vouched", "software", "attested"],
        help="vouched: you saw the hardware; software: a key in software, level 1 at most",
    )
    parser.add_argument("--invite", metavar="TEXT", help="the invite that you gave to the person")
    parser.add_argument("--no-uv", action="store_true", help="accept signatures without PIN or fingerprint")
    parser.add_argument("--valid", default="365d", metavar="DURATION", help="from now on (default: 365d)")
    add_repository(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    changes, said = _enroll(args, repository, repository.draft_files())
    return stage(repository, changes, said)


def _enroll(
    args: argparse.Namespace, repository: TrustRepository, before: dict[str, bytes]
) -> tuple[dict[str, bytes], str]:
    from placet.adapters.tuf_signing import root_digests

    deployment = trust_edit.read_deployment(before)
    data = read_file(args.key, "key", MAX_KEY_FILE_BYTES)
    proven, aaguid = data.lstrip().startswith(b"{"), ""
    if proven:
        if args.invite is None:
            raise UserError(
                "An enrolment file answers an invite, and none was given.",
                "Give it as --invite, as you gave it to the person; the key could be anybody's otherwise.",
            )
        enrolment = parse_enrolment(data)
        verify_enrolment(
            enrolment,
            person=args.person,
            deployment=deployment,
            invite=args.invite,
            root_digests=root_digests(repository),
            origins={origin for terminal in trust_edit.read_terminals(before) for origin in terminal.origins},
            require_uv=not args.no_uv,
        )
        key, kind, aaguid = enrolment.public_key, enrolment.kind, enrolment.aaguid
    else:
        key = parse_public_key(read_public_key_file(args.key))
        kind = kind_of(key, deployment, args.key)
    if args.kind not in (None, kind):
        raise UserError(f"The key in {args.key} is of kind {kind}, not {args.kind}.")
    check_assurance(args.assurance, aaguid)
    start = now()
    end = start + parse_duration(args.valid)
    changes = trust_edit.add_credential(
        before,
        args.person,
        key=key,
        kind=kind,
        uv=not args.no_uv,
        assurance=args.assurance,
        aaguid=aaguid,
        not_before=start,
        not_after=end,
    )
    return changes, _say_enrolled(args, key, proven, end)


def _say_enrolled(args: argparse.Namespace, key: PublicKey, proven: bool, end: int) -> str:
    proof = "It answers your invite." if proven else "Nothing proves yet that they hold it."
    means = (
        "You say that you saw this hardware key."
        if args.assurance == "vouched"
        else "Software never exceeds intent level 1."
    )
    return (
        f"The key of {args.person} is in the draft as {args.assurance}, until {format_time(end)}.\n"
        f"{proof} {means}\n"
        f"Have them read its fingerprint aloud: {group_digits(key_id(key.wire))}"
    )
