"""What is the SQLite log's own: its file, restored and edited ones (A14 by name)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_log_scene import (
    NOW,
    execute,
    grow_to,
    why_not_opened,
    with_log,
)

from placet.adapters.sqlite import _log_index
from placet.adapters.sqlite import database as sqlite_database
from placet.adapters.sqlite._log_open import declare_log
from placet.adapters.sqlite._log_place import checkpoint_path
from placet.adapters.sqlite._log_tables import LOG_TABLES
from placet.adapters.sqlite.check import check_database
from placet.adapters.sqlite.log import SqliteLog
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import COSIGNATURE_ED25519
from placet.ports.log_store import LogEntry, LogStore
from placet.ports.request_store import (
    StoreFailedError,
)
from placet.testing.contracts.log_store import SIGNER, entries, entry, refused, signer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "log.sqlite3"


# Restored, copied and edited logs: what the store itself notices of A14.


def back_up(path: Path, folder: Path) -> None:
    shutil.copytree(path.parent, folder)


def put_back(folder: Path, path: Path, *, beside: bool = False) -> None:
    """Restores the database as an operator would, in place, and the file beside it where wanted."""
    for name in (path.name, checkpoint_path(path).name) if beside else (path.name,):
        shutil.copyfile(folder / name, path.parent / name)


def test_a14_a_rolled_back_log_signs_no_second_history(path: Path, tmp_path: Path) -> None:
    grow_to(path, 0, 3)
    back_up(path, tmp_path / "backup")
    grow_to(path, 3, 5)
    put_back(tmp_path / "backup", path)
    refusal = why_not_opened(path)
    assert refusal.reason is Reason.LOG_DAMAGED
    assert "it has 3, and signed a checkpoint of 5" in str(refusal)
    # Nor does the operator's word make it: the mark shows what was signed.
    with pytest.raises(IndeterminateError, match="it has 3, and signed"):
        declare_log(path, SIGNER)


def test_a14_a_log_restored_as_another_file_is_noticed_without_the_mark(path: Path, tmp_path: Path) -> None:
    grow_to(path, 0, 3)
    back_up(path, tmp_path / "backup")
    grow_to(path, 3, 5)
    path.unlink()
    put_back(tmp_path / "backup", path, beside=True)
    assert "copied or restored" in str(why_not_opened(path))


def test_a14_a_fork_of_the_same_size_is_noticed(path: Path, tmp_path: Path) -> None:
    """Somebody lets a copy grow elsewhere, with the key, and puts it in the place of the log."""
    grow_to(path, 0, 3)
    elsewhere = tmp_path / "elsewhere"
    back_up(path, elsewhere)
    grow_to(path, 3, 5)
    copy = elsewhere / path.name
    execute(copy, f"UPDATE log SET place = '{_mark(copy)}'")
    grow_to(copy, 5, 8)
    put_back(elsewhere, path)
    execute(path, f"UPDATE log SET place = '{_mark(path)}'")
    assert "does not continue what it signed before" in str(why_not_opened(path))


def _mark(path: Path) -> str:
    from placet.adapters.sqlite._ledger_place import read_file_mark

    return read_file_mark(path)


def test_a14_a_log_whose_database_was_replaced_by_a_new_one_does_not_start_again(path: Path) -> None:
    grow_to(path, 0, 3)
    path.unlink()
    assert "says that it had one" in str(why_not_opened(path))


def test_a14_a_log_without_its_mark_needs_its_operators_word(path: Path) -> None:
    grow_to(path, 0, 3)
    checkpoint_path(path).unlink()
    assert "has lost log.sqlite3.checkpoint" in str(why_not_opened(path))
    note = declare_log(path, SIGNER)
    assert verify_checkpoint(note, SIGNER.verifier_key).tree_size == 3
    grow_to(path, 3, 4)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entries SET leaves = CAST(replace(leaves, 'leaf 299', 'leaf XXX') AS BLOB)",
        "UPDATE log_entries SET leaves = CAST(replace(leaves, 'leaf 7', 'leaf X') AS BLOB)",
        "DELETE FROM log_entries WHERE first_index = 256",
        "DELETE FROM log_entries WHERE first_index = 0",
        "UPDATE log_entries SET first_index = 300 WHERE first_index = 256",
        "INSERT INTO log_entries SELECT first_index + 44, leaf_lengths, leaves, record_lengths, records_crc, "
        "records FROM log_entries WHERE first_index = 256",
        "UPDATE log SET checkpoint = CAST(replace(checkpoint, '300', '299') AS BLOB)",
        "UPDATE log SET indexed = 100",
        "UPDATE log SET log_key = replace(log_key, 'log', 'lag')",
    ],
)
def test_a14_rows_that_were_rewritten_or_dropped_stop_the_log(path: Path, statement: str) -> None:
    grow_to(path, 0, 300)
    execute(path, statement)
    assert why_not_opened(path).reason is Reason.LOG_DAMAGED


def test_a14_a_leaf_rewritten_beneath_the_edge_is_not_served(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tree of 65,536 leaves and more, opening the log does not read the oldest leaves."""

    async def fill(log: LogStore) -> None:
        for start in range(0, 65_536 + 512, 512):
            await log.append([LogEntry(b"%d" % number, b"") for number in range(start, start + 512)])

    with_log(path, fill)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rewritten = "UPDATE log_entries SET leaves = CAST(replace(leaves, '1000', '2000') AS BLOB)"
        connection.execute(f"{rewritten} WHERE first_index = 768")

    async def scenario(log: LogStore) -> None:
        assert await refused(log.read_tile(0, 3, 256)) is Reason.LOG_DAMAGED
        assert await refused(log.read_entries(3, 256)) is Reason.LOG_DAMAGED
        assert await refused(log.prove_inclusion(1000, 66_048)) is Reason.LOG_DAMAGED
        assert await refused(log.find(hash_leaf(b"1000"))) is Reason.LOG_DAMAGED
        assert await refused(log.append([LogEntry(b"1000", b"")])) is Reason.LOG_DAMAGED
        assert len(await log.read_tile(0, 4, 256)) == 8192
        assert len(await log.read_tile(1, 0, 256)) == 8192
        execute(path, "UPDATE log_tiles SET hashes = CAST(X'00' || substr(hashes, 2) AS BLOB)")
        assert await refused(log.read_tile(1, 0, 256)) is Reason.LOG_DAMAGED

    with_log(path, scenario)


