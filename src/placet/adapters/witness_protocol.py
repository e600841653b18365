"""What goes to a witness and comes back from it, as bytes (https://c2sp.org/tlog-witness).

    POST <submission prefix>/add-checkpoint

    old 20852014                                    the size that the witness saw last
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=    a consistency proof from there, a hash on each line
                                                    (an empty line)
    example.com/behind-the-sofa                     the checkpoint, a signed note
    …

The answer is one or more signature lines of that note (`placet.core.tlog.note.parse_signatures`); status 409
brings the size that the witness saw last.  Either side may be hostile, so every value has one spelling, and
no more is read than fits.  No I/O here.
"""

from __future__ import annotations

from typing import NamedTuple

from placet.core.encoding import b64encode
from placet.core.errors import MalformedError, Reason
from placet.core.tlog.checkpoint import parse_hash, parse_number
from placet.core.tlog.merkle import MAX_PROOF_HASHES
from placet.core.tlog.note import MAX_NOTE_BYTES

SIZE_MEDIA_TYPE = "text/x.tlog.size"
_OLD = b"old "
_LINE_BYTES = 45
# The largest proof and the largest note.
MAX_REQUEST_BYTES = len(_OLD) + 20 + MAX_PROOF_HASHES * _LINE_BYTES + 1 + MAX_NOTE_BYTES
# A few lines are usual; post-quantum ones have 3.3 KiB each.
MAX_ANSWER_BYTES = 32 * 1024


class AddCheckpoint(NamedTuple):
    """A request for cosignatures; nothing in it is verified."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


def encode_add_checkpoint(request: AddCheckpoint) -> bytes:
    """Encodes a request's body."""
    lines = [f"old {request.old_size}\n", *(f"{b64encode(node)}\n" for node in request.proof), "\n"]
    return "".join(lines).encode("ascii") + request.checkpoint


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Parses a request's body; the checkpoint's own form is not looked at.

    Raises:
        MalformedError: TOO_LARGE, TOO_MANY hashes, BAD_VALUE, BAD_BASE64.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise MalformedError(
            Reason.TOO_LARGE, f"The request has {len(body)} bytes.", expected=MAX_REQUEST_BYTES
        )
    head, blank, checkpoint = body.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    if not blank or not first.startswith(_OLD):
        raise MalformedError(
            Reason.BAD_VALUE, "The request does not begin with an old size, a proof and an empty line."
        )
    if len(lines) > MAX_PROOF_HASHES:
        raise MalformedError(
            Reason.TOO_MANY, f"The proof has {len(lines)} hashes.", expected=MAX_PROOF_HASHES
        )
    old_size = parse_number(_ascii(first.removeprefix(_OLD)), "old size")
    proof = tuple(parse_hash(_ascii(line), "hash of the proof") for line in lines)
    return AddCheckpoint(old_size, proof, checkpoint)


def encode_size(tree_size: int) -> bytes:
    """Encodes the body of a conflict."""
    return f"{tree_size}\n".encode("ascii")


def parse_conflict(body: bytes) -> int:
    """Parses the body of a conflict.

    Raises:
        MalformedError: BAD_VALUE.
    """
    if not body.endswith(b"\n"):
        raise MalformedError(Reason.BAD_VALUE, "A size ends in a newline.")
    return parse_number(_ascii(body[:-1]), "tree size")


def _ascii(line: bytes) -> str:
    """Returns text that its reader judges: what is no ASCII becomes a character that no value has."""
    return line.decode("ascii", "replace")
