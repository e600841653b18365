"""What a SQLite request store counts: what each caller and everybody has there, and what may be deleted.

Every function runs inside the writing transaction of its caller, or inside a reading one.
"""

from __future__ import annotations

import sqlite3

from placet.ports.request_limits import Present, PresentAnswers, check_bytes, day_start
from placet.ports.request_store import NO_LIMIT, Limits, NewAnswer, StoreUsage

# The row of all callers together; no caller's name is this short.
EVERYBODY = "*"

_COUNT = """
INSERT INTO usage VALUES (:caller, :requests, :answers, :kept_bytes, :day, :requests_that_day)
ON CONFLICT (caller) DO UPDATE SET
    requests = requests + excluded.requests,
    answers = answers + excluded.answers,
    kept_bytes = kept_bytes + excluded.kept_bytes,
    requests_that_day = CASE
        WHEN excluded.requests_that_day = 0 THEN requests_that_day
        WHEN day = excluded.day THEN requests_that_day + excluded.requests_that_day
        ELSE excluded.requests_that_day END,
    day = CASE WHEN excluded.requests_that_day = 0 THEN day ELSE excluded.day END
"""
_OPEN = "SELECT count(*) FROM requests WHERE withdrawn_at IS NULL AND expires_at > ?"
_OPEN_OF_CALLER = (
    "SELECT count(*) FROM requests INDEXED BY open_requests_by_caller "
    "WHERE caller = ? AND withdrawn_at IS NULL AND expires_at > ?"
)
# The text of the index, to the letter: SQLite finds an index on an expression by its spelling.
_CLOSED_AT = "min(expires_at, coalesce(withdrawn_at, expires_at))"
_OLDEST_CLOSED = (
    f"SELECT seq, caller, length(container) FROM requests WHERE {_CLOSED_AT} < ? "  # noqa: S608 (constant)
    f"ORDER BY {_CLOSED_AT} LIMIT ?"
)


def count_request(connection: sqlite3.Connection, caller: str, size: int, now: int) -> None:
    """Counts a request that was added."""
    _count(connection, caller, requests=1, kept_bytes=size, day=day_start(now), requests_that_day=1)


def count_answer(connection: sqlite3.Connection, caller: str, size: int) -> None:
    """Counts an answer that was added."""
    _count(connection, caller, answers=1, kept_bytes=size)


def _count(connection: sqlite3.Connection, caller: str, **change: int) -> None:
    nothing = {"requests": 0, "answers": 0, "kept_bytes": 0, "day": 0, "requests_that_day": 0}
    rows = [{**nothing, **change, "caller": name} for name in (caller, EVERYBODY)]
    connection.executemany(_COUNT, rows)


def read_present(connection: sqlite3.Connection, caller: str, now: int, limits: Limits) -> Present:
    """Reads what is there of `caller` and of everybody; open requests are counted where a limit is near."""
    select = "SELECT caller, requests, kept_bytes, day, requests_that_day FROM usage WHERE caller IN (?, ?)"
    rows = {name: row for name, *row in connection.execute(select, (caller, EVERYBODY))}
    of_caller, kept, day, that_day = rows.get(caller, (0, 0, 0, 0))
    of_all, all_kept, _, _ = rows.get(EVERYBODY, (0, 0, 0, 0))
    # There are no more open requests than requests: most of the time nothing needs to be counted.
    if limits.open_requests < NO_LIMIT and of_caller >= limits.open_requests:
        (of_caller,) = connection.execute(_OPEN_OF_CALLER, (caller, now)).fetchone()
    if limits.all_open_requests < NO_LIMIT and of_all >= limits.all_open_requests:
        (of_all,) = connection.execute(_OPEN, (now,)).fetchone()
    return Present(of_caller, that_day if day == day_start(now) else 0, kept, of_all, all_kept)


def check_answer_bytes(connection: sqlite3.Connection, answer: NewAnswer, now: int, limits: Limits) -> None:
    """Checks the bytes of an answer against the limits.

    Raises:
        RequestStoreError: as `placet.ports.request_limits.check_bytes`.
    """
    wanted = limits._replace(open_requests=NO_LIMIT, all_open_requests=NO_LIMIT)
    check_bytes(read_present(connection, answer.caller, now, wanted), len(answer.container), limits)


def read_present_answers(connection: sqlite3.Connection, seq: int, answer: NewAnswer) -> PresentAnswers:
    """Reads how many answers the request `seq` has: of this caller, of this verified key, of all."""
    select = (
        "SELECT coalesce(sum(caller = ?), 0), coalesce(sum(signer = ? AND signer != ''), 0), count(*) "
        "FROM answers WHERE request_seq = ?"
    )
    return PresentAnswers._make(connection.execute(select, (answer.caller, answer.signer, seq)).fetchone())


def delete_closed(connection: sqlite3.Connection, closed_before: int, limit: int) -> int:
    """Deletes the oldest closed requests with their answers; returns how many."""
    requests = connection.execute(_OLDEST_CLOSED, (closed_before, limit)).fetchall()
    for seq, caller, size in requests:
        of_request = "SELECT caller, length(container) FROM answers WHERE request_seq = ?"
        for answerer, answer_size in connection.execute(of_request, (seq,)).fetchall():
            _count(connection, answerer, answers=-1, kept_bytes=-answer_size)
        connection.execute("DELETE FROM answers WHERE request_seq = ?", (seq,))
        connection.execute("DELETE FROM requests WHERE seq = ?", (seq,))
        _count(connection, caller, requests=-1, kept_bytes=-size)
    if requests:
        # Who has nothing here any more is forgotten, except for what was sent on a day that may be today.
        forget = "DELETE FROM usage WHERE requests = 0 AND answers = 0 AND day < ? AND caller != ?"
        connection.execute(forget, (day_start(closed_before), EVERYBODY))
    return len(requests)


def read_usage(connection: sqlite3.Connection, now: int, disk_bytes: int) -> StoreUsage:
    """Reads how much is there."""
    select = "SELECT requests, answers, kept_bytes FROM usage WHERE caller = ?"
    requests, answers, kept = connection.execute(select, (EVERYBODY,)).fetchone() or (0, 0, 0)
    (still_open,) = connection.execute(_OPEN, (now,)).fetchone()
    return StoreUsage(requests, still_open, answers, kept, disk_bytes)
