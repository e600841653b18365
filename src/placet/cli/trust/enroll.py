"""``placet trust enroll``: a person's key enters the draft."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.fido.ssh_keygen import read_public_key_file
from placet.ceremony import trust_edit
from placet.ceremony.enrol import MAX_ENROLMENT_BYTES, check_assurance
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.cli import UserError
from placet.cli._shared import now, parse_duration, read_file
from placet.cli.trust.shared import add_repository, kind_of, open_repository, stage
from placet.core.encoding import Digest, format_time
from placet.core.sshsig import PublicKey, parse_public_key

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository
    from placet.ceremony.enrol_review import Judged

Files = dict[str, bytes]


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("enroll", help="record a person's key")
    parser.description = (
        "Records a person's key from an OpenSSH .pub file, or from the *.enrolment.json file that their "
        "terminal wrote, which proves that the key answers your invite."
    )
    add_key_arguments(parser)
    add_repository(parser)


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares whose key it is, the key, and what is known about it."""
    parser.add_argument("person", metavar="PERSON")
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help=".pub or .enrolment.json")
    parser.add_argument(
        "--kind", choices=["sk", "webauthn"], help="how it signs (default: what it was made for)"
    )
    parser.add_argument(
        "--assurance",
        required=True,
        choices=["attested", "vouched", "software"],
        help="attested: its vendor signed what model it is, and `placet trust models` allows that model; "
        "vouched: you saw the hardware; software: a key in software, level 1 at most",
    )
    parser.add_argument("--invite", metavar="TEXT", help="the invite that you gave to the person")
    parser.add_argument("--no-uv", action="store_true", help="accept signatures without PIN or fingerprint")
    parser.add_argument("--valid", default="365d", metavar="DURATION", help="from now on (default: 365d)")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    changes, said = record_key(args, repository, repository.draft_files())
    return stage(repository, changes, said)


def record_key(args: argparse.Namespace, repository: TrustRepository, before: Files) -> tuple[Files, str]:
    """Adds the key that the arguments name to a person, and keeps the proof that came with it.

    Returns:
        The changed files, and what is said about it.

    Raises:
        UserError: what was given does not fit together.
        PlacetError: the enrolment is not good, or the key is not acceptable.
    """
    data = read_file(args.key, "key", MAX_ENROLMENT_BYTES)
    if not data.lstrip().startswith(b"{"):
        key = parse_public_key(read_public_key_file(args.key))
        kind = kind_of(key, trust_edit.read_deployment(before), args.key)
        return _record(args, before, key, kind, None)
    judged = _judge(args, repository, before, data)
    changes = _record(args, before, judged.enrolment.public_key, judged.enrolment.kind, judged)
    # Kept first: a key without its proof could not be verified by those who sign.
    repository.keep_enrolment(judged.keyid, data)
    return changes


def _judge(args: argparse.Namespace, repository: TrustRepository, before: Files, data: bytes) -> Judged:
    if args.invite is None:
        raise UserError(
            "An enrolment file answers an invite, and none was given.",
            "Give it as --invite, as you gave it to the person; the key could be anybody's otherwise.",
        )
    from placet.adapters.fido.attestation import FidoAttestationVerifier
    from placet.adapters.tuf.signing import root_digests
    from placet.ceremony.enrol_review import judge_enrolment

    return judge_enrolment(
        data,
        person=args.person,
        files=before,
        invite=args.invite.strip(),
        root_digests=root_digests(repository),
        require_uv=not args.no_uv,
        assurance=args.assurance,
        verifier=FidoAttestationVerifier(),
        at=now(),
    )


def _record(
    args: argparse.Namespace, before: Files, key: PublicKey, kind: str, judged: Judged | None
) -> tuple[Files, str]:
    if args.kind not in (None, kind):
        raise UserError(f"The key in {args.key} is of kind {kind}, not {args.kind}.")
    aaguid, attestation = "", None
    if judged is not None:
        aaguid = judged.enrolment.aaguid
        attestation = _attestation_digest(judged) if args.assurance == "attested" else None
    elif args.assurance == "attested":
        raise UserError(
            "A .pub file proves nothing about the key's model, so it cannot count as attested.",
            "Have them enrol with `placet terminal enroll`, or `placet trust prove --new`.",
        )
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
        attestation=attestation,
        not_before=start,
        not_after=end,
    )
    return changes, _say_enrolled(args, key, judged, end)


def _attestation_digest(judged: Judged) -> Digest:
    from placet.ceremony.enrol_review import attestation_digest

    return attestation_digest(judged)


_MEANS = {
    "attested": "Its vendor says what it is; that counts from level 3 on.",
    "vouched": "You say that you saw this hardware key.",
    "software": "Software never exceeds intent level 1.",
}


def _say_enrolled(args: argparse.Namespace, key: PublicKey, judged: Judged | None, end: int) -> str:
    lines = [f"The key of {args.person} is in the draft as {args.assurance}, until {format_time(end)}."]
    lines += ["Nothing proves yet that they hold it."] if judged is None else judged.sentences
    lines.append(_MEANS[args.assurance])
    if judged is not None and judged.model is not None and args.assurance == "vouched":
        lines.append("Its model is proven and allowed: --assurance attested would say so.")
    lines.append(f"Have them read its fingerprint aloud: {spoken_fingerprint(key.keyid)}")
    return "\n".join(lines)
