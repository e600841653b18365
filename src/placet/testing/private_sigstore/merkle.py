"""A growing Merkle tree (RFC 6962) with signed checkpoints (C2SP tlog-checkpoint)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from placet.testing.private_sigstore.keys import b64, key_id, sign


class Inclusion(NamedTuple):
    """Where a leaf stands, with the proof and the checkpoint that it leads to."""

    leaf_index: int
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str


class TransparencyLog:
    """One log: its key, its origin line, its leaves.

    It never hands out leaf 0, which it fills itself: protobuf's JSON leaves zeros out, and sigstore-python
    then refuses the entry.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, origin: str) -> None:
        self.key = key
        self.id = key_id(key)
        self.origin = origin
        self.bodies: list[bytes] = [b"the first leaf"]
        self._hashes = [leaf_hash(self.bodies[0])]
        self._lock = threading.Lock()

    def append(self, body: bytes) -> Inclusion:
        """Adds a leaf, and proves it in the tree that ends with it."""
        with self._lock:
            self.bodies.append(body)
            self._hashes.append(leaf_hash(body))
            return self._prove(len(self._hashes) - 1, len(self._hashes))

    def prove(self, leaf_index: int) -> Inclusion:
        """Proves a leaf in the tree of now."""
        with self._lock:
            return self._prove(leaf_index, len(self._hashes))

    def _prove(self, leaf_index: int, tree_size: int) -> Inclusion:
        leaves = self._hashes[:tree_size]
        root = tree_hash(leaves)
        proof = tuple(audit_path(leaf_index, leaves))
        return Inclusion(leaf_index, tree_size, root, proof, self.checkpoint(tree_size, root))

    def checkpoint(self, tree_size: int, root: bytes) -> str:
        """Returns the signed note that commits to a tree."""
        note = f"{self.origin}\n{tree_size}\n{b64(root)}\n"
        # Rekor v1 signs as its host name; the tree's ID stands in the origin only.
        name = self.origin.split(" ")[0]
        return f"{note}\n\u2014 {name} {b64(self.id[:4] + sign(self.key, note.encode()))}\n"


def leaf_hash(body: bytes) -> bytes:
    """Returns the hash of a leaf."""
    return sha256(b"\0" + body).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def _left_size(size: int) -> int:
    """Returns the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Returns the root over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    split = _left_size(len(leaves))
    return _node_hash(tree_hash(leaves[:split]), tree_hash(leaves[split:]))


def audit_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Returns the inclusion proof of one leaf."""
    if len(leaves) == 1:
        return []
    split = _left_size(len(leaves))
    if index < split:
        return [*audit_path(index, leaves[:split]), tree_hash(leaves[split:])]
    return [*audit_path(index - split, leaves[split:]), tree_hash(leaves[:split])]
