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


def keep_cosigned(kept: CosignedNotes, tree_size: int, note: SignedNote) -> dict[int, SignedNote]:
    """Returns what is to be kept now that the checkpoint of that size has these cosignatures."""
    most, best = 1, {}  # the log's own signature is no cosignature
    for size, one in sorted({**kept, tree_size: note}.items(), reverse=True):
        if len(one.signatures) > most:
            most, best[size] = len(one.signatures), one
    return best


def newest_cosigned(kept: CosignedNotes, at_least: int) -> tuple[int, bytes] | None:
    """Returns size and note of the newest checkpoint with at least so many cosignatures, or None."""
    sizes = [size for size, note in kept.items() if len(note.signatures) > at_least]
    return (max(sizes), encode_note(kept[max(sizes)])) if sizes else None


class HandedOut:
    """The checkpoints that witnesses may be cosigning at this moment, with what they have sent.

    In memory, and more of them than are kept: a slow witness that is always one checkpoint behind makes a
    quorum with the fast ones all the same.
    """

    def __init__(self, kept: CosignedNotes) -> None:
        self._notes = dict(kept)
        self._newest = (-1, b"")

    def hand_out(self, tree_size: int, checkpoint: bytes) -> bytes:
        """Remembers and returns a checkpoint that leaves the store."""
        if self._newest[0] != tree_size:
            self._newest = (tree_size, checkpoint)
            self._notes.setdefault(tree_size, parse_note(checkpoint))
            if len(self._notes) > MAX_HANDED_OUT:
                del self._notes[next(iter(self._notes))]
        return checkpoint

    def cosign(self, tree_size: int, signatures: Iterable[NoteSignature]) -> SignedNote:
        """Returns the checkpoint of that size with all the cosignatures that have come for it.

        Raises:
            NotInLogError: none of that size left the store lately.
        """
        note = self._notes.get(tree_size)
        if note is None:
            raise NotInLogError(f"No checkpoint of size {tree_size} was handed out lately.")
        by_key = {(signature.name, signature.key_id): signature for signature in note.signatures}
        for signature in signatures:
            by_key.setdefault((signature.name, signature.key_id), signature)
        self._notes[tree_size] = note._replace(signatures=tuple(by_key.values())[:MAX_SIGNATURES])
        return self._notes[tree_size]
