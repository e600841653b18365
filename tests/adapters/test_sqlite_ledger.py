"""The SQLite ledger keeps the promises of `placet.ports.use_ledger`; A8 and A18 by name."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from placet.adapters import _ledger_file
from placet.adapters._ledger_place import stamp_path
from placet.adapters.sqlite_ledger import CLOCK_STEP_SECONDS, SqliteLedger, declare_new_birth
from placet.core.encoding import Digest, KeyId, format_time
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.ports.use_ledger import ApproverMark, Use, UseLedger

BORN = 1_800_000_000
NOW = BORN + 100
STATEMENT = Digest("a" * 64)
OTHER = Digest("b" * 64)
KEY = KeyId("c" * 64)
RACES = 40
FORK = multiprocessing.get_context("fork")


def a_use(payload: Digest = STATEMENT, **changes: object) -> Use:
    use = Use(payload_digest=payload, use_unit="action", max_uses=1, issued_at=BORN + 1, now=NOW)
    return use._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "gate" / "ledger.sqlite3"
    declare_new_birth(place, now=BORN)
    return place


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger(path) as opened:
        yield opened


def refusal(call: Callable[[], object]) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value


def consume_at(path: Path, use: Use) -> None:
    with SqliteLedger(path) as ledger:
        ledger.consume(use)


def test_it_is_a_use_ledger(ledger: SqliteLedger) -> None:
    port: UseLedger = ledger
    assert port.uses(STATEMENT) == ()


def test_a_use_is_consumed_and_shown_with_its_outcome(ledger: SqliteLedger) -> None:
    consumption = ledger.consume(a_use())

    assert (consumption.ordinal, consumption.used_at, consumption.repeated) == (1, NOW, False)
    assert [record.exit_code for record in ledger.list_unknown()] == [None]
    ledger.record_outcome(consumption, 3, now=NOW + 5)
    assert ledger.list_unknown() == ()
    (record,) = ledger.uses(STATEMENT)
    assert (record.exit_code, record.finished_at, record.used_at) == (3, NOW + 5, NOW)
    assert ledger.list_latest(10) == (record,)


def test_a8_replay_is_refused_and_says_when_and_how_it_ended(ledger: SqliteLedger) -> None:
    consumption = ledger.consume(a_use())
    unknown = refusal(lambda: ledger.consume(a_use()))
    ledger.record_outcome(consumption, 7, now=NOW)
    known = refusal(lambda: ledger.consume(a_use()))

    assert isinstance(known, PolicyError)
    assert unknown.reason == known.reason == Reason.ALREADY_USED
    assert format_time(NOW) in str(known)
    assert "exit code 7" in str(known)
    assert "outcome is not known" in str(unknown)


def test_a8_replay_after_the_process_ended_is_refused(path: Path) -> None:
    consume_at(path, a_use())
    assert refusal(lambda: consume_at(path, a_use())).reason == Reason.ALREADY_USED


def test_max_uses_counts_each_unit(ledger: SqliteLedger) -> None:
    assert [ledger.consume(a_use(max_uses=2)).ordinal for _ in range(2)] == [1, 2]
    assert refusal(lambda: ledger.consume(a_use(max_uses=2))).reason == Reason.ALREADY_USED
    assert ledger.consume(a_use(max_uses=2, use_unit="d" * 64)).ordinal == 1
    assert ledger.consume(a_use(OTHER)).ordinal == 1


def test_checking_consumes_nothing(ledger: SqliteLedger) -> None:
    ledger.check_available(a_use())
    assert ledger.uses(STATEMENT) == ()
    ledger.consume(a_use())
    assert refusal(lambda: ledger.check_available(a_use())).reason == Reason.ALREADY_USED


@pytest.mark.parametrize("issued_at", [BORN - 1, BORN])
def test_a8_statement_from_before_the_birth_is_refused(ledger: SqliteLedger, issued_at: int) -> None:
    error = refusal(lambda: ledger.consume(a_use(issued_at=issued_at)))
    assert (type(error), error.reason) == (PolicyError, Reason.ISSUED_BEFORE_LEDGER)


def test_repeated_event_gets_the_recorded_answer(ledger: SqliteLedger) -> None:
    first = ledger.consume(a_use(event_id="event-1"))
    running = ledger.consume(a_use(event_id="event-1"))
    ledger.record_outcome(first, 0, now=NOW)
    again = ledger.consume(a_use(event_id="event-1", now=NOW + 9))

    assert (running.repeated, running.exit_code) == (True, None)
    assert (again.repeated, again.exit_code, again.use_id, again.used_at) == (True, 0, first.use_id, NOW)
    assert len(ledger.uses(STATEMENT)) == 1
    assert refusal(lambda: ledger.consume(a_use(event_id="event-2"))).reason == Reason.ALREADY_USED


def test_one_event_cannot_use_two_approvals(ledger: SqliteLedger) -> None:
    ledger.consume(a_use(event_id="event-1"))
    error = refusal(lambda: ledger.consume(a_use(OTHER, event_id="event-1")))
    assert error.reason == Reason.ALREADY_USED
    assert ledger.uses(OTHER) == ()


def test_one_event_may_use_several_units(ledger: SqliteLedger) -> None:
    answers = [ledger.consume(a_use(event_id="event-1", use_unit=unit)) for unit in ("d" * 64, "e" * 64)]
    assert [answer.repeated for answer in answers] == [False, False]


@pytest.mark.parametrize(
    ("counter", "decided_at", "accepted"),
    [
        (10, NOW + 1, True),
        (11, NOW + 1, True),
        (9, NOW + 1, False),
        (0, NOW + 1, False),
        (9, NOW, True),
        (11, NOW, True),
        (10, NOW - 1, True),
        (9, NOW - 1, True),
        (11, NOW - 1, False),
    ],
)
def test_counter_must_not_go_back_in_the_order_of_decisions(
    ledger: SqliteLedger, counter: int, decided_at: int, accepted: bool
) -> None:
    ledger.consume(a_use(approvers=(ApproverMark(KEY, 10, NOW),)))
    use = a_use(OTHER, approvers=(ApproverMark(KEY, counter, decided_at),))
    if accepted:
        ledger.consume(use)
    else:
        error = refusal(lambda: ledger.consume(use))
        assert (type(error), error.reason) == (PolicyError, Reason.COUNTER_WENT_BACK)
        assert ledger.uses(OTHER) == ()


def test_counters_of_decisions_in_unknown_order_are_not_compared(ledger: SqliteLedger) -> None:
    ledger.consume(a_use(approvers=(ApproverMark(KEY, 10, NOW),)))
    ledger.consume(a_use(OTHER, approvers=(ApproverMark(KEY, 9, None),), issued_at=NOW - 5))
    later = a_use(Digest("d" * 64), issued_at=NOW + 1, now=NOW + 5)
    for counter in (8, 9):
        clone = later._replace(approvers=(ApproverMark(KEY, counter, None),))
        assert refusal(lambda use=clone: ledger.consume(use)).reason == Reason.COUNTER_WENT_BACK
    ledger.consume(later._replace(approvers=(ApproverMark(KEY, 10, None),)))


def test_a_key_that_never_counts_passes(ledger: SqliteLedger) -> None:
    for number in range(3):
        ledger.consume(a_use(Digest(f"{number:064x}"), approvers=(ApproverMark(KEY, 0, NOW + number),)))
    other_key = ApproverMark(KeyId("d" * 64), 5, NOW)
    ledger.consume(a_use(OTHER, approvers=(other_key,)))


def test_a18_clock_set_back_is_undecided(ledger: SqliteLedger) -> None:
    ledger.consume(a_use(now=NOW))
    error = refusal(lambda: ledger.consume(a_use(OTHER, now=NOW - CLOCK_STEP_SECONDS - 1)))
    assert (type(error), error.reason) == (IndeterminateError, Reason.TIME_UNPROVEN)
    ledger.consume(a_use(OTHER, now=NOW - CLOCK_STEP_SECONDS))


def test_first_recorded_outcome_stands(ledger: SqliteLedger) -> None:
    consumption = ledger.consume(a_use())
    ledger.record_outcome(consumption, 0, now=NOW)
    with pytest.raises(IndeterminateError):
        ledger.record_outcome(consumption, 1, now=NOW)
    assert ledger.uses(STATEMENT)[0].exit_code == 0


# Place: copies and restored backups


def test_files_are_private(path: Path) -> None:
    consume_at(path, a_use())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize("writable", ["ledger", "folder"])
def test_ledger_that_others_can_write_is_undecided(path: Path, writable: str) -> None:
    place = path if writable == "ledger" else path.parent
    place.chmod(place.stat().st_mode | 0o020)
    error = refusal(lambda: SqliteLedger(path))
    assert (type(error), error.reason) == (IndeterminateError, Reason.LEDGER_UNAVAILABLE)


def test_a8_restored_backup_is_noticed(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(path.parent, backup)
    consume_at(path, a_use())
    shutil.rmtree(path.parent)
    shutil.copytree(backup, path.parent)

    error = refusal(lambda: consume_at(path, a_use()))
    assert (type(error), error.reason) == (IndeterminateError, Reason.LEDGER_RESTORED)
    assert "placet ledger reborn" in error.hint


def test_a8_copied_ledger_is_noticed(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path.parent, tmp_path / "second-gate")
    consume_at(path, a_use())
    error = refusal(lambda: consume_at(tmp_path / "second-gate" / path.name, a_use()))
    assert error.reason == Reason.LEDGER_RESTORED


def test_a8_database_rewritten_in_place_is_noticed(path: Path) -> None:
    before = path.read_bytes()
    consume_at(path, a_use())
    path.write_bytes(before)
    error = refusal(lambda: consume_at(path, a_use()))
    assert error.reason == Reason.LEDGER_RESTORED
    assert "lost uses" in str(error)


def test_a8_lost_write_ahead_log_is_noticed(path: Path) -> None:
    child = FORK.Process(target=_consume_and_die, args=(path,))
    child.start()
    child.join()
    journal = path.with_name(f"{path.name}-wal")
    assert journal.stat().st_size > 0
    journal.unlink()
    path.with_name(f"{path.name}-shm").unlink()
    assert refusal(lambda: consume_at(path, a_use())).reason == Reason.LEDGER_RESTORED


def _consume_and_die(path: Path) -> None:
    SqliteLedger(path).consume(a_use())
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "stamp", [None, b"", b"nonsense", b"placet-ledger-stamp 1 " + b"0" * 32 + b" " + b"0" * 20 + b"\n"]
)
def test_missing_or_foreign_stamp_is_noticed(path: Path, stamp: bytes | None) -> None:
    if stamp is None:
        stamp_path(path).unlink()
    else:
        stamp_path(path).write_bytes(stamp)
    assert refusal(lambda: consume_at(path, a_use())).reason == Reason.LEDGER_RESTORED


def test_gate_killed_before_the_stamp_goes_on_safely(path: Path) -> None:
    stamp = stamp_path(path).read_bytes()
    consume_at(path, a_use())
    stamp_path(path).write_bytes(stamp)
    assert refusal(lambda: consume_at(path, a_use())).reason == Reason.ALREADY_USED
    consume_at(path, a_use(OTHER))
    assert int(stamp_path(path).read_bytes().split()[-1]) == 2


def test_new_birth_refuses_what_was_issued_before_and_keeps_the_uses(path: Path, tmp_path: Path) -> None:
    consume_at(path, a_use())
    shutil.copytree(path.parent, tmp_path / "restored")
    restored = tmp_path / "restored" / path.name
    declare_new_birth(restored, now=NOW + 10)
    assert int(stamp_path(restored).read_bytes().split()[-1]) == 1

    with SqliteLedger(restored) as ledger:
        for issued_at in (NOW, NOW + 10):
            late = a_use(OTHER, issued_at=issued_at, now=NOW + 20)
            assert refusal(lambda use=late: ledger.consume(use)).reason == Reason.ISSUED_BEFORE_LEDGER
        ledger.consume(a_use(OTHER, issued_at=NOW + 11, now=NOW + 20))
        assert len(ledger.uses(STATEMENT)) == 1
        assert ledger.birth().number == 2


def test_new_birth_with_a_clock_set_back_is_refused_unless_said(path: Path) -> None:
    consume_at(path, a_use())
    error = refusal(lambda: declare_new_birth(path, now=NOW - 50))
    assert (type(error), error.reason) == (IndeterminateError, Reason.TIME_UNPROVEN)
    declare_new_birth(path, now=NOW - 50, clock_was_wrong=True)
    consume_at(path, a_use(OTHER, issued_at=NOW - 40, now=NOW - 30))
    assert refusal(lambda: consume_at(path, a_use(issued_at=NOW - 40, now=NOW))).reason == Reason.ALREADY_USED


# Failing disks


def assert_unavailable(call: Callable[[], object]) -> str:
    error = refusal(call)
    assert isinstance(error, IndeterminateError)
    assert error.reason == Reason.LEDGER_UNAVAILABLE
    assert error.hint
    return str(error)


def test_missing_ledger_is_undecided_and_not_created(tmp_path: Path) -> None:
    assert "no use ledger" in assert_unavailable(lambda: SqliteLedger(tmp_path / "ledger.sqlite3"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"this is not a database" * 400])
def test_unfinished_or_damaged_ledger_is_undecided_until_reborn(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_unavailable(lambda: SqliteLedger(path))
    declare_new_birth(path, now=NOW)
    consume_at(path, a_use(issued_at=NOW + 1, now=NOW + 2))
    set_aside = [file.name for file in path.parent.iterdir() if ".damaged-" in file.name]
    assert len(set_aside) == bool(content)


def test_any_zeroed_page_is_undecided(path: Path) -> None:
    for number in range(200):
        consume_at(path, a_use(Digest(f"{number:064x}")))
    sound = path.read_bytes()
    pages = len(sound) // 4096
    assert pages > 10
    for page in range(pages):
        damaged = bytearray(sound)
        damaged[4096 * page : 4096 * (page + 1)] = bytes(4096)
        path.write_bytes(damaged)
        assert_unavailable(lambda: consume_at(path, a_use()))


def test_database_of_another_program_is_left_alone(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE precious (x)")
    other.close()
    path.chmod(0o600)
    assert_unavailable(lambda: SqliteLedger(path))
    assert_unavailable(lambda: declare_new_birth(path, now=NOW))


def test_newer_format_is_undecided_and_left_alone(path: Path) -> None:
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    assert_unavailable(lambda: SqliteLedger(path))
    assert_unavailable(lambda: declare_new_birth(path, now=NOW))


def test_locked_ledger_is_undecided(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ledger_file, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert "locked" in assert_unavailable(lambda: consume_at(path, a_use()))
    finally:
        other.close()


def test_full_disk_is_undecided_and_consumes_nothing(path: Path) -> None:
    with SqliteLedger(path) as ledger:
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        numbers = iter(range(10_000))

        def fill() -> None:
            for number in numbers:
                ledger.consume(a_use(Digest(f"{number:064x}")))

        assert "disk is full" in assert_unavailable(fill)
        ledger.check_undisturbed()
        consumed = ledger.list_latest(10_000)
    assert refusal(lambda: consume_at(path, a_use(consumed[0].payload_digest))).reason == Reason.ALREADY_USED
    consume_at(path, a_use(Digest(f"{len(consumed):064x}")))


def test_read_only_ledger_is_undecided(path: Path) -> None:
    path.chmod(0o444)
    path.parent.chmod(0o555)
    for folder in path.parents:
        if os.geteuid() == 0 and folder.stat().st_uid == 0 and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_report_refusal_unprivileged, args=(sender, path))
    child.start()
    sender.close()
    kind, reason, text = receiver.recv()
    child.join()
    receiver.close()
    path.parent.chmod(0o700)
    assert (kind, reason) == ("IndeterminateError", Reason.LEDGER_UNAVAILABLE)
    assert "cannot be written" in text or "Permission denied" in text


def _report_refusal_unprivileged(sender: object, path: Path) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        consume_at(path, a_use())
        sender.send(("allowed", "", ""))  # type: ignore[attr-defined]
    except BaseException as error:
        sender.send((type(error).__name__, getattr(error, "reason", ""), str(error)))  # type: ignore[attr-defined]


# Races


def _race(path: Path, barrier: object, wins: object, rounds: int) -> None:
    for number in range(rounds):
        barrier.wait()  # type: ignore[attr-defined]
        try:
            consume_at(path, a_use(Digest(f"{number:064x}")))
            wins.put(number)  # type: ignore[attr-defined]
        except PolicyError as error:
            assert error.reason == Reason.ALREADY_USED


def test_a8_two_gates_racing_for_one_use_never_both_get_it(path: Path) -> None:
    barrier, wins = FORK.Barrier(2, timeout=20), FORK.SimpleQueue()
    gates = [FORK.Process(target=_race, args=(path, barrier, wins, RACES)) for _ in range(2)]
    for gate in gates:
        gate.start()
    for gate in gates:
        gate.join()
    won = []
    while not wins.empty():
        won.append(wins.get())
    wins.close()
    assert [gate.exitcode for gate in gates] == [0, 0]
    assert sorted(won) == list(range(RACES))
