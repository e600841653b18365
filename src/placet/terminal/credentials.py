"""Credential IDs: secrets of this terminal, in a file of its own (mode 0600).

A key signs only for somebody who knows its credential ID.  The IDs are therefore not in the trust root
and never go to a relay: malware on another machine that the key is plugged into cannot even ask.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import NamedTuple

from placet.adapters.private_file import write_atomically
from placet.core.decode import read_ascii, read_list, read_map, read_object
from placet.core.encoding import KeyId, parse_json
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.people import Credential, Person
from placet.core.trust import Trust

_MAX_BYTES = 4 * 1024 * 1024
_MAX_CREDENTIALS = 10_000
TRANSPORTS = ("usb", "nfc", "ble", "internal", "hybrid", "smart-card")


class KnownCredential(NamedTuple):
    """A credential ID (base64url), how its authenticator is reached, and for whom it was made (if known)."""

    credential_id: str
    transports: tuple[str, ...]
    person: str | None = None


class CredentialStore:
    """The file ``credentials.json``: key ID → credential ID."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def all(self) -> dict[KeyId, KnownCredential]:
        """Returns everything that is known; nothing where there is no file yet.

        Raises:
            IndeterminateError: BAD_VALUE where the file is damaged.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            top = read_object(
                parse_json(data, max_bytes=_MAX_BYTES, what="credential store"), "", required=["credentials"]
            )
            found = read_map(top["credentials"], "/credentials", max_items=_MAX_CREDENTIALS)
            return {KeyId(keyid): _read(value, f"/credentials/{keyid}") for keyid, value in found.items()}
        except PlacetError as e:
            raise IndeterminateError(
                Reason.BAD_VALUE,
                f"The credential store {self._path} is damaged: {e}",
                hint="Restore it from a backup, or move it away and enrol the keys on this terminal again.",
            ) from e

    def add(self, keyid: KeyId, credential: KnownCredential) -> None:
        """Keeps one credential, durably.

        Raises:
            IndeterminateError: BAD_VALUE where the file is damaged; it is not overwritten.
            OSError: the file cannot be written.
        """
        with self._lock:
            known = {**self.all(), keyid: credential}
            value = {"credentials": {key: _encode(c) for key, c in known.items()}}
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self._path, json.dumps(value, indent=1).encode())

    def usable(self, trust: Trust, now: int) -> list[tuple[Person, Credential, KnownCredential]]:
        """Returns the credentials of this terminal that belong to enrolled people today."""
        found = []
        for keyid, known in self.all().items():
            person, credential = trust.credentials.get(keyid, (None, None))
            if person is None or credential is None or credential.kind != "webauthn":
                continue
            if credential.not_before <= now < credential.not_after:
                found.append((person, credential, known))
        return found


def _encode(known: KnownCredential) -> dict[str, object]:
    value: dict[str, object] = {"id": known.credential_id, "transports": list(known.transports)}
    return value if known.person is None else value | {"person": known.person}


def _read(value: object, path: str) -> KnownCredential:
    members = read_object(value, path, required=["id", "transports"], optional=["person"])
    person = members.get("person")
    transports = read_list(members["transports"], f"{path}/transports", max_items=8)
    return KnownCredential(
        read_ascii(members["id"], f"{path}/id", max_length=2048),
        tuple(read_ascii(t, f"{path}/transports", max_length=20) for t in transports),
        None if person is None else read_ascii(person, f"{path}/person", max_length=254),
    )
