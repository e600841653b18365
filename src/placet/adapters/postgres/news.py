"""How a relay hears what others wrote: NOTIFY, and a look at the change counter now and then.

Each commit carries its number and whom it concerns (`postgres_writer`).  A listener on a connection of
its own wakes them.  Notifications get lost: with a broken connection, behind a pooler that hands each
transaction to another session.  So the listener also reads the counter every second; and whenever a
number is missing, everybody is woken.  A lost notification delays, and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import psycopg

from placet.adapters.postgres.batch import EVERYTHING, NEW_REQUESTS
from placet.adapters.postgres.connection import PostgresError, connect_async, describe
from placet.adapters.postgres.schema import RELAY
from placet.adapters.postgres.writer import CHANNEL
from placet.adapters.watches import Watches
from placet.core.encoding import Digest
from placet.ports.request_store import RequestId

log = logging.getLogger("placet.relay.store")

# What a lost notification costs at most.
POLL_SECONDS = 1.0
_RETRY_PAUSE = 0.5
_ANSWER_SECONDS = 5.0
_READ_CHANGE = "SELECT change FROM placet_relay.store"


class News:
    """Wakes `watches` for what any process writes to the store at `address`.

    Attributes:
        is_away: whether the database was told to be away, once, and is not back yet.
    """

    def __init__(self, address: str, watches: Watches) -> None:
        self._address = address
        self._watches = watches
        self._change = -1
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self.is_away = False

    async def start(self) -> None:
        """Starts listening; returns once that was tried for the first time."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="placet-store-news")
        await self._tried.wait()

    async def close(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while True:
            try:
                connection = await connect_async(self._address)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    await self._catch_up(connection)
                    self._tried.set()
                    if self.is_away:
                        log.warning("the relay's database is back")
                    self.is_away = False
                    await self._listen(connection)
            except (psycopg.Error, PostgresError, TimeoutError) as error:
                # Once per outage; whoever writes or reads meanwhile finds it said.
                if not self.is_away:
                    log.warning("%s", _message(error, self._address))
                self.is_away = True
                self._tried.set()
                await asyncio.sleep(_RETRY_PAUSE)

    async def _listen(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        while True:
            async for notification in connection.notifies(timeout=POLL_SECONDS):
                self._hear(notification.payload)
            await self._catch_up(connection)

    async def _catch_up(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        """Wakes everybody if a change was missed.

        Raises:
            TimeoutError: the server does not answer.
        """
        async with asyncio.timeout(_ANSWER_SECONDS):
            row = await (await connection.execute(_READ_CHANGE)).fetchone()
        change = row[0] if row else -1
        if change != self._change:
            self._change = change
            self._watches.announce_all()

    def _hear(self, payload: str) -> None:
        number, _, names = payload.partition(" ")
        change = int(number) if number.isascii() and number.isdigit() else -1
        if names == EVERYTHING or change != self._change + 1:
            self._watches.announce_all()
        else:
            for name in names.split(","):
                self._watches.announce(None if name == NEW_REQUESTS else RequestId(Digest(name)))
        self._change = max(change, self._change)


def _message(error: Exception, address: str) -> str:
    if isinstance(error, psycopg.Error | PostgresError):
        return describe(error, address, migrate=RELAY.command).message
    return "The relay's database does not answer."
