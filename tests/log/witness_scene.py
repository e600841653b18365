"""A log that a test grows leaf by leaf, and what it shows to witnesses."""

from __future__ import annotations

from placet.adapters.witness_protocol import AddCheckpoint, encode_add_checkpoint
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.merkle import CompactRange, consistency_proof, extend, hash_leaf
from placet.core.tlog.note import ED25519, NoteSigner, VerifierKey
from placet.testing.small_log import note_signer

ORIGIN = "log.example/shown"


class FixedClock:
    """A clock that a test sets."""

    def __init__(self, now: int = 1_795_428_000) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


class ShownLog:
    """A tree of `size` leaves; `branch` makes another one from leaf `kept` on."""

    def __init__(
        self,
        size: int = 0,
        *,
        branch: str = "",
        kept: int = 0,
        origin: str = ORIGIN,
        signer: NoteSigner | None = None,
    ) -> None:
        self.signer = signer or note_signer(origin, ED25519, b"shown")
        self._branch, self._kept, self._origin = branch, kept, origin
        self.leaves: list[bytes] = []
        self.grow(size)

    @property
    def key(self) -> VerifierKey:
        return self.signer.verifier_key

    def grow(self, count: int) -> None:
        for index in range(len(self.leaves), len(self.leaves) + count):
            self.leaves.append(f"{'' if index < self._kept else self._branch}{index}".encode())

    def checkpoint(self, size: int | None = None) -> bytes:
        """Returns the signed note of the first leaves, by default of all."""
        count = len(self.leaves) if size is None else size
        root = extend(CompactRange(), self._hashes(count))[0].root()
        if self._origin != self.signer.name:
            return _sign_as(self._origin, count, root, self.signer)
        return sign_checkpoint(Checkpoint(self._origin, count, root), self.signer)

    def proof(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        count = len(self.leaves) if size is None else size
        known = {(level, at): value for level, at, value in extend(CompactRange(), self._hashes(count))[1]}
        return consistency_proof(old, count, lambda level, at: known[level, at]) if old else ()

    def request(self, old: int, size: int | None = None) -> bytes:
        """Returns the body that shows a witness the first leaves, which saw `old` of them."""
        return encode_add_checkpoint(AddCheckpoint(old, self.proof(old, size), self.checkpoint(size)))

    def _hashes(self, count: int) -> list[bytes]:
        return [hash_leaf(leaf) for leaf in self.leaves[:count]]


def _sign_as(origin: str, size: int, root: bytes, signer: NoteSigner) -> bytes:
    from placet.core.tlog.checkpoint import encode_checkpoint
    from placet.core.tlog.note import SignedNote, encode_note

    text = encode_checkpoint(Checkpoint(origin, size, root))
    return encode_note(SignedNote(text, (signer.sign(text),)))
