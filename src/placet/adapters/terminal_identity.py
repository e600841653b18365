"""The terminal's identity key in a file of its own (mode 0600).

It is a software key: it identifies the machine that showed the request, never a person.
"""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519

from placet.adapters.private_file import write_atomically
from placet.core.decode import read_ascii, read_name, read_object
from placet.core.encoding import b64decode_strict, b64encode, parse_json
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.core.sshsig import encode_ed25519_key, encode_ed25519_sshsig, signed_data

_MAX_BYTES = 4096


class FileTerminalIdentity:
    """A terminal identity whose Ed25519 key lies in a file; satisfies `TerminalIdentity`."""

    def __init__(self, terminal_id: str, key: ed25519.Ed25519PrivateKey) -> None:
        self._id, self._key = terminal_id, key

    @classmethod
    def create(cls, path: Path, terminal_id: str) -> FileTerminalIdentity:
        """Makes a new identity and writes it to `path`.

        Raises:
            MalformedError: the ID is no host name label; it becomes one in the page's origin.
            IndeterminateError: BAD_VALUE where an identity is already there; it is never overwritten.
            OSError: the file cannot be written.
        """
        read_name(terminal_id, "/id")
        if path.exists():
            raise IndeterminateError(
                Reason.BAD_VALUE,
                f"There is already a terminal identity in {path}.",
                hint="Use it, or move it away first; a new identity must be enrolled again.",
            )
        identity = cls(terminal_id, ed25519.Ed25519PrivateKey.generate())
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        secret = b64encode(identity._key.private_bytes_raw())
        write_atomically(path, json.dumps({"id": terminal_id, "ed25519": secret}).encode())
        return identity

    @classmethod
    def load(cls, path: Path) -> FileTerminalIdentity:
        """Reads the identity at `path`.

        Raises:
            IndeterminateError: TERMINAL_UNKNOWN where there is none.
            MalformedError: the file is not one that `create` wrote.
        """
        try:
            data = path.read_bytes()
        except OSError as e:
            raise IndeterminateError(
                Reason.TERMINAL_UNKNOWN,
                f"This machine has no terminal identity ({path}: {e.strerror}).",
                hint="Make one with `placet terminal init NAME` and have it enrolled.",
            ) from e
        members = read_object(
            parse_json(data, max_bytes=_MAX_BYTES, what="terminal identity"), "", required=["id", "ed25519"]
        )
        secret = b64decode_strict(read_ascii(members["ed25519"], "/ed25519"), "/ed25519")
        if len(secret) != 32:
            raise MalformedError(Reason.BAD_KEY, "The key does not have 32 bytes.", path="/ed25519")
        return cls(read_name(members["id"], "/id"), ed25519.Ed25519PrivateKey.from_private_bytes(secret))

    @property
    def terminal_id(self) -> str:
        """The terminal's ID in ``terminals.json``."""
        return self._id

    @property
    def wire(self) -> bytes:
        """The public key in SSH wire form."""
        return encode_ed25519_key(self._key.public_key().public_bytes_raw())

    def sign(self, namespace: str, message: bytes) -> bytes:
        """Returns a binary SSHSIG over `message`."""
        signature = self._key.sign(signed_data(namespace, message))
        return encode_ed25519_sshsig(key_wire=self.wire, namespace=namespace, raw_signature=signature)
