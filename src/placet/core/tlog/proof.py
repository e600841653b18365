"""One entry's proof, for offline use (https://c2sp.org/tlog-proof; LOG-10, LOG-11).

c2sp.org/tlog-proof@v1
extra base64                 only where there is some; nobody signs it
index 73894
base64 hashes, a line each   the leaf's sibling first
                             (an empty line)
the checkpoint's signed note
"""

from __future__ import annotations

from typing import NamedTuple

from placet.core.encoding import b64decode_strict, b64encode
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.tlog.checkpoint import Checkpoint, parse_hash, parse_number, verify_parsed
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.merkle import MAX_PROOF_HASHES, verify_inclusion
from placet.core.tlog.note import MAX_NOTE_BYTES, SignedNote, check_text, parse_note

_HEADER = "c2sp.org/tlog-proof@v1"
MAX_EXTRA_BYTES = 8 * 1024
# A note, 63 hashes and the extra data in base64.
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES


class TlogProof(NamedTuple):
    """A parsed proof; nothing in it is verified.  `checkpoint` is the signed note as it stands there."""

    leaf_index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""


class WitnessedCheckpoint(NamedTuple):
    """A checkpoint that a log of the policy signed, and when the policy's witnesses cosigned it.

    `witness_times` has Unix seconds by the witness's name in the policy.
    """

    checkpoint: Checkpoint
    witness_times: dict[str, int]


class VerifiedInclusion(NamedTuple):
    """An entry that stands in a log of the policy, and when the policy's witnesses had seen that."""

    log_origin: str
    tree_size: int
    leaf_index: int
    root_hash: bytes
    witness_times: dict[str, int]


def parse_proof(data: bytes | str) -> TlogProof:
    """Parses a proof; its checkpoint is read when it is verified.

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, TEXT_NOT_ALLOWED, UNSUPPORTED_TYPE, BAD_VALUE, BAD_BASE64,
            TOO_MANY.
    """
    if isinstance(data, str):
        try:
            data = data.encode()
        except UnicodeEncodeError as e:
            raise MalformedError(Reason.NOT_UTF8, "The log proof is not UTF-8 text.") from e
    check_text(data, max_bytes=MAX_PROOF_BYTES, what="log proof")
    head, blank, checkpoint = data.decode().partition("\n\n")
    lines = head.split("\n")
    if lines[0] != _HEADER:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE, "This is no log proof that placet knows.", expected=_HEADER
        )
    del lines[0]
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = b64decode_strict(lines.pop(0).removeprefix("extra "))
        if not 0 < len(extra) <= MAX_EXTRA_BYTES:
            raise MalformedError(Reason.BAD_VALUE, "A proof's extra data has 1 to 8192 bytes, or no line.")
    if not blank or not lines or not lines[0].startswith("index "):
        raise MalformedError(Reason.BAD_VALUE, "A log proof has an index, hashes and a checkpoint.")
    index = parse_number(lines[0].removeprefix("index "), "leaf index")
    if len(lines) > 1 + MAX_PROOF_HASHES:
        raise MalformedError(Reason.TOO_MANY, f"A log proof has at most {MAX_PROOF_HASHES} hashes.")
    hashes = tuple(parse_hash(line, "proof's hash") for line in lines[1:])
    return TlogProof(index, hashes, checkpoint.encode(), extra)


def encode_proof(proof: TlogProof) -> str:
    """Encodes a proof."""
    extra = [f"extra {b64encode(proof.extra)}"] if proof.extra else []
    lines = [_HEADER, *extra, f"index {proof.leaf_index}", *map(b64encode, proof.hashes), ""]
    return "".join(f"{line}\n" for line in lines) + proof.checkpoint.decode()


def verify_witnessed(checkpoint: bytes, policy: LogPolicy) -> WitnessedCheckpoint:
    """Verifies that a log of the policy signed a checkpoint, and all cosignatures by its witnesses.

    How many witnesses are enough is for the caller to ask: `LogPolicy.is_quorum`.

    Raises:
        MalformedError: the note or the checkpoint is none.
        PolicyError: LOG_UNKNOWN where no log of the policy claims to have signed it.
        VerificationError: LOG_PROOF_INVALID where the log, or a witness of the policy, did not sign this.
    """
    note = parse_note(checkpoint)
    times = {}
    try:
        found = _verify_log(note, policy)
        for name, key, _ in policy.witnesses:
            # Unknown signatures neither count nor harm; one by a known key that fails tells of tampering.
            if note.signature_by(key) is not None:
                times[name] = verify_cosignature(note, key)
    except VerificationError as e:
        raise VerificationError(
            Reason.LOG_PROOF_INVALID,
            f"The log's checkpoint was altered. {e.message}",
            hint="Fetch the proof anew: placet log attach.",
            causes=(e,),
        ) from e
    return WitnessedCheckpoint(found, times)


def _verify_log(note: SignedNote, policy: LogPolicy) -> Checkpoint:
    origin = note.text.partition(b"\n")[0]
    for key, _ in policy.logs:
        # A log that signs beside another, as a mirror does, speaks in its own name only.
        if key.name.encode() == origin and note.signature_by(key) is not None:
            return verify_parsed(note, key)
    raise PolicyError(
        Reason.LOG_UNKNOWN,
        "The proof is by a log that the trust root does not name.",
        expected=tuple(log.key.name for log in policy.logs),
        hint="Refresh trust; else an administrator must name the log in log-policy.",
    )


def verify_proof(proof: TlogProof, leaf_hash: bytes, policy: LogPolicy) -> VerifiedInclusion:
    """Verifies that a leaf stands in a log of the policy.

    How many witnesses are enough is for the caller to ask: `check_quorum`.

    Raises:
        MalformedError, PolicyError, VerificationError: as `verify_witnessed`; LOG_PROOF_INVALID where the
            hashes do not lead from the leaf to the checkpoint.
    """
    checkpoint, times = verify_witnessed(proof.checkpoint, policy)
    verify_inclusion(leaf_hash, proof.leaf_index, checkpoint.tree_size, proof.hashes, checkpoint.root_hash)
    return VerifiedInclusion(
        checkpoint.log_origin, checkpoint.tree_size, proof.leaf_index, checkpoint.root_hash, times
    )
