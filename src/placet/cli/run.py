"""``placet run``: verify, use up, and execute exactly what was approved."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from placet.adapters.paths import state_dir
from placet.adapters.places import missing_driver, open_ledger
from placet.adapters.postgres.address import is_postgres
from placet.adapters.system_clock import SystemClock
from placet.cli import UserError
from placet.cli._evidence import verify_bundle_evidence
from placet.cli._shared import (
    add_verdict_options,
    choose_gate,
    describe_refusal,
    load_trust,
    name_file,
    read_file,
    setting,
)
from placet.cli._use_log import open_use_log, warn_unlogged
from placet.core.bundle import MAX_BUNDLE_BYTES, parse_bundle
from placet.core.decode import Object
from placet.core.encoding import Digest, format_time
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason, visible
from placet.core.evidence.facts import EvidenceFact
from placet.core.gates import Gate
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.core.verify import Expected, VerifiedApproval, verify_for_use
from placet.gates.command import (
    RUN_ACTION,
    CommandPlan,
    PreparedCommand,
    RunResult,
    Step,
    plan_command,
    rehearse_approved,
    run_approved,
)
from placet.ports.use_ledger import Birth

if TYPE_CHECKING:
    from placet.cli._verdict import VerdictWriter

# As `env`, `timeout` and `docker run` do: below it, the exit codes belong to the command.
EXIT_REFUSED = 125

# A gate whose entry in the trust root says this accepts one ledger only; a second host with the same gate ID
# then cannot use an approval a second time.
PINNED_LEDGER = "placet-ledger:"

DESCRIPTION = """\
Verifies an approval, uses it up in this gate's ledger, and executes exactly the approved command:
private copies of the approved program and input files, the approved arguments, and no environment
variable that was not approved.

Without COMMAND the approved command is executed. With COMMAND, placet refuses unless it is the approved
one, word for word.

