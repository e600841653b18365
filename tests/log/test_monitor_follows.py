"""A monitor follows a log, reads what stands in it, and holds what was done against what was allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor_world import (
    LogWorld,
    Monitor,
    gate_key,
    log_answer,
    log_record,
    names,
    use_record,
)

from placet.adapters.log_client import LogClient
from placet.adapters.sqlite.audit import NEW
from placet.core.bundle import encode_answer, parse_answer
from placet.core.tlog.leaf import encode_leaf
from placet.core.tlog.records import leaf_of_record
from placet.log.monitor import Audit, Settings, WatchedLog
from placet.log.monitor_events import Event
from placet.log.monitor_source import ServedLog
from placet.testing.scripted_log import TOKEN, ScriptedLog
from placet.testing.world import ALICE, BOB, CAROL

HOUR, DAY = 3600, 86_400
BREAK_GLASS = """
[[rule]]
action = "https://placet.dev/actions/deploy/v1"
target = "k8s://**"
level = 1
quorum = { threshold = 1, of = [
  { threshold = 2, of = ["group:release"] },
  { threshold = 1, of = ["group:incident"] },
] }
exclude_requester = false
max_window = "1h"
"""


def run(monitor: Monitor, log: ScriptedLog, **more: object) -> list[str]:
    with log.served() as url:
        audited = monitor.run(url, **more)  # type: ignore[arg-type]
    assert not audited.unchecked, audited.unchecked
    return names(audited)


def approved(world: LogWorld, log: ScriptedLog, **more: object) -> tuple[str, list[str]]:
    """Logs a request's two approvals; returns its digest and their leaf hashes."""
    request = world.request_deploy(**more)  # type: ignore[arg-type]
    return request.id, [log_answer(log, world.approve(request, person)) for person in (ALICE, BOB)]


def test_all_is_well_where_every_use_was_approved(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals, at=world.now + 90))
    with log.served() as url:
        audited = monitor.run(url)
        assert audited.news == () and audited.unchecked == ()
        assert audited.logs[0].new_entries == 3 and audited.logs[0].holds
        log.asked.clear()
        assert monitor.run(url).logs[0].new_entries == 0
        assert log.asked == ["checkpoint"]
    with monitor.store() as store:
        leaf = store.leaf("log.example", 0)
        assert leaf is not None
        event = Event.from_object(leaf.event)
    assert (event.person, event.terminal, event.seconds_on_screen) == (ALICE, "t1", 12)
    assert event.verified and event.at == world.now + 60 and event.seen_at == log.now


def test_a_log_is_followed_over_many_tiles(tmp_path: Path) -> None:
    log = ScriptedLog()
    monitor = Monitor(tmp_path, log.policy(), now=log.now)
    for count in (1, 255, 256, 257, 700):
        log.leaves = [b"%d" % i for i in range(count)]
        log.publish()
        with log.served() as url:
            audited = monitor.run(url, records=False)
        assert audited.logs[0].holds and audited.logs[0].tree_size == count
    with log.served() as url:
        assert monitor.run(url, records=False, full=True).logs[0].holds


def test_a_partial_bundle_that_is_gone_is_taken_from_the_full_one(tmp_path: Path) -> None:
    log = ScriptedLog()
    log.leaves = [b"%d" % i for i in range(256)]
    log.publish(size=200)
    log.shown["tile/entries/000.p/200"] = None
    with log.served() as url:
        audited = Monitor(tmp_path, log.policy(), now=log.now).run(url, records=False)
    assert audited.logs[0].tree_size == 200 and audited.logs[0].holds


@pytest.mark.parametrize("named", [["ab" * 32], []])
def test_a_use_without_an_approval_is_an_alarm(
    world: LogWorld, log: ScriptedLog, monitor: Monitor, named: list[str]
) -> None:
    payload, _ = approved(world, log)
    log_record(log, use_record(payload, named, at=world.now + 90))
    assert run(monitor, log) == ["use-without-approval"]
    # It stays open until a person settles it, and is told once.
    assert run(monitor, log) == []
    assert monitor.open_findings() == ["use-without-approval"]