def test_a14_a_log_that_changes_while_it_runs_signs_nothing_more(path: Path) -> None:
    async def scenario(log: LogStore) -> None:
        await log.append(entries(0, 3))
        before = await log.checkpoint()
        execute(path, "UPDATE log SET checkpoint = CAST(checkpoint || X'0A' AS BLOB)")
        for _ in range(2):
            assert await refused(log.append([entry(3)])) is Reason.LOG_DAMAGED
            assert await refused(log.check_health()) is Reason.LOG_DAMAGED
        assert await log.checkpoint() == before

    with_log(path, scenario)


# What an operator can declare.


def test_a_log_that_was_moved_goes_on_when_its_operator_says_so(path: Path, tmp_path: Path) -> None:
    grow_to(path, 0, 3)
    moved = tmp_path / "moved" / path.name
    shutil.copytree(path.parent, moved.parent)
    assert why_not_opened(moved).reason is Reason.LOG_DAMAGED
    declare_log(moved, SIGNER)
    grow_to(moved, 3, 4)


def test_after_a_loss_the_leaves_become_another_log(path: Path, tmp_path: Path) -> None:
    grow_to(path, 0, 3)

    async def cosign(log: LogStore) -> None:
        from placet.core.tlog.cosignature import cosign
        from placet.core.tlog.note import parse_note

        text = parse_note(await log.checkpoint()).text
        await log.keep_cosignatures(3, (cosign(text, signer("one", COSIGNATURE_ED25519), NOW),))

    with_log(path, cosign)
    back_up(path, tmp_path / "backup")
    grow_to(path, 3, 5)
    put_back(tmp_path / "backup", path)
    another = signer("log.example/placet-2")
    note = declare_log(path, another)
    assert verify_checkpoint(note, another.verifier_key).tree_size == 3

    async def scenario(log: LogStore) -> None:
        assert await log.cosigned() is None
        appended = await log.append([entry(1), entry(4)])
        assert [one.leaf_index for one in appended] == [1, 3]

    with_log(path, scenario, another)
    # The old name is over: what it signed beyond that is not here.
    assert why_not_opened(path).reason is Reason.LOG_DAMAGED


def test_declaring_the_same_twice_is_harmless(path: Path, tmp_path: Path) -> None:
    grow_to(path, 0, 3)
    assert declare_log(path, SIGNER) == declare_log(path, SIGNER)
    declare_log(path, signer("long." * 50))
    another = signer("a")  # Nothing of the longer note may stay behind it.
    assert declare_log(path, another) == declare_log(path, another)
    grow_to(path, 3, 4, another)


def test_nothing_is_declared_of_a_log_that_runs_or_is_broken(path: Path) -> None:
    async def scenario(log: LogStore) -> None:
        await log.append(entries(0, 3))
        with pytest.raises(StoreFailedError, match="is using"):
            declare_log(path, SIGNER)

    with_log(path, scenario)
    execute(path, "UPDATE log_entries SET leaves = CAST(replace(leaves, 'leaf 1', 'leaf X') AS BLOB)")
    with pytest.raises(IndeterminateError, match="are not those of its newest checkpoint"):
        declare_log(path, SIGNER)


# The disk and the file.


