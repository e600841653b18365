"""How much of a relay's SQLite file is whole, and saving that into a new file.

A damaged page takes some requests with it, and SQLite stops reading where it meets one.  So
everything is asked for one by one, and each container is compared with its digest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.sqlite._log_check import check_log, copy_log, has_log
from placet.adapters.sqlite.counting import EVERYBODY, count_answer, count_request
from placet.adapters.sqlite.database import open_database
from placet.adapters.sqlite.errors import translate
from placet.adapters.stored_requests import is_whole, seal_of
from placet.ports.request_store import StoreFailedError

# What an operator reads; the rest is more of the same.
_MAX_FINDINGS = 20
_SALVAGED_PER_COMMIT = 200
_REQUEST = """
SELECT seq, id, withdraw_hash, submitted_at, expires_at, withdrawn_at, caller, seal, container
FROM requests NOT INDEXED WHERE seq = ?
"""
_ANSWERS = """
SELECT digest, received_at, caller, signer, container FROM answers WHERE request_seq = ? ORDER BY seq
"""
_INSERT_REQUEST = """
INSERT INTO requests (seq, id, withdraw_hash, submitted_at, expires_at, withdrawn_at, caller, seal, container)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_ANSWER = """
INSERT INTO answers (request_seq, digest, received_at, caller, signer, container) VALUES (?, ?, ?, ?, ?, ?)
"""

Whole = tuple[tuple[Any, ...], list[tuple[Any, ...]]]


class CheckResult(NamedTuple):
    """What a check found."""

    requests: int
    """Whole ones, with all their answers whole."""
    answers: int
    damaged: int
    """Requests that are there in part, or cannot be read."""
    findings: tuple[str, ...]
    """The first of what is wrong, as sentences; empty where the database is whole."""


def check_database(
    path: Path,
    *,
    keep: Callable[[Whole], None] = lambda whole: None,
    keep_log: Callable[[sqlite3.Connection], None] = lambda connection: None,
) -> CheckResult:
    """Reads everything in the database at `path`, which a relay may be using.

    Args:
        path: the database file.
        keep: given each whole request with its answers.
        keep_log: given the database where its log is whole, or where it has none.

    Raises:
        StoreFailedError: there is no placet database, or nothing of it can be read.
    """
    if not path.is_file():
        raise StoreFailedError(f"There is no database {path}.", hint="Name its folder with --state.")
    findings: list[str] = []
    requests = answers = damaged = 0
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only = ON")
            findings += _check_structure(connection)
            for seq in _sequence(connection):
                try:
                    found = _read_whole(connection, seq)
                except (sqlite3.Error, _Damage) as e:
                    damaged += 1
                    findings.append(f"request number {seq}: {e}")
                    continue
                if found is None:
                    continue
                requests += 1
                answers += len(found[1])
                keep(found)
            if not damaged:
                findings += _check_counts(connection, requests, answers)
            in_log = check_log(connection)
            findings += in_log
            if not in_log:
                keep_log(connection)
    except sqlite3.Error as e:
        raise translate(e, str(path)) from e
    return CheckResult(requests, answers, damaged, tuple(findings[:_MAX_FINDINGS]))


def salvage(path: Path, target: Path) -> CheckResult:
    """Saves what is whole in the database at `path` into a new one at `target`; a log all or not at all.

    The relay must be stopped, or what arrives meanwhile is missing in the new one.

    Raises:
        StoreFailedError: `target` is there already, or one of the two cannot be used.
    """
    if target.exists():
        raise StoreFailedError(f"There is a file {target} already.", hint="Name one that does not exist yet.")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection, _ = open_database(target, max_bytes=2**62)
    count = 0

    def keep(whole: Whole) -> None:
        nonlocal count
        request, answers = whole
        count += 1
        connection.execute(_INSERT_REQUEST, request)
        count_request(connection, request[6], len(request[-1]), request[3])
        for answer in answers:
            connection.execute(_INSERT_ANSWER, (request[0], *answer))
            count_answer(connection, answer[2], len(answer[-1]))
        if count % _SALVAGED_PER_COMMIT == 0:
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")

    def keep_log(source: sqlite3.Connection) -> None:
        if has_log(source):
            copy_log(source, connection)

    with closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = check_database(path, keep=keep, keep_log=keep_log)
            connection.execute("COMMIT")
        except sqlite3.Error as e:
            raise translate(e, str(target)) from e
    return result


class _Damage(Exception):
    """A request is not what was stored."""


def _check_structure(connection: sqlite3.Connection) -> list[str]:
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_MAX_FINDINGS})").fetchall()
    except sqlite3.Error as e:
        return [f"the structure: {e}"]
    return [f"the structure: {text}" for (text,) in rows if text != "ok"]


def _sequence(connection: sqlite3.Connection) -> Iterator[int]:
    """Returns every number that a request may have: a walk would end at the first damage."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'requests'").fetchone()
    last = row[0] if row else 0
    first = 1
    try:
        (lowest,) = connection.execute("SELECT min(seq) FROM requests NOT INDEXED").fetchone()
        first = lowest or last + 1
    except sqlite3.Error:
        pass
    return iter(range(first, last + 1))


def _read_whole(connection: sqlite3.Connection, seq: int) -> Whole | None:
    request = connection.execute(_REQUEST, (seq,)).fetchone()
    if request is None:
        return None  # Deleted.
    _, request_id, withdraw_hash, submitted_at, expires_at, _, _, seal, container = request
    if not isinstance(container, bytes) or seal != seal_of(
        request_id, withdraw_hash, submitted_at, expires_at, container
    ):
        raise _Damage(f"{str(request_id)[:16]}… is not what was stored")
    answers = connection.execute(_ANSWERS, (seq,)).fetchall()
    if not all(is_whole(answer[-1], answer[0]) for answer in answers):
        raise _Damage(f"an answer to {request_id[:16]}… is not what was stored")
    return request, answers


def _check_counts(connection: sqlite3.Connection, requests: int, answers: int) -> list[str]:
    """Checks that what quotas count by is what is there."""
    select = "SELECT requests, answers FROM usage WHERE caller = ?"
    counted = connection.execute(select, (EVERYBODY,)).fetchone() or (0, 0)
    if counted == (requests, answers):
        return []
    return [f"the counts: {counted[0]} requests and {counted[1]} answers, found {requests} and {answers}"]
