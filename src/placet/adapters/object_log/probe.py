"""Tells storage that keeps conditions from storage that answers 200 and writes all the same.

Two processes on the latter would sign two histories, and nobody would hear of it.  So every start tries the
conditions that the log rests on, two of them in a race; some servers look first and write afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable

from placet.adapters.object_log.bucket import ConditionFailedError, Kind, S3Bucket
from placet.core.errors import IndeterminateError, Reason

_KEY = "private/probe"
_ABSENT = "private/probe-of-nothing"
_OTHER_ETAG = '"00000000000000000000000000000000"'
_MAX_BYTES = 1024
# Another process that starts at this moment may win every race for a while.
_TRIES = 8


async def check_conditions(bucket: S3Bucket) -> None:
    """Makes sure that the storage keeps If-None-Match and If-Match.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE where it does not, or cannot be asked.
    """
    for _ in range(_TRIES):
        before = await bucket.read(_KEY, max_bytes=_MAX_BYTES)
        if before is None:
            won = await _race(*(bucket.create(_KEY, _mark(), Kind.PRIVATE) for _ in range(2)))
            if won == 2:
                raise _ignores(bucket, "creates an object twice (If-None-Match: *)")
            continue
        if await _race(bucket.create(_KEY, _mark(), Kind.PRIVATE)):
            raise _ignores(bucket, "overwrites in spite of If-None-Match: *")
        if await _race(bucket.replace(_KEY, _mark(), Kind.PRIVATE, _OTHER_ETAG)):
            raise _ignores(bucket, "overwrites in spite of an If-Match that does not match")
        if await _race(bucket.replace(_ABSENT, _mark(), Kind.PRIVATE, before.etag)):
            raise _ignores(bucket, "creates an object in spite of If-Match")
        won = await _race(*(bucket.replace(_KEY, _mark(), Kind.PRIVATE, before.etag) for _ in range(2)))
        if won == 2:
            raise _ignores(bucket, "lets two writers pass the same If-Match")
        if won == 1:
            after = await bucket.read(_KEY, max_bytes=_MAX_BYTES)
            if after is None or after.etag == before.etag:
                raise _ignores(bucket, "shows old data after a write")
            return
    raise IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        f"{bucket.address} could not be probed: others write there all the time.",
        hint="Run one server for each log.",
    )


async def _race(*writes: Awaitable[str]) -> int:
    """Returns how many of the writes, sent at once, the storage says it made."""
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, ConditionFailedError):
            raise outcome
    return sum(isinstance(outcome, str) for outcome in outcomes)


def _mark() -> bytes:
    return secrets.token_hex(16).encode()


def _ignores(bucket: S3Bucket, what: str) -> IndeterminateError:
    return IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        f"The object storage of {bucket.address} {what}. Two servers on it would sign two histories.",
        hint="Keep the log in storage with conditional writes, as S3 has, or in a file: leave --store out.",
    )
