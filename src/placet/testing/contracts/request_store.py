"""What every `placet.ports.request_store.RequestStore` must do, as tests to inherit.

An implementation subclasses `RequestStoreContract` in a test module and says how to open a
store.  ``open_store`` is called again within one test to see what a restart finds.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from placet.ports.request_store import (
    MAX_ANSWERS,
    MAX_PAGE,
    AnswerLimitError,
    Cursor,
    NewRequest,
    RequestClosedError,
    RequestConflictError,
    RequestId,
    RequestState,
    RequestStore,
    StateFilter,
    UnknownRequestError,
)
from placet.testing.contracts._store_limits import LimitsContract
from placet.testing.contracts._store_scene import LATER, LONG, NOW, SOON, answer, digest, request

__all__ = ["LATER", "LONG", "NOW", "RequestStoreContract", "answer", "request"]


class RequestStoreContract(LimitsContract):
    """Inherit, and implement `open_store` and `damage`."""

    def test_a_submitted_request_is_fetched_as_it_was(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            kept, created = await store.submit(request("a"), now=NOW)
            assert created
            found = await store.fetch(request("a").id)
            assert found == kept
            assert found.container == b"a"
            assert (found.submitted_at, found.expires_at, found.withdrawn_at) == (NOW, LATER, None)
            assert found.answers == ()

        with_store(scenario)

    def test_submitting_the_same_again_changes_nothing(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            first, _ = await store.submit(request("a"), now=NOW)
            again, created = await store.submit(request("a"), now=NOW + 9)
            assert not created
            assert again == first
            page = await store.list_page(StateFilter.ALL, after=None, limit=10, now=NOW)
            assert len(page.requests) == 1

        with_store(scenario)

    def test_submitting_the_same_again_succeeds_after_it_expired(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            kept, created = await store.submit(request("a"), now=LATER + 1)
            assert not created
            assert kept.state(LATER + 1) is RequestState.EXPIRED

        with_store(scenario)

    @pytest.mark.parametrize(
        "other",
        [request("a", container=b"other evidence"), request("a")._replace(withdraw_hash=digest("mine now"))],
        ids=["container", "withdraw-token"],
    )
    def test_a_taken_id_is_never_overwritten(self, with_store: Any, other: NewRequest) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            with pytest.raises(RequestConflictError):
                await store.submit(other, now=NOW)
            found = await store.fetch(request("a").id)
            assert (found.container, found.withdraw_hash) == (b"a", request("a").withdraw_hash)

        with_store(scenario)

    def test_a_request_that_already_expired_is_not_kept(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            with pytest.raises(RequestClosedError):
                await store.submit(request("late", expires_at=NOW), now=NOW)
            with pytest.raises(UnknownRequestError):
                await store.fetch(request("late").id)

        with_store(scenario)

    def test_writes_that_come_together_are_judged_each_by_its_own_time(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            results = await asyncio.gather(
                *(
                    store.submit(request(str(i), expires_at=NOW + 10), now=NOW + 20 * (i % 2))
                    for i in range(20)
                ),
                return_exceptions=True,
            )
            assert [isinstance(result, RequestClosedError) for result in results] == [False, True] * 10

        with_store(scenario)

    def test_answers_come_back_in_the_order_of_arrival(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            for name in ("z", "m", "b"):
                assert await store.add_answer(request("a").id, answer(name), now=NOW)
            assert (await store.fetch(request("a").id)).answers == (b"z", b"m", b"b")

        with_store(scenario)

    def test_answering_the_same_again_changes_nothing_even_when_closed(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            await store.add_answer(request("a").id, answer("x"), now=NOW)
            assert not await store.add_answer(request("a").id, answer("x"), now=NOW)
            await store.withdraw(request("a").id, now=NOW)
            assert not await store.add_answer(request("a").id, answer("x"), now=LATER)
            assert (await store.fetch(request("a").id)).answers == (b"x",)

        with_store(scenario)

    def test_an_answer_to_nothing_is_refused(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            with pytest.raises(UnknownRequestError):
                await store.add_answer(request("a").id, answer("x"), now=NOW)

        with_store(scenario)

    def test_an_answer_after_the_withdrawal_is_refused(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            await store.withdraw(request("a").id, now=NOW)
            with pytest.raises(RequestClosedError, match="withdrawn"):
                await store.add_answer(request("a").id, answer("x"), now=NOW)
            assert (await store.fetch(request("a").id)).answers == ()

        with_store(scenario)

    def test_an_answer_at_the_second_of_expiry_is_refused(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            assert await store.add_answer(request("a").id, answer("in time"), now=LATER - 1)
            with pytest.raises(RequestClosedError, match="expired"):
                await store.add_answer(request("a").id, answer("late"), now=LATER)

        with_store(scenario)

    def test_answers_stop_at_the_limit_under_a_race(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            results = await asyncio.gather(
                *(
                    store.add_answer(request("a").id, answer(str(i)), now=NOW)
                    for i in range(MAX_ANSWERS + 20)
                ),
                return_exceptions=True,
            )
            assert results.count(True) == MAX_ANSWERS
            assert sum(isinstance(result, AnswerLimitError) for result in results) == 20
            assert len((await store.fetch(request("a").id)).answers) == MAX_ANSWERS
            assert not await store.add_answer(request("a").id, answer("0"), now=NOW)

        with_store(scenario)

    def test_two_submitters_of_one_request_make_one(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            results = await asyncio.gather(*(store.submit(request("a"), now=NOW) for _ in range(50)))
            assert sum(created for _, created in results) == 1

        with_store(scenario)

    def test_a_refused_write_takes_no_neighbour_with_it(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            good = [store.submit(request(f"good {i}"), now=NOW) for i in range(20)]
            bad = [store.submit(request("a", container=b"other"), now=NOW) for _ in range(20)]
            mixed = [call for pair in zip(good, bad, strict=True) for call in pair]
            results = await asyncio.gather(*mixed, return_exceptions=True)
            assert sum(isinstance(result, RequestConflictError) for result in results) == 20
            for i in range(20):
                await store.fetch(request(f"good {i}").id)

        with_store(scenario)

    def test_withdrawing_twice_keeps_the_first_time(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            await store.withdraw(request("a").id, now=NOW + 1)
            await store.withdraw(request("a").id, now=NOW + 2)
            found = await store.fetch(request("a").id)
            assert found.withdrawn_at == NOW + 1
            assert found.state(LATER + 1) is RequestState.WITHDRAWN

        with_store(scenario)

    def test_withdrawing_nothing_is_refused(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            with pytest.raises(UnknownRequestError):
                await store.withdraw(request("a").id, now=NOW)

        with_store(scenario)

    def test_listings_show_each_state(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            for name, expires_at in (("open", LATER), ("short", NOW + 10), ("withdrawn", LATER)):
                await store.submit(request(name, expires_at=expires_at), now=NOW)
            await store.withdraw(request("withdrawn").id, now=NOW)
            await store.add_answer(request("open").id, answer("x"), now=NOW)
            then = NOW + 10
            seen = {
                state: [
                    item.id for item in (await store.list_page(state, after=None, limit=9, now=then)).requests
                ]
                for state in StateFilter
            }
            assert seen[StateFilter.OPEN] == [request("open").id]
            assert seen[StateFilter.CLOSED] == [request("short").id, request("withdrawn").id]
            assert seen[StateFilter.ALL] == [request(name).id for name in ("open", "short", "withdrawn")]
            page = await store.list_page(StateFilter.ALL, after=None, limit=9, now=then)
            assert [item.answer_count for item in page.requests] == [1, 0, 0]
            assert [item.state(then) for item in page.requests] == [
                RequestState.OPEN,
                RequestState.EXPIRED,
                RequestState.WITHDRAWN,
            ]

        with_store(scenario)

    def test_pages_show_everything_once_and_in_order(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            names = [f"request {i}" for i in range(25)]
            for name in names:
                await store.submit(request(name), now=NOW)
            seen: list[RequestId] = []
            after: Cursor | None = None
            more = True
            while more:
                page = await store.list_page(StateFilter.OPEN, after=after, limit=10, now=NOW)
                seen += [item.id for item in page.requests]
                after, more = page.position, page.has_more
            assert seen == [request(name).id for name in names]
            rest = await store.list_page(StateFilter.OPEN, after=after, limit=10, now=NOW)
            assert (rest.requests, rest.position, rest.has_more) == ((), after, False)

        with_store(scenario)

    def test_a_reader_that_follows_misses_nothing_while_many_write(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            names = [f"request {i}" for i in range(300)]

            async def follow() -> set[RequestId]:
                seen: set[RequestId] = set()
                after: Cursor | None = None
                while len(seen) < len(names):
                    page = await store.list_page(StateFilter.OPEN, after=after, limit=7, now=NOW)
                    after = page.position
                    seen |= {item.id for item in page.requests}
                return seen

            async with asyncio.timeout(LONG):
                seen, *_ = await asyncio.gather(
                    follow(), *(store.submit(request(name), now=NOW) for name in names)
                )
            assert seen == {request(name).id for name in names}

        with_store(scenario)

    def test_a_page_is_never_longer_than_the_limit(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await asyncio.gather(*(store.submit(request(str(i)), now=NOW) for i in range(MAX_PAGE + 5)))
            page = await store.list_page(StateFilter.ALL, after=None, limit=10 * MAX_PAGE, now=NOW)
            assert len(page.requests) == MAX_PAGE
            assert page.has_more

        with_store(scenario)

    @pytest.mark.parametrize(
        "cursor", ["", "x", "0-99999", "-", "-1", "0000000000000000-5", "9" * 400, "é-1"]
    )
    def test_a_foreign_cursor_starts_over(self, with_store: Any, cursor: str) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            page = await store.list_page(StateFilter.OPEN, after=Cursor(cursor), limit=5, now=NOW)
            assert len(page.requests) == 1

        with_store(scenario)

    def test_a_cursor_that_no_request_has_reached_starts_over(self, with_store: Any) -> None:
        """As after a backup was put back: what comes next would have numbers that the reader passed."""

        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            page = await store.list_page(StateFilter.ALL, after=None, limit=5, now=NOW)
            place, _, number = page.position.rpartition("-")
            ahead = Cursor(f"{place}-{int(number) + 1}")
            again = await store.list_page(StateFilter.ALL, after=ahead, limit=5, now=NOW)
            assert (again.requests, again.position) == (page.requests, page.position)

        with_store(scenario)

    def test_a_watch_wakes_for_an_answer_and_for_a_withdrawal(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            with store.watch(request("a").id) as watch:
                assert not await watch.changed(SOON)
                await store.add_answer(request("a").id, answer("x"), now=NOW)
                assert await watch.changed(LONG)
                await store.withdraw(request("a").id, now=NOW)
                assert await watch.changed(LONG)

        with_store(scenario)

    def test_a_watch_wakes_for_a_new_request(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            with store.watch(None) as watch:
                await store.submit(request("a"), now=NOW)
                assert await watch.changed(LONG)

        with_store(scenario)

    def test_a_change_between_watching_and_waiting_is_not_lost(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            with store.watch(request("a").id) as first, store.watch(request("a").id) as second:
                await store.add_answer(request("a").id, answer("x"), now=NOW)
                await asyncio.sleep(SOON)
                assert await first.changed(LONG)
                assert await second.changed(LONG)

        with_store(scenario)

    def test_a_cancelled_write_still_wakes_the_watchers_if_it_was_stored(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)
            with store.watch(request("a").id) as watch:
                writing = asyncio.ensure_future(store.add_answer(request("a").id, answer("x"), now=NOW))
                await asyncio.sleep(0)
                writing.cancel()
                woken = await watch.changed(1.0)
                assert woken == bool((await store.fetch(request("a").id)).answers)

        with_store(scenario)

    def test_everything_acknowledged_is_there_after_a_restart(self, tmp_path: Any) -> None:
        async def main() -> None:
            async with self._opened(tmp_path) as store:
                await store.submit(request("a"), now=NOW)
                await store.submit(request("b"), now=NOW)
                await store.add_answer(request("a").id, answer("x"), now=NOW)
                await store.withdraw(request("b").id, now=NOW)
                before = await store.list_page(StateFilter.ALL, after=None, limit=1, now=NOW)
            async with self._opened(tmp_path) as store:
                assert (await store.fetch(request("a").id)).answers == (b"x",)
                assert (await store.fetch(request("b").id)).withdrawn_at == NOW
                # A cursor from before the restart still stands for the same place.
                after = await store.list_page(StateFilter.ALL, after=before.position, limit=9, now=NOW)
                assert [item.id for item in after.requests] == [request("b").id]

        asyncio.run(main())

    def test_a_healthy_store_says_so_and_closes_twice(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.check_health()
            await store.close()

        with_store(scenario)
