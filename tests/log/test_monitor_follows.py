"""A monitor follows an honest log, and matches what was done with what was allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor_world import LogWorld, Monitor, gate_key, log_answer, log_record, names, use_record

from placet.testing.scripted_log import ScriptedLog
from placet.testing.world import ALICE, BOB

HOUR = 3600


@pytest.fixture
def world() -> LogWorld:
    return LogWorld()


@pytest.fixture
def log(world: LogWorld) -> ScriptedLog:
    return ScriptedLog(now=world.now + 100)


@pytest.fixture
def monitor(tmp_path: Path, world: LogWorld, log: ScriptedLog) -> Monitor:
    return Monitor(tmp_path, log.policy(), world.trust(), now=world.now + 200)


def test_all_is_well_where_every_use_was_approved(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    request = world.request_deploy()
    approvals = [log_answer(log, world.approve(request, person)) for person in (ALICE, BOB)]
    log_record(log, use_record(request.id, approvals, at=world.now + 90))
    with log.served() as url:
        audited = monitor.run(url)
        assert audited.news == () and audited.unchecked == ()
        assert audited.logs[0].new_entries == 3 and audited.logs[0].holds
        log.asked.clear()
        assert monitor.run(url).logs[0].new_entries == 0
        assert log.asked == ["checkpoint"]


def test_a_use_without_an_approval_is_an_alarm(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    request = world.request_deploy()
    log_record(log, use_record(request.id, ["ab" * 32], at=world.now + 90))
    log_record(log, use_record(request.id, [], at=world.now + 90, number=1))
    with log.served() as url:
        assert names(monitor.run(url)) == ["use-without-approval"] * 2
