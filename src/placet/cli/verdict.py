"""``placet verdict``: the key by which a gate signs verdicts, and what a consumer checks of one."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.cli import EXIT_ALLOW, UserError
from placet.cli._shared import choose_gate, load_trust, now, read_file, setting
from placet.cli.verify import GREEN, print_json, print_refusal, read_artifact, verdict_line
from placet.core.encoding import format_time
from placet.core.errors import PlacetError, VerificationError, visible
from placet.core.verdict.check import ExpectedVerdict, Verdict, verify_verdict
from placet.core.verdict.envelope import MAX_VERDICT_BYTES
from placet.core.verdict.keys import GatePublicKey
from placet.core.verdict.statements import SINGLE_USE, SVR_TYPE, verifier_id

EXAMPLES = """\
examples:
  placet verdict init
  placet verify app.intent.json --action release --target pkg:pypi/app --artifact app.whl --verdict v.json
  placet verdict check v.json --target pkg:pypi/app --artifact app.whl --level INTENT_LEVEL_2

exit codes: 0 it holds, 1 it does not, 2 wrong usage, 3 undecided
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the commands and their arguments."""
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(dest="verdict_command", metavar="COMMAND", required=True)
    init = commands.add_parser("init", help="make this gate's verdict key")
    init.add_argument("--key", type=Path, metavar="FILE", help="where to keep it (default: with the ledger)")
    check = commands.add_parser("check", help="check a verdict before relying on it")
    check.add_argument("file", metavar="FILE", help="the verdict: a DSSE envelope, or a Sigstore bundle")
    check.add_argument("--target", required=True, metavar="URI", help="what is about to change")
    check.add_argument(
        "--artifact",
        action="append",
        required=True,
        metavar="FILE|sha256:…",
        help="what is about to be used; repeat for several",
    )
    check.add_argument(
        "--level",
        action="append",
        default=[],
        metavar="LEVEL",
        help="a level that is needed, such as INTENT_LEVEL_2",
    )
    check.add_argument(
        "--gate", metavar="ID", help="the gate that signed it (default: the only one there is)"
    )
    check.add_argument("--trust", metavar="SNAPSHOT", help="the trust snapshot that names the gate's keys")
    check.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    return _init(args) if args.verdict_command == "init" else _check(args)


def _init(args: argparse.Namespace) -> int:
    from placet.adapters.verdict_key import VerdictKey, verdict_key_path

    path = args.key or verdict_key_path()
    key = VerdictKey.create(path)
    public = path.with_suffix(".pub")
    print(f"This gate's verdict key is {path}; whoever can read it can speak for this gate.")
    print(f"Its public half is {public}, SHA-256 {key.public.digest}.")
    print(f"Have an administrator enter it: placet trust set-gate GATE --verdict-key {public}")
    print("Then: placet verify BUNDLE --action … --target … --artifact … --verdict FILE")
    return EXIT_ALLOW


def _check(args: argparse.Namespace) -> int:
    data = read_file(args.file, "verdict", MAX_VERDICT_BYTES)
    subjects = frozenset(read_artifact(artifact) for artifact in args.artifact)
    try:
        trust = load_trust(setting(args.trust, "trust"))
        gate = choose_gate(trust, args.gate)
        if not gate.verdict_keys:
            raise UserError(
                f"The trust root names no verdict key of the gate {gate.id}: its verdicts say nothing here.",
                f"Have an administrator enter it: placet trust set-gate {gate.id} --verdict-key FILE.pub",
            )
        expected = ExpectedVerdict(verifier_id(trust, gate.id), args.target, subjects, tuple(args.level))
        verdict = _verify_by_any(data, gate.verdict_keys, expected)
    except PlacetError as refusal:
        return print_refusal(refusal, as_json=args.json)
    if args.json:
        print_json(_to_object(verdict))
    else:
        _print(verdict)
    return EXIT_ALLOW


def _verify_by_any(data: bytes, keys: tuple[GatePublicKey, ...], expected: ExpectedVerdict) -> Verdict:
    """Verifies with whichever of the gate's keys signed it."""
    for key in keys[:-1]:
        try:
            return verify_verdict(data, key=key, expected=expected, now=now())
        except VerificationError:
            continue  # by another key, perhaps
    return verify_verdict(data, key=keys[-1], expected=expected, now=now())


def _print(verdict: Verdict) -> None:
    print(verdict_line("HOLDS", GREEN, "the gate says that exactly this was approved."))
    lines = [
        f"Gate      {verdict.verifier}",
        f"Target    {verdict.target}",
        f"Levels    {', '.join(verdict.levels)}",
        f"Valid     from {format_time(verdict.verified_at)} until {format_time(verdict.expires_at)}",
        f"Use       {_say_use(verdict)}",
        "Trusts    the gate that signed this; `placet verify` on the approval itself trusts nobody between",
    ]
    for line in lines:
        print(f"  {visible(line)}")


def _say_use(verdict: Verdict) -> str:
    if verdict.predicate.get(SINGLE_USE) == "consumed":
        return "consumed in the gate's ledger; this verdict may still be shown twice"
    return "not checked: only a gate's ledger knows whether it was used (`placet run`)"


def _to_object(verdict: Verdict) -> dict[str, object]:
    return {
        "verdict": "holds",
        "type": "svr" if verdict.predicate_type == SVR_TYPE else "vsa",
        "verifier": verdict.verifier,
        "target": verdict.target,
        "subjects": sorted(verdict.subjects),
        "levels": list(verdict.levels),
        "verifiedAt": format_time(verdict.verified_at),
        "expiresAt": format_time(verdict.expires_at),
        "singleUse": verdict.predicate.get(SINGLE_USE),
    }
