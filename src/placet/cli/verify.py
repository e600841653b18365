"""``placet verify``: may this exact thing be done?  Offline; the gate's own snapshot decides.

Everything that a cold start loads is counted (benchmarks/verify_cold.py), so this module
imports little and late.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import TYPE_CHECKING, Any

from placet.cli import EXIT_ALLOW, EXIT_DENY, EXIT_UNDECIDED, UserError, differences
from placet.cli._shared import (
    action_uri,
    add_required_options,
    add_verdict_options,
    asks_evidence,
    choose_gate,
    describe_refusal,
    load_trust,
    name_file,
    now,
    read_file,
    root_digest,
    setting,
)
from placet.core.approvals import Approver
from placet.core.bundle import MAX_BUNDLE_BYTES, carries_evidence, parse_bundle
from placet.core.display import escape_value
from placet.core.encoding import encode_canonical, format_time, is_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.evidence.facts import EvidenceFact
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.policy import EvidenceRule
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.core.verify import (
    Expected,
    UnsafeAnyAction,
    VerifiedApproval,
    verify_for_use,
)

if TYPE_CHECKING:
    from placet.cli._verdict import VerdictWriter

_MAX_PARAMETERS_BYTES = 256 * 1024
_CHUNK = 1024 * 1024
GREEN, _RED, _YELLOW, _PLAIN = "\x1b[32;1m", "\x1b[31;1m", "\x1b[33;1m", "\x1b[0m"

EXAMPLES = """\
examples:
  placet verify app.intent.json --action release --target pkg:pypi/app --artifact dist/app-1.0.whl
  placet verify app.intent.json --action deploy --target k8s://prod/ns/a/deploy/b --artifact sha256:97e9…
  placet verify app.intent.json --action release --target pkg:pypi/app --artifact dist/app-1.0.whl \\
    --require-slsa 3 --builder https://github.com/actions/runner/github-hosted --verdict app.vsa.json
  placet verify app.intent.json --unsafe-any-action        (only to look: nothing is compared)
  placet verify app.intent.json --audit --at 2026-03-01T12:00:00Z --root-sha256 97e9…

exit codes: 0 allowed, 1 denied, 2 wrong usage, 3 undecided
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("bundle", metavar="BUNDLE", help="the *.intent.json file")
    parser.add_argument("--action", metavar="TYPE", help="deploy, release, run, or an action type's URI")
    parser.add_argument("--target", metavar="URI", help="what is about to change")
    parser.add_argument(
        "--artifact",
        action="append",
        default=[],
        metavar="FILE|sha256:…",
        help="what is about to be used; repeat for several, leave out for an action without artifacts",
    )
    parser.add_argument("--parameters", metavar="JSON", help="the parameters about to be used")
    parser.add_argument(
        "--unsafe-any-action", action="store_true", help="look at the approval without comparing anything"
    )
    parser.add_argument(
        "--audit", action="store_true", help="judge a past approval at its own time, by the trust it carries"
    )
    parser.add_argument(
        "--at", metavar="TIME", help="for --audit: that time, as you say, where no log proves it"
    )
    parser.add_argument(
        "--root-sha256",
        type=root_digest,
        metavar="HEX",
        help="for --audit: a root that you know, from which that trust comes",
    )
    parser.add_argument(
        "--accept-replaced-root",
        action="store_true",
        help="for --audit: judge even by a root that was replaced since, whose keys somebody may have stolen",
    )
    parser.add_argument("--gate", metavar="ID", help="this gate's ID (default: the only one there is)")
    parser.add_argument("--trust", metavar="SNAPSHOT", help="the gate's trust snapshot")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_required_options(parser)
    add_verdict_options(parser, denials=True)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.audit:
        if asks_evidence(args) or args.verdict:
            raise UserError(
                "An audit judges by the rules of its time: it takes no further demands, and makes no verdict."
            )
        from placet.cli._verify_audit import run_audit

        return run_audit(args)
    if args.at is not None or args.root_sha256 is not None or args.accept_replaced_root:
        raise UserError(
            "--at, --root-sha256 and --accept-replaced-root are for --audit; a gate decides now, by its own "
            "trust."
        )
    expected = _expected(args)
    bundle = read_file(args.bundle, "bundle", MAX_BUNDLE_BYTES)
    at, writer = now(), None
    try:
        chosen = setting(None, "trust") if args.trust is None else args.trust
        trust = load_trust(chosen or None)
        writer = _verdict_writer(args, trust, expected)
        approval = _judge(bundle, args, trust, expected, at)
    except PlacetError as refusal:
        code = print_refusal(refusal, as_json=args.json)
        if writer is not None and args.verdict_on_denial and isinstance(expected, Expected):
            writer.write_denial(refusal, expected, at=at)
        return code
    written = "" if writer is None else writer.write(approval, bundle, at=at)
    left_out = isinstance(expected, Expected) and expected.parameters is None
    code = _print_approval(
        approval, as_json=args.json, compared=isinstance(expected, Expected), left_out=left_out
    )
    if written and not args.json:
        print(f"  Verdict   {written}")
    return code


