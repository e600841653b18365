"""Target patterns: ``*`` within one part, ``**`` across parts (spec/09-policy.md, POL-02).

The requester chooses the target, so matching never backtracks.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from placet.core.decode import read_ascii
from placet.core.errors import MalformedError, Reason

# Bounds the work of matching; a pattern is signed by administrators, but a slip must not stall a gate.
MAX_WILDCARDS = 8


def read_pattern(value: Any, path: str) -> str:
    """Reads a target pattern: ``*`` within one part, ``**`` across parts (POL-02).

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    pattern = read_ascii(value, path)
    if pattern.replace("**", "*").count("*") > MAX_WILDCARDS or "***" in pattern:
        raise MalformedError(Reason.BAD_VALUE, f"At most {MAX_WILDCARDS} wildcards are accepted.", path=path)
    return pattern


@functools.lru_cache(maxsize=1024)
def _split_pattern(pattern: str) -> tuple[str, ...]:
    return tuple(piece for piece in re.split(r"(\*\*|\*)", pattern) if piece)


def matches(pattern: str, target: str) -> bool:
    """Tells whether a whole target fits a pattern (POL-02).

    A backtracking match would let whoever chooses the target stall the gate for minutes (A15); this one
    keeps every place where the pieces so far can end, so its work is bounded by their number.
    """
    head, wildcard, tail = pattern.partition("*")
    if not wildcard:
        return pattern == target
    if tail == "*":  # most patterns are like `k8s://prod-eu/**`: whatever begins so
        return target.startswith(head)
    ends = {0}
    for piece in _split_pattern(pattern):
        if piece == "**":
            ends = set(range(min(ends), len(target) + 1))
        elif piece == "*":
            ends = _within_parts(target, ends)
        else:
            ends = {start + len(piece) for start in ends if target.startswith(piece, start)}
        if not ends:
            return False
    return len(target) in ends


def _within_parts(target: str, starts: set[int]) -> set[int]:
    """Returns every place from a start up to the end of its part."""
    ends: set[int] = set()
    reached = -1
    for start in sorted(starts):
        if start > reached:  # otherwise an earlier start of the same part has covered it
            slash = target.find("/", start)
            reached = len(target) if slash < 0 else slash
            ends.update(range(start, reached + 1))
    return ends
