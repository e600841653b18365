"""The command gate: executes exactly what was approved, once (spec/15-use.md).

The steps, each a function below, always in this order:

1. `prepare_command` copies the program and the inputs into a private folder, hashing what it copies (USE-10);
2. `verify_prepared` lets the caller's verifier judge the approval against these very digests;
3. `consume_use` consumes the use durably, and has the log hold it where a rule wants that first (USE-12);
4. `execute_command` executes the private copies, as the statement reads and not otherwise (USE-09);
5. `record_outcomes` records how it ended, and hands the log what it does not hold yet.

A crash before 3 loses nothing.  A crash after 3 leaves the use consumed with an unknown outcome, shown to
people and never retried: an act that may have happened must not happen twice (A8).

Leaves out: which bundle, trust and gate; the verifier brings them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from placet.core.decode import Object, read_list, read_map, read_object, read_sha256, read_string
from placet.core.encoding import Digest
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.statement import IntentStatement
from placet.core.verify import VerifiedApproval
from placet.gates._child import ChildCommand, SignalForwarder, forward_signals, start_child, wait_for_child
from placet.gates.private_folder import Copy, PrivateFolder, open_private_folder
from placet.gates.uses import check_uses, consume_use, judge_after_wait, record_outcomes
from placet.ports.clock import Clock
from placet.ports.use_ledger import Consumption, UseLedger

if TYPE_CHECKING:
    from placet.gates.use_log import UseLog

__all__ = [
    "EXIT_NOT_STARTED",
    "RUN_ACTION",
    "ApprovedInput",
    "CommandPlan",
    "PreparedCommand",
    "RunResult",
    "Step",
    "execute_command",
    "plan_command",
    "prepare_command",
    "rehearse_approved",
    "run_approved",
    "verify_prepared",
]

RUN_ACTION = "https://placet.dev/actions/run/v1"
# The shells' convention for a command that is there but cannot be executed.
EXIT_NOT_STARTED = 126

_AT = "/predicate/action/parameters"
# The kernel's own limits are higher; the statement's 64 KiB are lower.
_MAX_LIST = 4096
_MAX_ARGUMENT = 65_536


class Step(StrEnum):
    """The steps of a run, told to the observer as each is completed."""

    PREPARED = "prepared"
    VERIFIED = "verified"
    CONSUMED = "consumed"
    STARTED = "started"
    EXECUTED = "executed"
    RECORDED = "recorded"


class ApprovedInput(NamedTuple):
    """An input file as approved: where the command finds it, and its digest."""

    name: str
    digest: Digest


class CommandPlan(NamedTuple):
    """What a statement of the run action says, in full.

    Args:
        argv: the arguments, argv[0] as the program sees it.
        working_directory: "." for the private folder that holds the inputs, or an absolute path.
        environment: every variable that the command gets, in order of names.
        program: the executable's absolute path.
        program_digest: the executable's digest.
        inputs: the declared input files.
    """

    target: str
    argv: tuple[str, ...]
    working_directory: str
    environment: tuple[tuple[str, str], ...]
    program: str
    program_digest: Digest
    inputs: tuple[ApprovedInput, ...]


class PreparedCommand(NamedTuple):
    """Private copies that are what the plan says, ready to be executed."""

    plan: CommandPlan
    folder: PrivateFolder
    program: Copy
    inputs: tuple[Copy, ...]

    @property
    def parameters(self) -> Object:
        """The action's parameters as they are about to be executed, with the digest of the copy."""
        return {
            "argv": list(self.plan.argv),
            "environment": dict(self.plan.environment),
            "executable": {"digest": {"sha256": self.program.digest}, "path": self.plan.program},
            "workingDirectory": self.plan.working_directory,
        }


class RunResult(NamedTuple):
    """What happened.

    Args:
        exit_code: the command's, or the recorded one of a repeated event.
        executed: False for a repeated event.
        problem: why the command could not be started, or "".
        unrecorded: why the outcome could not be recorded; the use stays consumed with an unknown outcome.
    """

    exit_code: int
    executed: bool
    approval: VerifiedApproval
    consumption: Consumption
    problem: str
    unrecorded: PlacetError | None


Verifier = Callable[[PreparedCommand, int], VerifiedApproval]
Observer = Callable[[Step], None]


def _observe_nothing(_step: Step) -> None:
    pass


