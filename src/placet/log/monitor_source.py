"""Where a monitor reads a log: an address, or a folder of exported tiles.  Nothing of it is believed."""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from placet.adapters.log_calls import MAX_CHECKPOINT, LoggedRecord, unavailable
from placet.adapters.log_client import LogClient
from placet.core.errors import MalformedError, PlacetError
from placet.core.tlog.tiles import MAX_BUNDLE_BYTES, TILE_WIDTH, entries_path, parse_entries

_RECORDS_AT_ONCE = 200
# More than any log here gets in its life: whoever holds a log's key must not fill our disk in one run.
MAX_NEW_ENTRIES = 10_000_000
# Leaves of ours have some hundred bytes.
MAX_NEW_BYTES = 8 * 1024**3
# All that a run asks of one log.  Ten million leaves with their records take half of it; who drips them
# would keep everybody from hearing of anything.
MAX_SECONDS = 7200.0


class LogSource(Protocol):
    """A log that can be read."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        ...

    def fetch_checkpoint(self) -> bytes:
        """Returns the newest checkpoint.

        Raises:
            PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
        """
        ...

    def fetch_tile(self, path: str) -> bytes:
        """Returns a tile.

        Raises:
            PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
        """
        ...

    def fetch_records(self, start: int) -> tuple[LoggedRecord, ...]:
        """Returns some records from an index on, in order; none where there are none, or none for us.

        Raises:
            PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
        """
        ...


class ServedLog:
    """A log at an address; `token` lets a monitor see records, None asks for none."""

    def __init__(self, client: LogClient, token: str | None = None) -> None:
        self._client = client
        self._token = token
        self._until = time.monotonic() + MAX_SECONDS

    @property
    def name(self) -> str:
        """See `LogSource.name`."""
        return self._client.url

    def fetch_checkpoint(self) -> bytes:
        """See `LogSource.fetch_checkpoint`."""
        self._check_time()
        return self._client.fetch_checkpoint()

    def fetch_tile(self, path: str) -> bytes:
        """See `LogSource.fetch_tile`."""
        self._check_time()
        return self._client.fetch_tile(path)

    def fetch_records(self, start: int) -> tuple[LoggedRecord, ...]:
        """See `LogSource.fetch_records`."""
        if self._token is None:
            return ()
        self._check_time()
        return self._client.fetch_records(start, _RECORDS_AT_ONCE, token=self._token)

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise unavailable(
                f"The log at {self.name} takes longer than {MAX_SECONDS / 3600:g} hours to be read.",
                "Ask the log's operator why it is so slow, or read a copy of its tiles: --log FOLDER.",
            )


class FolderLog:
    """A folder of tiles, as `placet log serve --tiles` writes it, or a copy of one; it holds no records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """See `LogSource.name`."""
        return str(self._folder)

    def fetch_checkpoint(self) -> bytes:
        """See `LogSource.fetch_checkpoint`."""
        return self._read("checkpoint", MAX_CHECKPOINT)

    def fetch_tile(self, path: str) -> bytes:
        """See `LogSource.fetch_tile`."""
        return self._read(path, MAX_BUNDLE_BYTES)

    def fetch_records(self, start: int) -> tuple[LoggedRecord, ...]:
        """See `LogSource.fetch_records`."""
        return ()

    def _read(self, path: str, max_bytes: int) -> bytes:
        # Paths are made here, of numbers; none comes from the log.
        try:
            # A copy may hold what its source liked: nobody waits at a pipe.
            if not stat.S_ISREG((self._folder / path).stat().st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            with (self._folder / path).open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as e:
            raise unavailable(
                f"The log's file {self._folder / path} cannot be read: {e.strerror}.",
                "Name the folder that holds the file `checkpoint`.",
            ) from e
        if len(data) > max_bytes:
            raise unavailable(f"The log's file {self._folder / path} is larger than any of its kind.")
        return data


class EntriesError(Exception):
    """A log serves entries that cannot be those of its tree; the text says which."""


def check_growth(origin: str, known: int, claimed: int) -> None:
    """Refuses to read more entries than a log can have got.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE.
    """
    if claimed - known > MAX_NEW_ENTRIES:
        raise unavailable(
            f"{origin} claims to have {claimed} entries, and {known} are known: too many to read in one run.",
            "Ask the log's operator what happened.",
        )


def fetch_entries(source: LogSource, start: int, stop: int) -> Iterator[tuple[bytes, ...]]:
    """Yields the entries from `start` to before `stop`, a bundle at a time.

    Args:
        source: the log.
        start: the first index.
        stop: the size of a tree that the log signed.

    Raises:
        EntriesError: a bundle is malformed, or too short.
        PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
    """
    read = 0
    while start < stop:
        index, offset = divmod(start, TILE_WIDTH)
        width = min(TILE_WIDTH, stop - index * TILE_WIDTH)
        try:
            entries = parse_entries(_fetch_bundle(source, index, width))
        except MalformedError as e:
            raise EntriesError(f"The entries from {index * TILE_WIDTH} on are malformed: {e}") from e
        if len(entries) < width:
            raise EntriesError(f"Of the entries from {index * TILE_WIDTH} on, the log shows {len(entries)}.")
        read += sum(map(len, entries))
        if read > MAX_NEW_BYTES:
            raise unavailable(
                f"The entries that {source.name} shows are too large to be read in one run.",
                "Ask the log's operator what happened.",
            )
        yield entries[offset:width]
        start = index * TILE_WIDTH + width


def _fetch_bundle(source: LogSource, index: int, width: int) -> bytes:
    try:
        return source.fetch_tile(entries_path(index, width))
    except PlacetError as partial:
        if width == TILE_WIDTH:
            raise
        # A log may drop a partial bundle once the full one is there (C2SP tlog-tiles).
        try:
            return source.fetch_tile(entries_path(index))
        except PlacetError:
            raise partial from None
