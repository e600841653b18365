"""Writing surely under a condition: whatever the storage answered, what counts is what it holds then.

An answer can get lost, a request can arrive twice or late, and S3 says 409 where two met.  So every answer
but success is settled by reading.  That a write without an answer arrives later is no danger: the name it
goes to is written once, or has another ETag by then.
"""

from __future__ import annotations

import asyncio

from placet.adapters.log_tree import log_damaged
from placet.adapters.object_log.bucket import ConditionFailedError, Kind, S3Bucket, Stored
from placet.core.errors import IndeterminateError, Reason

_PAUSES = (0.05, 0.2, 0.8)
# Somebody else's object of that name may be larger than ours; no journal is as large as this.
_MAX_FOUND = 2**31


class OvertakenError(Exception):
    """The object was changed by somebody else.

    Args:
        current: what it is now; None where it is gone.
    """

    def __init__(self, current: Stored | None) -> None:
        super().__init__("overtaken")
        self.current = current


async def put_once(bucket: S3Bucket, key: str, data: bytes, kind: Kind) -> None:
    """Puts an object whose name allows no other bytes; that it is there already is as good.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE; LOG_DAMAGED where the name holds other bytes.
    """
    try:
        await exchange(bucket, key, data, kind, None)
    except OvertakenError as e:
        raise log_damaged(
            f"{key} in {bucket.address} holds other bytes than the log's journal gives it: something was "
            "put back to an older state, or written by another program."
        ) from e


async def exchange(bucket: S3Bucket, key: str, data: bytes, kind: Kind, old: Stored | None) -> Stored:
    """Puts `data` in the place of `old`, which is None for nothing.

    Raises:
        OvertakenError: it is neither `old` any more, nor `data`.
        IndeterminateError: LOG_UNAVAILABLE; whether it was written is not known.
    """
    for pause in (*_PAUSES, None):
        try:
            if old is None:
                etag = await bucket.create(key, data, kind)
            else:
                etag = await bucket.replace(key, data, kind, old.etag)
            return Stored(data, etag)
        except (ConditionFailedError, IndeterminateError) as e:
            failure = e
        current = await bucket.read(key, max_bytes=_MAX_FOUND)
        if current is not None and current.data == data:
            return current
        if (current and current.etag) != (old and old.etag):
            raise OvertakenError(current)
        if pause is None:
            break
        await asyncio.sleep(pause)
    if isinstance(failure, IndeterminateError):
        raise failure
    raise IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        f"The object storage of {bucket.address} does not write {key}, though the condition holds: {failure}",
        hint="Nothing is lost: asking again is always right. Does another program write there all the time?",
    )
