"""OpenTimestamps proofs: what they commit to, and who attests it (the format of the ``ots`` client).

A proof begins with the SHA-256 of a file and goes on in steps (append, prepend, hash), which fork.  Each
branch ends in an attestation of the value that it reached: a calendar promises to bring it into Bitcoin
(*pending*, which proves nothing yet), or it is the Merkle root of a Bitcoin block.  Whether it really is one
is said by that block's header, which comes from somewhere else: a node, or several block explorers.

    0x00 tag(8) length payload       attestation        0x08 SHA-256   0x02 SHA-1   0x03 RIPEMD-160
    0xff item, item                  fork               0xf0 append    0xf1 prepend

Read here is version 1 over SHA-256, which every client writes.  Branches with steps that only other block
chains use are read to their end and count as unknown; other bytes refuse the proof.

Leaves out: asking calendars and nodes, and making proofs: the stock client does both.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from placet.core.errors import MalformedError, Reason, VerificationError

# Proofs that several calendars attest have some KiB.
MAX_PROOF_BYTES = 64 * 1024
# As the format's own library has it: no step makes or takes more.
_MAX_MESSAGE = 4096
_MAX_PAYLOAD = 8192
_MAX_URI = 1000
_URI = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:")

_MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94\x01"
_SHA256, _FORK, _ATTESTATION = 0x08, 0xFF, 0x00
_APPEND, _PREPEND = 0xF0, 0xF1
_HASHES = {0x02: "sha1", 0x03: "ripemd160", _SHA256: "sha256"}
# Keccak-256, reversing and writing in hexadecimal: known to the format, of no use for Bitcoin.
_NOT_FOLLOWED = frozenset({0x67, 0xF2, 0xF3})
_BITCOIN = bytes.fromhex("0588960d73d71901")
_PENDING = bytes.fromhex("83dfe30d2ef90c8e")
_HASH_BYTES = 32
_HEADER_BYTES = 80


class BitcoinAttestation(NamedTuple):
    """The value is said to be the Merkle root of the block at this height.

    `merkle_root` is written as nodes and explorers write it, in hexadecimal with the bytes turned around.
    """

    height: int
    merkle_root: str


class OtsProof(NamedTuple):
    """A parsed proof; that its steps were followed from `digest` is all that is known of it.

    Args:
        digest: SHA-256 of the file that was stamped.
        bitcoin: attestations by blocks, the lowest first.
        calendars: addresses of calendars that have promised one.
        unknown: how many branches end in something else.
    """

    digest: bytes
    bitcoin: tuple[BitcoinAttestation, ...]
    calendars: tuple[str, ...]
    unknown: int


class BlockHeader(NamedTuple):
    """A Bitcoin block's header; that it belongs to the chain is said by its hash alone, elsewhere.

    Args:
        block_hash, merkle_root: in hexadecimal, as nodes and explorers write them.
        time: what the miner wrote, in Unix seconds; the network lets it be wrong by some hours.
    """

    block_hash: str
    merkle_root: str
    time: int


class _Reader:
    """Takes bytes off a proof."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_done(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise _malformed("The proof ends too early.")
        taken, self._at = self._data[self._at : end], end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """Takes a number of seven bits a byte, the lowest first, in its shortest spelling."""
        found, shift = 0, 0
        while True:
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 56:
                raise _malformed("A number in the proof is too large.")
        if byte == 0 and shift > 7:
            raise _malformed("A number in the proof is not in its shortest spelling.")
        return found

    def bytes_of(self, least: int, most: int) -> bytes:
        length = self.number()
        if not least <= length <= most:
            raise _malformed("A value in the proof is too long or too short.")
        return self.take(length)


