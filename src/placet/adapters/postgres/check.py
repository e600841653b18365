"""Whether everything in a relay's PostgreSQL database is what was stored there."""

from __future__ import annotations

from typing import Any

import psycopg

from placet.adapters.postgres.connection import PostgresError, connect, describe
from placet.adapters.postgres.schema import RELAY, check_version
from placet.adapters.postgres.trouble import store_error
from placet.adapters.sqlite.check import CheckResult
from placet.adapters.stored_requests import is_whole, seal_of

# What an operator reads; the rest is more of the same.
_MAX_FINDINGS = 20
# Read together: some megabytes at most, whatever the requests hold.
_PER_STEP = 20
_REQUESTS = """
SELECT seq, seal, id, withdraw_hash, submitted_at, expires_at, container,
       ARRAY(SELECT a.container FROM placet_relay.answers a WHERE a.request_seq = r.seq ORDER BY a.seq),
       ARRAY(SELECT a.digest FROM placet_relay.answers a WHERE a.request_seq = r.seq ORDER BY a.seq)
FROM placet_relay.requests r WHERE seq > %s ORDER BY seq LIMIT %s
"""


def check_database(address: str) -> CheckResult:
    """Reads everything in the database at `address`, which relays may be using.

    Raises:
        StoreFailedError: it holds no store, or cannot be read.
        StoreBusyError: it cannot be reached now.
    """
    findings: list[str] = []
    requests = answers = damaged = 0
    try:
        with connect(address) as connection:
            check_version(connection, RELAY, address)
            latest = 0
            while rows := connection.execute(_REQUESTS, (latest, _PER_STEP)).fetchall():
                latest = rows[-1][0]
                for row in rows:
                    if problem := _find_damage(row):
                        damaged += 1
                        findings.append(f"request {row[2]}: {problem}")
                    else:
                        requests, answers = requests + 1, answers + len(row[-1])
    except (psycopg.Error, PostgresError) as error:
        raise store_error(describe(error, address, migrate=RELAY.command)) from error
    return CheckResult(requests, answers, damaged, tuple(findings[:_MAX_FINDINGS]))


def _find_damage(row: tuple[Any, ...]) -> str:
    _, seal, *head, containers, digests = row
    if seal_of(*head) != seal:
        return "it is not what was stored."
    wrong = sum(
        not is_whole(container, digest) for container, digest in zip(containers, digests, strict=True)
    )
    return f"{wrong} of its answers are not what was stored." if wrong else ""
