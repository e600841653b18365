"""The Merkle tree of RFC 6962 section 2.1, with the verification algorithms of RFC 9162 section 2.1 (LOG-01).

A node is named ``(level, index)``: the root of the complete subtree of ``2**level`` leaves that starts at
leaf ``index * 2**level``.  Complete nodes never change, so they can be kept; the roots of the incomplete
subtrees on the right edge are made from them.

Leaves out: where nodes are kept, and who signs the root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import count, repeat
from typing import NamedTuple

from placet.core.errors import MalformedError, Reason, VerificationError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
# Sizes fit the signed 64-bit integers of databases and of other languages.
MAX_TREE_SIZE = 2**63 - 1
# One hash for each level of the largest tree.
MAX_PROOF_HASHES = 63

Node = tuple[int, int, bytes]
"""Level, index and hash of a complete subtree."""
Row = tuple[int, tuple[bytes, ...]]
"""Index of the first one, and the hashes, of complete subtrees of one level that stand side by side."""
NodeReader = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree of that level and index."""


class CompactRange(NamedTuple):
    """A tree by the roots of its complete subtrees, the largest first: all that appending needs."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """Returns the root hash."""
        return _fold(self.hashes)


def hash_leaf(entry: bytes) -> bytes:
    """Returns the hash of a leaf; its prefix keeps a node from passing for a leaf."""
    return sha256(b"\0" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Returns the hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Returns the root over the nodes of one level of a complete subtree: one, two, four and so on."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [hash_node(left, right) for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]


def extend(compact: CompactRange, leaf_hashes: Sequence[bytes]) -> tuple[CompactRange, list[Node]]:
    """Appends leaves.

    Returns:
        The grown range, and every complete node that was made, the leaves (level 0) first.

    Raises:
        MalformedError: BAD_VALUE where the range or a hash is none, TOO_LARGE.
    """
    grown, rows = grow(compact, leaf_hashes)
    made: list[Node] = []
    for level, (first, row) in enumerate(rows):
        made += zip(repeat(level), count(first), row)
    return grown, made


def grow(compact: CompactRange, leaf_hashes: Sequence[bytes]) -> tuple[CompactRange, list[Row]]:
    """Appends leaves, as `extend`, for those who keep the nodes in rows.

    Returns:
        The grown range, and the complete nodes that were made by level, the leaves (level 0) first.

    Raises:
        MalformedError: as `extend`.
    """
    size, kept = compact.size, list(compact.hashes)
    new_size = size + len(leaf_hashes)
    if len(kept) != size.bit_count() or not set(map(len, leaf_hashes)) <= {HASH_BYTES}:
        raise MalformedError(Reason.BAD_VALUE, "A tree grows by hashes of 32 bytes, from its own edge.")
    if new_size > MAX_TREE_SIZE:
        raise MalformedError(Reason.TOO_LARGE, "A tree has at most 2**63-1 leaves.", expected=MAX_TREE_SIZE)
    made: list[Row] = []
    edge: list[bytes] = []  # of the new tree, the smallest subtree first
    row, level = list(leaf_hashes), 0
    # A level at a time: the same few C calls for a whole batch, instead of a loop for every leaf.
    while row:
        made.append((size >> level, tuple(row)))
        if size >> level & 1:
            row.insert(0, kept.pop())
        if len(row) & 1:
            edge.append(row.pop())
        pairs = iter(row)
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
        level += 1
    return CompactRange(new_size, (*kept, *reversed(edge))), made


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Returns the root over subtrees that stand side by side, the largest first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = hash_node(left, root)
    return root


def read_range(tree_size: int, read: NodeReader) -> CompactRange:
    """Returns a tree by the roots of its complete subtrees, which are read."""
    return CompactRange(tree_size, _subtrees(0, tree_size, read))


def _subtrees(start: int, end: int, read: NodeReader) -> tuple[bytes, ...]:
    """Returns the roots of the complete subtrees from `start`, where one begins, to before `end`."""
    hashes = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(read(level, start >> level))
        start += 1 << level
    return tuple(hashes)


def _subtree_root(start: int, end: int, read: NodeReader) -> bytes:
    """Returns the root over the leaves from `start` to before `end`, where one subtree begins."""
    return _fold(_subtrees(start, end, read))


def _split(start: int, end: int) -> int:
    """Returns where a tree is split: after the largest power of two below its size (RFC 6962 section 2.1)."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def inclusion_proof(leaf_index: int, tree_size: int, read: NodeReader) -> tuple[bytes, ...]:
    """Returns the audit path of a leaf, its sibling first (RFC 6962 section 2.1.1).

    Raises:
        MalformedError: BAD_VALUE where the tree has no such leaf.
    """
    if not 0 <= leaf_index < tree_size <= MAX_TREE_SIZE:
        raise MalformedError(Reason.BAD_VALUE, "The tree has no such leaf.", actual=leaf_index)
    path, start, end = [], 0, tree_size
    while end - start > 1:
        middle = _split(start, end)
        if leaf_index < middle:
            path.append(_subtree_root(middle, end, read))
            end = middle
        else:
            path.append(_subtree_root(start, middle, read))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old_size: int, new_size: int, read: NodeReader) -> tuple[bytes, ...]:
    """Returns the proof that a tree begins with an older one (RFC 6962 section 2.1.2).

    Raises:
        MalformedError: BAD_VALUE where the older tree is the larger one.
    """
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE:
        raise MalformedError(Reason.BAD_VALUE, "The older tree is the larger one.", actual=old_size)
    if old_size == 0:
        return ()
    path, start, end = [], 0, new_size
    while old_size != end:
        middle = _split(start, end)
        if old_size <= middle:
            path.append(_subtree_root(middle, end, read))
            end = middle
        else:
            path.append(_subtree_root(start, middle, read))
            start = middle
    if start:  # else the old root itself is the subtree, and whoever verifies has it
        path.append(_subtree_root(start, end, read))
    return tuple(reversed(path))