def parse_proof(data: bytes) -> OtsProof:
    """Parses a proof, and follows its steps.

    Raises:
        MalformedError: BAD_VALUE, TOO_LARGE; UNSUPPORTED_TYPE for another version, hash or step.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise MalformedError(
            Reason.TOO_LARGE,
            "The proof is too long.",
            expected=MAX_PROOF_BYTES,
            hint="Stamp the checkpoint alone: `ots stamp FILE`.",
        )
    if not data.startswith(_MAGIC):
        raise _unsupported("This is no OpenTimestamps proof of version 1.")
    reader = _Reader(data[len(_MAGIC) :])
    if reader.byte() != _SHA256:
        raise _unsupported("The proof does not begin with a file's SHA-256.")
    digest = reader.take(_HASH_BYTES)
    bitcoin, calendars, unknown = set(), set(), 0
    # Values from which further branches begin; None where a step was not followed.
    forks: list[bytes | None] = [digest]
    while forks:
        value = forks.pop()
        if (step := reader.byte()) == _FORK:
            forks.append(value)
            step = reader.byte()
        while step != _ATTESTATION:
            value = _follow(step, value, reader)
            if (step := reader.byte()) == _FORK:
                forks.append(value)
                step = reader.byte()
        found = _read_attestation(value, reader)
        if isinstance(found, BitcoinAttestation):
            bitcoin.add(found)
        elif found:
            calendars.add(found)
        else:
            unknown += 1
    if not reader.is_done:
        raise _malformed("Something follows the proof.")
    return OtsProof(digest, tuple(sorted(bitcoin)), tuple(sorted(calendars)), unknown)


def _follow(step: int, value: bytes | None, reader: _Reader) -> bytes | None:
    if step in (_APPEND, _PREPEND):
        more = reader.bytes_of(1, _MAX_MESSAGE)
        if value is None:
            return None
        value = value + more if step == _APPEND else more + value
        if len(value) > _MAX_MESSAGE:
            raise _malformed("A step of the proof makes a value that is too long.")
        return value
    if step in _HASHES:
        return None if value is None else _hash(_HASHES[step], value)
    if step in _NOT_FOLLOWED:
        return None
    raise _unsupported(f"The proof has a step of a kind that is not known here (0x{step:02x}).")


def _hash(name: str, value: bytes) -> bytes | None:
    try:
        return hashlib.new(name, value, usedforsecurity=False).digest()
    except ValueError:  # some builds of OpenSSL have no RIPEMD-160
        return None


def _read_attestation(value: bytes | None, reader: _Reader) -> BitcoinAttestation | str:
    """Returns a block's attestation, a calendar's address, or "" for what is neither."""
    tag = reader.take(8)
    payload = reader.bytes_of(0, _MAX_PAYLOAD)
    inner = _Reader(payload)
    if tag == _PENDING:
        address = inner.bytes_of(0, _MAX_URI)
        if not inner.is_done or not _URI.issuperset(address):
            raise _malformed("A calendar's address in the proof is not one.")
        return address.decode()
    if tag == _BITCOIN:
        height = inner.number()
        if not inner.is_done:
            raise _malformed("A block's height in the proof is not a number.")
        if value is not None and len(value) == _HASH_BYTES:
            return BitcoinAttestation(height, value[::-1].hex())
    return ""


def check_proof_of(proof: OtsProof, stamped: bytes) -> None:
    """Checks that a proof is about these bytes.

    Raises:
        VerificationError: LOG_PROOF_INVALID.
    """
    if proof.digest != hashlib.sha256(stamped).digest():
        raise VerificationError(
            Reason.LOG_PROOF_INVALID,
            "The proof is about something else than this checkpoint.",
            expected=hashlib.sha256(stamped).hexdigest(),
            actual=proof.digest.hex(),
            hint="Stamp what `placet log opentimestamps prepare` wrote for this very checkpoint.",
        )


def check_in_block(proof: OtsProof, merkle_root: str) -> BitcoinAttestation:
    """Checks that a block attests a proof.

    Args:
        merkle_root: the block's, in hexadecimal as nodes and explorers write it.

    Raises:
        VerificationError: LOG_PROOF_INVALID: the proof leads to no block with this root.
    """
    for attestation in proof.bitcoin:
        if attestation.merkle_root == merkle_root:
            return attestation
    raise VerificationError(
        Reason.LOG_PROOF_INVALID,
        "The proof does not lead to the Merkle root of this block.",
        expected=tuple(f"{found.merkle_root} at height {found.height}" for found in proof.bitcoin),
        actual=merkle_root,
        hint="Take the block at the height that the proof names.",
    )


def parse_block_header(header: bytes) -> BlockHeader:
    """Parses the 80 bytes of a Bitcoin block's header.

    Raises:
        MalformedError: BAD_VALUE.
    """
    if len(header) != _HEADER_BYTES:
        raise _malformed("A Bitcoin block's header has 80 bytes.")
    block_hash = hashlib.sha256(hashlib.sha256(header).digest()).digest()
    return BlockHeader(
        block_hash[::-1].hex(), header[36:68][::-1].hex(), int.from_bytes(header[68:72], "little")
    )


def _malformed(message: str) -> MalformedError:
    return MalformedError(Reason.BAD_VALUE, message, hint="Stamp the checkpoint anew with the `ots` client.")


def _unsupported(message: str) -> MalformedError:
    return MalformedError(
        Reason.UNSUPPORTED_TYPE,
        message,
        hint="`ots stamp` writes what is read here, and `ots info` shows it.",
    )
