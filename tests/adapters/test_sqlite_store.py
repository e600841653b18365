"""What an operator meets: a full disk, a locked file, a damaged one, somebody else's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from placet.adapters.sqlite import database as sqlite_database
from placet.adapters.sqlite.group_commit import GroupCommit
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.core.encoding import Digest
from placet.ports.request_store import (
    Cursor,
    NewRequest,
    RequestClosedError,
    RequestId,
    RequestStoreError,
    StateFilter,
    StoreBusyError,
    StoreFailedError,
    StoreFullError,
    UnknownRequestError,
)

NOW = 1_800_000_000


def request(name: str, size: int = 1000) -> NewRequest:
    digest = Digest(hashlib.sha256(name.encode()).hexdigest())
    return NewRequest(RequestId(digest), os.urandom(size), digest, NOW + 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "relay.sqlite3"


def with_store(
    path: Path, scenario: Callable[[SqliteRequestStore], Coroutine[Any, Any, None]], **options: Any
) -> None:
    async def main() -> None:
        store = SqliteRequestStore.open(path, **options)
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


def make_store(path: Path, count: int = 0) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        for i in range(count):
            await store.submit(request(str(i), 6000), now=NOW)

    with_store(path, scenario)


def test_a_full_store_refuses_with_a_sentence_and_keeps_what_it_has(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        await store.submit(request("first"), now=NOW)
        with pytest.raises(StoreFullError, match="no room left") as refusal:
            for i in range(100):
                await store.submit(request(f"big {i}", 20_000), now=NOW)
        assert "Free disk space" in refusal.value.hint
        assert (await store.fetch(request("first").id)).submitted_at == NOW
        # Reading, and the health that tells an operator it still serves, go on.
        await store.check_health()

    with_store(path, scenario, max_bytes=200_000)


def test_one_write_too_large_for_the_disk_does_not_fail_its_group(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        writes = [store.submit(request(f"small {i}"), now=NOW) for i in range(5)]
        writes.insert(2, store.submit(request("huge", 500_000), now=NOW))
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(result, StoreFullError) for result in results] == [i == 2 for i in range(6)]
        for i in range(5):
            await store.fetch(request(f"small {i}").id)

    with_store(path, scenario, max_bytes=300_000)


def test_a_locked_database_is_busy_and_recovers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "BUSY_TIMEOUT", 0.1)

    async def scenario(store: SqliteRequestStore) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusyError, match="locked by another program") as refusal:
                await store.submit(request("a"), now=NOW)
            assert "try again" in refusal.value.hint
            shell.execute("ROLLBACK")
        await store.submit(request("a"), now=NOW)

    with_store(path, scenario)


def test_a_second_relay_on_the_same_folder_is_refused(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        with pytest.raises(StoreFailedError, match="Another relay or log is using"):
            SqliteRequestStore.open(path)

    with_store(path, scenario)
    make_store(path)  # The lock is given back.


def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"minutes of the meeting\n" * 100)
    with pytest.raises(StoreFailedError, match="is not a database"):
        SqliteRequestStore.open(path)
    assert path.read_bytes().startswith(b"minutes")


def test_somebody_elses_database_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StoreFailedError, match="not one of a placet relay"):
        SqliteRequestStore.open(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


def test_a_newer_schema_is_not_touched(path: Path) -> None:
    make_store(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 4")
    with pytest.raises(StoreFailedError, match=r"newer placet \(schema 4, known: 3\)"):
        SqliteRequestStore.open(path)


def damage_pages(path: Path, *, first: int) -> None:
    """Overwrites the beginning of every page from `first` on, as a dying disk would."""
    with path.open("r+b") as file:
        for page in range(first, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 100)


def test_a_damaged_database_is_not_written_to(path: Path) -> None:
    make_store(path, count=50)
    damage_pages(path, first=2)
    before = path.read_bytes()
    with pytest.raises(StoreFailedError, match="is damaged") as refusal:
        SqliteRequestStore.open(path)
    assert "placet relay check" in refusal.value.hint
    assert path.read_bytes() == before


def test_damage_while_it_runs_is_named_and_stops_the_writes(path: Path) -> None:
    make_store(path, count=50)

    async def scenario(store: SqliteRequestStore) -> None:
        damage_pages(path, first=2)
        with pytest.raises(StoreFailedError, match="is damaged") as refusal:
            for i in range(50):
                await store.fetch(request(str(i)).id)
        assert "placet relay check" in refusal.value.hint
        with pytest.raises(StoreFailedError, match="is damaged"):
            await store.submit(request("new"), now=NOW)
        with pytest.raises(StoreFailedError, match="is damaged"):
            await store.check_health()

    with_store(path, scenario)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailedError, match="cannot be used: Not a directory"):
        SqliteRequestStore.open(tmp_path / "file" / "relay" / "relay.sqlite3")


def test_a_folder_in_place_of_the_database_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreFailedError, match="cannot be opened: Is a directory"):
        SqliteRequestStore.open(path)


def test_nobody_else_on_the_machine_can_read_the_store(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        await store.submit(request("a"), now=NOW)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert set(modes) >= {"relay.sqlite3", "relay.sqlite3-wal", "relay.sqlite3.lock"}
        assert set(modes.values()) == {0o600}

    with_store(path, scenario)


def test_the_writer_syncs_at_every_commit(path: Path) -> None:
    """Without FULL, a write-ahead log is not synced at commit and an acknowledged write could be lost."""

    async def scenario(store: SqliteRequestStore) -> None:
        def look(connection: sqlite3.Connection) -> tuple[int, str]:
            (level,) = connection.execute("PRAGMA synchronous").fetchone()
            (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
            return level, journal

        assert await store._writer.run(look) == (2, "wal")

    with_store(path, scenario)


def test_the_open_listing_does_not_walk_through_history(path: Path) -> None:
    from placet.adapters.sqlite.store import _LIST_BY_STATE

    make_store(path)
    with closing(sqlite3.connect(path)) as database:
        plan = database.execute(
            "EXPLAIN QUERY PLAN " + _LIST_BY_STATE[StateFilter.OPEN], {"after": 0, "now": 0, "limit": 1}
        ).fetchall()
    assert any("USING INDEX requests_that_may_be_open" in row[3] for row in plan), plan


@pytest.mark.parametrize("tail", ["9" * 40, "-1", "1e3", "٣", ""])
def test_a_forged_cursor_of_our_own_store_starts_over(path: Path, tail: str) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        await store.submit(request("a"), now=NOW)
        page = await store.list_page(StateFilter.ALL, after=None, limit=1, now=NOW)
        own, _, _ = page.position.rpartition("-")
        again = await store.list_page(StateFilter.ALL, after=Cursor(f"{own}-{tail}"), limit=1, now=NOW)
        assert len(again.requests) == 1

    with_store(path, scenario)


def test_a_cursor_from_before_a_backup_was_put_back_means_the_beginning(path: Path, tmp_path: Path) -> None:
    """The restored file holds the same rows and name; its next numbers are those that the reader passed."""
    cursors: list[Cursor] = []

    async def fill(store: SqliteRequestStore) -> None:
        await store.submit(request("a"), now=NOW)

    async def read(store: SqliteRequestStore) -> None:
        after = cursors[-1] if cursors else None
        cursors.append((await store.list_page(StateFilter.ALL, after=after, limit=9, now=NOW)).position)

    with_store(path, fill)
    shutil.copy(path, tmp_path / "backup")
    with_store(path, read)
    path.unlink()
    shutil.copy(tmp_path / "backup", path)

    async def see(store: SqliteRequestStore) -> None:
        assert len((await store.list_page(StateFilter.ALL, after=cursors[0], limit=9, now=NOW)).requests) == 1

    with_store(path, see)


def test_after_a_failed_sync_nothing_more_is_acknowledged() -> None:
    """The kernel may drop dirty pages when a sync fails and report success the next time."""

    class FailedSync(sqlite3.OperationalError):
        sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    def fail(connection: sqlite3.Connection) -> None:
        raise FailedSync("disk I/O error")

    async def main() -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        writer = GroupCommit(connection, "here")
        with pytest.raises(StoreFailedError, match="The disk failed"):
            await writer.run(fail)
        with pytest.raises(StoreFailedError, match="The disk failed"):
            await writer.run(lambda connection: None)
        await writer.close()

    asyncio.run(main())


def test_a_job_that_wrote_and_then_refused_leaves_nothing_behind() -> None:
    def write_then_refuse(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('half')")
        raise RequestClosedError("too late")

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('whole')")

    async def main() -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("CREATE TABLE t (x)")
        writer = GroupCommit(connection, "here")
        results = await asyncio.gather(
            writer.run(write), writer.run(write_then_refuse), writer.run(write), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), RequestClosedError, type(None)]
        rows = await writer.run(lambda c: c.execute("SELECT x FROM t").fetchall())
        assert rows == [("whole",), ("whole",)]
        await writer.close()

    asyncio.run(main())


def test_a_bug_in_one_job_neither_kills_the_writer_nor_its_neighbours() -> None:
    async def main() -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        writer = GroupCommit(connection, "here")
        results = await asyncio.gather(
            writer.run(lambda c: 1),
            writer.run(lambda c: 1 // 0),
            writer.run(lambda c: 2),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [int, ZeroDivisionError, int]
        assert await writer.run(lambda c: 3) == 3
        await writer.close()

    asyncio.run(main())


def test_what_was_queued_is_stored_before_closing(path: Path) -> None:
    async def main() -> None:
        store = SqliteRequestStore.open(path)
        writes = [asyncio.ensure_future(store.submit(request(str(i)), now=NOW)) for i in range(100)]
        await asyncio.sleep(0)
        await store.close()
        assert all(created for _, created in await asyncio.gather(*writes))
        with pytest.raises(StoreFailedError, match="closed"):
            await store.submit(request("late"), now=NOW)
        with pytest.raises(StoreFailedError, match="closed"):
            await store.fetch(request("0").id)

    asyncio.run(main())


def test_every_store_error_has_a_reason_of_its_own() -> None:
    kinds = RequestStoreError.__subclasses__()
    assert len(kinds) == 8
    assert len({kind.reason for kind in kinds}) == 8
    assert UnknownRequestError.reason == "unknown-request"
