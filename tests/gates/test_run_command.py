"""`placet run` and `placet ledger` as real processes."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_world import SHELL, CommandWorld, payload_of

from placet.core.encoding import sha256_hex

PLACET = [sys.executable, "-c", "import sys; from placet.cli import main; sys.exit(main())"]
PATHS = {"PATH": "/usr/bin:/bin"}
KILLS = 36
TIMEOUT = 60


@pytest.fixture
def world(tmp_path: Path) -> CommandWorld:
    return CommandWorld(tmp_path)


def command_line(world: CommandWorld, bundle: bytes, *more: str) -> list[str]:
    intent = str(world.save(bundle))
    options = [
        "--intent",
        intent,
        "--trust",
        str(world.trust_path),
        "--gate",
        "prod",
        "--inputs",
        str(world.inputs),
    ]
    return [*PLACET, "run", *options, *more]


def environment(world: CommandWorld) -> dict[str, str]:
    return os.environ | {"XDG_STATE_HOME": str(world.state)}


def call(world: CommandWorld, line: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        line, env=environment(world), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def placet_run(world: CommandWorld, bundle: bytes, *more: str) -> subprocess.CompletedProcess[str]:
    return call(world, command_line(world, bundle, *more))


def ledger_command(world: CommandWorld, *line: str) -> subprocess.CompletedProcess[str]:
    return call(world, [*PLACET, "ledger", *line])


def refused(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Returns the verdict on the first line, and the reason's name if there is one."""
    first, *rest = done.stderr.splitlines()
    verdict, _, sentence = first.partition(": ")
    assert sentence.endswith(".") or " (at /" in sentence
    return verdict, next((line.split()[1] for line in rest if line.startswith("  Reason ")), "")


def shell(world: CommandWorld, script: str, **more: object) -> bytes:
    return world.approve("sh", "-c", script, program=SHELL, environment=PATHS, **more)  # type: ignore[arg-type]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_output_and_exit_code_are_the_commands(world: CommandWorld) -> None:
    done = placet_run(world, shell(world, "echo out; echo err >&2; exit 9"))
    assert (done.returncode, done.stdout, done.stderr) == (9, "out\n", "err\n")


