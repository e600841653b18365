"""The command gate with real processes: it executes exactly what was approved, once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_world import OTHER_GATE, SHELL, CommandWorld, Verifier, payload_of, plan_of

from placet.adapters.system_clock import SystemClock
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.gates.command import EXIT_NOT_STARTED, RunResult, Step, rehearse_approved, run_approved
from placet.gates.private_folder import open_private_folder

FORK = multiprocessing.get_context("fork")
PYTHON = str(Path(sys.executable).resolve())
RACES = 25


@pytest.fixture
def world(tmp_path: Path) -> CommandWorld:
    return CommandWorld(tmp_path)


def run(
    world: CommandWorld,
    bundle: bytes,
    *,
    gate: str = "prod",
    event_id: str | None = None,
    observe: Callable[[Step], None] = lambda step: None,
) -> RunResult:
    with world.open_ledger() as ledger:
        return run_approved(
            plan_of(bundle),
            verify=Verifier(world, bundle, gate),
            ledger=ledger,
            log=None,
            clock=SystemClock(),
            inputs_from=world.inputs,
            folders=world.folders,
            event_id=event_id,
            observe=observe,
        )


def refusal(call: Callable[[], object]) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value


def shell(world: CommandWorld, script: str, **more: object) -> bytes:
    return world.approve("sh", "-c", script, program=SHELL, **more)  # type: ignore[arg-type]


def append_line(path: Path) -> str:
    return f"echo ran >> {path}"


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


# What the command gets


def test_command_runs_with_exactly_what_was_approved(world: CommandWorld, tmp_path: Path) -> None:
    program = f"""