def verify_inclusion(
    leaf_hash: bytes, leaf_index: int, tree_size: int, proof: Sequence[bytes], root_hash: bytes
) -> None:
    """Verifies that a leaf stands in a tree (LOG-02; RFC 9162 section 2.1.3.2).

    Raises:
        VerificationError: LOG_PROOF_INVALID.
    """
    if not 0 <= leaf_index < tree_size <= MAX_TREE_SIZE or not _are_hashes((leaf_hash, root_hash, *proof)):
        raise _not_included()
    index, last, found = leaf_index, tree_size - 1, leaf_hash
    for sibling in proof:
        if last == 0:  # more hashes than levels
            raise _not_included()
        if index & 1 or index == last:
            found = hash_node(sibling, found)
            while not index & 1 and index:  # levels at which the right edge has no sibling
                index, last = index >> 1, last >> 1
        else:
            found = hash_node(found, sibling)
        index, last = index >> 1, last >> 1
    if last or found != root_hash:
        raise _not_included()


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verifies that a tree begins with an older one (LOG-03; RFC 9162 section 2.1.4.2).

    Raises:
        VerificationError: LOG_INCONSISTENT.
    """
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE or not _are_hashes((old_root, new_root, *proof)):
        raise _inconsistent()
    if old_size in (0, new_size):
        if proof or old_root != (new_root if old_size == new_size else EMPTY_ROOT):
            raise _inconsistent()
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a complete tree is its own first subtree, and not repeated
        path.insert(0, old_root)
    if not path:
        raise _inconsistent()
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _inconsistent()
        if index & 1 or index == last:
            old, new = hash_node(sibling, old), hash_node(sibling, new)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            new = hash_node(new, sibling)
        index, last = index >> 1, last >> 1
    if last or old != old_root or new != new_root:
        raise _inconsistent()


def _are_hashes(values: Sequence[bytes]) -> bool:
    return len(values) <= MAX_PROOF_HASHES + 2 and all(len(value) == HASH_BYTES for value in values)


def _not_included() -> VerificationError:
    return VerificationError(
        Reason.LOG_PROOF_INVALID,
        "The proof does not lead from this entry to the log's root hash.",
        hint="Fetch the proof anew: placet log attach.",
    )


def _inconsistent() -> VerificationError:
    return VerificationError(
        Reason.LOG_INCONSISTENT,
        "The log's newer state does not continue its older one: something was dropped or rewritten.",
        hint="Keep both checkpoints, they are the proof, and tell the log's witnesses.",
    )