def run_approved(
    plan: CommandPlan,
    *,
    verify: Verifier,
    ledger: UseLedger,
    log: UseLog | None,
    clock: Clock,
    inputs_from: Path,
    folders: Path,
    event_id: str | None = None,
    observe: Observer = _observe_nothing,
) -> RunResult:
    """Prepares, verifies, consumes, executes and records one approved command.

    Call it from the main thread: it forwards signals to the command.

    Args:
        plan: from `plan_command`; not trusted until `verify` has judged it.
        verify: verifies the approval for what was prepared, at the given time, or raises.
        log: hears of the use; None where the trust root names no log.
        clock: the gate's time.
        inputs_from: the folder with the declared input files.
        folders: where private folders are made.
        event_id: the native event's ID, if its system may deliver it twice.
        observe: is told each completed step.

    Raises:
        PlacetError: placet refuses, or cannot decide; nothing was executed.
        KeyboardInterrupt: a signal came while the gate waited for the log; nothing was executed.
    """
    with open_private_folder(folders) as folder:
        prepared = prepare_command(plan, folder, inputs_from)
        observe(Step.PREPARED)
        now = clock.now()
        approval = verify_prepared(prepared, verify, now)
        observe(Step.VERIFIED)
        with forward_signals() as signals:
            consumption = consume_use(approval, ledger, now, event_id, log=log)
            if consumption.repeated:
                return _recorded_answer(approval, consumption)
            now = clock.now()
            judge = partial(_judge_again, prepared, verify, now, signals)
            judge_after_wait(judge, (consumption,), ledger, now, log=log)
            observe(Step.CONSUMED)
            exit_code, problem = execute_command(prepared, signals, observe)
            observe(Step.EXECUTED)
            unrecorded = record_outcomes(ledger, (consumption,), exit_code, clock.now(), log=log)
            observe(Step.RECORDED)
        return RunResult(exit_code, True, approval, consumption, problem, unrecorded)


def rehearse_approved(
    plan: CommandPlan,
    *,
    verify: Verifier,
    ledger: UseLedger,
    log: UseLog | None,
    clock: Clock,
    inputs_from: Path,
    folders: Path,
) -> VerifiedApproval:
    """Does everything that `run_approved` does before it consumes the use, and consumes nothing.

    Raises:
        PlacetError: `run_approved` would have refused.
    """
    with open_private_folder(folders) as folder:
        prepared = prepare_command(plan, folder, inputs_from)
        now = clock.now()
        approval = verify_prepared(prepared, verify, now)
        check_uses(approval, ledger, now, log=log)
        return approval


def plan_command(statement: IntentStatement) -> CommandPlan:
    """Reads what a statement of the run action says.

    Raises:
        PolicyError: ACTION_MISMATCH, EXECUTION_MISMATCH.
        MalformedError: its parameters are not those of the action.
    """
    if statement.action_type != RUN_ACTION:
        raise PolicyError(
            Reason.ACTION_MISMATCH,
            "This approval is not for running a command.",
            path="/predicate/action/type",
            expected=RUN_ACTION,
            actual=statement.action_type,
            hint="Use it at the gate that its action belongs to.",
        )
    names = ["argv", "workingDirectory", "environment", "executable"]
    parameters = read_object(statement.parameters, _AT, required=names)
    argv = read_list(parameters["argv"], f"{_AT}/argv", max_items=_MAX_LIST, min_items=1)
    environment = read_map(parameters["environment"], f"{_AT}/environment", max_items=_MAX_LIST)
    program = read_object(parameters["executable"], f"{_AT}/executable", required=["path", "digest"])
    plan = CommandPlan(
        target=statement.target,
        argv=tuple(_read_argument(item, f"{_AT}/argv/{i}") for i, item in enumerate(argv)),
        working_directory=read_string(parameters["workingDirectory"], f"{_AT}/workingDirectory"),
        environment=tuple(
            (name, _read_argument(value, f"{_AT}/environment/{name}"))
            for name, value in sorted(environment.items())
        ),
        program=read_string(program["path"], f"{_AT}/executable/path"),
        program_digest=read_sha256(program["digest"], f"{_AT}/executable/digest"),
        inputs=tuple(
            ApprovedInput(subject.name, Digest(subject.digest.removeprefix("sha256:")))
            for subject in statement.subjects
            if statement.has_artifacts
        ),
    )
    _check_plan(plan)
    return plan


def _read_argument(value: object, path: str) -> str:
    return read_string(value, path, min_length=0, max_length=_MAX_ARGUMENT)


