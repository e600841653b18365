"""The part of the request store's contract about limits, retention and damage."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from placet.ports.request_store import (
    MAX_ANSWERS,
    MAX_DELETED,
    AnswerLimitError,
    Limits,
    QuotaExceededError,
    RequestStore,
    StateFilter,
    StoreFailedError,
    StoreFullError,
    UnknownRequestError,
)
from placet.testing.contracts._store_scene import LATER, NEXT_DAY, NOW, StoreScene, answer, request


class LimitsContract(StoreScene):
    """A part of `RequestStoreContract`."""

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