def test_nobody_else_on_the_machine_can_read_the_log(path: Path) -> None:
    async def scenario(log: LogStore) -> None:
        await log.append(entries(0, 3))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert set(modes) >= {path.name, checkpoint_path(path).name}
        assert set(modes.values()) == {0o600}

    with_log(path, scenario)


def test_the_mark_beside_the_database_is_the_newest_checkpoint(path: Path) -> None:
    async def scenario(log: LogStore) -> None:
        for number in range(12):
            await log.append([entry(number)])
            beside = checkpoint_path(path).read_bytes()
            assert beside.rstrip(b"\n") + b"\n" == await log.checkpoint()

    with_log(path, scenario)


def test_a_mark_that_fell_behind_in_a_power_failure_is_no_reason_to_stop(path: Path) -> None:
    grow_to(path, 0, 3)
    older = checkpoint_path(path).read_bytes()
    grow_to(path, 3, 300)
    checkpoint_path(path).write_bytes(older)
    grow_to(path, 300, 301)


def test_a_log_that_died_before_it_began_begins(path: Path) -> None:
    with_log(path, lambda log: asyncio.sleep(0))
    path.unlink()  # The mark is written before the row.
    grow_to(path, 0, 1)


def test_a_locked_database_is_unavailable_and_recovers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "BUSY_TIMEOUT", 0.1)

    async def scenario(log: LogStore) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            assert await refused(log.append([entry(0)])) is Reason.LOG_UNAVAILABLE
            shell.execute("ROLLBACK")
        assert (await log.append([entry(0)]))[0].leaf_index == 0

    with_log(path, scenario)


def test_where_the_mark_cannot_be_written_nothing_more_is_signed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(log: LogStore) -> None:
        def fail(*arguments: object) -> int:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pwrite", fail)
        # What was committed is committed; whoever asks again finds out.
        assert (await log.append([entry(0)]))[0].created
        assert await refused(log.append([entry(1)])) is Reason.LOG_UNAVAILABLE
        monkeypatch.undo()

    with_log(path, scenario)
    grow_to(path, 1, 2)


def test_leaves_are_found_wherever_they_stand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_log_index, "MAX_RECENT", 500)
    monkeypatch.setattr(_log_index, "_SLICE", 30)

    async def scenario(log: SqliteLog) -> None:
        for start in range(0, 2000, 100):
            await log.append(entries(start, start + 100))
        for number in range(0, 2000, 37):
            assert await log.find(hash_leaf(entry(number).leaf)) == number
        again = await log.append([*entries(0, 300), entry("new"), *entries(1700, 2000)])
        assert [one.leaf_index for one in again] == [*range(300), 2000, *range(1700, 2000)]
        assert [one.created for one in again].count(True) == 1
        assert len(log._log.index._recent) < 1500

    with_log(path, scenario)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT indexed FROM log").fetchone()[0] >= 1000
        count = "SELECT count(*) FROM log_index WHERE leaf_index < 1000"
        assert connection.execute(count).fetchone() == (1000,)


def test_a_move_into_the_index_that_a_restart_interrupts_loses_no_leaf(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_log_index, "MAX_RECENT", 500)
    monkeypatch.setattr(_log_index, "_SLICE", 30)

    async def fill(log: LogStore) -> None:
        for start in range(0, 600, 100):
            await log.append(entries(start, start + 100))

    async def look(log: LogStore) -> None:
        assert [one[::2] for one in await log.append(entries(0, 600))] == [(n, False) for n in range(600)]

    with_log(path, fill)
    with closing(sqlite3.connect(path)) as connection:
        assert 0 < connection.execute("SELECT count(*) FROM log_index").fetchone()[0] < 500
    assert check_database(path).findings == ()
    with_log(path, look)


def test_a_move_into_the_index_that_was_rolled_back_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_log_index, "MAX_RECENT", 500)
    monkeypatch.setattr(_log_index, "_SLICE", 300)
    hashes = {hash_leaf(entry(number).leaf): number for number in range(520)}
    index = _log_index.LogIndex(0, dict(hashes))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(LOG_TABLES)
        for fails in (True, False, True, False):
            connection.execute("BEGIN")
            index.grow(connection, 1)
            connection.execute("ROLLBACK" if fails else "COMMIT")
            if fails:
                index.forget()
            index.settle({})
        assert connection.execute("SELECT count(*) FROM log_index").fetchone() == (512,)
    assert [number for leaf_hash, number in hashes.items() if index.find_recent(leaf_hash) is None] == list(
        range(512)
    )


def test_one_group_has_one_signature(path: Path) -> None:
    async def scenario(log: SqliteLog) -> None:
        groups: list[int] = []
        log.observe_commits(lambda writes, seconds: groups.append(writes))
        await asyncio.gather(*(log.append([entry(number)]) for number in range(200)))
        # All that was waiting while the first commit ran came in few more, each with one checkpoint.
        assert sum(groups) == 200 and len(groups) < 100

    with_log(path, scenario)
