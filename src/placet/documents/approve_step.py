"""The step by which an in-toto layout asks for human approval: the names that everybody must agree on."""

from __future__ import annotations

STEP = "approve"
# in-toto compares nothing but artifacts across a threshold, so the action is one.
ACTION_MATERIAL = "intent://action"

# in-toto finds a link by the first digits of its key's ID.
_KEYID_DIGITS = 8


def link_file_name(keyid: str, step: str = STEP) -> str:
    """Returns the name by which `in_toto_verify` looks for a functionary's link."""
    return f"{step}.{keyid[:_KEYID_DIGITS]}.link"
