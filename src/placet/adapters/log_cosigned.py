"""Which cosigned checkpoints a store of a log keeps.

Of each number of cosignatures, the newest checkpoint that has so many: whoever needs two does not lose
them because a newer checkpoint has one.  So no more are kept than there are witnesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from placet.core.tlog.note import MAX_SIGNATURES, NoteSignature, SignedNote, encode_note, parse_note
from placet.ports.log_store import MAX_HANDED_OUT, NotInLogError

CosignedNotes = Mapping[int, SignedNote]
"""Checkpoints by tree size, each with the log's signature first and then its cosignatures."""


def add_cosignatures(
    kept: CosignedNotes, tree_size: int, checkpoint: bytes, signatures: Iterable[NoteSignature]
) -> dict[int, SignedNote]:
    """Returns what is to be kept when `checkpoint`, of that size, has got these cosignatures."""
    note = kept.get(tree_size) or parse_note(checkpoint)
    have = {(signature.name, signature.key_id) for signature in note.signatures}
    new: dict[tuple[str, bytes], NoteSignature] = {}
    for signature in signatures:
        if (signature.name, signature.key_id) not in have:
            new.setdefault((signature.name, signature.key_id), signature)
    grown = note._replace(signatures=(*note.signatures, *new.values())[:MAX_SIGNATURES])
    return _without_outdone({**kept, tree_size: grown})


def _without_outdone(notes: CosignedNotes) -> dict[int, SignedNote]:
    most, best = 1, {}  # the log's own signature is no cosignature
    for tree_size, note in sorted(notes.items(), reverse=True):
        if len(note.signatures) > most:
            most, best[tree_size] = len(note.signatures), note
    return best


def newest_cosigned(kept: CosignedNotes, at_least: int) -> tuple[int, bytes] | None:
    """Returns size and note of the newest checkpoint with at least so many cosignatures, or None."""
    sizes = [size for size, note in kept.items() if len(note.signatures) > at_least]
    return (max(sizes), encode_note(kept[max(sizes)])) if sizes else None


class HandedOut:
    """The checkpoints that witnesses may be cosigning at this moment."""

    def __init__(self) -> None:
        self._by_size: dict[int, bytes] = {}

    def note(self, tree_size: int, checkpoint: bytes) -> bytes:
        """Remembers and returns a checkpoint that leaves the store."""
        if tree_size not in self._by_size:
            self._by_size[tree_size] = checkpoint
            if len(self._by_size) > MAX_HANDED_OUT:
                del self._by_size[next(iter(self._by_size))]
        return checkpoint

    def find(self, tree_size: int) -> bytes:
        """Returns the checkpoint of that size.

        Raises:
            NotInLogError: none of that size left the store lately.
        """
        checkpoint = self._by_size.get(tree_size)
        if checkpoint is None:
            raise NotInLogError(f"No checkpoint of size {tree_size} was handed out lately.")
        return checkpoint
