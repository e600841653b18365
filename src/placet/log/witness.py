"""A witness: cosigns what a log shows it, as long as it is one history (https://c2sp.org/tlog-witness).

The order of its checks is the specification's, and each has its status code:

    400  the request is not in its form, or its old size is larger than the checkpoint
    404  the log is unknown
    403  none of the log's keys signed the checkpoint
    409  the old size is not the one that was cosigned last
    422  the proof does not hold, or the size is the one that was cosigned, and the root is another

What passes is made durable first and signed then: a witness that dies in between has promised nothing, and
cosigns the same checkpoint when it is asked again.  A signed checkpoint that contradicts what was cosigned
proves that the log forked; it is kept, and said aloud.
"""

from __future__ import annotations

import logging

from placet.adapters.serving.refusals import CallRefused
from placet.adapters.sqlite.witness import EvidenceKind, Seen, SeenMovedError, WitnessedLog, WitnessState
from placet.adapters.witness_protocol import AddCheckpoint, parse_add_checkpoint
from placet.core.errors import PlacetError, VerificationError, visible
from placet.core.tlog.checkpoint import Checkpoint, parse_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.merkle import verify_consistency
from placet.core.tlog.note import (
    NoteSignature,
    NoteSigner,
    SignedNote,
    VerifierKey,
    encode_note,
    encode_signatures,
    parse_note,
    verify_note,
)
from placet.ports.clock import Clock

log = logging.getLogger("placet.witness")

_SEE = "The signed notes: placet witness show --save-evidence DIR"


class ConflictRefused(CallRefused):
    """The witness cosigned another checkpoint last; `tree_size` is that one's."""

    def __init__(self, message: str, tree_size: int) -> None:
        super().__init__("conflict", message)
        self.tree_size = tree_size


class Witness:
    """Judges and cosigns; usable from any thread.

    Args:
        state: its memory.
        signer: its key.
        clock: tells the time that it signs.
    """

    def __init__(self, state: WitnessState, signer: NoteSigner, clock: Clock) -> None:
        self._state = state
        self._signer = signer
        self._clock = clock

    def check_health(self) -> None:
        """Makes sure that the memory can be read.

        Raises:
            IndeterminateError: LOG_UNAVAILABLE, LOG_DAMAGED.
        """
        self._state.check_health()

    def add_checkpoint(self, body: bytes) -> bytes:
        """Answers a request for cosignatures.

        Returns:
            Signature lines.

        Raises:
            MalformedError: the request, its note or its checkpoint is not in its form.
            CallRefused: why it is not cosigned.
            IndeterminateError: the memory cannot be used, or the clock went back; nothing was signed.
        """
        request = parse_add_checkpoint(body)
        note = parse_note(request.checkpoint)
        checkpoint = parse_checkpoint(note.text)
        known = self._state.find_log(checkpoint.log_origin)
        if known is None:
            raise CallRefused(
                "unknown-log",
                f"This witness does not know the log {visible(checkpoint.log_origin)}.",
                hint="Its operator adds a log: placet witness add-log VKEY",
            )
        _check_signed(note, known)
        if request.old_size > checkpoint.tree_size:
            raise CallRefused(
                "old-size-too-large",
                f"The old size {request.old_size} is larger than the checkpoint's {checkpoint.tree_size}.",
            )
        self._check_history(request, note, checkpoint, known.seen)
        try:
            time = self._state.advance(known.seen, checkpoint, request.checkpoint, self._clock.now())
        except SeenMovedError as e:
            raise _conflict(e.tree_size) from e
        # Only now: what is signed was durable before.
        return encode_signatures((cosign(note.text, self._signer, time),))

    def latest(self, origin_hash: bytes) -> bytes:
        """Returns the newest checkpoint that was cosigned of the log whose origin has this SHA-256.

        Beside the cosignature it has the log's own signatures that were verified, and no others.

        Raises:
            CallRefused: nothing of such a log was cosigned.
            IndeterminateError: the memory cannot be used.
        """
        known = self._state.find_seen(origin_hash)
        if known is None:
            raise CallRefused("nothing-cosigned", "This witness has cosigned nothing of such a log.")
        note = parse_note(known.seen.checkpoint)
        own = tuple(found for key in known.keys if (found := _signature_by(note, key)))
        # The same bytes as were answered then: an Ed25519 signature has nothing random in it.
        cosignature = cosign(note.text, self._signer, known.seen.cosigned_at)
        return encode_note(SignedNote(note.text, (*own, cosignature)))

    def _check_history(
        self, request: AddCheckpoint, note: SignedNote, checkpoint: Checkpoint, seen: Seen
    ) -> None:
        """Checks that the checkpoint continues what was cosigned.

        Raises:
            CallRefused: it does not, or it is not shown.
        """
        is_fork = checkpoint.tree_size == seen.tree_size and checkpoint.root_hash != seen.root_hash
        if is_fork:
            # Whatever the old size: the log signed two roots for one size, and this proves it.
            self._keep(EvidenceKind.FORK, request, note, checkpoint, seen)
        if request.old_size != seen.tree_size:
            raise _conflict(seen.tree_size)
        if is_fork:
            raise CallRefused(
                "another-root", f"At size {seen.tree_size}, this witness cosigned another root hash."
            )
        try:
            verify_consistency(
                seen.tree_size, seen.root_hash, checkpoint.tree_size, checkpoint.root_hash, request.proof
            )
        except PlacetError as e:
            if seen.tree_size:
                self._keep(EvidenceKind.UNPROVEN, request, note, checkpoint, seen)
            raise CallRefused(
                "proof-invalid", f"The proof from size {seen.tree_size} does not hold: {e}"
            ) from e

    def _keep(
        self,
        kind: EvidenceKind,
        request: AddCheckpoint,
        note: SignedNote,
        checkpoint: Checkpoint,
        seen: Seen,
    ) -> None:
        now = self._clock.now()
        is_new = self._state.keep_evidence(
            kind, checkpoint, note.text, request.checkpoint, seen.checkpoint, now
        )
        if not is_new:
            return
        origin, size = visible(checkpoint.log_origin), checkpoint.tree_size
        if kind is EvidenceKind.FORK:
            log.error("the log %s signed two roots for size %s. %s", origin, size, _SEE)
        else:
            log.warning(
                "a checkpoint of the log %s of size %s came with a wrong proof. %s", origin, size, _SEE
            )


def _signature_by(note: SignedNote, key: VerifierKey) -> NoteSignature | None:
    try:
        verify_note(note, key)
    except VerificationError:
        return None
    return note.signature_by(key)


def _check_signed(note: SignedNote, known: WitnessedLog) -> None:
    # Any of the keys; signatures by others are ignored.
    if any(_signature_by(note, key) for key in known.keys):
        return
    raise CallRefused(
        "not-signed", f"No key that this witness knows of {visible(known.origin)} signed the checkpoint."
    )


def _conflict(tree_size: int) -> ConflictRefused:
    return ConflictRefused(f"This witness cosigned size {tree_size} last.", tree_size)
