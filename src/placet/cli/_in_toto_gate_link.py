"""``placet in-toto gate-link``: a gate that is a functionary, and links only what was approved."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from placet.adapters.places import open_ledger
from placet.adapters.private_file import write_atomically
from placet.adapters.system_clock import SystemClock
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._evidence import verify_bundle_evidence
from placet.cli._request_actions import hash_file
from placet.cli._shared import choose_gate, load_trust, name_file, read_file, setting
from placet.cli._use_log import open_use_log, warn_unlogged
from placet.cli.run import check_pinned_ledger, choose_ledger
from placet.cli.verify import print_refusal
from placet.core.bundle import MAX_BUNDLE_BYTES, parse_bundle
from placet.core.encoding import is_hex
from placet.core.errors import PlacetError, visible
from placet.core.evidence.facts import EvidenceFact
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.trust import Trust
from placet.core.verify import Expected, VerifiedApproval, verify_for_use
from placet.documents.approve_step import STEP, link_file_name

DESCRIPTION = """\
Makes this gate a functionary of an in-toto layout: verifies an approval against the artifacts that are
here, uses it up in this gate's ledger, and writes the link of NAME, signed with this gate's key. A layout
that wants this link wants an approval, whatever it knows of placet.

Exit codes: 0 the link is written, 1 denied, 2 wrong usage, 3 undecided. Killed after the use was consumed,
the gate writes no link for that approval any more: request a new one.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("--intent", type=Path, required=True, metavar="BUNDLE", help="the *.intent.json file")
    parser.add_argument("--step", required=True, metavar="NAME", help="the layout's step that is this gate's")
    parser.add_argument("--key", type=Path, required=True, metavar="PEM", help="this gate's private key")
    parser.add_argument("--target", required=True, metavar="URI", help="what this gate lets happen")
    parser.add_argument(
        "--action", required=True, metavar="TYPE", help="what kind of action: release, deploy"
    )
    parser.add_argument(
        "-d", "--link-dir", type=Path, default=Path(), metavar="DIR", help="where links belong (default: .)"
    )
    parser.add_argument("--gate", metavar="ID", help="this gate's ID (default: the only one there is)")
    parser.add_argument("--trust", metavar="SNAPSHOT", help="the gate's trust snapshot")
    parser.add_argument("--ledger", metavar="PLACE", help="the gate's use ledger: a file, or a database")
    parser.add_argument("--dry-run", action="store_true", help="check everything, use up and write nothing")
    parser.add_argument(
        "artifacts",
        nargs="*",
        metavar="FILE|sha256:…",
        help="what is about to be used, after --; none for an action without artifacts",
    )


class _Question(NamedTuple):
    """What was asked: the bundle, and what is here."""

    bundle: bytes
    trust: Trust
    gate: str
    expected: Expected
    facts: tuple[EvidenceFact, ...]

    def verify(self, now: int) -> VerifiedApproval:
        """Verifies the approval of what is here."""
        return verify_for_use(
            self.bundle,
            trust=self.trust,
            gate=self.gate,
            expected=self.expected,
            now=now,
            evidence=self.facts,
        )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        return _run(args)
    except PlacetError as refusal:
        return print_refusal(refusal, as_json=False)


def _run(args: argparse.Namespace) -> int:
    from placet.adapters.intoto.signing import load_pem_signer
    from placet.gates.functionary import rehearse_gate_link, write_gate_link

    _check_step(args.step)
    # Whatever could fail is tried before the use is consumed.
    signer = load_pem_signer(args.key)
    if not args.link_dir.is_dir():
        raise UserError(
            f"The folder {args.link_dir} does not exist.", f"Make it first: mkdir -p {args.link_dir}"
        )
    path = args.link_dir / link_file_name(signer.keyid, args.step)
    chosen = setting(args.trust, "trust")
    trust = load_trust(chosen)
    gate = choose_gate(trust, args.gate)
    question = _read_question(args, trust, gate.id, chosen)
    log = open_use_log(trust, gate, question.bundle)
    with closing(open_ledger(choose_ledger(args.ledger))) as ledger:
        check_pinned_ledger(gate, ledger.birth())
        if args.dry_run:
            approval = rehearse_gate_link(
                args.step, verify=question.verify, ledger=ledger, log=log, clock=SystemClock()
            )
            _say(f"ALLOWED (dry run, nothing was used or written): {approval.text}", approval)
            return EXIT_ALLOW
        try:
            result = write_gate_link(
                args.step,
                verify=question.verify,
                write=lambda payload: write_atomically(path, signer.sign_link(payload), mode=0o644),
                ledger=ledger,
                log=log,
                clock=SystemClock(),
            )
        finally:
            warn_unlogged(ledger, log)
    _say(f"ALLOWED: {result.approval.text}", result.approval)
    print(visible(f"  Link      {path}"))
    if result.unrecorded is not None:
        print(visible(f"  Careful   the outcome could not be recorded: {result.unrecorded}"))
    return EXIT_ALLOW


def _check_step(step: str) -> None:
    # It becomes a file's name, and the people's own step is theirs alone.
    if not step.isascii() or not step.isprintable() or "/" in step or step.startswith("."):
        raise UserError(f"{step!r} cannot be the name of a step.")
    if step == STEP:
        raise UserError(
            f"The step {STEP!r} is made by people, on a terminal.", "Give the gate a step of its own."
        )


def _read_question(args: argparse.Namespace, trust: Trust, gate: str, chosen: str | None) -> _Question:
    bundle = read_file(args.intent, "bundle", MAX_BUNDLE_BYTES)
    try:
        parse_bundle(bundle)
        facts = verify_bundle_evidence(bundle, trust=trust, snapshot=chosen)
    except PlacetError as refusal:
        raise name_file(refusal, args.intent) from None
    from placet.cli._shared import action_uri

    expected = Expected(
        target=args.target,
        subjects=frozenset(_digest(artifact) for artifact in args.artifacts),
        # Rules are chosen by it, so it is this gate's to say: whoever asks would take the easiest kind.
        action_type=action_uri(args.action),
        # The link binds the approved parameters: their digest is a material.
        parameters=None,
    )
    return _Question(bundle, trust, gate, expected, facts)


def _digest(artifact: str) -> str:
    algorithm, separator, digest = artifact.partition(":")
    if separator and algorithm == "sha256":
        if not is_hex(digest, 64):
            raise UserError(f"{artifact!r} is not a whole SHA-256 in lower-case hexadecimal.")
        return artifact
    return f"sha256:{hash_file(Path(artifact))}"


def _say(first: str, approval: VerifiedApproval) -> None:
    print(visible(first))
    reached = f"{level_name(approval.level)} ({LEVEL_NAMES[approval.level]})"
    print(visible(f"  Approved  by {', '.join(approval.people)}; {reached}"))
