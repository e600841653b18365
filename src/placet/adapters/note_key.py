"""A log's or a witness's private key in a file of its own: one line, as Go's sumdb/note has it, mode 0600."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.adapters.private_file import write_atomically
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.core.tlog.note import (
    ED25519,
    NoteSigner,
    check_key_name,
    encode_signer_key,
    parse_signer_key,
)

_MAX_BYTES = 4096


def create_note_key(path: Path, name: str, algorithm: int) -> NoteSigner:
    """Makes a new key with this name, and writes it to `path`.

    Raises:
        MalformedError: BAD_VALUE where it is no name of a key.
        IndeterminateError: BAD_VALUE where a key is already there; it is never overwritten.
        OSError: the file cannot be written.
    """
    check_key_name(name)
    if path.exists():
        raise IndeterminateError(
            Reason.BAD_VALUE,
            f"There is already a key in {path}.",
            hint="Use it, or choose another place. Whoever trusts it would have to learn a new one.",
        )
    made = NoteSigner(name, algorithm, Ed25519PrivateKey.generate())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, encode_signer_key(made).encode())
    return made


def load_note_key(path: Path, algorithm: int) -> NoteSigner:
    """Reads the key at `path`.

    Raises:
        IndeterminateError: LOG_UNAVAILABLE: there is none, or others can read it.
        MalformedError: BAD_KEY, BAD_VALUE, BAD_BASE64, also where it is for another purpose.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise IndeterminateError(
                Reason.LOG_UNAVAILABLE,
                f"Others can read the key {path}, so what it signs says nothing.",
                hint=f"If nobody did, run: chmod 600 {path}. Otherwise make a new one.",
            )
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as e:
        command = "log" if algorithm == ED25519 else "witness"
        raise IndeterminateError(
            Reason.LOG_UNAVAILABLE,
            f"The key {path} cannot be read: {e.strerror}.",
            hint=f"For a new {command}: `placet {command} init`."
            if isinstance(e, FileNotFoundError)
            else "It must belong to the user who runs this, and be a file.",
        ) from e
    signer = parse_signer_key(text)
    if signer.algorithm != algorithm:
        found, wanted = ("log", "witness") if signer.algorithm == ED25519 else ("witness", "log")
        raise MalformedError(Reason.BAD_KEY, f"The key in {path} is a {found}'s, and not a {wanted}'s.")
    return signer
