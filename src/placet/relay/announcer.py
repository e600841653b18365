"""Tells people that requests wait, and lets nothing through that could be clicked.

What a requester wrote is a claim, and hostile until proven otherwise: `placet.adapters.notice_text` leaves
nothing of it that a program would make a link of.

Whatever happens to a notice, the relay goes on: notices are made in a task of their own, from
queues that are bounded, and a group is told once in a while and of many at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from placet.adapters.notice_text import neutralise
from placet.core.bundle import parse_request
from placet.core.statement import parse_statement
from placet.ports.clock import Clock
from placet.ports.notifier import Notice, Notifier, NotifierError
from placet.ports.request_store import NewRequest

log = logging.getLogger("placet.relay")

MAX_PENDING = 1000
_SHOWN_OF_MANY = 3
_CLOSING = "Nothing here is verified, and nothing here approves. Open your approval terminal."


class Waiting(NamedTuple):
    """A request that waits, as its requester describes it."""

    claim: str
    expires_at: int


class Announcer:
    """Gathers new requests and tells the groups of them.

    Args:
        notifier: how people are reached.
        clock: for the time that is left.
        seconds_between: how long a group has peace after a notice.
        saw: told how many requests were ``sent``, ``failed`` or ``dropped``.
    """

    def __init__(
        self,
        notifier: Notifier,
        clock: Clock,
        *,
        seconds_between: float,
        saw: Callable[[str, int], None] = lambda outcome, count: None,
    ) -> None:
        self._notifier = notifier
        self._clock = clock
        self._seconds_between = seconds_between
        self._saw = saw
        self._pending: dict[str, deque[Waiting]] = {group: deque() for group in notifier.groups}
        self._news = {group: asyncio.Event() for group in notifier.groups}

    def note(self, request: NewRequest) -> None:
        """Takes note of a request that was stored; returns at once, and raises nothing."""
        try:
            self._note(request)
        except Exception as e:
            # The request is stored, and whoever sent it must hear so, whatever is wrong here.
            log.error("people were not told of a waiting request: %r", e)
            self._saw("failed", 1)

    def _note(self, request: NewRequest) -> None:
        statement = parse_statement(parse_request(request.container).payload)
        waiting = Waiting(neutralise(statement.text), request.expires_at)
        gate = statement.audience.removeprefix("gate:")
        for group in self._notifier.groups_for(target=statement.target, gate=gate):
            if len(self._pending[group]) >= MAX_PENDING:
                self._saw("dropped", 1)
                continue
            self._pending[group].append(waiting)
            self._news[group].set()

    async def run(self) -> None:
        """Tells the groups, for ever."""
        await asyncio.gather(*(self._serve(group) for group in self._notifier.groups))

    async def _serve(self, group: str) -> None:
        while True:
            await self._news[group].wait()
            self._news[group].clear()
            now = self._clock.now()
            pending = [waiting for waiting in self._pending[group] if waiting.expires_at > now]
            self._pending[group].clear()
            if not pending:
                continue
            try:
                await self._notifier.notify(group, compose(pending, now))
            except NotifierError as e:
                self._saw("failed", len(pending))
                log.warning("people were not told of waiting requests: %s", e)
            else:
                self._saw("sent", len(pending))
            await asyncio.sleep(self._seconds_between)


def compose(pending: list[Waiting], now: int) -> Notice:
    """Writes the notice about requests that wait; claims in it are neutralised already."""
    if len(pending) == 1:
        (one,) = pending
        body = (
            f'A requester says: "{one.claim}"\n'
            f"It can be decided for {_left(one.expires_at - now)} more.\n{_CLOSING}"
        )
        return Notice("placet: a request waits", body)
    shown = "\n".join(
        f'"{one.claim}" ({_left(one.expires_at - now)} left)' for one in pending[:_SHOWN_OF_MANY]
    )
    rest = len(pending) - _SHOWN_OF_MANY
    more = f"\nand {rest} more" if rest > 0 else ""
    body = f"Requesters say:\n{shown}{more}\n{_CLOSING}"
    return Notice(f"placet: {len(pending)} requests wait", body)


def _left(seconds: int) -> str:
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"
