"""One bucket, spoken to with obstore (ADR 0042): reading whole objects, and writing under a condition only.

There is no unconditional write here, so none can be made by mistake.

obstore's own asynchronous calls are not used: their threads can outlive the interpreter's end and then abort
the process.  The plain calls release the interpreter while they wait, so a few threads serve as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store

from placet.adapters.log_tree import log_damaged
from placet.adapters.object_log.address import BucketAddress
from placet.core.errors import IndeterminateError, Reason

if TYPE_CHECKING:
    from obstore import Attributes, PutMode
    from obstore.store import S3Config

T = TypeVar("T")

# As many requests at once as help on a line of some tens of milliseconds.
_THREADS = 16
_CONNECT = timedelta(seconds=5)
_REQUEST = timedelta(seconds=20)
_READS = 3
_PATIENCE = timedelta(seconds=15)
# obstore explains at length; the first line says what happened.
_MAX_CAUSE = 200
_RIGHTS_HINT = (
    "The credentials need s3:GetObject and s3:PutObject below the prefix, and s3:ListBucket on the bucket: "
    "without the last one, what is missing looks forbidden."
)
_DOWN_HINT = "Nothing is lost: asking again is always right. Check the address, the network and the storage."


class Kind(Enum):
    """How an object is served to those who read the bucket."""

    NOTE = ("text/plain; charset=utf-8", "no-cache")
    TILE = ("application/octet-stream", "public, max-age=31536000, immutable")
    PRIVATE = ("application/octet-stream", "no-store")


class Stored(NamedTuple):
    """An object as it was read or written."""

    data: bytes
    etag: str


class ConditionFailedError(Exception):
    """The storage says that the object is not what the condition asked for.

    Or that a write was under way at that moment (409 ConditionalRequestConflict).  Neither proves that
    this write did not happen: it may have been sent twice on its way.  Whoever gets this reads the object.
    """


class S3Bucket:
    """A bucket and a prefix in it.  Making one opens no connection."""

    def __init__(self, address: BucketAddress) -> None:
        self.address = address
        try:
            self._reading = _open_store(address, retries=_READS)
            # A PUT that is sent again by itself would be refused for its own first success.
            self._writing = _open_store(address, retries=0)
        except (exceptions.BaseError, ValueError) as e:
            raise IndeterminateError(
                Reason.LOG_UNAVAILABLE,
                f"The object storage {address} cannot be used: {_first_line(e)}",
                hint="Check the AWS_… variables of the environment.",
            ) from e
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="placet-object-log")

    async def read(self, key: str, *, max_bytes: int) -> Stored | None:
        """Returns an object, or None where there is none.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE; LOG_DAMAGED where it is larger than `max_bytes`.
        """

        def job() -> Stored:
            found = obstore.get(self._reading, key)
            if found.meta["size"] > max_bytes:
                raise log_damaged(f"{key} in {self.address} is larger than it can be.")
            return Stored(found.bytes().to_bytes(), _etag(found.meta["e_tag"], self.address))

        return await self._unless_missing(job)

    async def read_start(self, key: str, length: int) -> bytes | None:
        """Returns the first `length` bytes of an object, or None where there is none.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE.
        """
        return await self._unless_missing(
            lambda: obstore.get_range(self._reading, key, start=0, length=length).to_bytes()
        )

    async def read_etag(self, key: str) -> str | None:
        """Returns the ETag of an object, or None where there is none.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE.
        """
        return await self._unless_missing(lambda: obstore.head(self._reading, key)["e_tag"])

    async def list_names(self, folder: str) -> list[str]:
        """Returns the last part of the name of each object in a folder; for folders of a bounded size.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE.
        """

        def job() -> list[str]:
            pages = obstore.list(self._reading, prefix=folder)
            return [found["path"].rpartition("/")[2] for page in pages for found in page]

        return await self._run(job)

    async def create(self, key: str, data: bytes, kind: Kind) -> str:
        """Writes an object where there is none (If-None-Match: \\*); returns its ETag.

        Raises:
            ConditionFailedError: there is one.
            IndeterminateError: LOG_UNAVAILABLE; whether it was written is not known.
        """
        return await self._write(key, data, kind, "create")

    async def replace(self, key: str, data: bytes, kind: Kind, etag: str) -> str:
        """Writes an object where it has that ETag (If-Match); returns its new one.

        Raises:
            ConditionFailedError: it has another one, or is not there.
            IndeterminateError: LOG_UNAVAILABLE; whether it was written is not known.
        """
        return await self._write(key, data, kind, {"e_tag": etag})

    async def close(self) -> None:
        """Finishes the requests that run."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _write(self, key: str, data: bytes, kind: Kind, mode: PutMode) -> str:
        content_type, caching = kind.value
        attributes: Attributes = {"Content-Type": content_type, "Cache-Control": caching}

        def job() -> str:
            written = obstore.put(
                self._writing, key, data, mode=mode, attributes=attributes, use_multipart=False
            )
            return _etag(written["e_tag"], self.address)

        try:
            return await self._run(job)
        except FileNotFoundError as e:
            raise IndeterminateError(
                Reason.LOG_UNAVAILABLE, f"There is no bucket for {self.address}.", hint="Make it first."
            ) from e

    async def _unless_missing(self, job: Callable[[], T]) -> T | None:
        try:
            return await self._run(job)
        except FileNotFoundError:
            return None

    async def _run(self, job: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except (
            exceptions.AlreadyExistsError,
            exceptions.PreconditionError,
            exceptions.NotModifiedError,
        ) as e:
            raise ConditionFailedError(_first_line(e)) from e
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as e:
            raise self._unavailable(e, _RIGHTS_HINT) from e
        except (exceptions.BaseError, TimeoutError) as e:
            raise self._unavailable(e, _DOWN_HINT) from e
        except RuntimeError as e:  # the threads are gone
            raise IndeterminateError(Reason.LOG_UNAVAILABLE, "The log is closed.") from e

    def _unavailable(self, error: Exception, hint: str) -> IndeterminateError:
        return IndeterminateError(
            Reason.LOG_UNAVAILABLE,
            f"The object storage of {self.address} does not do what it is asked: {_first_line(error)}",
            hint=hint,
        )


def _open_store(address: BucketAddress, *, retries: int) -> S3Store:
    config: S3Config = {"endpoint": address.endpoint} if address.endpoint else {}
    return S3Store(
        address.bucket,
        prefix=address.prefix or None,
        config=config,
        client_options={
            "allow_http": address.endpoint.startswith("http://"),
            "connect_timeout": _CONNECT,
            "timeout": _REQUEST,
        },
        retry_config={"max_retries": retries, "retry_timeout": _PATIENCE},
    )


def _etag(etag: str | None, address: BucketAddress) -> str:
    if not etag:
        raise IndeterminateError(
            Reason.LOG_UNAVAILABLE,
            f"The object storage of {address} gives its objects no ETag, so none can be exchanged safely.",
            hint="Keep the log in storage with conditional writes, or in a file: leave --store out.",
        )
    return etag


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:_MAX_CAUSE]
