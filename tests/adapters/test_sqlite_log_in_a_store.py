"""The log in the file of a relay's requests: one commit for both, and `placet relay check`."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_log_scene import (
    LATER,
    NOW,
    answer,
    execute,
    request,
    with_store,
)

from placet.adapters.sqlite._log_open import declare_log
from placet.adapters.sqlite._log_place import checkpoint_path
from placet.adapters.sqlite.check import check_database, salvage
from placet.adapters.sqlite.store import SqliteRequestStore
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.merkle import hash_leaf, verify_consistency
from placet.ports.request_store import (
    RequestClosedError,
    StoreFailedError,
    UnknownRequestError,
)
from placet.testing.contracts.log_store import SIGNER, entries, entry, refused, verified


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "log.sqlite3"


def test_an_answer_its_leaf_and_its_checkpoint_are_one(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        log = store.log
        assert log is not None
        await store.submit(request("a"), now=NOW)
        waiting = asyncio.create_task(log.wait_beyond(0, 30))
        assert await store.add_answer(request("a").id, answer("yes"), now=NOW)
        assert await waiting
        assert not await store.add_answer(request("a").id, answer("yes"), now=NOW)
        assert await log.find(hash_leaf(b"leaf of yes")) == 0
        assert (await verified(log)).tree_size == 1
        assert await log.read_records(0, 5) == ((0, b"yes"),)

    with_store(path, scenario)


def test_an_answer_that_is_refused_leaves_no_leaf(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        assert store.log is not None
        await store.submit(request("a"), now=NOW)
        results = await asyncio.gather(
            store.add_answer(request("a").id, answer("in time"), now=NOW),
            store.add_answer(request("a").id, answer("late"), now=LATER),
            store.add_answer(request("unknown").id, answer("lost"), now=NOW),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [bool, RequestClosedError, UnknownRequestError]
        assert await store.log.read_records(0, 5) == ((0, b"in time"),)

    with_store(path, scenario)


def test_an_answer_from_before_there_was_a_log_is_logged_when_it_comes_again(path: Path) -> None:
    async def main() -> None:
        store = SqliteRequestStore.open(path)
        assert store.log is None
        await store.submit(request("a"), now=NOW)
        with pytest.raises(StoreFailedError, match="keeps no log"):
            await store.add_answer(request("a").id, answer("yes"), now=NOW)
        await store.add_answer(request("a").id, answer("yes")._replace(entry=None), now=NOW)
        await store.close()

    asyncio.run(main())

    async def scenario(store: SqliteRequestStore) -> None:
        assert store.log is not None
        assert not await store.add_answer(request("a").id, answer("yes"), now=LATER)
        assert await store.log.find(hash_leaf(b"leaf of yes")) == 0

    with_store(path, scenario)


def test_deleting_closed_requests_never_touches_the_log(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        log = store.log
        assert log is not None
        for number in range(20):
            await store.submit(request(str(number)), now=NOW)
            await store.add_answer(request(str(number)).id, answer(f"to {number}"), now=NOW)
        before, old = await log.checkpoint(), await verified(log)
        assert await store.delete_closed(closed_before=LATER + 1) == 20
        assert await log.checkpoint() == before
        assert len(await log.read_records(0, 50)) == 20
        await store.submit(request("next"), now=NOW)
        await store.add_answer(request("next").id, answer("to the next"), now=NOW)
        new = await verified(log)
        proof = await log.prove_consistency(20, 21)
        verify_consistency(20, old.root_hash, 21, new.root_hash, proof)

    with_store(path, scenario)


def test_a_database_of_the_version_before_gets_its_log(path: Path) -> None:
    async def fill(store: SqliteRequestStore) -> None:
        await store.submit(request("a"), now=NOW)

    with_store(path, fill)
    checkpoint_path(path).unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ("log", "log_entries", "log_tiles", "log_index", "log_cosigned"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 2")

    async def scenario(store: SqliteRequestStore) -> None:
        assert store.log is not None
        await store.add_answer(request("a").id, answer("yes"), now=NOW)
        assert (await store.fetch(request("a").id)).answers == (b"yes",)
        assert (await verified(store.log)).tree_size == 1

    with_store(path, scenario)


def test_a_damaged_log_lets_requests_through(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        assert store.log is not None
        await store.submit(request("a"), now=NOW)
        execute(path, "UPDATE log SET checkpoint = CAST(checkpoint || X'0A' AS BLOB)")
        both = await asyncio.gather(
            store.submit(request("b"), now=NOW),
            store.add_answer(request("a").id, answer("yes"), now=NOW),
            return_exceptions=True,
        )
        assert isinstance(both[1], IndeterminateError) and both[1].reason is Reason.LOG_DAMAGED
        assert (await store.fetch(request("b").id)).container == b"b"
        # An answer that is not logged is not stored: there are no approvals without a trace.
        assert (await store.fetch(request("a").id)).answers == ()

    with_store(path, scenario)


def test_a_full_disk_refuses_and_loses_nothing(path: Path) -> None:
    async def scenario(store: SqliteRequestStore) -> None:
        log = store.log
        assert log is not None
        await log.append(entries(0, 3))
        assert await refused(log.append([entry(9, bytes(1_000_000))])) is Reason.LOG_UNAVAILABLE
        await log.append([entry(3)])
        assert (await verified(log)).tree_size == 4

    with_store(path, scenario, max_bytes=300_000)


# `placet relay check`.


def fill_with_answers(path: Path) -> None:
    async def fill(store: SqliteRequestStore) -> None:
        assert store.log is not None
        await store.submit(request("a"), now=NOW)
        await store.add_answer(request("a").id, answer("yes"), now=NOW)
        await store.log.append(entries(0, 300))

    with_store(path, fill)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE log_entries SET leaves = CAST(replace(leaves, 'leaf 7', 'leaf X') AS BLOB)",
            "are not those",
        ),
        ("UPDATE log_entries SET records = CAST(replace(records, '7', 'X') AS BLOB)", "are damaged"),
        ("DELETE FROM log_entries WHERE first_index = 1", "is missing"),
        ("UPDATE log SET checkpoint = CAST(replace(checkpoint, '301', '300') AS BLOB)", "does not hold"),
        ("UPDATE log SET indexed = 256", "has lost some"),
    ],
)
def test_a_check_names_what_is_wrong_with_the_log(path: Path, statement: str, finding: str) -> None:
    fill_with_answers(path)
    assert check_database(path).findings == ()
    execute(path, statement)
    (found,) = check_database(path).findings
    assert found.startswith("the log: ") and finding in found


def test_a_whole_log_is_salvaged_with_the_requests(path: Path, tmp_path: Path) -> None:
    fill_with_answers(path)
    saved = tmp_path / "saved.sqlite3"
    assert salvage(path, saved).findings == ()
    declare_log(saved, SIGNER)

    async def look(store: SqliteRequestStore) -> None:
        assert store.log is not None
        assert (await store.fetch(request("a").id)).answers == (b"yes",)
        assert (await verified(store.log)).tree_size == 301
        assert (await store.log.append([entry(299)]))[0].leaf_index == 300

    with_store(saved, look)


def test_a_damaged_log_is_not_salvaged_in_part(path: Path, tmp_path: Path) -> None:
    fill_with_answers(path)
    execute(path, "UPDATE log_entries SET leaves = CAST(replace(leaves, 'leaf 7', 'leaf X') AS BLOB)")
    saved = tmp_path / "saved.sqlite3"
    assert salvage(path, saved).requests == 1
    with closing(sqlite3.connect(saved)) as connection:
        assert connection.execute("SELECT count(*) FROM log_entries").fetchone() == (0,)
