"""The online keys of `snapshot` and `timestamp`: in a folder that only their owner can read, never published.

    keys/<role>.pem, keys/<role>.<first 16 digits of the key ID>.pem

They say which versions are current, and nothing about who may approve what.  The relay never holds one.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.metadata import Root  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.private_file import write_atomically
from placet.adapters.tuf.trust import SIGNED_ONLINE
from placet.core.decode import read_choice, read_list, read_object, read_string
from placet.core.encoding import encode_canonical, parse_json
from placet.core.errors import IndeterminateError, MalformedError, PolicyError, Reason

MEDIA_TYPE = "application/vnd.placet.online-keys.v1+json"
_MAX_BYTES = 64 * 1024


class OnlineKeys:
    """The folder of the online keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, role: str, signer: CryptoSigner, *, first: bool = False) -> None:
        """Keeps a key.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{role}.pem" if first else f"{role}.{signer.public_key.keyid[:16]}.pem"
        write_atomically(self.folder / name, signer.private_bytes)

    def found(self, role: str) -> dict[Path, CryptoSigner]:
        """Returns the keys of a role that are here.

        Raises:
            IndeterminateError: one is damaged, or others can read it.
        """
        return {path: _read(path) for path in sorted(self.folder.glob(f"{role}*.pem"))}

    def signers(self, role: str, current: Root, published: Root | None) -> tuple[CryptoSigner, ...]:
        """Returns the keys that sign a role now, that of the newest root first.

        While a root with another key is drafted, the published root's key signs too, if it is here.

        Raises:
            IndeterminateError: the newest root's is not here, damaged, or others can read it.
        """
        due = list(current.roles[role].keyids)
        older = [] if published is None else [k for k in published.roles[role].keyids if k not in due]
        found = {signer.public_key.keyid: signer for signer in self.found(role).values()}
        signers = tuple(found[keyid] for keyid in (*due, *older) if keyid in found)
        if not signers or signers[0].public_key.keyid not in due:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"The online key of {role} is not in {self.folder}.",
                hint="Publish on the host that holds the online keys, or bring them here: `placet trust "
                "online-keys import FILE`. If they are lost: `placet trust rotate-online-keys`.",
            )
        return signers

    def forget_all_but(self, roots: Collection[Root]) -> None:
        """Removes the keys that none of these roots names."""
        used = {keyid for root in roots for role in SIGNED_ONLINE for keyid in root.roles[role].keyids}
        for role in SIGNED_ONLINE:
            for path, signer in self.found(role).items():
                if signer.public_key.keyid not in used:
                    path.unlink(missing_ok=True)

    def encode(self) -> bytes:
        """Returns the keys as one file, for the host that keeps trust fresh.

        Raises:
            IndeterminateError: there is none here, or one is damaged.
        """
        keys = [
            {"role": role, "privateKey": signer.private_bytes.decode("ascii")}
            for role in SIGNED_ONLINE
            for signer in self.found(role).values()
        ]
        if not keys:
            raise IndeterminateError(Reason.TRUST_UNAVAILABLE, f"There are no online keys in {self.folder}.")
        return encode_canonical({"mediaType": MEDIA_TYPE, "keys": keys})

    def decode(self, data: bytes, roots: Collection[Root]) -> tuple[str, ...]:
        """Keeps the keys of such a file, and returns their roles.

        Raises:
            MalformedError: it is no such file.
            PolicyError: UNKNOWN_KEY: none of the roots names one of them for its role; nothing was kept.
            OSError: they cannot be written.
        """
        value = parse_json(data, max_bytes=_MAX_BYTES, what="online key file")
        members = read_object(value, "", required=["mediaType", "keys"])
        if members["mediaType"] != MEDIA_TYPE:
            raise MalformedError(
                Reason.UNSUPPORTED_TYPE, "This is no file of online keys.", path="/mediaType"
            )
        found = []
        for i, item in enumerate(read_list(members["keys"], "/keys", max_items=16, min_items=1)):
            fields = read_object(item, f"/keys/{i}", required=["role", "privateKey"])
            role = read_choice(fields["role"], f"/keys/{i}/role", SIGNED_ONLINE)
            pem = read_string(fields["privateKey"], f"/keys/{i}/privateKey", max_length=4096)
            found.append((role, _load(pem.encode(), f"/keys/{i}")))
        for role, signer in found:
            if not any(signer.public_key.keyid in root.roles[role].keyids for root in roots):
                raise PolicyError(
                    Reason.UNKNOWN_KEY,
                    f"The key of {role} in this file is not the one that the root names.",
                    hint="Bring the newest working repository here first, or export the keys again.",
                )
        for role, signer in found:
            self.add(role, signer)
        return tuple(dict.fromkeys(role for role, _ in found))


def _load(pem: bytes, path: str) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(pem, password=None))
    except (ValueError, TypeError) as e:
        raise MalformedError(Reason.BAD_KEY, "This is no private key.", path=path) from e


def _read(path: Path) -> CryptoSigner:
    try:
        if path.stat().st_mode & 0o077:
            raise IndeterminateError(
                Reason.BAD_TRUST,
                f"Others can read the online key {path}.",
                hint=f"If nobody did, run: chmod 600 {path}",
            )
        return CryptoSigner(load_pem_private_key(path.read_bytes(), password=None))
    except (OSError, ValueError) as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE, f"The online key {path} cannot be read: {e}."
        ) from e
