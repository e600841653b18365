"""Two states of one log, held against each other: what was dropped, rewritten or inserted.  Pure.

A monitor keeps the hash of every leaf that it ever verified.  A log that signs another tree cannot
make it fit, and the difference has names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from placet.core.tlog.merkle import CompactRange, extend
from placet.log.monitor_findings import Finding, FindingName, finding

# Hashing goes a level at a time; more at once is no faster and takes memory.
_BATCH = 4096
# Whoever sees so many differences needs no more of them.
MAX_NAMED = 20
# How far ahead one tree is searched for what stands in the other.
_WINDOW = 256


class Difference(NamedTuple):
    """One difference: what happened to the leaf that the monitor holds at this index."""

    name: FindingName
    leaf_index: int
    leaf_hash: bytes


def grow(compact: CompactRange, leaf_hashes: Iterable[bytes]) -> CompactRange:
    """Returns the range of a tree with these leaves more."""
    leaves = iter(leaf_hashes)
    while batch := list(islice(leaves, _BATCH)):
        compact, _ = extend(compact, batch)
    return compact


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Returns the root hash over these leaves."""
    return grow(CompactRange(), leaf_hashes).root()


def differences(ours: Sequence[bytes], theirs: Sequence[bytes]) -> Iterator[Difference]:
    """Yields what happened to our leaves in a tree that should begin with them.

    What stands in both, in the same order, is taken as the same; of what is between, a leaf is rewritten
    where another stands in its place, dropped where nothing does, and inserted where we hold nothing.
    Leaves after all of ours are news and no difference.
    """
    i = j = 0
    while i < len(ours):
        if j < len(theirs) and ours[i] == theirs[j]:
            i, j = i + 1, j + 1
            continue
        skip_ours, skip_theirs = _resync(ours[i : i + _WINDOW], theirs[j : j + _WINDOW])
        both = min(skip_ours, skip_theirs)
        for k in range(both):
            yield Difference(FindingName.LEAF_REWRITTEN, i + k, ours[i + k])
        for k in range(both, skip_ours):
            yield Difference(FindingName.LEAF_DROPPED, i + k, ours[i + k])
        for k in range(both, skip_theirs):
            yield Difference(FindingName.LEAF_INSERTED, j + k, theirs[j + k])
        i, j = i + skip_ours, j + skip_theirs


def _resync(ours: Sequence[bytes], theirs: Sequence[bytes]) -> tuple[int, int]:
    """Returns how many leaves of each to pass so that both go on with the same one; the fewest in all."""
    where = {leaf: index for index, leaf in reversed(list(enumerate(theirs)))}
    found = [(index, where[leaf]) for index, leaf in enumerate(ours) if leaf in where]
    if found:
        return min(found, key=sum)
    return len(ours), min(len(theirs), len(ours))


def name_differences(
    ours: Sequence[bytes], theirs: Sequence[bytes], *, log_origin: str, who: str
) -> tuple[Finding, ...]:
    """Returns the differences as findings, the first few of them.

    Args:
        who: who shows the other tree, for people.
    """
    said = {
        FindingName.LEAF_DROPPED: "is not in",
        FindingName.LEAF_REWRITTEN: "was replaced by another in",
        FindingName.LEAF_INSERTED: "was slipped in among older ones in",
    }
    return tuple(
        finding(
            found.name,
            f"{found.leaf_index}:{found.leaf_hash.hex()}",
            f"Entry {found.leaf_index} ({found.leaf_hash.hex()[:16]}) {said[found.name]} what {who} shows.",
            log_origin=log_origin,
            leaf_index=found.leaf_index,
        )
        for found in islice(differences(ours, theirs), MAX_NAMED)
    )
