"""What every `placet.ports.request_store.RequestStore` must do, as tests to inherit.

An implementation subclasses `RequestStoreContract` in a test module and says how to open a
store.  ``open_store`` is called again within one test to see what a restart finds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from placet.core.encoding import Digest
from placet.ports.request_store import (
    MAX_ANSWERS,
    MAX_DELETED,
    MAX_PAGE,
    AnswerLimitError,
    Cursor,
    Limits,
    NewAnswer,
    NewRequest,
    QuotaExceededError,
    RequestClosedError,
    RequestConflictError,
    RequestId,
    RequestState,
    RequestStore,
    StateFilter,
    StoreFailedError,
    StoreFullError,
    UnknownRequestError,
)

NOW = 1_800_000_000
LATER = NOW + 3600
DAY = 86_400
NEXT_DAY = NOW - NOW % DAY + DAY
SOON = 0.05
LONG = 20.0


def digest(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def request(
    name: str, *, container: bytes | None = None, expires_at: int = LATER, caller: str = "ci"
) -> NewRequest:
    return NewRequest(
        RequestId(digest(name)), container or name.encode(), digest(f"token {name}"), expires_at, caller
    )


def answer(name: str, *, caller: str = "desk", signer: str = "") -> NewAnswer:
    return NewAnswer(digest(name), name.encode(), caller, signer)


class RequestStoreContract:
    """Inherit, and implement `open_store`."""

    def open_store(self, place: Any) -> RequestStore:
        """Opens the store at `place`, a folder of the test's own; finds what an earlier one there left."""
        raise NotImplementedError

    def damage(self, place: Any, table: str) -> None:
        """Changes one byte of every container in ``requests`` or ``answers`` of a closed store at `place`.

        The store's own words for both tables' containers may be others; the digests stay as they are.
        """
        raise NotImplementedError

    @pytest.fixture
    def with_store(
        self, tmp_path: Any
    ) -> Callable[[Callable[[RequestStore], Coroutine[Any, Any, None]]], None]:
        def run(scenario: Callable[[RequestStore], Coroutine[Any, Any, None]]) -> None:
            async def main() -> None:
                async with self._opened(tmp_path) as store:
                    await scenario(store)

            asyncio.run(main())

        return run

    @asynccontextmanager
    async def _opened(self, place: Any) -> AsyncIterator[RequestStore]:
        store = self.open_store(place)
        try:
            yield store
        finally:
            await store.close()

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

    def test_a_caller_has_so_many_open_requests_and_no_more(self, with_store: Any) -> None:
        limits = Limits(open_requests=2)

        async def scenario(store: RequestStore) -> None:
            for name in ("a", "b"):
                await store.submit(request(name), now=NOW, limits=limits)
            with pytest.raises(QuotaExceededError, match="2 open requests") as refusal:
                await store.submit(request("c"), now=NOW, limits=limits)
            assert refusal.value.retry_after > 0
            with pytest.raises(UnknownRequestError):
                await store.fetch(request("c").id)
            # Whoever lost the acknowledgement just tries again, and others are not concerned.
            assert (await store.submit(request("a"), now=NOW, limits=limits))[1] is False
            await store.submit(request("other", caller="cd"), now=NOW, limits=limits)
            await store.withdraw(request("a").id, now=NOW)
            await store.submit(request("c"), now=NOW, limits=limits)
            # What expired is no longer open.
            await store.submit(request("d", expires_at=LATER + 9), now=LATER, limits=limits)

        with_store(scenario)

    def test_the_quota_holds_under_a_race(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            results = await asyncio.gather(
                *(store.submit(request(str(i)), now=NOW, limits=Limits(open_requests=5)) for i in range(30)),
                return_exceptions=True,
            )
            assert sum(isinstance(result, QuotaExceededError) for result in results) == 25
            assert (await store.measure(now=NOW)).open_requests == 5

        with_store(scenario)

    def test_a_caller_sends_so_many_requests_a_day(self, with_store: Any) -> None:
        limits = Limits(requests_per_day=2)

        async def scenario(store: RequestStore) -> None:
            for name in ("a", "b"):
                await store.submit(request(name, expires_at=NEXT_DAY + 9), now=NOW, limits=limits)
                # Withdrawing does not give the day's share back.
                await store.withdraw(request(name).id, now=NOW)
            with pytest.raises(QuotaExceededError, match="2 requests today") as refusal:
                await store.submit(request("c", expires_at=NEXT_DAY + 9), now=NEXT_DAY - 7, limits=limits)
            assert refusal.value.retry_after == 7
            await store.submit(request("d", expires_at=NEXT_DAY + 9), now=NEXT_DAY, limits=limits)
            # An answer in between is no request and starts no day.
            await store.add_answer(request("d").id, answer("x", caller="ci"), now=NEXT_DAY)
            await store.submit(request("e", expires_at=NEXT_DAY + 9), now=NEXT_DAY, limits=limits)
            with pytest.raises(QuotaExceededError):
                await store.submit(request("f", expires_at=NEXT_DAY + 9), now=NEXT_DAY, limits=limits)

        with_store(scenario)

    def test_a_caller_keeps_so_many_bytes_of_requests_and_answers(self, with_store: Any) -> None:
        limits = Limits(kept_bytes=10)

        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a", container=b"x" * 6), now=NOW, limits=limits)
            await store.add_answer(request("a").id, answer("1234", caller="ci"), now=NOW, limits=limits)
            with pytest.raises(QuotaExceededError, match="10 bytes"):
                await store.submit(request("b"), now=NOW, limits=limits)
            with pytest.raises(QuotaExceededError, match="10 bytes"):
                await store.add_answer(request("a").id, answer("5", caller="ci"), now=NOW, limits=limits)
            await store.add_answer(request("a").id, answer("6", caller="desk"), now=NOW, limits=limits)
            assert (await store.measure(now=NOW)).kept_bytes == 11
            assert await store.delete_closed(closed_before=LATER + 1) == 1
            assert (await store.measure(now=NOW)).kept_bytes == 0
            await store.submit(request("c", container=b"x" * 10), now=NOW, limits=limits)

        with_store(scenario)

    def test_everybody_together_has_bounds_too(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            for name in ("a", "b"):
                await store.submit(request(name, caller=name), now=NOW)
            with pytest.raises(StoreFullError):
                await store.submit(request("c", caller="c"), now=NOW, limits=Limits(all_open_requests=2))
            with pytest.raises(StoreFullError):
                await store.submit(request("c", caller="c"), now=NOW, limits=Limits(all_kept_bytes=2))
            with pytest.raises(StoreFullError):
                await store.add_answer(request("a").id, answer("x"), now=NOW, limits=Limits(all_kept_bytes=2))
            # A larger bound for others is room that is reserved for them.
            await store.submit(request("c", caller="c"), now=NOW, limits=Limits(all_open_requests=3))

        with_store(scenario)

    def test_answers_have_limits_by_caller_by_verified_key_and_by_all(self, with_store: Any) -> None:
        limits = Limits(answers=2, answers_per_signer=1, all_answers=4)
        at = request("a").id

        async def scenario(store: RequestStore) -> None:
            await store.submit(request("a"), now=NOW)

            async def give(name: str, caller: str, signer: str = "") -> bool:
                return await store.add_answer(
                    at, answer(name, caller=caller, signer=signer), now=NOW, limits=limits
                )

            assert await give("1", "flood") and await give("2", "flood")
            with pytest.raises(AnswerLimitError, match="You gave 2"):
                await give("3", "flood")
            assert not await give("1", "flood")
            assert await give("4", "desk", "key of zoe")
            with pytest.raises(AnswerLimitError, match="of this key"):
                await give("5", "other desk", "key of zoe")
            # A key that nobody verified limits nobody.
            assert await give("6", "third desk")
            with pytest.raises(AnswerLimitError, match="4 answers already"):
                await give("7", "fourth desk")
            more = limits._replace(all_answers=MAX_ANSWERS)
            assert await store.add_answer(at, answer("8", caller="known"), now=NOW, limits=more)

        with_store(scenario)

    def test_what_is_counted_survives_a_restart(self, tmp_path: Any) -> None:
        async def main() -> None:
            async with self._opened(tmp_path) as store:
                await store.submit(request("a"), now=NOW)
                await store.add_answer(request("a").id, answer("x"), now=NOW)
                before = await store.measure(now=NOW)
            async with self._opened(tmp_path) as store:
                assert (await store.measure(now=NOW))[:4] == before[:4] == (1, 1, 1, 2)
                for limits in (Limits(open_requests=1), Limits(requests_per_day=1), Limits(kept_bytes=1)):
                    with pytest.raises(QuotaExceededError):
                        await store.submit(request("b"), now=NOW, limits=limits)
                with pytest.raises(AnswerLimitError):
                    await store.add_answer(request("a").id, answer("y"), now=NOW, limits=Limits(answers=1))

        asyncio.run(main())

    def test_only_what_closed_before_the_time_is_deleted_oldest_first(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            for name, expires_at in (("open", LATER), ("short", NOW + 10), ("withdrawn", LATER)):
                await store.submit(request(name, expires_at=expires_at), now=NOW)
                await store.add_answer(request(name).id, answer(f"to {name}"), now=NOW)
            await store.withdraw(request("withdrawn").id, now=NOW + 5)
            assert await store.delete_closed(closed_before=NOW + 5) == 0
            assert await store.delete_closed(closed_before=NOW + 20, limit=1) == 1
            with pytest.raises(UnknownRequestError):
                await store.fetch(request("withdrawn").id)
            assert await store.delete_closed(closed_before=NOW + 10) == 0
            assert await store.delete_closed(closed_before=NOW + 11) == 1
            assert await store.delete_closed(closed_before=NOW + 11) == 0
            found = await store.fetch(request("open").id)
            assert found.answers == (b"to open",)
            assert (await store.measure(now=NOW))[:3] == (1, 1, 1)
            # What is gone may come again, as new.
            assert (await store.submit(request("withdrawn"), now=NOW))[1]

        with_store(scenario)

    def test_a_reader_that_follows_misses_nothing_while_others_delete(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            for i in range(60):
                expires_at = NOW + 10 if i % 2 else LATER
                await store.submit(request(str(i), expires_at=expires_at), now=NOW)
            first = await store.list_page(StateFilter.ALL, after=None, limit=20, now=NOW + 10)
            # Also the very request at which the cursor stands is deleted.
            while await store.delete_closed(closed_before=NOW + 20, limit=7):
                pass
            await store.submit(request("new"), now=NOW)
            rest = await store.list_page(StateFilter.ALL, after=first.position, limit=99, now=NOW + 10)
            expected = [request(str(i)).id for i in range(20, 60, 2)] + [request("new").id]
            assert [item.id for item in rest.requests] == expected

        with_store(scenario)

    def test_deleting_happens_in_small_steps(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            count = MAX_DELETED + 20
            await asyncio.gather(
                *(store.submit(request(str(i), expires_at=NOW + 1), now=NOW) for i in range(count))
            )
            assert await store.delete_closed(closed_before=LATER, limit=10 * MAX_DELETED) == MAX_DELETED
            assert await store.delete_closed(closed_before=LATER) == 20

        with_store(scenario)

    @pytest.mark.parametrize("table", ["requests", "answers"])
    def test_what_was_damaged_is_refused_and_never_served_in_part(self, tmp_path: Any, table: str) -> None:
        async def main() -> None:
            async with self._opened(tmp_path) as store:
                await store.submit(request("a"), now=NOW)
                await store.add_answer(request("a").id, answer("x"), now=NOW)
            self.damage(tmp_path, table)
            async with self._opened(tmp_path) as store:
                with pytest.raises(StoreFailedError, match="damaged"):
                    await store.fetch(request("a").id)
                # One damaged request is no reason to stop serving the others.
                await store.submit(request("b"), now=NOW)
                assert (await store.fetch(request("b").id)).container == b"b"

        asyncio.run(main())

    def test_a_healthy_store_says_so_and_closes_twice(self, with_store: Any) -> None:
        async def scenario(store: RequestStore) -> None:
            await store.check_health()
            await store.close()

        with_store(scenario)
