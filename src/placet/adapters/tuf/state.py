"""Who has signed a prepared change and who is missing, as every command and page says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from placet.adapters.tuf.signing import PendingRole, QuorumState
from placet.core.encoding import format_time, sha256_hex


def is_complete(pending: Sequence[PendingRole]) -> bool:
    """Tells whether every quorum of every prepared role has signed."""
    return not any(item.missing for item in pending)


def state_lines(pending: Sequence[PendingRole]) -> list[str]:
    """Returns the state of signing as text, one line for each quorum."""
    lines = []
    for item in pending:
        several = len(item.quorums) > 1
        for quorum in item.quorums:
            whose = f" (quorum of {quorum.of})" if several else ""
            lines.append(f"{item.role} {item.version}{whose}: {describe_quorum(quorum)}")
    return lines


def describe_quorum(quorum: QuorumState) -> str:
    """Returns who of one quorum has signed, and how many more are needed of whom."""
    signed = ", ".join(quorum.signed) or "nobody"
    if not quorum.missing:
        return f"signed by {signed}; {quorum.threshold} are enough."
    return f"signed by {signed}; {quorum.missing} more needed of {', '.join(quorum.unsigned)}."


def state_object(pending: Sequence[PendingRole]) -> list[dict[str, Any]]:
    """Returns the state of signing as JSON."""
    return [
        {
            "role": item.role,
            "version": item.version,
            "expiresAt": format_time(item.expires_at),
            "sha256": sha256_hex(item.message),
            "signed": list(item.signed),
            "unsigned": list(item.unsigned),
            "missing": item.missing,
            "quorums": [
                {
                    "of": quorum.of,
                    "threshold": quorum.threshold,
                    "signed": list(quorum.signed),
                    "unsigned": list(quorum.unsigned),
                    "missing": quorum.missing,
                }
                for quorum in item.quorums
            ],
        }
        for item in pending
    ]
