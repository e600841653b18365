"""Logging a published trust root: one record for each version of what people signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from placet.adapters.log_client import LogClient
from placet.cli import EXIT_ALLOW, UserError
from placet.core.errors import PolicyError, Reason
from placet.core.tlog.records import encode_trust_record
from placet.ports.log_store import MAX_RECORD_BYTES

_MACHINES = ("snapshot", "timestamp")


class LoggedTrust(NamedTuple):
    """How many versions the log has now, and how many of them were new to it."""

    versions: int
    new: int


def log_trust(client: LogClient, folder: Path) -> int:
    """Logs a published trust root, and says so; returns the exit code."""
    logged = log_versions(client, folder)
    print(
        f"The log at {client.url} has all {logged.versions} published versions; {logged.new} are new there."
    )
    return EXIT_ALLOW


def log_versions(client: LogClient, folder: Path) -> LoggedTrust:
    """Hands in each version that `folder` has of root, targets and delegated rules.

    The oldest goes first: a log judges each by what it knows.

    Args:
        client: the log's.
        folder: what `placet trust publish` made; its metadata is in ``metadata/``.

    Raises:
        UserError: this is no published trust root.
        PlacetError: the log cannot be asked, or does not take it; LOG_REFUSED, after all the others were
            handed in, for a version that is larger than any log takes.
    """
    files = list(_versions(folder / "metadata"))
    if not files:
        raise UserError(f"No trust root is published in {folder}.", "Publish one first: placet trust publish")
    new, large = 0, []
    for path in files:
        record = encode_trust_record(path.read_bytes())
        if len(record) > MAX_RECORD_BYTES:
            large.append(path.name)
        else:
            new += client.append(record).created
    if large:
        raise PolicyError(
            Reason.LOG_REFUSED,
            f"A log takes no file as large as {' and '.join(large)}; every other version is logged.",
            expected=MAX_RECORD_BYTES,
            hint="A scope of its own, with owners, has a file of its own: `placet trust delegate`.",
        )
    return LoggedTrust(len(files), new)


def _versions(folder: Path) -> Iterator[Path]:
    """Yields the versions that lie here: roots, then targets, then what is delegated, by number."""
    found = []
    for path in folder.glob("*.*.json"):
        number, _, role = path.name.removesuffix(".json").partition(".")
        if number.isascii() and number.isdigit() and role not in map(quote, _MACHINES):
            order = {"root": 0, "targets": 1}.get(role, 2)
            found.append((order, role, int(number), path))
    for *_, path in sorted(found):
        yield path
