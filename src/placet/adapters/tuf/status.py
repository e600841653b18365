"""The dates of a trust root, from where they lie: a working repository, or a gate's snapshot.

At a gate the snapshot decides.  It holds the earliest date alone; the dates of each role are in what the TUF
client keeps beside it, and are shown where they are of the versions that the snapshot was compiled from.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from placet.core.trust import Trust
from placet.documents.role_dates import RoleDates, read_role_dates

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository

_MAX_BYTES = 16 * 1024 * 1024
_ORDER = ("root", "targets", "snapshot", "timestamp")


def snapshot_dates(trust: Trust, snapshot: Path) -> tuple[RoleDates, ...]:
    """Returns the dates that a gate goes by, the snapshot's own where the roles' are not kept."""
    kept = snapshot.with_suffix(".tuf") / "metadata"
    delegated = _kept_delegations(kept)
    found = [
        dates
        for role, version in trust.versions.items()
        # Versions of a scope that administrators took back are remembered, and nothing goes by them.
        if (role in _ORDER or role in delegated)
        and (dates := _kept_dates(kept, role)) is not None
        and dates.version == version
    ]
    if found and min(dates.expires_at for dates in found) <= trust.expires_at:
        return tuple(sorted(found, key=lambda dates: (*_ORDER, dates.role).index(dates.role)))
    version = trust.versions.get("timestamp", 0)
    return (RoleDates("timestamp", version, trust.expires_at),)


def repository_dates(repository: TrustRepository) -> tuple[RoleDates, ...]:
    """Returns the dates of what a working repository publishes; nothing where that is nothing.

    Raises:
        PlacetError: what is published cannot be read.
    """
    return tuple(
        read_role_dates(
            role,
            {"version": signed.version, **signed.unrecognized_fields},
            int(signed.expires.timestamp()),
        )
        for role, signed in _published(repository)
        if signed is not None
    )


def _published(repository: TrustRepository) -> Iterator[tuple[str, Any]]:
    from placet.adapters.tuf.published import delegated_paths

    if repository.published_timestamp() is None:
        return
    yield "root", repository.published_root()
    targets = repository.published_targets()
    yield "targets", targets
    yield "snapshot", repository.published_snapshot()
    yield "timestamp", repository.published_timestamp()
    for role in delegated_paths(targets):
        yield role, repository.published_targets(role)


def _kept_delegations(folder: Path) -> frozenset[str]:
    try:
        signed = json.loads((folder / "targets.json").read_bytes())["signed"]
        return frozenset(str(role["name"]) for role in signed["delegations"]["roles"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()  # as where nothing is delegated


def _kept_dates(folder: Path, role: str) -> RoleDates | None:
    path = folder / f"{quote(role, '')}.json"
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        signed = json.loads(path.read_bytes())["signed"]
        expires = datetime.datetime.strptime(signed["expires"], "%Y-%m-%dT%H:%M:%SZ")
        return read_role_dates(role, signed, int(expires.replace(tzinfo=datetime.UTC).timestamp()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