def _verdict_writer(
    args: argparse.Namespace, trust: Trust, expected: Expected | UnsafeAnyAction
) -> VerdictWriter | None:
    if args.verdict is None and not (args.verdict_type or args.verdict_key or args.verdict_on_denial):
        return None
    from placet.cli._verdict import VerdictWriter

    if not isinstance(expected, Expected):
        raise UserError(
            "Nothing is compared, so nothing is allowed, and there is no verdict.",
            "Say what is about to be done: --action, --target and --artifact.",
        )
    return VerdictWriter.prepare(args, trust, choose_gate(trust, args.gate).id)


def _judge(
    bundle: bytes, args: argparse.Namespace, trust: Trust, expected: Expected | UnsafeAnyAction, at: int
) -> VerifiedApproval:
    if isinstance(expected, Expected) and expected.action_type not in trust.actions:
        known = ", ".join(sorted(trust.actions)) or "none"
        raise UserError(f"The trust root has no action {args.action!r}. It has: {known}.")
    gate = choose_gate(trust, args.gate).id
    try:
        required: tuple[EvidenceRule, ...] = ()
        if asks_evidence(args):
            from placet.cli._verify_required import read_required

            required = read_required(args, bundle, trust, expected)
        facts = verify_evidence(bundle, args, trust)
        return verify_for_use(
            bundle, trust=trust, gate=gate, expected=expected, now=at, evidence=facts, required=required
        )
    except PolicyError as refusal:
        if refusal.reason == Reason.ARTIFACT_MISMATCH and not args.artifact:
            refusal.hint = _say_artifacts(bundle)
        raise
    except PlacetError as refusal:
        raise name_file(refusal, args.bundle) from None


def verify_evidence(bundle: bytes, args: argparse.Namespace, trust: Trust) -> tuple[EvidenceFact, ...]:
    """Verifies what a bundle carries as evidence.

    Raises:
        PlacetError: it is false, or cannot be judged here.
    """
    if not carries_evidence(bundle):
        return ()
    from placet.cli._evidence import verify_bundle_evidence

    return verify_bundle_evidence(bundle, trust=trust, snapshot=args.trust or setting(None, "trust"))


def _say_artifacts(bundle: bytes) -> str:
    """Says which files an approval is about, to somebody who named none."""
    subjects = parse_statement(parse_bundle(bundle).envelope.payload).subjects
    names = ", ".join(escape_value(subject.name or subject.uri) for subject in subjects)
    return f"It is an approval about {names}: name what is about to be used with --artifact FILE."


def _expected(args: argparse.Namespace) -> Expected | UnsafeAnyAction:
    if args.unsafe_any_action:
        return UnsafeAnyAction("asked for on the command line")
    if not args.action or not args.target:
        raise UserError(
            "What is about to be done? Name it with --action and --target (and --artifact).",
            "To only look at a bundle, use --unsafe-any-action.",
        )
    parameters: Any = None
    if args.parameters is not None:
        from placet.core.encoding import parse_json

        data = read_file(args.parameters, "parameters", _MAX_PARAMETERS_BYTES)
        parameters = parse_json(data, max_bytes=_MAX_PARAMETERS_BYTES, what="parameters")
    subjects = frozenset(read_artifact(artifact) for artifact in args.artifact)
    return Expected(args.target, subjects, action_uri(args.action), parameters)


