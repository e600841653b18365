"""What the monitor's tests share: a world, a log that signs what it is told to, and who follows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor_world import LogWorld, Monitor

from placet.testing.scripted_log import ScriptedLog


@pytest.fixture
def world() -> LogWorld:
    return LogWorld()


@pytest.fixture
def log(world: LogWorld) -> ScriptedLog:
    return ScriptedLog(now=world.now + 100)


@pytest.fixture
def monitor(tmp_path: Path, world: LogWorld, log: ScriptedLog) -> Monitor:
    return Monitor(tmp_path, log.policy(), world.trust(), now=world.now + 200)
