"""How far a request has come, in words."""

from __future__ import annotations

from placet.ceremony.publish import Progress
from placet.core.levels import LEVEL_NAMES, MAX_LEVEL, level_name

# A denial is recorded and is no veto; whoever denies must not believe otherwise.
DENIED_ALONE = (
    "One denial alone does not stop the request; others may still approve. Tell them, or have it withdrawn."
)

LINKS_ARE_FOR_OTHERS = "The approval counts at the gate; in_toto_verify of others will miss the link."


def describe_outcome(decision: str, progress: Progress) -> tuple[str, ...]:
    """Says what a decision that was just made leads to."""
    denied = (DENIED_ALONE,) if decision == "deny" else ()
    return (*denied, *describe_level(progress), *describe_links(progress))


def describe_links(progress: Progress) -> tuple[str, ...]:
    """Says whose in-toto link is missing, where a layout asks for links."""
    if not progress.without_link:
        return ()
    people = ", ".join(progress.without_link)
    return (f"Approved without the in-toto link that a layout asks for: {people}. {LINKS_ARE_FOR_OTHERS}",)


def describe_level(progress: Progress) -> tuple[str, ...]:
    """Says which level was reached, or who is missing, and what the next level needs."""
    if not progress.approvers:
        return ("No approval counts for this request yet.",)
    if progress.refusal is not None:
        return (progress.refusal.message,)
    reached = f"Enough people have approved: {_name(progress.level)} is reached."
    if progress.level == MAX_LEVEL:
        return (reached,)
    # As in verification: whoever is above the reached level already holds nothing up.
    below = (approver for approver in progress.approvers if approver.level <= progress.level)
    missing = dict.fromkeys(text for approver in below for text in approver.missing)
    return (reached, *(f"Missing for {_name(progress.level + 1)}: {text}." for text in missing))


def _name(level: int) -> str:
    return f"{level_name(level)} ({LEVEL_NAMES[level]})"
