"""``placet in-toto links``: the links that approvers signed, as the files that in-toto reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.adapters.private_file import write_atomically
from placet.ceremony.link import link_file_name, link_payload
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._shared import name_file, read_file
from placet.core.bundle import ANSWER_MEDIA_TYPE, MAX_BUNDLE_BYTES, parse_answer, parse_bundle
from placet.core.dsse import Envelope, encode_envelope
from placet.core.errors import PlacetError, Reason, VerificationError, visible
from placet.core.statement import parse_statement

DESCRIPTION = """\
Writes the links of the step `approve` out of an approval, one file for each person, named as in-toto
looks for them. Nothing is decided here: in-toto-verify (`placet in-toto verify`) checks the signatures.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "--intent", type=Path, required=True, metavar="BUNDLE", help="the *.intent.json file, or an answer"
    )
    parser.add_argument(
        "-d", "--link-dir", type=Path, default=Path(), metavar="DIR", help="where links belong (default: .)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    data = read_file(args.intent, "bundle", MAX_BUNDLE_BYTES)
    try:
        envelope, links = _read(data)
        payload = link_payload(parse_statement(envelope.payload))
    except PlacetError as refusal:
        raise name_file(refusal, args.intent) from None
    if not links:
        raise UserError(
            f"{args.intent} carries no in-toto links.",
            "Approvers make them where the rule in the policy names a layout: docs/how-to-in-toto.md.",
        )
    if not args.link_dir.is_dir():
        raise UserError(
            f"The folder {args.link_dir} does not exist.", f"Make it first: mkdir -p {args.link_dir}"
        )
    for link in links:
        if link.payload != payload:
            raise VerificationError(
                Reason.SUBJECT_MISMATCH,
                "A link in this file is not the one of its statement: somebody changed it on the way.",
                hint="Ask again for the answers: `placet request wait ID`.",
            )
        path = args.link_dir / link_file_name(link.signatures[0].keyid)
        write_atomically(path, encode_envelope(link), mode=0o644)
        print(visible(str(path)))
    return EXIT_ALLOW


def _read(data: bytes) -> tuple[Envelope, tuple[Envelope, ...]]:
    if ANSWER_MEDIA_TYPE.encode() in data:
        answer = parse_answer(data)
        return answer.envelope, () if answer.link is None else (answer.link,)
    bundle = parse_bundle(data)
    return bundle.envelope, tuple(link for link in bundle.links if link.signatures)
