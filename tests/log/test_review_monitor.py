"""What a hostile log, gate or terminal tries on a monitor: to crash it, to silence it, to make it lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from monitor_world import LogWorld, Monitor, gate_key, log_answer, log_record, names, use_record

from placet.adapters.log_calls import LogUnavailableError
from placet.adapters.log_client import LogClient
from placet.adapters.sqlite.audit import AuditStateError, AuditStore
from placet.cli._audit_report import _build
from placet.core.bundle import LogProof, encode_bundle, parse_bundle
from placet.core.encoding import sha256_hex
from placet.core.report import encode_report, parse_report
from placet.core.tlog.records import MAX_RECORD_BYTES
from placet.log import monitor as monitor_module
from placet.log import monitor_evidence, monitor_source
from placet.log.monitor import Audit, Settings, WatchedLog
from placet.log.monitor_compare import read_others
from placet.log.monitor_report import report_to_object
from placet.log.monitor_source import FolderLog, ServedLog
from placet.log.monitor_telling import Recipient
from placet.testing.scripted_log import TOKEN, ScriptedLog
from placet.testing.world import ALICE, BOB

DAY = 86_400
OPERATORS = Recipient("operators", "on call", 1, "json://nowhere")


@pytest.fixture
def monitor(monitor: Monitor) -> Monitor:
    monitor.recipients = (OPERATORS,)
    return monitor


def run(monitor: Monitor, log: ScriptedLog) -> list[str]:
    with log.served() as url:
        return names(monitor.run(url))


def lines(monitor: Monitor) -> str:
    with monitor.store() as store:
        return "\n".join(line for _, line, _ in store.messages_for(OPERATORS.key))


def reported_use(monitor: Monitor) -> dict[str, object]:
    """Returns what a report says of the newest use."""
    with monitor.store() as store:
        report = _build(store, 0, 2**40, monitor.now, "")
    found: dict[str, object] = report_to_object(report)["uses"][-1]
    return found


@pytest.mark.parametrize("payload", [b"{}", b"no report"])
def test_a_report_that_is_none_stops_no_audit(
    world: LogWorld, log: ScriptedLog, monitor: Monitor, payload: bytes
) -> None:
    answer = world.approve(world.request_deploy(), ALICE)
    log_answer(log, answer._replace(report=answer.report._replace(payload=payload)))
    log_record(log, use_record("ab" * 32, (), at=world.now + 90))
    assert run(monitor, log) == ["record-forged", "use-without-approval"]


def test_the_words_of_a_record_are_no_links_for_operators(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    answer = world.approve(world.request_deploy(), ALICE)
    for evil in ("https://evil.example", 'x" https://evil.example', 'x" "https://evil.example'):
        report = parse_report(answer.report.payload)._replace(terminal_id=evil)
        log_answer(log, answer._replace(report=answer.report._replace(payload=encode_report(report))))
        log_record(log, use_record("ab" * 32, (), at=world.now + 90, gate=evil, key=gate_key("nobody")))
    run(monitor, log)
    told = lines(monitor)
    assert "USE-WITHOUT" in told.upper() and "://" not in told and "evil.example" not in told, told


def test_a_log_that_never_shows_records_silences_nobody(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    log_record(log, use_record("ab" * 32, (), at=world.now + 90))
    log.shown["v1/records"] = b"<html>"
    assert run(monitor, log) == []  # it may be mended in a moment
    monitor.now += 3600
    assert run(monitor, log) == ["use-without-approval"]


def test_a_witness_from_the_future_makes_nobody_wait(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    log.now += 10**9
    log_record(log, use_record("ab" * 32, (), at=world.now + 90))
    log.shown["v1/records"] = b"<html>"
    assert "use-without-approval" in run(monitor, log)


@pytest.mark.parametrize("size", [2, 3])
def test_a_fork_is_named_though_its_entries_are_held_back(
    log: ScriptedLog, monitor: Monitor, size: int
) -> None:
    for number in range(3):
        log.add(b"%d" % number)
    run(monitor, log)
    other = log.fork(keep=1)
    for number in range(1, size):
        other.add(b"other %d" % number)
        other.shown[f"tile/entries/000.p/{number + 1}"] = None
    assert "fork" in run(monitor, other)
    # Nor does it help to show it elsewhere only.
    with log.served() as url, other.served() as elsewhere:
        found = monitor.run(url, against=[ServedLog(LogClient(elsewhere, tries=1))])
    assert names(found)[0] == "split-view" and not found.unchecked


def test_a_log_that_drips_is_given_up_and_people_are_told(
    world: LogWorld, log: ScriptedLog, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_record(log, use_record("ab" * 32, (), at=world.now + 90))
    monkeypatch.setattr(monitor_source, "MAX_SECONDS", -1.0)
    with log.served() as url:
        (unchecked,) = monitor.run(url).unchecked
    assert "takes longer" in str(unchecked.error) and log.asked == []


def test_huge_entries_do_not_fill_the_disk(
    log: ScriptedLog, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_source, "MAX_NEW_BYTES", 300_000)
    for _ in range(5):
        log.add(b"x" * 0xFFFF)
    with log.served() as url:
        (unchecked,) = monitor.run(url).unchecked
    assert "too large" in str(unchecked.error)
    with monitor.store() as store:
        assert store.list_followed() == () and store.leaf("log.example", 0) is None


def test_a_bundle_with_a_proof_of_a_strange_log_stops_no_audit(world: LogWorld, log: ScriptedLog) -> None:
    bundle = parse_bundle(world.bundle(world.request_deploy(), ALICE, BOB))
    strange = ScriptedLog("strange.example")
    proofs = []
    for one, signature in zip((strange, log), bundle.envelope.signatures, strict=True):
        one.add(b"leaf")
        proofs.append(LogProof(sha256_hex(signature.sig), one.prove(0)))
    content = encode_bundle(bundle._replace(log=tuple(proofs)))
    (found,) = read_others("a bundle", content, log.policy())
    assert found.origin == "log.example"


def test_a_use_by_approvals_that_nobody_enrolled_made_is_not_shown_as_approved(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    """Who has a gate's key and the log's makes up people, too: they must not look like enrolled ones."""
    stranger = LogWorld(seed=b"elsewhere")
    request = stranger.request_deploy()
    approval = log_answer(log, stranger.approve(request, ALICE))
    log_record(log, use_record(request.id, (approval,), at=world.now + 90))
    assert run(monitor, log) == ["key-unknown", "quorum-not-logged"]
    assert reported_use(monitor)["approvalsVerified"] is False


def test_a_report_names_nobody_who_denied_as_one_who_approved(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    request = world.request_deploy()
    denial = log_answer(log, world.deny(request, ALICE))
    with log.served() as url:
        monitor.run(url)
    with monitor.store() as store:
        payload = store.find_leaves(bytes.fromhex(denial))[0].event["payload"]
    log_record(log, use_record(payload, (denial,), at=world.now + 90))
    assert "use-without-approval" in run(monitor, log)
    assert reported_use(monitor)["approvedBy"] == []


def test_a_use_that_a_log_shows_twice_accuses_no_gate(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    request = world.request_deploy()
    approvals = [log_answer(log, world.approve(request, person)) for person in (ALICE, BOB)]
    use = use_record(request.id, approvals, at=world.now + 90)
    for _ in range(3):
        log_record(log, use)
    assert run(monitor, log) == []


def test_a_record_larger_than_any_is_not_kept(
    world: LogWorld, log: ScriptedLog, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    put = AuditStore.put_records

    def note(store: AuditStore, origin: str, records: list[tuple[int, bytes]]) -> None:
        kept.extend(len(record) for _, record in records)
        put(store, origin, records)

    monkeypatch.setattr(AuditStore, "put_records", note)
    log_answer(log, world.approve(world.request_deploy(), ALICE))
    log.records[0] = b"x" * (MAX_RECORD_BYTES + 1)
    assert run(monitor, log) == ["record-mismatch"] and kept == [0]


def test_records_without_end_are_given_up(
    world: LogWorld, log: ScriptedLog, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_module, "MAX_NEW_BYTES", 1000)
    log_answer(log, world.approve(world.request_deploy(), ALICE))
    with log.served() as url:
        (unchecked,) = monitor.run(url).unchecked
    assert "too many" in str(unchecked.error)


def test_nobody_waits_at_a_pipe_in_a_copy_of_a_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises(LogUnavailableError, match="no file"):
        FolderLog(tmp_path).fetch_checkpoint()


def test_the_evidence_of_a_log_that_forks_at_each_audit_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_evidence, "MAX_KEPT", 3)
    for number in range(9):
        place = monitor_evidence.keep_evidence(tmp_path, "log.example", b"%d" % number)
    assert len(list(place.iterdir())) == 3


@pytest.mark.parametrize("name", [".", "audit.sqlite"])
def test_a_memory_that_others_can_replace_is_refused(tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    AuditStore(state / "audit.sqlite").close()
    (state / name).chmod(0o777)
    with pytest.raises(AuditStateError, match="other users"):
        AuditStore(state / "audit.sqlite")


def test_a_log_that_stays_away_hides_no_use_in_another_one(
    tmp_path: Path, world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    away = ScriptedLog("away.example", now=log.now)
    away.shown["checkpoint"] = None
    log_record(log, use_record("ab" * 32, (), at=world.now + 90))
    policy = log.policy("none")._replace(logs=(*log.policy().logs, *away.policy().logs))
    for later, expected in ((0, []), (DAY - 200, []), (DAY, ["use-without-approval"])):
        settings = Settings(policy, world.trust(), tmp_path / "none", (), monitor.now + later)
        with log.served() as one, away.served() as other, monitor.store() as store:
            watched = [
                WatchedLog(origin, ServedLog(LogClient(url, tries=1), TOKEN), True)
                for origin, url in (("log.example", one), ("away.example", other))
            ]
            assert names(Audit(store, settings).run(watched)) == expected