def test_a5_nothing_can_be_piped_into_the_approved_command(world: CommandWorld) -> None:
    line = command_line(world, world.approve("cat"))
    done = subprocess.run(
        line, env=environment(world), input=b"rm -rf /", capture_output=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_very_command_may_be_repeated(world: CommandWorld) -> None:
    bundle = world.approve("echo", "--", "--dry-run", "-n")
    assert placet_run(world, bundle, "--", "echo", "--", "--dry-run", "-n").stdout == "-- --dry-run -n\n"


def test_a5_another_command_is_denied(world: CommandWorld) -> None:
    bundle = world.approve("echo", "approved")
    done = placet_run(world, bundle, "--", "echo", "approved", "and more")
    assert (done.returncode, done.stdout) == (125, "")
    assert refused(done) == ("DENIED", "parameters-mismatch")
    assert world.approval_count(bundle) == 0


def test_a5_another_target_is_denied(world: CommandWorld) -> None:
    done = placet_run(world, world.approve("echo"), "--target", "host://other")
    assert done.returncode == 125
    assert refused(done) == ("DENIED", "target-mismatch")


def test_a8_second_run_is_denied(world: CommandWorld) -> None:
    bundle = world.approve("echo", "once")
    assert placet_run(world, bundle).stdout == "once\n"
    done = placet_run(world, bundle)
    assert (done.returncode, done.stdout) == (125, "")
    assert refused(done) == ("DENIED", "already-used")
    assert "already used on 20" in done.stderr
    assert "exit code 0" in done.stderr


def test_a8_second_host_with_the_same_gate_id_is_undecided(tmp_path: Path) -> None:
    world = CommandWorld(tmp_path, pin_ledger=True)
    bundle = world.approve("echo", "once")
    other = tmp_path / "other.sqlite3"
    assert ledger_command(world, "create", "--ledger", str(other)).returncode == 0
    done = placet_run(world, bundle, "--ledger", str(other))
    assert (done.returncode, done.stdout) == (125, "")
    assert refused(done) == ("UNDECIDED", "ledger-restored")
    assert placet_run(world, bundle).stdout == "once\n"


def test_dry_run_uses_nothing(world: CommandWorld) -> None:
    bundle = world.approve("echo", "once")
    done = placet_run(world, bundle, "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("ALLOWED (dry run, nothing was used or executed): Run for host://")
    assert "alice@example.com" in done.stderr
    assert world.approval_count(bundle) == 0


def test_repeated_event_gets_the_recorded_exit_code(world: CommandWorld) -> None:
    bundle = shell(world, "echo ran; exit 4")
    first, second = (placet_run(world, bundle, "--event-id", "e1") for _ in range(2))
    assert (first.returncode, first.stdout) == (4, "ran\n")
    assert (second.returncode, second.stdout) == (4, "")
    assert "Nothing was executed again" in second.stderr


def test_event_id_that_no_ledger_can_keep_is_refused(world: CommandWorld) -> None:
    bundle = shell(world, "echo ran")
    done = placet_run(world, bundle, "--event-id", "e\udcff")
    assert (done.returncode, done.stdout) == (125, "")
    assert "An event ID has printable ASCII characters only." in done.stderr
    assert world.approval_count(bundle) == 0


def test_tampered_input_is_denied_with_both_digests(world: CommandWorld) -> None:
    bundle = world.approve("cat", "app.whl", inputs={"app.whl": b"approved"})
    world.add_input("app.whl", b"tampered")
    done = placet_run(world, bundle)
    assert done.returncode == 125
    assert refused(done) == ("DENIED", "artifact-mismatch")
    assert done.stderr.count("sha256:") == 2


def test_what_is_missing_is_undecided_in_a_clear_sentence(world: CommandWorld, tmp_path: Path) -> None:
    bundle = world.approve("echo")
    missing = str(tmp_path / "missing")
    for options, verdict in (
        (["--trust", missing], ("UNDECIDED", "trust-unavailable")),
        (["--ledger", missing], ("UNDECIDED", "ledger-unavailable")),
        (["--intent", missing], ("UNDECIDED", "")),
        (["--gate", "nowhere"], ("UNDECIDED", "")),
    ):
        done = placet_run(world, bundle, *options)
        assert (done.returncode, done.stdout) == (125, "")
        assert refused(done) == verdict
    assert world.approval_count(bundle) == 0


def test_damaged_bundle_is_denied(world: CommandWorld) -> None:
    bundle = bytearray(world.approve("echo"))
    bundle[len(bundle) // 2] ^= 1
    done = placet_run(world, bytes(bundle))
    assert done.returncode == 125
    assert refused(done)[0] == "DENIED"


def test_signal_is_forwarded_to_the_command(world: CommandWorld, tmp_path: Path) -> None:
    started = tmp_path / "started"
    bundle = shell(world, f"trap 'exit 42' TERM; touch {started}; while :; do sleep 0.01; done")
    with subprocess.Popen(command_line(world, bundle), env=environment(world)) as gate:
        while not started.exists():
            time.sleep(0.01)
        gate.send_signal(signal.SIGTERM)
        assert gate.wait(TIMEOUT) == 42
    assert '"exitCode": 42' in ledger_command(world, "show", "--json").stdout


@pytest.mark.parametrize(("typed", "status", "shown"), [(b"hello\n", 0, b"got hello"), (b"\x03", 130, b"")])
def test_command_can_use_the_terminal(world: CommandWorld, typed: bytes, status: int, shown: bytes) -> None:
    bundle = shell(world, "echo ready; read word </dev/tty && echo got $word")
    line = command_line(world, bundle)
    gate, terminal = pty.fork()
    if gate == 0:
        os.execve(line[0], line, environment(world))
    seen = b""
    sent = False
    while True:
        if not select.select([terminal], [], [], TIMEOUT)[0]:
            os.kill(gate, signal.SIGKILL)
            break
        chunk = _read_terminal(terminal)
        if not chunk:
            break
        seen += chunk
        if b"ready" in seen and not sent:
            sent = os.write(terminal, typed) > 0
    done = os.waitpid(gate, 0)[1]
    os.close(terminal)
    assert os.waitstatus_to_exitcode(done) == status, seen
    assert shown in seen


def _read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # The terminal's other side is closed: the gate has ended.
        return b""


# A8 with whole processes


def test_a8_two_processes_racing_for_one_use_run_once(world: CommandWorld, tmp_path: Path) -> None:
    for number in range(8):
        marker = tmp_path / f"runs-{number}"
        line = command_line(world, shell(world, f"echo ran >> {marker}"))
        gates = [subprocess.Popen(line, env=environment(world), stderr=subprocess.DEVNULL) for _ in range(2)]
        assert sorted(gate.wait(TIMEOUT) for gate in gates) == [0, 125]
        assert lines(marker) == 1


def test_a8_killed_at_random_times_never_runs_twice(world: CommandWorld, tmp_path: Path) -> None:
    begin = time.monotonic()
    assert placet_run(world, shell(world, "true")).returncode == 0
    usual = time.monotonic() - begin
    chance = random.Random(8)
    killed_after_use = 0
    for number in range(KILLS):
        marker = tmp_path / f"runs-{number}"
        bundle = shell(world, f"echo ran >> {marker}; sleep 0.02")
        with subprocess.Popen(command_line(world, bundle), env=environment(world)) as gate:
            time.sleep(usual * chance.uniform(0.5, 1.2))
            gate.kill()
        again = placet_run(world, bundle)
        time.sleep(0.05)
        if again.returncode == 0:
            assert lines(marker) == 1
        else:
            assert refused(again) == ("DENIED", "already-used")
            assert lines(marker) <= 1
            killed_after_use += 1
        assert world.approval_count(bundle) == 1
    # The rounds prove nothing unless they hit both sides of the use.
    assert 0 < killed_after_use < KILLS


# placet ledger


def test_show_lists_unknown_outcomes(world: CommandWorld, tmp_path: Path) -> None:
    started = tmp_path / "started"
    bundle = shell(world, f"touch {started}; sleep 30")
    with subprocess.Popen(command_line(world, bundle), env=environment(world)) as gate:
        while not started.exists():
            time.sleep(0.01)
        gate.kill()
    shown = ledger_command(world, "show", "--unknown")
    assert shown.returncode == 0
    assert sha256_hex(payload_of(bundle)) in shown.stdout
    assert "OUTCOME UNKNOWN" in shown.stdout
    value = json.loads(ledger_command(world, "show", "--json", sha256_hex(payload_of(bundle))).stdout)
    assert (value["unknownOutcomes"], value["uses"][0]["exitCode"], value["trouble"]) == (1, None, None)
    (group,) = world.folders.glob("run-*/process-group")
    os.killpg(int(group.read_text()), signal.SIGKILL)


def test_restored_ledger_is_undecided_until_reborn(world: CommandWorld, tmp_path: Path) -> None:
    bundle = world.approve("echo", "once")
    folder = world.ledger_path.parent
    shutil.copytree(folder, tmp_path / "backup")
    assert placet_run(world, bundle).returncode == 0
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)

    done = placet_run(world, bundle)
    assert (done.returncode, done.stdout) == (125, "")
    assert refused(done) == ("UNDECIDED", "ledger-restored")
    assert "placet ledger reborn" in done.stderr
    shown = ledger_command(world, "show")
    assert (shown.returncode, "ledger-restored" in shown.stderr) == (3, True)

    unconfirmed = subprocess.run(
        [*PLACET, "ledger", "reborn"],
        env=environment(world),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert unconfirmed.returncode == 2
    reborn = ledger_command(world, "reborn", "--yes")
    assert (reborn.returncode, "can no longer be used" in reborn.stderr) == (0, True)
    assert refused(placet_run(world, bundle)) == ("DENIED", "issued-before-ledger")
    assert ledger_command(world, "show").returncode == 0


def test_create_never_replaces_a_ledger(world: CommandWorld, tmp_path: Path) -> None:
    before = world.ledger_path.read_bytes()
    assert ledger_command(world, "create").returncode == 2
    assert world.ledger_path.read_bytes() == before
    made = ledger_command(world, "create", "--ledger", str(tmp_path / "new" / "ledger.sqlite3"))
    assert (made.returncode, "placet-ledger:" in made.stdout) == (0, True)
    assert ledger_command(world, "reborn", "--yes", "--ledger", str(tmp_path / "none")).returncode == 2
