"""What the PostgreSQL store refuses, and how it says so; cursors of another place."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import psycopg
import pytest
from postgres_relays import refusal, relays, run

from placet.adapters.places import migrate_store, open_store
from placet.adapters.postgres import connection as postgres_connection
from placet.adapters.postgres import writer as postgres_writer
from placet.adapters.postgres.check import check_database
from placet.adapters.postgres.store import PostgresRequestStore
from placet.ports.request_store import (
    Cursor,
    StateFilter,
    StoreBusyError,
    StoreFailedError,
    StoreFullError,
)
from placet.testing.contracts.request_store import NOW, answer, request
from placet.testing.postgres import (
    PostgresServer,
    database_of,
    promote,
    run_sql,
    start_postgres,
    start_standby,
)


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database


# Cursors of another place


def test_a_cursor_from_before_a_restored_copy_means_the_beginning(
    url: str, postgres_server: PostgresServer
) -> None:
    """The copy holds the same rows and the same name of the store; its numbers may come to mean others."""

    async def first_page(place: str, after: Cursor | None) -> tuple[Cursor, int]:
        async with relays(place, 1) as (store,):
            page = await store.list_page(StateFilter.ALL, after=after, limit=9, now=NOW)
            return page.position, len(page.requests)

    async def fill(stores: list[PostgresRequestStore]) -> None:
        await stores[0].submit(request("a"), now=NOW)

    run(url, fill, count=1)
    cursor, found = asyncio.run(first_page(url, None))
    assert found == 1
    assert asyncio.run(first_page(url, cursor)) == (cursor, 0)
    name, original = "copy_of_the_store", database_of(url)
    postgres_server.run_sql(f"CREATE DATABASE {name} TEMPLATE {original}")
    copy = postgres_server.url(name)
    try:
        assert asyncio.run(first_page(copy, cursor))[1] == 1
    finally:
        postgres_server.drop_database(copy)


# Refusals


def test_a_standby_is_refused_and_a_promoted_one_starts_every_cursor_over(
    mortal_postgres: PostgresServer,
) -> None:
    url = mortal_postgres.create_database()
    name = database_of(url)

    async def list_all(place: str, after: Cursor | None) -> tuple[Cursor, int]:
        async with relays(place, 1) as (store,):
            if after is None:
                await store.submit(request("a"), now=NOW)
            page = await store.list_page(StateFilter.ALL, after=after, limit=9, now=NOW)
            return page.position, len(page.requests)

    cursor, _ = asyncio.run(list_all(url, None))
    with start_standby(mortal_postgres) as standby:
        error = refusal(standby.url(name))
        assert isinstance(error, StoreFailedError)
        assert "standby" in error.message
        promote(standby)
        assert asyncio.run(list_all(standby.url(name), cursor))[1] == 1


@pytest.mark.parametrize("setting", ["synchronous_commit = off", "synchronous_commit = local"])
def test_a_server_that_forgets_what_it_acknowledged_is_refused(url: str, setting: str) -> None:
    name = database_of(url)
    run_sql(url, f"ALTER DATABASE {name} SET {setting}")
    try:
        error = refusal(url)
    finally:
        run_sql(url, f"ALTER DATABASE {name} RESET synchronous_commit")
    assert isinstance(error, StoreFailedError)
    assert "synchronous_commit" in error.message


def test_fsync_off_is_refused() -> None:
    with start_postgres("fsync=off") as server:
        assert "fsync = off" in refusal(server.url()).message


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO placet_relay.migrations VALUES (99, 'from the future')", "newer placet"),
        ("DELETE FROM placet_relay.migrations WHERE number > 0", "does not hold placet's tables"),
    ],
)
def test_tables_of_another_version_are_refused_also_while_running(
    url: str, statement: str, expected: str
) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        await stores[0].submit(request("a"), now=NOW)
        run_sql(url, statement)
        with pytest.raises(StoreFailedError, match="upgraded or emptied"):
            await stores[0].submit(request("b"), now=NOW)

    run(url, scenario, count=1)
    if "DELETE" not in statement:
        assert expected in refusal(url).message
        with pytest.raises(StoreFailedError, match=expected):
            migrate_store(url)


def test_a_full_disk_is_full_and_takes_no_other_write_with_it(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        (store,) = stores
        await store.submit(request("a"), now=NOW)
        run_sql(
            url,
            "CREATE FUNCTION placet_relay.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
            "CREATE TRIGGER no_room BEFORE INSERT ON placet_relay.requests"
            " FOR EACH ROW WHEN (new.size > 1) EXECUTE FUNCTION placet_relay.no_room()",
        )
        results = await asyncio.gather(
            *(store.submit(request(name), now=NOW) for name in ("b", "large", "c")), return_exceptions=True
        )
        assert isinstance(results[1], StoreFullError)
        assert "Nothing was stored" in results[1].hint
        page = await store.list_page(StateFilter.ALL, after=None, limit=9, now=NOW)
        assert [item.id for item in page.requests] == [request(name).id for name in ("a", "b", "c")]

    run(url, scenario, count=1)


def test_a_lock_that_is_held_is_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connection, "_SETTINGS", ("10s", "200ms", "15s"))

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM placet_relay.store FOR UPDATE")
            with pytest.raises(StoreBusyError, match="lock timeout"):
                await stores[0].submit(request("a"), now=NOW)
        assert (await stores[0].submit(request("a"), now=NOW))[1]

    run(url, scenario, count=1)


def test_a_server_that_does_not_answer_gathers_no_endless_queue(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "MAX_QUEUED", 10)

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        (store,) = stores
        await store.submit(request("a"), now=NOW)
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM placet_relay.store FOR UPDATE")
            first = asyncio.create_task(store.submit(request("first"), now=NOW))
            await asyncio.sleep(0.1)
            calls = [asyncio.create_task(store.submit(request(str(i)), now=NOW)) for i in range(15)]
            await asyncio.sleep(0.1)
            refused = [call.exception() for call in calls if call.done()]
            assert [type(error) for error in refused] == [StoreBusyError] * 5
        await asyncio.gather(first, *(call for call in calls if not call.done()))

    run(url, scenario, count=1)


def test_a_database_that_became_read_only_is_not_healthy(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        await stores[0].check_health()
        run_sql(url, f"ALTER DATABASE {database_of(url)} SET default_transaction_read_only = on")
        try:
            async with relays(url, 1) as (fresh,):
                with pytest.raises(StoreFailedError, match="read-only"):
                    await fresh.check_health()
                with pytest.raises(StoreFailedError, match="read-only"):
                    await fresh.submit(request("a"), now=NOW)
        finally:
            run_sql(
                url,
                "SET default_transaction_read_only = off",
                f"ALTER DATABASE {database_of(url)} RESET default_transaction_read_only",
            )

    run(url, scenario, count=1)


def test_a_role_without_rights_is_told_so(url: str) -> None:
    open_and_close(url)
    run_sql(url, "DROP ROLE IF EXISTS nobody_here", "CREATE ROLE nobody_here LOGIN")
    try:
        error = refusal(url.replace("placet@", "nobody_here@"))
    finally:
        run_sql(url, "DROP ROLE nobody_here")
    assert isinstance(error, StoreFailedError)
    assert "may not do this" in error.message
    assert "docs/how-to-postgresql.md" in error.hint


def open_and_close(url: str) -> None:
    async def nothing(stores: list[PostgresRequestStore]) -> None:
        pass

    run(url, nothing, count=1)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://zoe:s3cret@127.0.0.1:1/db",
        "postgresql://zoe:s3cret@@127.0.0.1:1/db",
        "postgresql://zoe:s3/cret@127.0.0.1:1/db",
        "postgresql://zoe:s3cret?x@127.0.0.1:1/db",
        "postgresql://zoe@127.0.0.1:1/db?password=s3cret",
        "postgresql://zoe@127.0.0.1:1/db?passwrd=s3cret",
        "postgresql://zoe:%zzs3cret@127.0.0.1:1/db",
    ],
)
def test_no_refusal_repeats_a_password(address: str) -> None:
    error = refusal(address)
    assert "cret" not in f"{error.message} {error.hint}"


def test_a_check_finds_what_was_changed_behind_the_relays_back(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        for name in ("a", "b", "c"):
            await stores[0].submit(request(name), now=NOW)
            await stores[0].add_answer(request(name).id, answer(f"to {name}"), now=NOW)

    run(url, scenario, count=1)
    assert check_database(url) == (3, 3, 0, ())
    run_sql(
        url,
        "UPDATE placet_relay.requests SET expires_at = expires_at + 1 WHERE seq = 1",
        "UPDATE placet_relay.answers SET container = 'other' WHERE request_seq = 2",
    )
    found = check_database(url)
    assert found[:3] == (1, 1, 2)
    assert [request("a").id in found.findings[0], request("b").id in found.findings[1]] == [True, True]


def test_the_contract_can_be_opened_by_path_or_address(url: str, tmp_path: Any) -> None:
    async def main() -> None:
        for place in (url, tmp_path / "relay.sqlite3"):
            store = open_store(place)
            await store.check_health()
            await store.close()

    asyncio.run(main())


def test_a_closed_store_says_so(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        await stores[0].close()
        for call in (stores[0].submit(request("a"), now=NOW), stores[0].fetch(request("a").id)):
            with pytest.raises(StoreFailedError, match="closed"):
                await call

    run(url, scenario, count=1)


def test_commits_are_observed(url: str) -> None:
    seen: list[int] = []

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        stores[0].observe_commits(lambda writes, seconds: seen.append(writes))
        await asyncio.gather(*(stores[0].submit(request(str(i)), now=NOW) for i in range(20)))

    run(url, scenario, count=1)
    assert sum(seen) == 20
    assert len(seen) < 20


def test_migrating_twice_changes_nothing(url: str) -> None:
    before = migrate_store(url)
    assert before[0] == 0
    assert migrate_store(url) == (before[1], before[1])
    with closing(psycopg.connect(url)) as connection:
        rows = connection.execute("SELECT number FROM placet_relay.migrations").fetchall()
    assert [number for (number,) in rows] == list(range(1, before[1] + 1))
