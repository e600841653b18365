"""Which bytes of a checkpoint others put a time on, so that every copy of it leads to the same ones.

A checkpoint gains cosignatures while it travels.  What is stamped is its text with the log's own signature
lines alone: whoever has any copy can make these bytes again, and a copy without cosignatures is these bytes.
"""

from __future__ import annotations

from placet.core.errors import MalformedError, Reason
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.note import SignedNote, encode_note, parse_note


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
