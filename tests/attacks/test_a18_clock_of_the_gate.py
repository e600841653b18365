"""A18: somebody moves the gate's clock, so that what has expired is valid again.

The gate has two floors that never go back: the ledger's (the latest use) and the trust record's (the latest
refresh).  Signed time would say more, and comes with the log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gates"))
sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from command_world import GATE, CommandWorld
from tuf_trust_world import ANNA, BEN, DAY, TrustWorld

from placet.adapters.system_clock import SystemClock
from placet.adapters.tuf import refresh as tuf_refresh
from placet.cli import main
from placet.core.errors import IndeterminateError, Reason
from placet.core.trust import compile_trust

HOUR = 3600


class Gate:
    """A command gate whose clock a test moves."""

    def __init__(self, world: CommandWorld, capfd: pytest.CaptureFixture[str]) -> None:
        self.world, self.capfd, self.now = world, capfd, world.now

    def run(self, bundle: bytes) -> tuple[int, str, str]:
        """Returns the exit code, what the command printed, and what placet said."""
        self.capfd.readouterr()
        arguments = ["--trust", str(self.world.trust_path), "--gate", GATE]
        arguments += ["--ledger", str(self.world.ledger_path), "--inputs", str(self.world.inputs)]
        code = main(["run", "--intent", str(self.world.save(bundle)), *arguments])
        said = self.capfd.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Gate:
    world = CommandWorld(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(world.state))
    made = Gate(world, capfd)
    monkeypatch.setattr(SystemClock, "now", lambda _: made.now)
    return made


def test_a18_an_expired_approval_is_not_revived_by_setting_the_clock_back(gate: Gate) -> None:
    """It expired unused; the attacker sets the clock to when it was valid."""
    stale = gate.world.approve("echo", "stale", expires_at=gate.now + HOUR)
    gate.now += 2 * HOUR
    assert "expired" in gate.run(stale)[2]
    fresh = gate.world.approve(
        "echo", "fresh", issued_at=gate.world.now - 10, expires_at=gate.world.now + 3 * HOUR
    )
    assert gate.run(fresh)[:2] == (0, "fresh\n")
    gate.now -= 2 * HOUR
    code, out, said = gate.run(stale)
    assert (code, out) == (125, "")
    assert "time-unproven" in said
    assert "its ledger has already seen" in said
    assert "reborn --clock-was-wrong" in said


def test_a18_before_the_ledger_s_birth(gate: Gate) -> None:
    gate.now -= DAY
    bundle = gate.world.approve("echo", "x", issued_at=gate.now - 5, expires_at=gate.now + HOUR)
    code, out, said = gate.run(bundle)
    assert (code, out) == (125, "")
    assert "time-unproven" in said or "decided-outside-window" in said


def test_a18_a_step_of_seconds_is_no_attack(gate: Gate) -> None:
    """Clocks are corrected all the time."""
    assert gate.run(gate.world.approve("echo", "one"))[0] == 0
    gate.now -= 4
    assert gate.run(gate.world.approve("echo", "two"))[:2] == (0, "two\n")


def test_a18_the_floor_survives_the_process(gate: Gate) -> None:
    gate.now += HOUR // 2
    assert gate.run(gate.world.approve("echo", "one"))[0] == 0
    with gate.world.open_ledger() as ledger:
        assert ledger.list_latest(1)[0].used_at == gate.now
    gate.now -= 120
    for _ in range(2):
        assert "time-unproven" in gate.run(gate.world.approve("echo", "two"))[2]


def test_a18_a_clock_that_runs_ahead_denies_and_leaves_no_trace(gate: Gate) -> None:
    bundle = gate.world.approve("echo", "approved")
    for ahead, reason in ((2 * HOUR, "expired"), (2 * 365 * DAY, "trust-expired")):
        gate.now = gate.world.now + ahead
        code, out, said = gate.run(bundle)
        assert (code, out) == (125, "")
        assert f"Reason    {reason}" in said
    gate.now = gate.world.now
    assert gate.run(bundle)[:2] == (0, "approved\n")


def test_a18_an_approval_from_the_future(gate: Gate) -> None:
    """The gate's clock is behind the requester's by more than the request is old."""
    gate.now -= 60
    code, _, said = gate.run(gate.world.approve("echo"))
    assert code == 125
    assert "issued-in-future" in said
    assert "clock" in said


def test_a18_an_expired_snapshot_is_not_revived_by_setting_the_clock_back(gate: Gate) -> None:
    world = gate.world
    short = compile_trust(
        files=world._trust_files(), versions=dict(world.trust.versions), expires_at=gate.now + HOUR
    )
    world.trust_path.write_bytes(short)
    assert gate.run(world.approve("echo", "before"))[0] == 0
    gate.now += HOUR - 1
    assert gate.run(world.approve("echo", "at the end", expires_at=gate.now + HOUR))[0] == 0
    gate.now += 10
    later = world.approve("echo", "after", expires_at=gate.now + HOUR)
    assert "trust-expired" in gate.run(later)[2]
    gate.now -= 10 + 60
    assert "time-unproven" in gate.run(later)[2]


# -- trust


class Follower:
    """A gate that refreshes trust by a clock that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.trust = TrustWorld(folder, now=1_800_000_000)
        self.now = self.trust.now
        self.root_sha256 = self.trust.publish(ANNA, BEN).root_sha256
        self.refresh()

    def refresh(self) -> int:
        return self.trust.refresh(root_sha256=self.root_sha256, now=self.now).expires_at

    def refused(self) -> IndeterminateError:
        before = self.trust.snapshot.read_bytes()
        with pytest.raises(IndeterminateError) as caught:
            self.refresh()
        assert self.trust.snapshot.read_bytes() == before
        return caught.value


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    return Follower(tmp_path)


