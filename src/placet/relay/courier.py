"""What the relay does, apart from HTTP: keep, list, hand out, wait.

One method per call of the API.  The courier adds to the store what the store must not know:
the time of day, who may withdraw, how much each caller may have, and how many may wait at once.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from placet.adapters.serving.http import MAX_WAITERS
from placet.core.encoding import Digest, sha256_hex
from placet.ports.clock import Clock
from placet.ports.request_store import (
    MAX_PAGE,
    Cursor,
    NewRequest,
    Page,
    RequestId,
    RequestState,
    RequestStore,
    StateFilter,
    StoredRequest,
    StoreFullError,
    Watch,
)
from placet.relay._shape import ShapedAnswer, check_answer_belongs
from placet.relay.callers import UNLIMITED_BOOK, Caller
from placet.relay.decision_log import DecisionLog
from placet.relay.errors import RelayError

# Somebody whom nothing holds back: for whoever uses the courier without a door in front of it.
ANYBODY = UNLIMITED_BOOK.of_address("")


class Admission(Protocol):
    """Decides which answers are worth a place, such as `placet.relay.answer_filter.AnswerFilter`."""

    async def check(self, shaped: ShapedAnswer, *, now: int) -> str:
        """Returns the key whose signature was verified.

        Raises:
            RelayError: the answer is not worth a place.
        """
        ...


class Courier:
    """Carries requests to terminals and answers back.

    Args:
        store: where both are kept.
        clock: tells when a request expires.
        max_waiters: how many long polls may be open at once.
        admission: asked before an answer is kept; without it, limits per caller have to do.
        decision_log: logs decisions, and proves them; without it nothing is logged.
        spend: asked before bytes are logged that nobody enrolled vouches for; raises `RelayError`.
        on_new: told of each new request, once it is stored.
        on_full: told when there was no room.
    """

    def __init__(
        self,
        store: RequestStore,
        clock: Clock,
        *,
        max_waiters: int = MAX_WAITERS,
        admission: Admission | None = None,
        decision_log: DecisionLog | None = None,
        spend: Callable[[Caller, int], None] = lambda caller, size: None,
        on_new: Callable[[NewRequest], None] = lambda request: None,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._free_waiters = max_waiters
        # Whoever shows no token leaves these places to those who do.
        self._reserved_waiters = max_waiters // 4
        self._waiting: Counter[str] = Counter()
        self._admission = admission
        self._log = decision_log
        self._spend = spend
        self._on_new = on_new
        self._on_full = on_full
        self._pauses: set[asyncio.Timeout] = set()
        self._stopping = False

    @property
    def waiters(self) -> int:
        """How many long polls are open now."""
        return self._waiting.total()

    def now(self) -> int:
        """Returns the time by which states are judged."""
        return self._clock.now()

    async def submit(self, request: NewRequest, caller: Caller = ANYBODY) -> tuple[StoredRequest, bool]:
        """Keeps a request; tells whether it is new.

        Raises:
            RequestStoreError: as `RequestStore.submit`.
        """
        request = request._replace(caller=caller.key)
        with self._noticing_full():
            kept, created = await self._store.submit(request, now=self.now(), limits=caller.store_limits)
        if created:
            self._on_new(request)
        return kept, created

    async def fetch(self, request_id: RequestId) -> StoredRequest:
        """Returns a request with its answers.

        Raises:
            RequestStoreError: as `RequestStore.fetch`.
        """
        return await self._store.fetch(request_id)

    async def list_page(self, state: StateFilter, after: Cursor | None, limit: int) -> Page:
        """Lists requests after a cursor, oldest first.

        Raises:
            RequestStoreError: as `RequestStore.list_page`.
        """
        return await self._store.list_page(state, after=after, limit=limit, now=self.now())

    async def answer(self, request_id: RequestId, shaped: ShapedAnswer, caller: Caller = ANYBODY) -> bool:
        """Keeps an answer to an open request; tells whether it is new.

        Raises:
            RelayError: the answer is about another request, not worth a place, or not logged.
            RequestStoreError: as `RequestStore.add_answer`.
        """
        now = self.now()  # one time: what is not logged because it is late must be late for the store, too
        if shaped.statement.payload_digest != request_id:
            # Not its very bytes: either a denial of it, or sent to the wrong place.
            check_answer_belongs(shaped, (await self._store.fetch(request_id)).container)
        limits = caller.store_limits
        signer = ""
        if self._admission is not None:
            signer = await self._admission.check(shaped, now=now)
            limits = caller.vouched_limits
        answer = shaped.answer._replace(caller=caller.key, signer=signer)
        if self._log is not None and (not self._log.is_outside or await self._is_open(request_id, now)):
            if not signer:
                self._spend(caller, len(shaped.answer.container))
            entry = await self._log.prepare(shaped, is_verified=bool(signer), now=now)
            answer = answer._replace(entry=entry)
        with self._noticing_full():
            return await self._store.add_answer(request_id, answer, now=now, limits=limits)

    async def _is_open(self, request_id: RequestId, now: int) -> bool:
        # Asked before an outside log keeps what the store then refuses.  What is closed stays so.
        return (await self._store.fetch(request_id)).state(now) is RequestState.OPEN

    async def proofs(self, found: StoredRequest) -> dict[Digest, str]:
        """Returns the log's proofs of a request's answers that there are, by the answer's digest."""
        if self._log is None:
            return {}
        # All at once: a log that is slow is waited for once, not once for each answer.
        proofs = await asyncio.gather(*map(self._log.prove, found.answers))
        return {
            sha256_hex(answer): proof
            for answer, proof in zip(found.answers, proofs, strict=True)
            if proof is not None
        }

    async def withdraw(self, request_id: RequestId, token_hash: Digest) -> None:
        """Closes a request for whoever knows the secret chosen at submission.

        Raises:
            RelayError: the secret is another.
            RequestStoreError: as `RequestStore.withdraw`.
        """
        kept = await self._store.fetch(request_id)
        # In constant time: an early exit would tell a guesser how far the guess was right.
        if not hmac.compare_digest(token_hash, kept.withdraw_hash):
            raise RelayError(
                "wrong-token",
                "This is not the token with which the request was submitted.",
                hint="Only the machine that made the request can withdraw it; otherwise let it expire.",
            )
        await self._store.withdraw(request_id, now=self.now())

    async def wait_for_answers(
        self, request_id: RequestId, seen: int, timeout: float, caller: Caller = ANYBODY
    ) -> StoredRequest:
        """Returns the request once it has more than `seen` answers or is closed, or after `timeout`.

        Raises:
            RelayError: too many are waiting.
            RequestStoreError: as `RequestStore.fetch`.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        with self._one_waiter(caller), self._store.watch(request_id) as watch:
            while True:
                found = await self._store.fetch(request_id)
                now = self.now()
                if len(found.answers) > seen or found.state(now) is not RequestState.OPEN:
                    return found
                if not await self._pause(watch, deadline, at_most=found.expires_at - now):
                    return found

    async def wait_for_requests(self, after: Cursor | None, timeout: float, caller: Caller = ANYBODY) -> Page:
        """Returns the open requests after a cursor as soon as there are any, at the latest after `timeout`.

        Raises:
            RelayError: too many are waiting.
            RequestStoreError: as `RequestStore.list_page`.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        with self._one_waiter(caller), self._store.watch(None) as watch:
            while True:
                page = await self.list_page(StateFilter.OPEN, after, MAX_PAGE)
                if page.requests or not await self._pause(watch, deadline):
                    return page

    async def check_health(self) -> None:
        """Makes sure that the store serves.

        Raises:
            RequestStoreError: it does not.
        """
        await self._store.check_health()

    def stop_waiting(self) -> None:
        """Sends everybody who waits home with what there is, now and from now on."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for pause in self._pauses:
            pause.reschedule(now)

    @contextmanager
    def _noticing_full(self) -> Iterator[None]:
        try:
            yield
        except StoreFullError:
            self._on_full()
            raise

    @contextmanager
    def _one_waiter(self, caller: Caller) -> Iterator[None]:
        if self._waiting[caller.key] >= caller.limits.waiters:
            raise RelayError(
                "too-many-waiters",
                f"{caller.limits.waiters} of your calls are waiting at this relay already.",
                hint="End some of them, or ask without waiting.",
            )
        if self._free_waiters <= (0 if caller.name else self._reserved_waiters):
            raise RelayError(
                "too-many-waiters",
                "Too many clients are waiting at this relay.",
                hint="Try again in a moment, or ask without waiting.",
            )
        self._free_waiters -= 1
        self._waiting[caller.key] += 1
        try:
            yield
        finally:
            self._free_waiters += 1
            self._waiting[caller.key] -= 1
            if not self._waiting[caller.key]:
                # Addresses come and go; the counts of those who left would stay for ever.
                del self._waiting[caller.key]

    async def _pause(self, watch: Watch, deadline: float, *, at_most: float = float("inf")) -> bool:
        """Sleeps until a change, the deadline or `at_most` seconds; False when it is time to go home."""
        rest = deadline - asyncio.get_running_loop().time()
        if self._stopping or rest <= 0:
            return False
        try:
            async with asyncio.timeout(None) as pause:
                self._pauses.add(pause)
                await watch.changed(min(rest, at_most))
        except TimeoutError:
            return False
        finally:
            self._pauses.discard(pause)
        return True
