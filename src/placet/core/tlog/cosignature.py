"""Cosignatures: a witness saw this checkpoint, consistent with all before, at a time (LOG-08).

https://c2sp.org/tlog-cosignature@v1.0.0, the Ed25519 form.  The signed message does not name the witness, so
a key belongs to one witness only.
"""

from __future__ import annotations

from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.tlog.merkle import MAX_TREE_SIZE
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    NoteSignature,
    NoteSigner,
    SignedNote,
    VerifierKey,
    verify_raw,
)

MAX_TIME = MAX_TREE_SIZE
_TIME_BYTES = 8
_SIGNATURE_BYTES = 64


def _message(text: bytes, time: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%s" % (time, text)


def cosign(text: bytes, signer: NoteSigner, time: int) -> NoteSignature:
    """Cosigns the text of a checkpoint.

    Args:
        time: Unix seconds.

    Raises:
        MalformedError: BAD_KEY where the key is not a witness's, BAD_TIME.
    """
    if signer.algorithm != COSIGNATURE_ED25519:
        raise MalformedError(Reason.BAD_KEY, "This key makes no cosignatures.", actual=signer.algorithm)
    if not 0 <= time <= MAX_TIME:
        raise MalformedError(Reason.BAD_TIME, "A cosignature's time is from 0 to 2**63-1.", actual=time)
    signature = signer.private_key.sign(_message(text, time))
    return NoteSignature(
        signer.name, signer.verifier_key.key_id, time.to_bytes(_TIME_BYTES, "big") + signature
    )


def verify_cosignature(note: SignedNote, key: VerifierKey) -> int:
    """Verifies the cosignature by `key`.

    Returns:
        When the witness signed, in Unix seconds.

    Raises:
        VerificationError: SIGNATURE_INVALID where it is missing or does not hold.
    """
    found = note.signature_by(key)
    if found is None or key.algorithm != COSIGNATURE_ED25519:
        raise VerificationError(Reason.SIGNATURE_INVALID, f"The checkpoint is not cosigned by {key.name}.")
    time = int.from_bytes(found.signature[:_TIME_BYTES], "big")
    if len(found.signature) != _TIME_BYTES + _SIGNATURE_BYTES or time > MAX_TIME:
        raise VerificationError(Reason.SIGNATURE_INVALID, f"The cosignature by {key.name} is none.")
    verify_raw(key, found.signature[_TIME_BYTES:], _message(note.text, time))
    return time
