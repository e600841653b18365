"""Deletes closed requests from the PostgreSQL store, for all relays on it.

Every relay asks for it now and then; the row of the chore is taken with SKIP LOCKED, so that one does
the work and the others go on, instead of queueing up to delete the same again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg

from placet.ports.request_limits import day_start

_CLAIM = "SELECT name FROM placet_relay.chores WHERE name = 'delete closed requests' FOR UPDATE SKIP LOCKED"
# As every writer: what is counted below cannot change meanwhile.
_LOCK = "SELECT id FROM placet_relay.store FOR UPDATE"
_OLDEST = """
SELECT seq, caller, size FROM placet_relay.requests WHERE LEAST(expires_at, withdrawn_at) < %s
ORDER BY LEAST(expires_at, withdrawn_at) LIMIT %s
"""
_DELETE_ANSWERS = "DELETE FROM placet_relay.answers WHERE request_seq = ANY(%s) RETURNING caller, size"
_DELETE_REQUESTS = "DELETE FROM placet_relay.requests WHERE seq = ANY(%s)"
_DISCOUNT = """
UPDATE placet_relay.usage SET requests = usage.requests - gone.requests,
    answers = usage.answers - gone.answers, kept_bytes = usage.kept_bytes - gone.kept_bytes
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS gone (caller, requests, answers, kept_bytes)
WHERE usage.caller = gone.caller
"""
_DISCOUNT_ALL = """
UPDATE placet_relay.store SET requests = requests - %s, answers = answers - %s, kept_bytes = kept_bytes - %s
"""
# Who has nothing here any more is forgotten, except for what was sent on a day that may be today.
_FORGET = "DELETE FROM placet_relay.usage WHERE requests = 0 AND answers = 0 AND day < %s"


async def delete_closed(connection: psycopg.AsyncConnection[Any], closed_before: int, limit: int) -> int:
    """Deletes the oldest closed requests with their answers; returns how many.

    Raises:
        psycopg.Error: the database failed; nothing was deleted.
    """
    async with connection.transaction():
        if await (await connection.execute(_CLAIM)).fetchone() is None:
            return 0
        await connection.execute(_LOCK)
        requests = await (await connection.execute(_OLDEST, (closed_before, limit))).fetchall()
        if not requests:
            return 0
        numbers = [seq for seq, _, _ in requests]
        answers = await (await connection.execute(_DELETE_ANSWERS, (numbers,))).fetchall()
        await connection.execute(_DELETE_REQUESTS, (numbers,))
        await _discount(connection, [row[1:] for row in requests], answers)
        await connection.execute(_FORGET, (day_start(closed_before),))
    return len(requests)


async def _discount(
    connection: psycopg.AsyncConnection[Any], requests: list[tuple[Any, ...]], answers: list[tuple[Any, ...]]
) -> None:
    requests_of = Counter(caller for caller, _ in requests)
    answers_of = Counter(caller for caller, _ in answers)
    bytes_of: Counter[str] = Counter()
    for caller, size in [*requests, *answers]:
        bytes_of[caller] += size
    callers = sorted(requests_of | answers_of)
    columns = [[counted[caller] for caller in callers] for counted in (requests_of, answers_of, bytes_of)]
    await connection.execute(_DISCOUNT, (callers, *columns))
    await connection.execute(_DISCOUNT_ALL, tuple(map(sum, columns)))