import json, os, sys
seen = {{
    "argv": sys.orig_argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "files": sorted(os.listdir(".")),
    "umask": os.umask(0),
    "own_group": os.getpgrp() == os.getpid(),
}}
json.dump(seen, open({str(tmp_path / "out.json")!r}, "w"))
"""
    world.add_input("show.py", program.encode())
    world.add_input("data/wheel.whl", b"wheel")
    bundle = world.approve(
        "my-python",
        "-I",
        "show.py",
        program=PYTHON,
        inputs={"show.py": program.encode(), "data/wheel.whl": b"wheel"},
        environment={"GREETING": "hällo", "EMPTY_HANDED": "no"},
    )
    result = run(world, bundle)

    assert (result.exit_code, result.executed) == (0, True)
    seen = json.loads((tmp_path / "out.json").read_text())
    assert seen["argv"] == ["my-python", "-I", "show.py"]
    assert {name: seen["environment"][name] for name in ("GREETING", "EMPTY_HANDED")} == {
        "GREETING": "hällo",
        "EMPTY_HANDED": "no",
    }
    assert seen["files"] == ["data", "show.py"]
    assert Path(seen["folder"]).parent.parent == world.folders
    assert (seen["umask"], seen["own_group"]) == (0o077, True)
    assert list(world.folders.iterdir()) == []


def test_environment_is_empty_but_for_what_was_approved(world: CommandWorld, tmp_path: Path) -> None:
    os.environ["PLACET_TEST_SECRET"] = "must not be seen"
    try:
        bundle = world.approve(
            "cp", "/proc/self/environ", str(tmp_path / "environ"), environment={"ONE": "1"}
        )
        assert run(world, bundle).exit_code == 0
    finally:
        del os.environ["PLACET_TEST_SECRET"]
    assert (tmp_path / "environ").read_bytes() == b"ONE=1\0"


def test_no_other_file_is_open_in_the_command(world: CommandWorld, tmp_path: Path) -> None:
    inherited = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        run(world, shell(world, f"ls /proc/$$/fd > {tmp_path / 'fds'}"))
    finally:
        os.close(inherited)
    assert set((tmp_path / "fds").read_text().split()) <= {"0", "1", "2", "10"}


def test_absolute_working_directory_without_inputs(world: CommandWorld, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    bundle = shell(world, "pwd > here", working_directory=str(tmp_path / "elsewhere"))
    assert run(world, bundle).exit_code == 0
    assert (tmp_path / "elsewhere" / "here").read_text().strip() == str(tmp_path / "elsewhere")


def test_missing_working_directory_is_refused_before_the_use(world: CommandWorld, tmp_path: Path) -> None:
    bundle = shell(world, "true", working_directory=str(tmp_path / "missing"))
    assert refusal(lambda: run(world, bundle)).reason == Reason.EXECUTION_MISMATCH
    assert world.approval_count(bundle) == 0


@pytest.mark.parametrize(
    ("script", "expected"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_exit_code_is_the_commands(world: CommandWorld, script: str, expected: int) -> None:
    bundle = shell(world, script)
    assert run(world, bundle).exit_code == expected
    with world.open_ledger() as ledger:
        (record,) = ledger.uses(sha256_hex(payload_of(bundle)))
    assert record.exit_code == expected


def test_program_that_cannot_be_started_is_recorded(world: CommandWorld) -> None:
    world.add_input("not-a-program", b"\x7fELF but not really")
    bundle = world.approve("not-a-program", program=str(world.inputs / "not-a-program"))
    result = run(world, bundle)
    assert result.exit_code == EXIT_NOT_STARTED
    assert "could not be started" in result.problem
    assert refusal(lambda: run(world, bundle)).reason == Reason.ALREADY_USED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_forwarded_and_the_outcome_recorded(
    world: CommandWorld, tmp_path: Path, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    started = tmp_path / "started"
    bundle = shell(
        world,
        f"trap 'exit 42' {name}; touch {started}; while :; do sleep 0.01; done",
        environment={"PATH": "/usr/bin:/bin"},
    )

    # Not a thread: a process with threads must not fork.
    script = f"while [ ! -e {started} ]; do sleep 0.01; done; kill -{name} {os.getpid()}"
    with subprocess.Popen(["sh", "-c", script]):
        result = run(world, bundle)
    assert result.exit_code == 42
    assert result.unrecorded is None


def test_signal_between_use_and_start_reaches_the_command(world: CommandWorld) -> None:
    def interrupt(step: Step) -> None:
        if step is Step.CONSUMED:
            os.kill(os.getpid(), signal.SIGTERM)

    bundle = shell(world, "sleep 30", environment={"PATH": "/usr/bin:/bin"})
    result = run(world, bundle, observe=interrupt)
    assert result.exit_code == 128 + signal.SIGTERM


def test_handlers_are_put_back(world: CommandWorld) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(world, shell(world, "true"))
    assert signal.getsignal(signal.SIGTERM) is before


# A5: approve A, execute B


def test_a5_tampered_input_is_refused(world: CommandWorld) -> None:
    world.add_input("app.whl", b"tampered")
    bundle = world.approve("cat", "app.whl", inputs={"app.whl": b"approved"})
    error = refusal(lambda: run(world, bundle))
    assert error.reason == Reason.ARTIFACT_MISMATCH
    assert error.expected != error.actual
    assert world.approval_count(bundle) == 0


def test_a5_tampered_program_is_refused(world: CommandWorld) -> None:
    program = world.add_input("tool", Path("/usr/bin/env").read_bytes())
    bundle = world.approve("tool", program=str(program))
    program.write_bytes(program.read_bytes() + b"\0")
    assert refusal(lambda: run(world, bundle)).reason == Reason.EXECUTION_MISMATCH
    assert world.approval_count(bundle) == 0


@pytest.mark.parametrize("when", [Step.PREPARED, Step.VERIFIED, Step.CONSUMED])
def test_a5_input_and_program_swapped_after_the_check_do_not_run(
    world: CommandWorld, tmp_path: Path, when: Step
) -> None:
    source = world.add_input("app.whl", b"approved")
    program = world.add_input("tool", Path("/usr/bin/cp").resolve().read_bytes())

    def swap(step: Step) -> None:
        if step is when:
            source.write_bytes(b"tampered")
            program.write_bytes(b"tampered")

    bundle = world.approve(
        "tool", "app.whl", str(tmp_path / "used"), program=str(program), inputs={"app.whl": b"approved"}
    )
    assert run(world, bundle, observe=swap).exit_code == 0
    assert (tmp_path / "used").read_bytes() == b"approved"


def test_a5_linked_input_is_refused(world: CommandWorld) -> None:
    world.add_input("real.whl", b"approved")
    (world.inputs / "app.whl").symlink_to("real.whl")
    bundle = world.approve("cat", "app.whl", inputs={"app.whl": b"approved"})
    assert refusal(lambda: run(world, bundle)).reason == Reason.EXECUTION_MISMATCH


def test_a5_inputs_swapped_between_names_are_refused(world: CommandWorld) -> None:
    world.add_input("a", b"one")
    world.add_input("b", b"two")
    bundle = world.approve("cat", "a", "b", inputs={"a": b"two", "b": b"one"})
    assert refusal(lambda: run(world, bundle)).reason == Reason.ARTIFACT_MISMATCH


def test_a5_plan_of_one_bundle_verified_with_another_is_refused(world: CommandWorld) -> None:
    approved, other = shell(world, "true"), shell(world, "false")
    with world.open_ledger() as ledger:
        error = refusal(
            lambda: run_approved(
                plan_of(other),
                verify=lambda prepared, now: Verifier(world, approved)(
                    prepared._replace(plan=plan_of(approved)), now
                ),
                ledger=ledger,
                log=None,
                clock=SystemClock(),
                inputs_from=world.inputs,
                folders=world.folders,
            )
        )
    assert error.reason == Reason.EXECUTION_MISMATCH


# A8: replay


def test_a8_replay_of_yesterdays_approval_is_refused(world: CommandWorld) -> None:
    bundle = shell(world, "true", issued_at=world.now - 90_000, expires_at=world.now - 86_400)
    assert refusal(lambda: run(world, bundle)).reason in (Reason.EXPIRED, Reason.DECIDED_OUTSIDE_WINDOW)


def test_a8_replay_at_another_gate_is_refused(world: CommandWorld) -> None:
    bundle = shell(world, "true")
    assert refusal(lambda: run(world, bundle, gate=OTHER_GATE)).reason == Reason.WRONG_AUDIENCE


def test_a8_second_use_is_refused_and_not_executed(world: CommandWorld, tmp_path: Path) -> None:
    bundle = shell(world, append_line(tmp_path / "runs"))
    assert run(world, bundle).exit_code == 0
    error = refusal(lambda: run(world, bundle))
    assert (type(error), error.reason) == (PolicyError, Reason.ALREADY_USED)
    assert "exit code 0" in str(error)
    assert lines(tmp_path / "runs") == 1


def test_a8_stated_number_of_uses(world: CommandWorld, tmp_path: Path) -> None:
    bundle = shell(world, append_line(tmp_path / "runs"), max_uses=2)
    for _ in range(2):
        run(world, bundle)
    assert refusal(lambda: run(world, bundle)).reason == Reason.ALREADY_USED
    assert lines(tmp_path / "runs") == 2


def test_a8_ledger_that_cannot_answer_executes_nothing(world: CommandWorld, tmp_path: Path) -> None:
    bundle = shell(world, append_line(tmp_path / "runs"))
    with world.open_ledger() as ledger:
        stamp = world.ledger_path.with_name("ledger.sqlite3.stamp")
        stamp.unlink()
        error = refusal(
            lambda: run_approved(
                plan_of(bundle),
                verify=Verifier(world, bundle),
                ledger=ledger,
                log=None,
                clock=SystemClock(),
                inputs_from=world.inputs,
                folders=world.folders,
            )
        )
    assert isinstance(error, IndeterminateError)
    assert lines(tmp_path / "runs") == 0


def test_repeated_event_is_answered_and_not_executed_again(world: CommandWorld, tmp_path: Path) -> None:
    bundle = shell(world, f"{append_line(tmp_path / 'runs')}; exit 5")
    first, second = (run(world, bundle, event_id="delivery-1") for _ in range(2))
    assert (first.exit_code, first.executed) == (5, True)
    assert (second.exit_code, second.executed) == (5, False)
    assert lines(tmp_path / "runs") == 1


def test_rehearsal_uses_and_executes_nothing(world: CommandWorld, tmp_path: Path) -> None:
    bundle = shell(world, append_line(tmp_path / "runs"))

    def rehearse() -> str:
        with world.open_ledger() as ledger:
            return rehearse_approved(
                plan_of(bundle),
                verify=Verifier(world, bundle),
                ledger=ledger,
                log=None,
                clock=SystemClock(),
                inputs_from=world.inputs,
                folders=world.folders,
            ).text

    assert ": sh -c" in rehearse()
    assert (world.approval_count(bundle), lines(tmp_path / "runs")) == (0, 0)
    run(world, bundle)
    assert refusal(rehearse).reason == Reason.ALREADY_USED


# A8: crash between check and act


def _run_and_die(world: CommandWorld, bundle: bytes, at: Step) -> None:
    def die(step: Step) -> None:
        if step is at:
            os.kill(os.getpid(), signal.SIGKILL)

    run(world, bundle, observe=die)


@pytest.mark.parametrize("at", list(Step))
def test_a8_killed_between_any_two_steps_never_gives_a_second_use(
    world: CommandWorld, tmp_path: Path, at: Step
) -> None:
    marker = tmp_path / "runs"
    bundle = shell(world, append_line(marker))
    gate = FORK.Process(target=_run_and_die, args=(world, bundle, at))
    gate.start()
    gate.join()
    assert gate.exitcode == -signal.SIGKILL

    if at in (Step.PREPARED, Step.VERIFIED):
        assert world.approval_count(bundle) == 0
        assert run(world, bundle).exit_code == 0
        assert lines(marker) == 1
    else:
        error = refusal(lambda: run(world, bundle))
        assert error.reason == Reason.ALREADY_USED
        assert ("not known" in str(error)) == (at is not Step.RECORDED)
        with world.open_ledger() as ledger:
            assert len(ledger.list_unknown()) == (at is not Step.RECORDED)
        time.sleep(0.2)
        assert lines(marker) == (at is not Step.CONSUMED)
    # Once the command has ended too, and whoever inherited it has seen that, nothing is left behind.
    for _ in range(100):
        with open_private_folder(world.folders):
            left = len(list(world.folders.iterdir())) - 1
        if not left:
            break
        time.sleep(0.1)
    assert left == 0


def _race(world: CommandWorld, bundles: list[bytes], barrier: object) -> None:
    for bundle in bundles:
        barrier.wait()  # type: ignore[attr-defined]
        try:
            run(world, bundle)
        except PolicyError as error:
            if error.reason != Reason.ALREADY_USED:
                raise


def test_a8_same_approval_to_two_gates_at_once_runs_once(world: CommandWorld, tmp_path: Path) -> None:
    bundles = [shell(world, append_line(tmp_path / f"runs-{number}")) for number in range(RACES)]
    barrier = FORK.Barrier(2, timeout=20)
    gates = [FORK.Process(target=_race, args=(world, bundles, barrier)) for _ in range(2)]
    for gate in gates:
        gate.start()
    for gate in gates:
        gate.join()
    assert [gate.exitcode for gate in gates] == [0, 0]
    assert [lines(tmp_path / f"runs-{number}") for number in range(RACES)] == [1] * RACES
