"""What the metadata of a TUF role says about its time; ``issuedAt`` is ours, and signed by online keys.

For warnings alone: whether a role has expired is for the TUF client and the snapshot's ``expiresAt`` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.core.decode import read_time
from placet.core.errors import PlacetError


class RoleDates(NamedTuple):
    """One role of the trust root.  Times are Unix seconds; `issued_at` is None where it is not known."""

    role: str
    version: int
    expires_at: int
    issued_at: int | None = None


def read_role_dates(role: str, signed: Mapping[str, Any], expires_at: int) -> RoleDates:
    """Returns a role's dates from the signed part of its metadata, already decoded; nothing is verified."""
    version = signed.get("version")
    return RoleDates(role, version if type(version) is int else 0, expires_at, _issued_at(signed))


def _issued_at(signed: Mapping[str, Any]) -> int | None:
    if "issuedAt" not in signed:
        return None
    try:
        return read_time(signed["issuedAt"], "/issuedAt")
    except PlacetError:
        return None