def _check_plan(plan: CommandPlan) -> None:
    """Refuses what could not be executed as it reads, before anything is copied or consumed."""
    for name, _ in plan.environment:
        if not name or "=" in name:
            raise _mismatch(f"{name!r} cannot be the name of an environment variable.", f"{_AT}/environment")
    if not plan.program.startswith("/"):
        raise _mismatch("The executable's path must be absolute.", f"{_AT}/executable/path")
    if plan.working_directory != "." and (plan.inputs or not plan.working_directory.startswith("/")):
        # Inputs are found by name in the private folder; anywhere else, other files could have these names.
        raise _mismatch(
            "A command with input files starts in the private folder that holds them; one without may name an"
            " absolute path.",
            f"{_AT}/workingDirectory",
        )


def _mismatch(message: str, path: str) -> PolicyError:
    hint = "Request the approval again, corrected."
    return PolicyError(Reason.EXECUTION_MISMATCH, message, path=path, hint=hint)


def prepare_command(plan: CommandPlan, folder: PrivateFolder, inputs_from: Path) -> PreparedCommand:
    """Copies the program and the inputs, and compares the digests of what was copied.

    Raises:
        PolicyError: ARTIFACT_MISMATCH, EXECUTION_MISMATCH, TOO_LARGE.
        IndeterminateError: LEDGER_UNAVAILABLE: the gate's own state cannot be used.
    """
    inputs = tuple(folder.copy_input(inputs_from, approved.name) for approved in plan.inputs)
    for approved, copy in zip(plan.inputs, inputs, strict=True):
        _check_digest(copy, approved.digest, Reason.ARTIFACT_MISMATCH)
    program = folder.copy_program(plan.program)
    _check_digest(program, plan.program_digest, Reason.EXECUTION_MISMATCH)
    if plan.working_directory != "." and not Path(plan.working_directory).is_dir():
        raise _mismatch(f"The folder {plan.working_directory} does not exist.", f"{_AT}/workingDirectory")
    return PreparedCommand(plan, folder, program, inputs)


def _check_digest(copy: Copy, approved: Digest, reason: Reason) -> None:
    if copy.digest != approved:
        raise PolicyError(
            reason,
            f"{copy.name} is not what was approved: its contents differ.",
            expected=f"sha256:{approved}",
            actual=f"sha256:{copy.digest}",
            hint="Bring back the approved file, or request the approval of this one.",
        )


def verify_prepared(prepared: PreparedCommand, verify: Verifier, now: int) -> VerifiedApproval:
    """Has the approval verified, and checks that it is the approval of what was prepared.

    Raises:
        PlacetError: whatever `verify` raises.
        PolicyError: EXECUTION_MISMATCH.
    """
    approval = verify(prepared, now)
    if plan_command(approval.statement) != prepared.plan or len(approval.use_units) != 1:
        raise PolicyError(
            Reason.EXECUTION_MISMATCH,
            "What was verified is not what was prepared for execution.",
            hint="Verify the bundle that the command was read from.",
        )
    return approval


def _judge_again(
    prepared: PreparedCommand, verify: Verifier, now: int, signals: SignalForwarder
) -> VerifiedApproval:
    if signals.has_pending:  # whoever stops a gate that waits does not want the command started
        raise KeyboardInterrupt
    return verify_prepared(prepared, verify, now)


def _recorded_answer(approval: VerifiedApproval, consumption: Consumption) -> RunResult:
    if consumption.exit_code is None:
        raise PolicyError(
            Reason.ALREADY_USED,
            "This event was already delivered, and the outcome of its command is not known: it is still"
            " running, or the gate was stopped.",
            hint="Find out what happened; `placet ledger show` lists it. Then request a new approval.",
        )
    return RunResult(consumption.exit_code, False, approval, consumption, "", None)


def execute_command(
    prepared: PreparedCommand, signals: SignalForwarder, observe: Observer
) -> tuple[int, str]:
    """Executes the private copies and waits.

    Returns:
        The exit code, and why the command could not be started, or "".
    """
    plan = prepared.plan
    folder = prepared.folder.work if plan.working_directory == "." else Path(plan.working_directory)
    command = ChildCommand(
        program=prepared.program.path,
        argv=plan.argv,
        environment=plan.environment,
        folder=folder,
        group_file=prepared.folder.group_file,
    )
    try:
        child = start_child(command)
    except OSError as error:
        return EXIT_NOT_STARTED, f"{plan.program} could not be started: {error.strerror or error}."
    observe(Step.STARTED)
    return wait_for_child(child, signals), ""