def read_artifact(artifact: str) -> str:
    """Returns the digest of a file, or a digest as it is, spelled ``sha256:…``.

    Raises:
        UserError: it is neither.
    """
    algorithm, separator, digest = artifact.partition(":")
    if separator and algorithm in ("sha256", "sha512", "gitCommit"):
        if not is_hex(digest, {"sha256": 64, "sha512": 128, "gitCommit": 40}[algorithm]):
            raise UserError(f"{artifact!r} is not a whole {algorithm} digest in lower-case hexadecimal.")
        return artifact
    hasher = hashlib.sha256()
    try:
        with open(artifact, "rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except OSError as e:
        raise UserError(f"The artifact {artifact} cannot be read: {e.strerror}.") from e
    return f"sha256:{hasher.hexdigest()}"


def verdict_line(word: str, colour: str, sentence: str) -> str:
    """Returns the first line of an answer, its word in colour where a person reads it on a terminal."""
    import os

    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        word = f"{colour}{word}{_PLAIN}"
    return f"{word}: {sentence}"


def print_refusal(refusal: PlacetError, *, as_json: bool) -> int:
    """Prints a refusal; returns the exit code that says the same."""
    undecided = isinstance(refusal, IndeterminateError)
    if as_json:
        print_json(refusal_to_object(refusal))
    else:
        word, colour = ("UNDECIDED", _YELLOW) if undecided else ("DENIED", _RED)
        print(verdict_line(word, colour, str(refusal)))
        for line in describe_refusal(refusal):
            print(f"  {line}")
    return EXIT_UNDECIDED if undecided else EXIT_DENY


def refusal_to_object(refusal: PlacetError) -> dict[str, Any]:
    """Returns a refusal as the JSON that ``--json`` prints."""
    return {
        "verdict": "undecided" if isinstance(refusal, IndeterminateError) else "denied",
        "reason": str(refusal.reason),
        "message": refusal.message,
        "path": refusal.path,
        "hint": refusal.hint,
        "causes": [{"reason": str(c.reason), "message": c.message} for c in refusal.causes],
        "difference": dict(differences(refusal)),
    }


def _print_approval(approval: VerifiedApproval, *, as_json: bool, compared: bool, left_out: bool) -> int:
    if as_json:
        print_json(
            approval_to_object(approval, compared=compared)
            | {"parametersCompared": compared and not left_out}
        )
        return EXIT_ALLOW
    names = " and ".join(approval.people)
    word, what = ("ALLOWED", "approved exactly this") if compared else ("VALID", "approved the action below")
    print(verdict_line(word, GREEN, f"{names} {what}."))
    for line in describe(approval):
        print(f"  {line}")
    if not compared:
        print("  Compared  nothing: this says what was approved, not that it may be done now")
    elif left_out:
        print(
            "  Compared  action, target and artifacts; act on the approved parameters, or give --parameters"
        )
    print("  Use       not checked: only a gate's ledger knows whether it was used (`placet run`)")
    return EXIT_ALLOW


def describe(approval: VerifiedApproval) -> list[str]:
    """Returns who, when, how strongly and what is missing, line by line."""
    statement = approval.statement
    lines = [f"Action    {statement.text}"]
    for approver in approval.approvers:
        when = f" at {format_time(approver.decided_at)}" if approver.decided_at else ""
        where = f" on terminal {approver.terminal_id}" if approver.terminal_id else ""
        lines.append(
            f"Approved  {approver.person_id}{when}{where} ({approver.kind}, {approver.assurance} key)"
        )
    asked = approval.requester or f"unverified, claims to be {escape_value(statement.requested_by)}"
    lines += [
        f"Asked by  {asked}",
        f"Valid     until {format_time(statement.expires_at)}, for {statement.max_uses} use(s), "
        f"at {statement.audience}",
        f"Level     {level_name(approval.level)} ({LEVEL_NAMES[approval.level]})",
    ]
    if approval.evidence:
        from placet.cli._verify_met import describe_met

        lines += describe_met(approval.evidence)
    for approver in approval.approvers:
        if approver.logged is not None:
            from placet.cli._verify_met import describe_logged

            lines.append(f"Logged    {approver.person_id}: {describe_logged(approver.logged)}")
    lines += [f"For next  {missing}" for missing in approval.missing_for_next_level]
    lines += [f"Ignored   key {i.keyid[:16]}: {i.error} ({i.error.reason})" for i in approval.ignored]
    return lines


def _logged_to_object(approver: Approver) -> dict[str, Any] | None:
    logged = approver.logged
    if logged is None:
        return None
    return {
        "log": logged.log_origin,
        "leafIndex": str(logged.leaf_index),
        "treeSize": str(logged.tree_size),
        "witnesses": list(logged.witnesses),
        "quorum": logged.has_quorum,
        "seenBy": None if logged.seen_by is None else format_time(logged.seen_by),
    }


def approval_to_object(approval: VerifiedApproval, *, compared: bool) -> dict[str, Any]:
    """Returns an approval as the JSON that ``--json`` prints."""
    statement = approval.statement
    evidence: list[dict[str, Any]] = []
    levels = [level_name(n) for n in range(1, approval.level + 1)]
    if approval.evidence:
        from placet.cli._verify_met import met_to_object, slsa_level_names

        evidence = [met_to_object(met) for met in approval.evidence]
        levels += slsa_level_names(approval)
    return {
        "verdict": "allowed" if compared else "valid",
        "compared": compared,
        "singleUseChecked": False,
        "action": statement.action_type,
        "target": statement.target,
        "text": statement.text,
        "payload": {"sha256": approval.payload_digest},
        "level": level_name(approval.level),
        "verifiedLevels": levels,
        "evidence": evidence,
        "missingForNextLevel": list(approval.missing_for_next_level),
        "requester": approval.requester,
        "requestedBy": statement.requested_by,
        "expiresAt": format_time(statement.expires_at),
        "approvers": [
            {
                "person": a.person_id,
                "keyid": a.keyid,
                "kind": a.kind,
                "assurance": a.assurance,
                "level": level_name(a.level),
                "decidedAt": format_time(a.decided_at) if a.decided_at else None,
                "terminal": a.terminal_id or None,
                "logged": _logged_to_object(a),
            }
            for a in approval.approvers
        ],
        "ignored": [{"keyid": i.keyid, "reason": str(i.error.reason)} for i in approval.ignored],
    }


def print_json(value: dict[str, Any]) -> None:
    """Prints one JSON object."""
    sys.stdout.write(encode_canonical(value).decode() + "\n")
