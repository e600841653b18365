"""Signed notes, and their keys (https://c2sp.org/signed-note@v1.0.0; LOG-04, LOG-05).

    text that ends in a newline
                                            (an empty line: the last one of the note)
    — key name base64(key ID || signature)  (one line or more)

A key is written ``name+key ID+base64(algorithm || public key)``, the private one
``PRIVATE+KEY+name+key ID+base64(algorithm || seed)``, as golang.org/x/mod/sumdb/note has it.

Leaves out: what the text means, and ML-DSA-44, which is named, so that it is refused by its name.
"""

from __future__ import annotations

import functools
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.core.encoding import KeyId, b64decode_strict, b64encode, is_hex
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.signature import _load_ed25519, check_key_usable
from placet.core.sshsig import SSH_ED25519, PublicKey

ED25519 = 1
COSIGNATURE_ED25519 = 4
COSIGNATURE_ML_DSA_44 = 6

# Sixteen post-quantum signatures fit, the fewest that readers of notes must take.
MAX_NOTE_BYTES = 64 * 1024
# A log, and every witness that a policy may name, and some whom we do not know.
MAX_SIGNATURES = 64
# Later cosignatures sign the name with its length in one byte.
MAX_NAME_BYTES = 255

_DASH = "\u2014 "
_KEY_ID_BYTES = 4
_KEY_BYTES = 32
_PRIVATE = "PRIVATE+KEY+"
# Those that C2SP forbids, and DEL.
_CONTROLS = bytes((*(c for c in range(0x20) if c != 0x0A), 0x7F))


class NoteSignature(NamedTuple):
    """One signature line; name and key ID together say by which key."""

    name: str
    key_id: bytes
    signature: bytes


class SignedNote(NamedTuple):
    """A parsed note; nothing in it is verified.  `text` are the very bytes that were signed."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def signature_by(self, key: VerifierKey) -> NoteSignature | None:
        """Returns the signature that claims to be by `key`, or None."""
        key_id = key.key_id
        for signature in self.signatures:
            if signature.name == key.name and signature.key_id == key_id:
                return signature
        return None


class VerifierKey(NamedTuple):
    """A public key and its name; ``str()`` is the vkey form."""

    name: str
    algorithm: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys apart; no fingerprint, since others can be made to match."""
        return _key_id(self.name, self.algorithm, self.public_key)

    def __str__(self) -> str:
        return _encode_key(self.name, self.key_id, self.algorithm, self.public_key)


class NoteSigner(NamedTuple):
    """A private key and its name, of a log (`ED25519`) or of a witness (`COSIGNATURE_ED25519`)."""

    name: str
    algorithm: int
    private_key: Ed25519PrivateKey

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.algorithm, self.private_key.public_key().public_bytes_raw())

    def sign(self, text: bytes) -> NoteSignature:
        """Signs a note's text.

        Raises:
            MalformedError: BAD_KEY where this key makes cosignatures, which carry a time.
        """
        if self.algorithm != ED25519:
            raise MalformedError(Reason.BAD_KEY, "This key makes cosignatures only.", actual=self.algorithm)
        return NoteSignature(self.name, self.verifier_key.key_id, self.private_key.sign(text))


@functools.lru_cache(maxsize=256)
def _key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:_KEY_ID_BYTES]


def _encode_key(name: str, key_id: bytes, algorithm: int, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{b64encode(bytes([algorithm]) + key)}"


def check_key_name(name: str) -> None:
    """Checks that a key name stands in one line in one way.

    Raises:
        MalformedError: BAD_VALUE for an empty or long one, or one with spaces, plus or control characters.
    """
    # A lone surrogate has no bytes; what replaces it is not the same name.
    data = name.encode("utf-8", "replace")
    bad = any(c.isspace() or c < " " or c in "+\x7f" for c in name) or data.decode() != name
    if bad or not 0 < len(data) <= MAX_NAME_BYTES:
        raise MalformedError(
            Reason.BAD_VALUE, "A key's name has 1 to 255 bytes, without spaces and plus.", actual=name[:80]
        )


def parse_verifier_key(text: str) -> VerifierKey:
    """Parses a vkey (LOG-05).

    Raises:
        MalformedError: BAD_KEY, BAD_VALUE, BAD_BASE64; UNSUPPORTED_TYPE for another signature algorithm.
    """
    name, key_id, algorithm, raw = _split_key(text)
    key = VerifierKey(name, algorithm, raw)
    # What anybody can sign for is no key, and an ID that is not the key's own finds no signature.
    check_key_usable(PublicKey(b"", KeyId(""), SSH_ED25519, "", b"", raw))
    if key.key_id != key_id:
        raise MalformedError(Reason.BAD_KEY, f"The key of {name} does not have the ID that it is given.")
    return key


def parse_signer_key(text: str) -> NoteSigner:
    """Parses a private key, with or without a final newline.

    Raises:
        MalformedError: as `parse_verifier_key`; nothing of the key stands in the message.
    """
    line = text.removesuffix("\n")
    if not line.startswith(_PRIVATE):
        raise MalformedError(Reason.BAD_KEY, "This is no private note key.", expected=_PRIVATE)
    name, key_id, algorithm, raw = _split_key(line.removeprefix(_PRIVATE))
    signer = NoteSigner(name, algorithm, Ed25519PrivateKey.from_private_bytes(raw))
    if signer.verifier_key.key_id != key_id:
        raise MalformedError(Reason.BAD_KEY, f"The key of {name} does not have the ID that it is given.")
    return signer


def encode_signer_key(signer: NoteSigner) -> str:
    """Encodes a private key as one line with its newline, for a file that only its owner reads."""
    seed = signer.private_key.private_bytes_raw()
    return f"{_PRIVATE}{_encode_key(signer.name, signer.verifier_key.key_id, signer.algorithm, seed)}\n"


def _split_key(text: str) -> tuple[str, bytes, int, bytes]:
    # Partitions, because base64 has plus signs of its own.
    name, _, rest = text.partition("+")
    key_id, plus, encoded = rest.partition("+")
    check_key_name(name)
    if not plus or not is_hex(key_id, 2 * _KEY_ID_BYTES) or len(encoded) > 4 * 1024:
        raise MalformedError(Reason.BAD_KEY, "A note key is written name+8 hexadecimal characters+base64.")
    data = b64decode_strict(encoded)
    algorithm, raw = data[0] if data else 0, data[1:]
    if algorithm not in (ED25519, COSIGNATURE_ED25519):
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            f"The key of {name} is for a signature algorithm that this version of placet does not check.",
            expected=(ED25519, COSIGNATURE_ED25519),
            actual=algorithm,
            hint="Use an Ed25519 key."
            + (" ML-DSA-44 is not read yet." if algorithm == COSIGNATURE_ML_DSA_44 else ""),
        )
    if len(raw) != _KEY_BYTES:
        raise MalformedError(Reason.BAD_KEY, f"The key of {name} does not have 32 bytes.", actual=len(raw))
    return name, bytes.fromhex(key_id), algorithm, raw


