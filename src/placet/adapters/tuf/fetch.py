"""Where published trust is fetched from: a folder, or a web server that may be hostile.

A fetcher only carries bytes; what they are worth is python-tuf's to say.  What it must not do is keep the
gate waiting for ever or die of what a server says: a refresh has one deadline for everything together, and
each failure is one that python-tuf knows.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

FOLDER_SCHEME = "folder:///"
# Everything together; the largest trust root that a gate accepts needs 1 Mbit/s.
MAX_SECONDS = 300.0
# The longest silence of a server.
_GAP_SECONDS = 30
_CHUNK = 65_536
# A few chunks in flight: a server that sends faster than the disk takes must not fill the memory.
_QUEUED = 8


class FolderFetcher(FetcherInterface):
    """Reads a published repository from a folder: a stick, a checkout, a mounted share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = (self._folder / unquote(url.removeprefix(FOLDER_SCHEME))).resolve()
        # Target names come from metadata; a link or `..` must not reach other files of this machine.
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise DownloadHTTPError(f"{path} is not there", 404)
        return _read_chunks(path)


def _read_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as e:  # a stick that was pulled out
        raise DownloadError(f"{path} cannot be read: {e.strerror}") from e


class HttpFetcher(FetcherInterface):
    """Reads from a web server, within a deadline that counts from its making.

    A server that sends one byte a minute never exceeds a timeout between bytes, in headers as in the body.
    So another thread reads, and this one waits no longer than it may.
    """

    def __init__(self, seconds: float = MAX_SECONDS) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        gap = max(1, min(_GAP_SECONDS, int(seconds)))
        self._http = Urllib3Fetcher(socket_timeout=gap, chunk_size=_CHUNK, app_user_agent="placet")

    def _fetch(self, url: str) -> Iterator[bytes]:
        arrived: queue.Queue[bytes | Exception | None] = queue.Queue(_QUEUED)
        threading.Thread(target=self._read, args=(url, arrived), daemon=True).start()
        first = self._wait(arrived)
        if isinstance(first, DownloadError):
            raise first
        return self._chunks(first, arrived)

    def _chunks(
        self, item: bytes | Exception | None, arrived: queue.Queue[bytes | Exception | None]
    ) -> Iterator[bytes]:
        while item is not None:
            if isinstance(item, DownloadError):
                raise item
            if isinstance(item, Exception):  # half an answer, a broken encoding
                raise DownloadError(f"the answer broke off: {item}") from item
            yield item
            item = self._wait(arrived)

    def _wait(self, arrived: queue.Queue[bytes | Exception | None]) -> bytes | Exception | None:
        try:
            return arrived.get(timeout=max(0.0, self._until - time.monotonic()))
        except queue.Empty:
            raise SlowRetrievalError(f"not all of it came within {self._seconds:g} seconds") from None

    def _read(self, url: str, arrived: queue.Queue[bytes | Exception | None]) -> None:
        last: Exception | None = None
        with suppress(queue.Full):  # then nobody waits any more
            try:
                for chunk in self._http.fetch(url):
                    arrived.put(chunk, timeout=_GAP_SECONDS)
            except queue.Full:
                raise
            except Exception as e:  # whatever a server can cause; `_chunks` gives it a name
                last = e
            arrived.put(last, timeout=_GAP_SECONDS)