def test_a_use_without_an_approval_is_seen_without_any_record(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals, at=world.now + 90))
    log_record(log, use_record(payload, ["cd" * 32], at=world.now + 91, number=1))
    monitor.trust = None
    assert run(monitor, log, records=False) == ["use-without-approval"]


def test_a_use_that_names_a_denial_is_an_alarm(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    request = world.request_deploy()
    denial = log_answer(log, world.deny(request, ALICE))
    log_record(log, use_record(request.id, [denial], at=world.now + 90))
    assert run(monitor, log) == ["denied", "use-without-approval"]
    # A denial is no trouble: it is told, and nobody must settle it.
    with monitor.store() as store:
        (still_open,) = store.list_findings()
    assert still_open.name == "use-without-approval" and "names a denial" in still_open.message


def test_a_use_that_names_the_approval_of_something_else_is_an_alarm(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    _, approvals = approved(world, log)
    log_record(log, use_record("ab" * 32, approvals, at=world.now + 90))
    assert run(monitor, log) == ["use-without-approval"] * 1


def test_a_use_is_no_approval_of_another(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    payload, approvals = approved(world, log, max_uses=2)
    first = log_record(log, use_record(payload, approvals, at=world.now + 90))
    log_record(log, use_record(payload, [first], at=world.now + 91, number=1))
    assert run(monitor, log) == ["use-without-approval"]


def test_a_use_at_another_gate_is_an_alarm(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals, at=world.now + 90, gate="prod-us"))
    assert run(monitor, log) == ["use-without-approval"]


def test_a_use_logged_before_its_approval_is_an_alarm(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    request = world.request_deploy()
    answer = world.approve(request, ALICE)
    scratch = ScriptedLog()
    leaf = log_answer(scratch, answer)
    log_record(log, use_record(request.id, [leaf], at=world.now + 90))
    log_answer(log, answer)
    assert "use-without-approval" in run(monitor, log)


def test_one_use_too_many_is_an_alarm(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    payload, approvals = approved(world, log, max_uses=2)
    for number in range(2):
        log_record(log, use_record(payload, approvals, at=world.now + 90, number=number))
    assert run(monitor, log) == []
    log_record(log, use_record(payload, approvals, at=world.now + 90, number=3))
    assert run(monitor, log) == ["used-too-often"]


def test_a_use_outside_its_window_is_an_alarm(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals, at=world.now + 2 * HOUR))
    assert run(monitor, log) == ["used-outside-window"]


def test_too_few_people_for_the_rule_are_a_warning(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals[:1], at=world.now + 90))
    assert run(monitor, log) == ["quorum-not-logged"]


def test_break_glass_is_loud(tmp_path: Path) -> None:
    world = LogWorld(policy=BREAK_GLASS)
    world.groups[CAROL] = ["incident"]
    log = ScriptedLog(now=world.now + 100)
    monitor = Monitor(tmp_path, log.policy(), world.trust(), now=world.now + 200)
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals, at=world.now + 90))
    assert run(monitor, log) == []
    request = world.request_deploy(image=b"emergency")
    approval = log_answer(log, world.approve(request, CAROL))
    log_record(log, use_record(request.id, [approval], at=world.now + 91, number=1))
    assert run(monitor, log) == ["break-glass"]