def parse_note(data: bytes) -> SignedNote:
    """Parses a signed note; verifies nothing.

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, TEXT_NOT_ALLOWED, BAD_VALUE, BAD_BASE64, TOO_MANY,
            DUPLICATE_VALUE.
    """
    check_text(data, max_bytes=MAX_NOTE_BYTES, what="note")
    text, blank, lines = data.rpartition(b"\n\n")
    if not blank:
        raise MalformedError(Reason.BAD_VALUE, "The note has no empty line before its signatures.")
    return SignedNote(text + b"\n", parse_signatures(lines))


def check_text(data: bytes, *, max_bytes: int, what: str) -> None:
    """Checks that `data` is lines of UTF-8 text without control characters (LOG-04).

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, TEXT_NOT_ALLOWED, BAD_VALUE.
    """
    if len(data) > max_bytes:
        raise MalformedError(
            Reason.TOO_LARGE, f"The {what} is too long.", expected=max_bytes, actual=len(data)
        )
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError as e:
        raise MalformedError(Reason.NOT_UTF8, f"The {what} is not UTF-8 text.") from e
    if data.translate(None, _CONTROLS) != data:
        raise MalformedError(Reason.TEXT_NOT_ALLOWED, f"The {what} has a control character.")
    if not data.endswith(b"\n"):
        raise MalformedError(Reason.BAD_VALUE, f"The {what} does not end with a line feed.")


def parse_signatures(data: bytes) -> tuple[NoteSignature, ...]:
    """Parses signature lines, which is what a witness answers with.

    Raises:
        MalformedError: as `parse_note`.
    """
    check_text(data, max_bytes=MAX_NOTE_BYTES, what="list of signatures")
    lines = data.decode().split("\n")[:-1]
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(Reason.TOO_MANY, f"A note has at most {MAX_SIGNATURES} signatures.")
    signatures = tuple(map(_parse_signature, lines))
    # Of two signatures by one key only one would be read, and verifiers could choose different ones.
    if len({(signature.name, signature.key_id) for signature in signatures}) != len(signatures):
        raise MalformedError(Reason.DUPLICATE_VALUE, "One key has signed the note twice.")
    return signatures


def _parse_signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not space or not line.startswith(_DASH):
        raise MalformedError(
            Reason.BAD_VALUE, "A signature line is an em dash, a key's name and base64.", actual=line[:80]
        )
    check_key_name(name)
    blob = b64decode_strict(encoded)
    if len(blob) <= _KEY_ID_BYTES:
        raise MalformedError(Reason.BAD_VALUE, f"The signature by {name} is empty.")
    return NoteSignature(name, blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


def encode_signatures(signatures: tuple[NoteSignature, ...]) -> bytes:
    """Encodes signature lines."""
    lines = (f"{_DASH}{s.name} {b64encode(s.key_id + s.signature)}\n" for s in signatures)
    return "".join(lines).encode()


def encode_note(note: SignedNote) -> bytes:
    """Encodes a signed note."""
    return note.text + b"\n" + encode_signatures(note.signatures)


def verify_note(note: SignedNote, key: VerifierKey) -> None:
    """Verifies the signature by `key`; those by others neither count nor harm.

    Raises:
        VerificationError: SIGNATURE_INVALID where it is missing or does not hold.
    """
    found = note.signature_by(key)
    if found is None or key.algorithm != ED25519:
        raise VerificationError(Reason.SIGNATURE_INVALID, f"The note is not signed by {key.name}.")
    verify_raw(key, found.signature, note.text)


def verify_raw(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Verifies an Ed25519 signature.

    Raises:
        VerificationError: SIGNATURE_INVALID.
    """
    try:
        _load_ed25519(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as e:
        raise VerificationError(
            Reason.SIGNATURE_INVALID, f"The signature by {key.name} does not match this text."
        ) from e