def test_a18_frozen_trust_is_not_revived_by_setting_the_clock_back(follower: Follower) -> None:
    """The server is frozen, and what it shows has expired; at the old time it would be fresh."""
    follower.now += 6 * DAY
    follower.refresh()
    follower.now += 2 * DAY
    assert follower.refused().reason is Reason.TRUST_EXPIRED
    follower.now -= 5 * DAY
    error = follower.refused()
    assert error.reason is Reason.TIME_UNPROVEN
    assert "already" in str(error)
    assert "refreshed-at" in error.hint


def test_a18_a_step_of_minutes_does_not_stop_a_refresh(follower: Follower) -> None:
    follower.now -= 600
    follower.refresh()
    follower.now += 300
    follower.refresh()


def test_a18_trust_by_a_clock_that_runs_ahead(follower: Follower) -> None:
    """Nothing is accepted that is not valid then; and a refused refresh moves no floor."""
    follower.now += 400 * DAY
    assert follower.refused().reason is Reason.TRUST_EXPIRED
    follower.now -= 400 * DAY
    follower.refresh()


def test_a18_the_later_time_was_the_wrong_one(follower: Follower) -> None:
    """A clock that ran ahead for once is mended by hand, as the sentence says; nothing else is lost."""
    follower.now += 5 * DAY
    follower.refresh()
    follower.now -= 5 * DAY
    hint = follower.refused().hint
    (path,) = (word for word in hint.split() if word.endswith("refreshed-at"))
    Path(path).unlink()
    follower.refresh()


@pytest.mark.parametrize("content", [b"", b"soon", b"\xff" * 10, b"9" * 10_000])
def test_a18_a_damaged_floor_is_no_floor(follower: Follower, content: bytes) -> None:
    """Whoever can write there can write the snapshot itself."""
    (follower.trust.snapshot.with_suffix(".tuf") / "refreshed-at").write_bytes(content)
    follower.refresh()


def test_a18_the_real_command_says_it(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    follower.now -= DAY
    monkeypatch.setattr(tuf_refresh, "time", SimpleNamespace(time=lambda: follower.now))
    arguments = ["--from", str(follower.trust.public), "--to", str(follower.trust.snapshot)]
    assert main(["trust", "refresh", *arguments]) == 3
    said = capsys.readouterr().err
    assert "[time-unproven]" in said
    assert "Correct the clock" in said
