"""Which bytes of a checkpoint others put a time on, so that every copy of it leads to the same ones.

A checkpoint gains cosignatures while it travels.  What is stamped is its text with the log's own signature
lines alone: whoever has any copy can make these bytes again, and a copy without cosignatures is these bytes.
"""

from __future__ import annotations

from placet.core.bundle import parse_bundle
from placet.core.errors import MalformedError, Reason
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.note import SignedNote, encode_note, parse_note
from placet.core.tlog.proof import parse_proof

_PROOF = b"c2sp.org/tlog-proof@"


def stamped_form(note: bytes) -> bytes:
    """Returns the bytes of a checkpoint that are stamped; whether the log signed them is not asked.

    Raises:
        MalformedError: it is no checkpoint, or no log has signed it.
    """
    parsed = parse_note(note)
    origin = parse_checkpoint(parsed.text).log_origin
    own = tuple(signature for signature in parsed.signatures if signature.name == origin)
    if not own:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"The log {origin} itself has not signed this checkpoint.",
            hint="Fetch it from the log: its /checkpoint has the log's signature.",
        )
    return encode_note(SignedNote(parsed.text, own))


def checkpoint_in(content: bytes) -> bytes:
    """Returns the checkpoint that a file is or holds: a signed note, a C2SP tlog-proof, or an approval.

    A time on an approval's checkpoint is a time by which its decisions stood in the log, so all of its proofs
    have to be under one.

    Raises:
        MalformedError: it is none of these; BAD_VALUE where an approval has no proofs, or two checkpoints.
    """
    if content.startswith(_PROOF):
        return parse_proof(content).checkpoint
    if not content.startswith(b"{"):
        return content
    checkpoints = [parse_proof(proof.proof).checkpoint for proof in parse_bundle(content).log]
    if len(set(map(stamped_form, checkpoints))) != 1:
        raise MalformedError(
            Reason.BAD_VALUE,
            "The approval's decisions are not proven to be in one state of a log.",
            path="/log",
            hint="Fetch all of its proofs anew: placet log attach BUNDLE.",
        )
    return checkpoints[0]