The exit code is the command's; 128+N if signal N ended it; 125 if placet refused, with the reason.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--intent", type=Path, metavar="BUNDLE", help="the *.intent.json file (needed)")
    parser.add_argument(
        "--trust",
        type=Path,
        metavar="SNAPSHOT",
        help="the gate's trust snapshot (default: the refreshed one)",
    )
    parser.add_argument(
        "--gate", metavar="ID", help="this gate's ID (default: the only one in the trust root)"
    )
    parser.add_argument("--target", metavar="URI", help="refuse unless the approval is for this target")
    parser.add_argument(
        "--ledger", metavar="PLACE", help="the gate's use ledger: a file, or a database (postgresql://…)"
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the approved input files are (default: .)",
    )
    parser.add_argument(
        "--event-id", metavar="ID", help="run once for this event, however often it is delivered"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, use up and execute nothing")
    add_verdict_options(parser, denials=False)
    parser.add_argument(
        "command", nargs="*", metavar="COMMAND", help="what must have been approved, after --"
    )


def choose_ledger(place: str | None) -> str | Path:
    """Returns the gate's ledger: flag over environment over configuration file over the default.

    Raises:
        UserError: the configuration file is malformed, or PostgreSQL's driver is missing.
    """
    chosen = setting(place, "ledger")
    if chosen is None:
        return state_dir() / "gate" / "ledger.sqlite3"
    if problem := missing_driver(chosen):
        raise UserError(*problem)
    return chosen if is_postgres(chosen) else Path(chosen)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code, or 125."""
    try:
        return _run(args)
    except UserError as error:
        _say(f"UNDECIDED: {error}")
        if error.hint:
            _say(f"  Next      {error.hint}")
    except PlacetError as error:
        _say_refusal(error)
    except KeyboardInterrupt:
        _say("UNDECIDED: interrupted; nothing was executed.")
    except Exception as error:  # below 125, an exit code would pass for the command's
        if os.environ.get("PLACET_DEBUG"):
            raise
        _say(f"UNDECIDED: placet failed ({type(error).__name__}: {error}).")
        _say("  Next      `placet ledger show` says whether the command had begun.")
    return EXIT_REFUSED


class _Question(NamedTuple):
    """What was asked: the bundle, the plan in it, and who judges."""

    bundle: bytes
    plan: CommandPlan
    trust: Trust
    gate: Gate
    target: str | None
    facts: tuple[EvidenceFact, ...]

    def verify(self, prepared: PreparedCommand, now: int) -> VerifiedApproval:
        """Verifies the approval for what was prepared."""
        digests = frozenset(copy.digest for copy in prepared.inputs)
        return self._verify(digests, prepared.parameters, now)

    def check_claims(self, now: int) -> None:
        """Verifies the approval of what the plan claims, before any file that it names is touched.

        Otherwise anybody's bundle could have the gate copy large files, or tell the digest of a secret one.
        """
        self._verify(frozenset(approved.digest for approved in self.plan.inputs), None, now)

    def _verify(self, inputs: frozenset[Digest], parameters: Object | None, now: int) -> VerifiedApproval:
        return verify_for_use(
            self.bundle,
            trust=self.trust,
            gate=self.gate.id,
            expected=Expected(
                target=self.target or self.plan.target,
                subjects=frozenset(f"sha256:{digest}" for digest in inputs),
                action_type=RUN_ACTION,
                parameters=parameters,
            ),
            now=now,
            evidence=self.facts,
        )


def _check_arguments(args: argparse.Namespace) -> None:
    if args.intent is None:
        named = (
            f": --intent {args.command[0]}" if args.command[:1] and args.command[0].endswith(".json") else ""
        )
        raise UserError("Which approval? No bundle is named.", f"Name it with --intent{named or ' BUNDLE'}.")
    if args.event_id is not None and not (args.event_id.isascii() and args.event_id.isprintable()):
        raise UserError("An event ID has printable ASCII characters only.", "Give another.")


def _run(args: argparse.Namespace) -> int:
    _check_arguments(args)
    chosen = setting(None if args.trust is None else str(args.trust), "trust")
    trust = load_trust(None if chosen is None else Path(chosen))
    bundle = read_file(args.intent, "bundle", MAX_BUNDLE_BYTES)
    plan = _read_plan(bundle, args.intent)
    facts = verify_bundle_evidence(bundle, trust=trust, snapshot=chosen)
    question = _Question(bundle, plan, trust, choose_gate(trust, args.gate), args.target, facts)
    if args.command:
        _check_command(plan, args.command)
    writer = _verdict_writer(args, trust, question.gate)
    question.check_claims(SystemClock().now())
    log = open_use_log(trust, question.gate, bundle)
    with closing(open_ledger(choose_ledger(args.ledger))) as ledger:
        check_pinned_ledger(question.gate, ledger.birth())
        if args.dry_run:
            approval = rehearse_approved(
                plan,
                verify=question.verify,
                ledger=ledger,
                log=log,
                clock=SystemClock(),
                inputs_from=args.inputs,
                folders=_folders(),
            )
            _say(f"ALLOWED (dry run, nothing was used or executed): {approval.text}")
            _say_approval(approval)
            return 0
        verdict = _VerdictOfUse(question, writer)
        try:
            result = run_approved(
                plan,
                verify=verdict.verify,
                ledger=ledger,
                log=log,
                clock=SystemClock(),
                inputs_from=args.inputs,
                folders=_folders(),
                event_id=args.event_id,
                observe=verdict.observe,
            )
        finally:
            warn_unlogged(ledger, log)
    _say_result(result)
    return result.exit_code


class _VerdictOfUse:
    """Writes the verdict once the use is consumed and before the command starts, which may need it."""

    def __init__(self, question: _Question, writer: VerdictWriter | None) -> None:
        self._question, self._writer = question, writer
        self._verified: tuple[VerifiedApproval, int] | None = None

    def verify(self, prepared: PreparedCommand, now: int) -> VerifiedApproval:
        """Verifies, and keeps what a verdict is made of."""
        approval = self._question.verify(prepared, now)
        self._verified = approval, now
        return approval

    def observe(self, step: Step) -> None:
        """Is told each step of the run."""
        if step is not Step.CONSUMED or self._writer is None or self._verified is None:
            return
        approval, at = self._verified
        try:
            written = self._writer.write(approval, self._question.bundle, at=at, used=True)
            _say(f"Verdict: {written}.")
        except (PlacetError, UserError, OSError) as error:  # the use is consumed: what was approved goes on
            _say(f"The verdict could not be written: {error}")


def _verdict_writer(args: argparse.Namespace, trust: Trust, gate: Gate) -> VerdictWriter | None:
    from placet.cli._verdict import VerdictWriter, check_verdict_options

    check_verdict_options(args)
    return None if args.verdict is None else VerdictWriter.prepare(args, trust, gate.id)


def _read_plan(bundle: bytes, path: Path) -> CommandPlan:
    try:
        return plan_command(parse_statement(parse_bundle(bundle).envelope.payload))
    except PlacetError as refusal:
        raise name_file(refusal, path) from None


def _folders() -> Path:
    return state_dir() / "gate" / "runs"


def check_pinned_ledger(gate: Gate, birth: Birth) -> None:
    """Checks that this is the ledger that the trust root names for the gate, where it names one.

    Raises:
        IndeterminateError: LEDGER_RESTORED.
    """
    if gate.ledger.startswith(PINNED_LEDGER) and gate.ledger != PINNED_LEDGER + birth.ledger_id:
        raise IndeterminateError(
            Reason.LEDGER_RESTORED,
            f"This ledger is not the one that the trust root names for gate {gate.id!r}.",
            expected=gate.ledger,
            actual=PINNED_LEDGER + birth.ledger_id,
            hint="Use the gate's own ledger, or have an administrator enter this one in the trust root.",
        )


def _check_command(plan: CommandPlan, command: list[str]) -> None:
    if tuple(command) != plan.argv:
        raise PolicyError(
            Reason.PARAMETERS_MISMATCH,
            "The command is not the one that was approved.",
            path="/predicate/action/parameters/argv",
            expected=list(plan.argv),
            actual=command,
            hint="Leave it out to run what was approved, or request the approval of this one.",
        )


def _say_result(result: RunResult) -> None:
    if not result.executed:
        used_at = format_time(result.consumption.used_at)
        _say(
            f"This event was answered on {used_at}: exit code {result.exit_code}. Nothing was executed again."
        )
    if result.problem:
        _say(f"{result.problem} The approval is used up.")
    if result.unrecorded is not None:
        _say(f"The outcome could not be recorded: {result.unrecorded} It will be shown as unknown.")


def _say_approval(approval: VerifiedApproval) -> None:
    reached = f"{level_name(approval.level)} ({LEVEL_NAMES[approval.level]})"
    _say(f"Approved by {', '.join(approval.people)}; {reached}.")


def _say_refusal(refusal: PlacetError) -> None:
    verdict = "UNDECIDED" if isinstance(refusal, IndeterminateError) else "DENIED"
    _say(f"{verdict}: {refusal}")
    for line in describe_refusal(refusal):
        _say(f"  {line}")


def _say(line: str) -> None:
    # Standard output belongs to the command.  Where nobody can be told, the exit code still speaks:
    # what could not be written is let go, or the interpreter's last flush would make it 120.
    try:
        print(visible(line), file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 -- for the rest of the process
