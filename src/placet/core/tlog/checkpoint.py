"""Checkpoints: a log's signed statement of its size and root hash (LOG-06).

https://c2sp.org/tlog-checkpoint@v1.0.0:

example.com/log42       origin: which log this is; the name of its key
20852163                tree size
CsUYapGGPo4dkMgI…=      root hash
                        extension lines, if any, are signed and mean nothing here
"""

from __future__ import annotations

from typing import NamedTuple

from placet.core.encoding import b64decode_strict, b64encode
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.tlog.merkle import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE
from placet.core.tlog.note import (
    MAX_NAME_BYTES,
    MAX_NOTE_BYTES,
    NoteSigner,
    SignedNote,
    VerifierKey,
    check_text,
    encode_note,
    parse_note,
    verify_note,
)

_MAX_DIGITS = len(str(MAX_TREE_SIZE))


class Checkpoint(NamedTuple):
    """What a log states."""

    log_origin: str
    tree_size: int
    root_hash: bytes
    extensions: tuple[str, ...] = ()


def parse_number(text: str, what: str) -> int:
    """Parses a decimal in its one spelling, from 0 to 2**63-1.

    Raises:
        MalformedError: BAD_VALUE.
    """
    # The length is asked first, because converting a number of many digits takes quadratic time.
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        number = int(text)
        if number <= MAX_TREE_SIZE and str(number) == text:
            return number
    raise MalformedError(
        Reason.BAD_VALUE,
        f"The {what} is no decimal number below 2**63 without leading zeros.",
        actual=text[:32],
    )


def parse_hash(text: str, what: str) -> bytes:
    """Parses a hash in base64.

    Raises:
        MalformedError: BAD_BASE64, BAD_VALUE where it does not have 32 bytes.
    """
    value = b64decode_strict(text)
    if len(value) != HASH_BYTES:
        raise MalformedError(Reason.BAD_VALUE, f"The {what} does not have 32 bytes.", actual=len(value))
    return value


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Parses the text of a checkpoint's note.

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, TEXT_NOT_ALLOWED, BAD_VALUE, BAD_BASE64.
    """
    check_text(text, max_bytes=MAX_NOTE_BYTES, what="checkpoint")
    lines = text.decode().split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise MalformedError(Reason.BAD_VALUE, "A checkpoint has three lines or more, none of them empty.")
    origin, size, root, *extensions = lines
    if len(origin.encode()) > MAX_NAME_BYTES:
        raise MalformedError(Reason.TOO_LARGE, "The log's origin is too long.", expected=MAX_NAME_BYTES)
    found = Checkpoint(
        origin, parse_number(size, "tree size"), parse_hash(root, "root hash"), tuple(extensions)
    )
    if found.tree_size == 0 and found.root_hash != EMPTY_ROOT:
        raise MalformedError(Reason.BAD_VALUE, "An empty log has the root hash of an empty tree.")
    return found


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Encodes a checkpoint's text."""
    head = (checkpoint.log_origin, str(checkpoint.tree_size), b64encode(checkpoint.root_hash))
    return "".join(f"{line}\n" for line in (*head, *checkpoint.extensions)).encode()


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> bytes:
    """Returns the signed note of a checkpoint.

    Raises:
        MalformedError: BAD_KEY where the key is not a log's.
        VerificationError: KEY_MISMATCH where it is another log's.
    """
    if signer.name != checkpoint.log_origin:
        raise VerificationError(
            Reason.KEY_MISMATCH, "A log signs in its own name.", expected=checkpoint.log_origin
        )
    text = encode_checkpoint(checkpoint)
    return encode_note(SignedNote(text, (signer.sign(text),)))


def verify_checkpoint(note: bytes, log_key: VerifierKey) -> Checkpoint:
    """Verifies that a log signed a checkpoint, in its own name (LOG-07).

    Raises:
        MalformedError: as `parse_note` and `parse_checkpoint`.
        VerificationError: SIGNATURE_INVALID, KEY_MISMATCH.
    """
    return verify_parsed(parse_note(note), log_key)


def verify_parsed(note: SignedNote, log_key: VerifierKey) -> Checkpoint:
    """Verifies a parsed note, as `verify_checkpoint`."""
    verify_note(note, log_key)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.log_origin != log_key.name:
        raise VerificationError(
            Reason.KEY_MISMATCH,
            "The checkpoint is of another log than its key.",
            expected=log_key.name,
            actual=checkpoint.log_origin,
        )
    return checkpoint
