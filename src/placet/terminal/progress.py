"""How far a request has come, in words."""

from __future__ import annotations

from placet.ceremony.publish import Progress
from placet.core.levels import LEVEL_NAMES, MAX_LEVEL, level_name


def describe_level(progress: Progress) -> tuple[str, ...]:
    """Says which level was reached, or who is missing, and what the next level needs."""
    if not progress.approvers:
        return ("No approval counts for this request yet.",)
    if progress.refusal is not None:
        return (progress.refusal.message,)
    reached = f"Enough people have approved: {_name(progress.level)} is reached."
    if progress.level == MAX_LEVEL:
        return (reached,)
    missing = dict.fromkeys(text for approver in progress.approvers for text in approver.missing)
    return (reached, *(f"Missing for {_name(progress.level + 1)}: {text}." for text in missing))


def _name(level: int) -> str:
    return f"{level_name(level)} ({LEVEL_NAMES[level]})"
