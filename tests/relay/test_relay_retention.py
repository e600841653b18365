"""Closed requests go in time, open ones never; listings of ten thousand stay quick and whole meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from relay_inside import Clock, Inside, with_relay

from placet.adapters.sqlite.store import SqliteRequestStore
from placet.core.encoding import Digest, sha256_hex
from placet.ports.request_store import (
    MAX_PAGE,
    Cursor,
    NewRequest,
    RequestId,
    StateFilter,
    UnknownRequestError,
)
from placet.relay import janitor as janitor_module
from placet.relay.janitor import DAY, Janitor, Retention

NOW = 1_800_000_000


def new(name: str, *, expires_at: int, size: int = 100) -> NewRequest:
    digest = sha256_hex(name.encode())
    return NewRequest(RequestId(digest), b"x" * size, digest, expires_at)


def with_janitor(folder: Path, scenario: Any, **retention: Any) -> None:
    async def main() -> None:
        store = SqliteRequestStore.open(folder / "relay.sqlite3")
        clock = Clock(NOW)
        try:
            await scenario(store, clock, Janitor(store, clock, Retention(**retention)))
        finally:
            await store.close()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor_module, "_SECONDS_BETWEEN_BATCHES", 0.0)


def test_closed_requests_go_after_their_days_and_open_ones_never(tmp_path: Path) -> None:
    async def scenario(store: SqliteRequestStore, clock: Clock, janitor: Janitor) -> None:
        await store.submit(new("open for a year", expires_at=NOW + 365 * DAY), now=NOW)
        await store.submit(new("withdrawn", expires_at=NOW + 365 * DAY), now=NOW)
        await store.withdraw(new("withdrawn", expires_at=0).id, now=NOW)
        for i in range(50):
            await store.submit(new(f"short {i}", expires_at=NOW + DAY), now=NOW)
        clock.time = NOW + 30 * DAY
        assert await janitor.clean() == 0
        clock.time += 1
        assert await janitor.clean() == 1
        clock.time = NOW + 31 * DAY + 1
        assert await janitor.clean() == 50
        assert janitor.deleted == 51
        with pytest.raises(UnknownRequestError):
            await store.fetch(new("withdrawn", expires_at=0).id)
        clock.time = NOW + 364 * DAY
        assert await janitor.clean() == 0
        assert (await store.measure(now=clock.time)).open_requests == 1

    with_janitor(tmp_path, scenario)


def test_when_room_is_short_the_oldest_closed_go_early_and_open_ones_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: SqliteRequestStore, clock: Clock, janitor: Janitor) -> None:
        for i in range(60):
            expires_at = NOW + 10 if i < 40 else NOW + DAY
            await store.submit(new(str(i), expires_at=expires_at, size=1000), now=NOW)
        clock.time = NOW + 100
        # An hour is what whoever waits for an outcome has.
        assert await janitor.clean() == 0
        clock.time = NOW + 3700
        assert await janitor.clean() == 20
        usage = await store.measure(now=clock.time)
        assert (usage.requests, usage.open_requests) == (40, 20)
        assert "before their 30 days were over" in caplog.text
        # Also with nothing but open ones, and far too much of them.
        await store.submit(new("large", expires_at=NOW + DAY, size=90_000), now=NOW)
        assert await janitor.clean() == 20
        assert (await store.measure(now=clock.time)).open_requests == 21

    with caplog.at_level(logging.WARNING):
        with_janitor(tmp_path, scenario, max_kept_bytes=62_000)


def test_the_file_stops_growing_once_as_much_goes_as_comes(tmp_path: Path) -> None:
    async def scenario(store: SqliteRequestStore, clock: Clock, janitor: Janitor) -> None:
        sizes = []
        for day in range(8):
            await asyncio.gather(
                *(
                    store.submit(new(f"{day} {i}", expires_at=clock.time + 60, size=5000), now=clock.time)
                    for i in range(200)
                )
            )
            clock.time += DAY
            await janitor.clean()
            sizes.append(await store._writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0]))
        assert sizes[-1] <= sizes[1] + 5

    with_janitor(tmp_path, scenario, keep_seconds=DAY)


def test_a_refusal_for_want_of_room_lets_the_next_cleaning_begin(tmp_path: Path) -> None:
    hurried = []

    async def scenario(relay: Inside) -> None:
        from relay_process import make_request, submission

        async with relay.client() as http:
            assert (await http.post("/v1/requests", json=submission(make_request()))).status_code == 507
        assert hurried == [True]

    with_relay(
        tmp_path,
        scenario,
        callers="[all]\nkept_bytes = 10",
        now=int(time.time()),
        on_full=lambda: hurried.append(True),
    )


def test_the_janitor_runs_by_itself_and_survives_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from placet.ports.request_store import StoreBusyError

    monkeypatch.setattr(janitor_module, "_SECONDS_BETWEEN_ROUNDS", 0.01)

    async def scenario(store: SqliteRequestStore, clock: Clock, janitor: Janitor) -> None:
        delete, calls = store.delete_closed, 0

        async def trouble(**arguments: Any) -> int:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise StoreBusyError("locked")
            return await delete(**arguments)

        monkeypatch.setattr(store, "delete_closed", trouble)
        await store.submit(new("a", expires_at=NOW + 1), now=NOW)
        clock.time += 31 * DAY
        running = asyncio.ensure_future(janitor.run())
        async with asyncio.timeout(10):
            while not janitor.deleted:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with_janitor(tmp_path, scenario)
    assert "could not be deleted: locked" in caplog.text


def test_ten_thousand_requests_are_listed_once_each_while_others_write_and_delete(tmp_path: Path) -> None:
    count = 10_000

    async def scenario(store: SqliteRequestStore, clock: Clock, janitor: Janitor) -> None:
        # Every fifth closes soon; the open ones must be listed exactly once whatever happens to those.
        for start in range(0, count, 1000):
            await asyncio.gather(
                *(
                    store.submit(new(str(i), expires_at=NOW + (5 if i % 5 == 0 else DAY)), now=NOW)
                    for i in range(start, start + 1000)
                )
            )
        clock.time = NOW + 60
        done = asyncio.Event()

        async def meddle() -> None:
            i = 0
            while not done.is_set():
                await store.delete_closed(closed_before=clock.time, limit=7)
                await store.submit(new(f"new {i}", expires_at=NOW + DAY), now=clock.time)
                i += 1

        meddling = asyncio.ensure_future(meddle())
        seen: list[Digest] = []
        after: Cursor | None = None
        slowest = 0.0
        more = True
        while more:
            begin = time.perf_counter()
            page = await store.list_page(StateFilter.OPEN, after=after, limit=MAX_PAGE, now=clock.time)
            slowest = max(slowest, time.perf_counter() - begin)
            seen += [item.id for item in page.requests]
            after, more = page.position, page.has_more
        done.set()
        await meddling
        assert len(seen) == len(set(seen))
        old = [sha256_hex(str(i).encode()) for i in range(count) if i % 5]
        assert seen[: len(old)] == old
        assert slowest < 1.0

    with_janitor(tmp_path, scenario)
