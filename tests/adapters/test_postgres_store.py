"""What is the PostgreSQL store's own: several relays on one database, lost servers, refusals with names.

What every store does is in `placet.testing.contracts.request_store`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest
from postgres_relays import RELAYS, refusal, run

from placet.adapters.postgres import news as postgres_news
from placet.adapters.postgres import store as postgres_store
from placet.adapters.postgres import writer as postgres_writer
from placet.adapters.postgres.store import PostgresRequestStore
from placet.ports.request_store import (
    MAX_ANSWERS,
    AnswerLimitError,
    Cursor,
    Limits,
    QuotaExceededError,
    StateFilter,
    StoreBusyError,
    StoreFailedError,
)
from placet.testing.contracts.request_store import LATER, LONG, NOW, answer, request
from placet.testing.postgres import (
    PostgresServer,
)


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database


# Several relays


def test_a_reader_of_one_relay_misses_nothing_that_others_write(url: str) -> None:
    names = [f"request {number}" for number in range(600)]
    expected = {request(name).id for name in names}

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        async def follow(store: PostgresRequestStore) -> list[str]:
            seen: list[str] = []
            after: Cursor | None = None
            while len(seen) < len(names):
                page = await store.list_page(StateFilter.OPEN, after=after, limit=7, now=NOW)
                after = page.position
                seen += [item.id for item in page.requests]
            return seen

        async def write(number: int) -> None:
            for name in names[number :: 4 * RELAYS]:
                await stores[number % RELAYS].submit(request(name), now=NOW)

        writers = [write(number) for number in range(4 * RELAYS)]
        *orders, _ = await asyncio.gather(*map(follow, stores), asyncio.gather(*writers))
        # Each exactly once, and to every reader in the same order.
        assert orders[0] == orders[1] == orders[2]
        assert len(orders[0]) == len(expected) and set(orders[0]) == expected

    run(url, scenario)


def test_answers_stop_at_the_limit_whichever_relay_takes_them(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        await stores[0].submit(request("a"), now=NOW)
        results = await asyncio.gather(
            *(
                stores[number % RELAYS].add_answer(request("a").id, answer(str(number)), now=NOW)
                for number in range(MAX_ANSWERS + 20)
            ),
            return_exceptions=True,
        )
        assert results.count(True) == MAX_ANSWERS
        assert sum(isinstance(result, AnswerLimitError) for result in results) == 20
        assert len((await stores[1].fetch(request("a").id)).answers) == MAX_ANSWERS

    run(url, scenario)


def test_a_quota_holds_whichever_relay_is_asked(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        results = await asyncio.gather(
            *(
                stores[number % RELAYS].submit(request(str(number)), now=NOW, limits=Limits(open_requests=5))
                for number in range(30)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, QuotaExceededError) for result in results) == 25
        assert (await stores[0].measure(now=NOW)).open_requests == 5

    run(url, scenario)


def test_one_request_sent_to_every_relay_is_one(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        results = await asyncio.gather(*(store.submit(request("a"), now=NOW) for store in stores * 5))
        assert sum(created for _, created in results) == 1

    run(url, scenario)


def test_news_reach_those_who_wait_at_another_relay(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        writer, reader, _ = stores
        await reader.check_health()
        with reader.watch(None) as requests, reader.watch(request("a").id) as answers:
            await writer.submit(request("a"), now=NOW)
            assert await requests.changed(LONG)
            await writer.add_answer(request("a").id, answer("x"), now=NOW)
            assert await answers.changed(LONG)
            begun = time.monotonic()
            await writer.withdraw(request("a").id, now=NOW)
            assert await answers.changed(LONG)
            # By notification: the poll alone would take longer on average.
            assert time.monotonic() - begun < postgres_news.POLL_SECONDS
            assert not await requests.changed(0.05)

    run(url, scenario)


def test_a_lost_notification_only_delays(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        writer, reader, _ = stores
        await writer.submit(request("a"), now=NOW)
        await reader.check_health()
        with reader.watch(request("a").id) as watch:
            await watch.changed(0.05)
            # As behind a pooler: the change is there, and nobody was told.
            reader._news._hear = lambda payload: None  # type: ignore[method-assign]
            await writer.add_answer(request("a").id, answer("x"), now=NOW)
            assert await watch.changed(LONG)

    run(url, scenario)


def test_a_missing_number_wakes_everybody(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        (store,) = stores
        await store.submit(request("a"), now=NOW)
        with store.watch(request("a").id) as watch:
            await watch.changed(0.05)
            store._news._hear(f"{store._news._change + 2} new")
            assert await watch.changed(0.05)

    run(url, scenario, count=1)


def test_relays_that_start_together_on_an_empty_database_make_one_store(url: str) -> None:
    async def main() -> list[str]:
        stores = await asyncio.gather(*(asyncio.to_thread(PostgresRequestStore.open, url) for _ in range(6)))
        pages = [await store.list_page(StateFilter.ALL, after=None, limit=1, now=NOW) for store in stores]
        for store in stores:
            await store.close()
        return [page.position for page in pages]

    assert len(set(asyncio.run(main()))) == 1


def test_several_relays_delete_what_closed_once(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        for number in range(60):
            await stores[0].submit(request(str(number), expires_at=NOW + 1), now=NOW)
        await stores[0].submit(request("open"), now=NOW)
        deleted = 0
        while (await stores[0].measure(now=NOW)).requests > 1:
            deleted += sum(
                await asyncio.gather(*(s.delete_closed(closed_before=NOW + 9, limit=7) for s in stores))
            )
        assert deleted == 60
        assert (await stores[1].measure(now=NOW))[:4] == (1, 1, 0, 4)

    run(url, scenario)


def test_whoever_finds_another_relay_deleting_goes_on(url: str) -> None:
    async def scenario(stores: list[PostgresRequestStore]) -> None:
        await stores[0].submit(request("a", expires_at=NOW + 1), now=NOW)
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM placet_relay.chores FOR UPDATE")
            begun = time.monotonic()
            assert await stores[0].delete_closed(closed_before=LATER) == 0
            assert time.monotonic() - begun < 1
            # And nobody who writes waits for it.
            await stores[1].submit(request("b"), now=NOW)
        assert await stores[0].delete_closed(closed_before=LATER) == 1

    run(url, scenario)


# Lost servers


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(mortal_postgres: PostgresServer) -> None:
    url = mortal_postgres.create_database()
    kept: list[int] = []

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        async def write(first: int) -> None:
            for number in range(first, 10**6, 8):
                try:
                    await stores[number % RELAYS].submit(request(str(number)), now=NOW)
                except (StoreBusyError, StoreFailedError):
                    await asyncio.sleep(0.05)
                    continue
                kept.append(number)

        writers = [asyncio.create_task(write(number)) for number in range(8)]
        for _ in range(2):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(mortal_postgres.kill)
            before = len(kept)
            await asyncio.to_thread(mortal_postgres.start)
            while len(kept) < before + 20:
                await asyncio.sleep(0.01)
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)
        for number in kept:
            assert (await stores[1].fetch(request(str(number)).id)).container == str(number).encode()

    run(url, scenario)
    assert len(kept) > 60


def test_a_server_that_restarts_is_a_delay_for_writers_readers_and_waiters(
    mortal_postgres: PostgresServer,
) -> None:
    url = mortal_postgres.create_database()

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        writer, reader, _ = stores
        for store in stores:
            await store.submit(request("a"), now=NOW)
        await asyncio.gather(*(reader.fetch(request("a").id) for _ in range(20)))
        with reader.watch(request("b").id) as watch:
            await asyncio.to_thread(mortal_postgres.stop)
            # A write that comes while the server is away waits for it, within reason.
            writing = asyncio.create_task(writer.submit(request("b"), now=NOW))
            await asyncio.sleep(0.3)
            assert not writing.done()
            await asyncio.to_thread(mortal_postgres.start)
            assert (await writing)[1]
            await writer.add_answer(request("b").id, answer("x"), now=NOW)
            assert await watch.changed(LONG)
            assert (await reader.fetch(request("b").id)).answers == (b"x",)
        await asyncio.gather(*(reader.fetch(request("a").id) for _ in range(20)))

    run(url, scenario)


def test_a_server_that_stays_away_is_busy_and_nothing_was_stored(
    mortal_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(postgres_store, "_READ_SECONDS", 0.3)
    url = mortal_postgres.create_database()

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        (store,) = stores
        await store.submit(request("a"), now=NOW)
        await asyncio.to_thread(mortal_postgres.stop)
        try:
            with pytest.raises(StoreBusyError, match="cannot be reached") as caught:
                await store.submit(request("b"), now=NOW)
            assert "Nothing was stored" in caught.value.hint
            for call in (store.fetch(request("a").id), store.check_health()):
                with pytest.raises(StoreBusyError):
                    await call
            assert isinstance(await asyncio.to_thread(refusal, url), StoreBusyError)
        finally:
            await asyncio.to_thread(mortal_postgres.start)
        while True:
            try:
                return await store.check_health()
            except StoreBusyError:
                await asyncio.sleep(0.1)

    run(url, scenario, count=1)


def test_a_commit_whose_answer_is_lost_finds_itself(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server commits, and the connection ends before anybody hears of it: the group is written again."""
    lost = []
    write = postgres_writer.PostgresWriter._write

    async def write_and_lose(self: Any, connection: Any, *more: Any) -> None:
        await write(self, connection, *more)
        if len(lost) < 2:
            lost.append(connection)
            await connection.close()
            raise postgres_writer._CommitLostError("the connection is lost")

    monkeypatch.setattr(postgres_writer.PostgresWriter, "_write", write_and_lose)

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        (store,) = stores
        await store.submit(request("a"), now=NOW)
        await store.add_answer(request("a").id, answer("x"), now=NOW)
        assert len(lost) == 2
        assert (await store.fetch(request("a").id)).answers == (b"x",)
        assert (await store.measure(now=NOW))[:4] == (1, 1, 1, 2)

    run(url, scenario, count=1)


def test_a_commit_in_doubt_says_so_when_the_server_stays_away(
    mortal_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "RETRY_SECONDS", 0.2)
    url = mortal_postgres.create_database()
    write = postgres_writer.PostgresWriter._write

    async def write_and_die(self: Any, connection: Any, *more: Any) -> None:
        await write(self, connection, *more)
        await asyncio.to_thread(mortal_postgres.kill)
        raise postgres_writer._CommitLostError("the connection is lost")

    async def scenario(stores: list[PostgresRequestStore]) -> None:
        (store,) = stores
        with monkeypatch.context() as patch:
            patch.setattr(postgres_writer.PostgresWriter, "_write", write_and_die)
            with pytest.raises(StoreFailedError, match="is not known") as caught:
                await store.submit(request("a"), now=NOW)
        assert "not stored twice" in caught.value.hint
        await asyncio.to_thread(mortal_postgres.start)
        assert (await store.submit(request("a"), now=NOW))[1] is False

    run(url, scenario, count=1)