def test_an_approval_that_nobody_used_is_told_after_a_day(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    payload, approvals = approved(world, log)
    assert run(monitor, log) == []
    monitor.now = world.now + HOUR + DAY + 1
    assert run(monitor, log) == ["approval-never-used"] * 2
    assert run(monitor, log) == [] and monitor.open_findings() == []
    # A use that was queued for long is none the worse for it.
    log_record(log, use_record(payload, approvals, at=world.now + 90))
    assert run(monitor, log) == []


def test_a_record_that_is_not_the_leafs_is_an_alarm(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    approved(world, log)
    log.records[0], log.records[1] = log.records[1], log.records[0]
    assert run(monitor, log) == ["record-mismatch"] * 2
    # It is asked for again: the right one is taken then.
    log.records[0], log.records[1] = log.records[1], log.records[0]
    assert run(monitor, log) == []
    with monitor.store() as store:
        assert store.first_without_record("log.example", 0) is None


def test_a_record_without_its_signature_is_an_alarm(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    """The leaf is a function of the record, so a forged record has a leaf that fits."""
    request = world.request_deploy()
    good = parse_answer(encode_answer(world.approve(request, ALICE)))
    other = world.approve(world.request_deploy(image=b"other"), ALICE)
    stolen = good._replace(envelope=good.envelope._replace(signatures=other.envelope.signatures))
    record = encode_answer(stolen)
    log.add(encode_leaf(leaf_of_record(record)), record)
    assert run(monitor, log) == ["record-forged"]


def test_a_key_that_nobody_has_is_a_warning(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    stranger = LogWorld(seed=b"elsewhere")
    request = stranger.request_deploy()
    log_answer(log, stranger.approve(request, ALICE))
    assert run(monitor, log) == ["key-unknown"]


def test_a_key_that_was_revoked_since_is_a_warning(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    log_answer(log, world.approve(world.request_deploy(), ALICE))
    del world.keys[ALICE]
    monitor.trust = world.trust()
    assert run(monitor, log) == ["key-unknown"]


def test_a_use_in_a_gates_name_by_another_key_is_seen(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    payload, approvals = approved(world, log)
    log_record(log, use_record(payload, approvals, at=world.now + 90, key=gate_key("nobody")))
    assert run(monitor, log) == ["key-unknown"]


def test_an_unknown_kind_and_a_missing_record_are_warnings(log: ScriptedLog, monitor: Monitor) -> None:
    log.add(b'{"kind":"of the future"}')
    log.add(b"\xff\x00 not even text")
    assert run(monitor, log) == ["record-missing", "leaf-unknown", "leaf-unknown"]


def test_records_that_come_later_are_read_then(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    payload, approvals = approved(world, log)
    kept = log.records.pop(1)
    assert run(monitor, log) == ["record-missing"]
    log.records[1] = kept
    log_record(log, use_record(payload, approvals, at=world.now + 90))
    assert run(monitor, log) == []
    assert monitor.open_findings() == []


def test_a_log_that_cannot_be_read_is_unchecked_and_not_well(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    approved(world, log)
    log.shown["v1/records"] = b"<html>"
    with log.served() as url:
        audited = monitor.run(url)
        assert [str(item.error.reason) for item in audited.unchecked] == ["log-unavailable"]
        # Nothing was read yet, and nobody told half of it; with the records it is.
        with monitor.store() as store:
            assert len(store.leaves_in("log.example", NEW)) == 2
        del log.shown["v1/records"]
        assert monitor.run(url).unchecked == ()
    audited = monitor.run(url)
    assert [str(item.error.reason) for item in audited.unchecked] == ["log-unavailable"]


def test_uses_wait_while_the_log_with_their_approvals_is_away(
    tmp_path: Path, world: LogWorld, log: ScriptedLog
) -> None:
    other = ScriptedLog("other.example", now=log.now)
    payload, approvals = approved(world, log)
    log_record(other, use_record(payload, approvals, at=world.now + 90))
    policy = log.policy("none")._replace(logs=(*log.policy().logs, *other.policy().logs))
    monitor = Monitor(tmp_path, policy, world.trust(), now=world.now + 200)
    settings = Settings(policy, world.trust(), tmp_path / "none.json", (), monitor.now)

    def audit(*urls: tuple[str, str]) -> list[str]:
        logs = [WatchedLog(o, ServedLog(LogClient(u, tries=1), TOKEN), True) for o, u in urls]
        with monitor.store() as store:
            return names(Audit(store, settings).run(logs))

    with other.served() as there:
        assert audit(("other.example", there), ("log.example", "http://127.0.0.1:9")) == []
        with log.served() as here:
            assert audit(("other.example", there), ("log.example", here)) == []
    assert monitor.open_findings() == []
