"""What is the SQLite ledger's own: its place, copies and restored backups (A8 by name), disks that fail.

What every ledger does is in `placet.testing.contracts.use_ledger`.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from placet.adapters.sqlite import _ledger_file
from placet.adapters.sqlite._ledger_place import stamp_path
from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth, migrate_ledger
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, Reason
from placet.ports.use_ledger import Use
from placet.testing.contracts.use_ledger import BORN, NOW, OTHER, STATEMENT, a_use, refusal

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "gate" / "ledger.sqlite3"
    declare_new_birth(place, now=BORN)
    return place


def consume_at(path: Path, use: Use) -> None:
    with SqliteLedger(path) as ledger:
        ledger.consume(use)


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
    newer.execute("PRAGMA user_version = 4")
    newer.close()
    assert_unavailable(lambda: SqliteLedger(path))
    assert_unavailable(lambda: declare_new_birth(path, now=NOW))


# The tables of the first format, as placet 0.1 made them.
FIRST_FORMAT = """
CREATE TABLE birth (
  number INTEGER PRIMARY KEY AUTOINCREMENT, ledger_id TEXT NOT NULL UNIQUE,
  born_at INTEGER NOT NULL, file_mark TEXT NOT NULL) STRICT;
CREATE TABLE uses (
  use_id INTEGER PRIMARY KEY AUTOINCREMENT, birth INTEGER NOT NULL REFERENCES birth,
  payload_digest TEXT NOT NULL, use_unit TEXT NOT NULL, ordinal INTEGER NOT NULL,
  used_at INTEGER NOT NULL, event_id TEXT, exit_code INTEGER, finished_at INTEGER,
  UNIQUE (payload_digest, use_unit, ordinal)) STRICT;
CREATE INDEX uses_by_time ON uses (birth, used_at);
CREATE INDEX uses_by_event ON uses (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX uses_unknown ON uses (use_id) WHERE exit_code IS NULL;
CREATE TABLE counters (
  keyid TEXT NOT NULL, earliest INTEGER NOT NULL, latest INTEGER NOT NULL, counter INTEGER NOT NULL,
  PRIMARY KEY (keyid, earliest, latest, counter)) STRICT, WITHOUT ROWID;
PRAGMA application_id = 1886151532;
PRAGMA user_version = 1;
"""


def test_ledger_of_the_first_format_is_refused_until_migrated_and_keeps_its_uses(path: Path) -> None:
    consume_at(path, a_use(event_id="event-1"))
    rows = dump(path, "SELECT number, ledger_id, born_at, file_mark FROM birth", "SELECT * FROM uses")
    # Rewritten in place: the file's mark stays, as it does when only the program is upgraded.
    older = sqlite3.connect(path, isolation_level=None)
    older.execute("PRAGMA writable_schema = RESET")
    for table in ("uses", "birth", "counters"):
        older.execute(f"DROP TABLE {table}")
    older.executescript(FIRST_FORMAT)
    older.executemany("INSERT INTO birth VALUES (?, ?, ?, ?)", rows[0])
    older.executemany("INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [row[:9] for row in rows[1]])
    older.close()

    error = refusal(lambda: consume_at(path, a_use(OTHER)))
    assert (type(error), error.reason) == (IndeterminateError, Reason.LEDGER_UNAVAILABLE)
    assert "placet ledger migrate" in error.hint
    assert "placet ledger migrate" in refusal(lambda: declare_new_birth(path, now=NOW)).hint
    assert migrate_ledger(path) == (1, 3)
    assert migrate_ledger(path) == (3, 3)
    assert refusal(lambda: consume_at(path, a_use())).reason == Reason.ALREADY_USED
    with SqliteLedger(path) as ledger:
        assert ledger.consume(a_use(event_id="event-1")).repeated
        assert ledger.list_unlogged(10) == ()
        ledger.consume(a_use(OTHER, summary="Run it", record=b"r"))
        assert [record.summary for record in ledger.list_latest(2)] == ["Run it", ""]
        assert [use.record for use in ledger.list_unlogged(10)] == [b"r"]


def dump(path: Path, *queries: str) -> list[list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = [connection.execute(query).fetchall() for query in queries]
    connection.close()
    return found


def test_a_path_that_is_no_ledger_is_not_migrated(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE precious (x)")
    other.close()
    (tmp_path / "other").chmod(0o600)
    assert_unavailable(lambda: migrate_ledger(tmp_path / "other"))


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


def test_a_folder_in_the_ledgers_place_is_told_with_what_to_do(path: Path) -> None:
    path.unlink()
    path.mkdir()
    error = refusal(lambda: SqliteLedger(path))
    assert error.reason is Reason.LEDGER_UNAVAILABLE
    assert "cannot be opened" in str(error)
    assert "a file, not a folder" in error.hint
