"""One entry of a log as a monitor keeps it: what its leaf says, and what was verified of its record."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

APPROVED, DENIED, USED, TRUST, UNKNOWN = "approved", "denied", "used", "trust", "unknown"
DECISIONS = (APPROVED, DENIED)


class Event(NamedTuple):
    """One entry.  Times are Unix seconds, 0 where nothing says them.

    Everything from `verified` on comes from the record; it is empty where the monitor has none, or where
    the record does not hold.
    """

    log_origin: str
    leaf_index: int
    leaf_hash: str
    kind: str
    payload: str = ""
    keyids: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    """Leaf hashes that a use names."""
    seen_at: int = 0
    """When witnesses saw it at the latest; by this machine's clock where there are none."""
    verified: bool = False
    at: int = 0
    person: str = ""
    groups: tuple[str, ...] = ()
    terminal: str = ""
    seconds_on_screen: int = 0
    text: str = ""
    action: str = ""
    target: str = ""
    gate: str = ""
    max_uses: int = 0
    not_before: int = 0
    expires_at: int = 0
    unit: str = ""
    role: str = ""
    version: int = 0

    @property
    def when(self) -> int:
        """When it happened, as well as the monitor knows."""
        return self.at or self.seen_at

    @property
    def name(self) -> str:
        """What people call the entry."""
        return f"entry {self.leaf_index} of {self.log_origin}"

    def to_object(self) -> dict[str, Any]:
        """Returns the event as JSON members; empty ones are left out."""
        return {name: value for name, value in self._asdict().items() if value or name == "leaf_index"}

    @classmethod
    def from_object(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_object`; members of a newer version are left out."""
        known: dict[str, Any] = {}
        for name in cls._fields:
            if name in value:
                known[name] = tuple(value[name]) if isinstance(value[name], list) else value[name]
        return cls(**known)
