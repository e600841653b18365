"""The cosigned checkpoints in a bucket: ``cosigned/2`` is the newest one with two cosignatures or more.

Each is a note as the formats have it, so that a plain web server can serve one as the log's checkpoint.
"""

from __future__ import annotations

from placet.adapters.log_cosigned import CosignedNotes, keep_cosigned, newest_cosigned
from placet.adapters.log_tree import LogHead, log_damaged
from placet.adapters.object_log.bucket import Kind, S3Bucket, Stored
from placet.adapters.object_log.tiles import TileReader, tree_at
from placet.adapters.object_log.writes import OvertakenError, exchange
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.tlog.checkpoint import Checkpoint, verify_parsed
from placet.core.tlog.merkle import CompactRange
from placet.core.tlog.note import MAX_NOTE_BYTES, MAX_SIGNATURES, SignedNote, VerifierKey, parse_note

_TURNS = 8


class CosignedObjects:
    """What is kept, and the objects that it is kept in.  Make one with `load`."""

    def __init__(self, bucket: S3Bucket, key: VerifierKey, objects: dict[int, Stored]) -> None:
        self._bucket = bucket
        self._key = key
        self._objects = objects
        self.notes: CosignedNotes = {}
        for stored in objects.values():
            self.notes = self._with(stored)

    @classmethod
    async def load(
        cls, bucket: S3Bucket, reader: TileReader, head: LogHead, key: VerifierKey
    ) -> CosignedObjects:
        """Reads what is kept, and holds it against the tree.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        objects: dict[int, Stored] = {}
        while len(objects) < MAX_SIGNATURES:
            stored = await bucket.read(_key_of(len(objects) + 1), max_bytes=MAX_NOTE_BYTES)
            if stored is None:
                break
            objects[len(objects) + 1] = stored
        found = cls(bucket, key, objects)
        for size, note in found.notes.items():
            hashes = await reader.prove(head.edge, size, tree_at(size)) if size <= head.tree_size else ()
            if size > head.tree_size or CompactRange(size, hashes).root() != found.check(note).root_hash:
                raise log_damaged(
                    f"The log in {bucket.address} does not continue its own checkpoint of size {size}, which "
                    "witnesses cosigned: it was put back to an older state, or rewritten."
                )
        return found

    def check(self, note: SignedNote) -> Checkpoint:
        """Returns the checkpoint, if the log signed it.

        Raises:
            IndeterminateError: LOG_DAMAGED.
        """
        try:
            return verify_parsed(note, self._key)
        except PlacetError as e:
            raise log_damaged(f"A cosigned checkpoint in {self._bucket.address} does not hold: {e}") from e

    async def keep(self, tree_size: int, note: SignedNote) -> None:
        """Keeps what witnesses cosigned, where it is better than what is kept.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        for _ in range(_TURNS):
            notes = keep_cosigned(self.notes, tree_size, note)
            try:
                await self._write(notes)
            except OvertakenError:
                continue  # Another server has kept one; both are taken into account now.
            self.notes = notes
            return
        raise IndeterminateError(
            Reason.LOG_UNAVAILABLE, f"Another server writes to {self._bucket.address} all the time."
        )

    async def _write(self, notes: CosignedNotes) -> None:
        at_least = 1
        while (newest := newest_cosigned(notes, at_least)) is not None:
            key, old = _key_of(at_least), self._objects.get(at_least)
            if old is None or old.data != newest[1]:
                try:
                    self._objects[at_least] = await exchange(self._bucket, key, newest[1], Kind.NOTE, old)
                except OvertakenError as e:
                    if e.current is None:
                        raise log_damaged(f"{key} in {self._bucket.address} is gone.") from e
                    self._objects[at_least] = e.current
                    self.notes = self._with(e.current)
                    raise
            at_least += 1

    def _with(self, stored: Stored) -> CosignedNotes:
        try:
            note = parse_note(stored.data)
        except PlacetError as e:
            raise log_damaged(f"A cosigned checkpoint in {self._bucket.address} is damaged: {e}") from e
        return keep_cosigned(self.notes, self.check(note).tree_size, note)


def _key_of(at_least: int) -> str:
    return f"cosigned/{at_least}"
