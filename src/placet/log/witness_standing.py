"""How it stands with a log's witnesses, for its health and its numbers."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.encoding import format_time
from placet.core.errors import PlacetError


class WitnessStatus(NamedTuple):
    """How it stands with one witness, as the log that asks it sees it."""

    name: str
    """The log policy's."""
    address: str
    tree_size: int
    """Of the newest checkpoint that it cosigned since the log was started, or 0."""
    signed_at: int | None
    """The time that it signed then."""
    answered_at: int | None
    """When that answer came, by this machine's clock."""
    failures: int
    """How often it failed since."""
    problem: PlacetError | None
    """Why it does not cosign, or None."""


def status_to_object(status: WitnessStatus) -> dict[str, object]:
    """Returns a status as anybody may know it: no address, and no words of the witness's."""
    return {
        "name": status.name,
        "treeSize": str(status.tree_size),
        "signedAt": None if status.signed_at is None else format_time(status.signed_at),
        "answeredAt": None if status.answered_at is None else format_time(status.answered_at),
        "failures": status.failures,
        "problem": None if status.problem is None else str(status.problem.reason),
    }
