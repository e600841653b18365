"""The administrators' working repository: a draft, collected signatures, and what is published.

    repository.json      the format of this folder
    objects/<sha256>     contents of target files, by digest
    draft/root.json      the exact bytes that administrators sign, while a new root is prepared
    draft/targets.json   the same for targets; it names every target file by digest
    draft/<role>.signatures/<key ID>.sshsig
    keys/                online keys of snapshot and timestamp, readable by their owner alone, never published
    published/           what gates read: metadata/ and targets/, as any web server can serve it

The draft *is* the metadata to be signed, and target files are found by the digests inside it: what is shown
to an administrator, what is signed and what is published cannot differ.  Every write is atomic, and contents
are written before what names them, so that a crash at any moment leaves a readable repository.  Signatures
are verified whenever they are read, so a signature over an earlier draft never counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from placet.adapters.private_file import write_atomically
from placet.adapters.sk_key import register
from placet.adapters.tuf_trust import (
    ROOT,
    SIGNED_BY_PEOPLE,
    SIGNED_ONLINE,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    VALIDITY_SECONDS,
    Administrator,
    build_root,
    encode_signed,
    parse_metadata,
    parse_signed,
    utc,
)
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PolicyError, Reason
from placet.core.trust import compile_trust

_FORMAT = "placet-trust-repository 1"
# Far more than yearly rotation ever makes; bounds what a folder made by somebody else can cost.
_MAX_ROOTS = 256
# Names become paths and addresses on every kind of server.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")


class TrustRepository:
    """One working repository.  Methods that change it take its lock; two administrators may work at once."""

    def __init__(self, path: Path) -> None:
        """Opens the repository at `path`.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE where there is none.
        """
        register()
        self.path = path
        try:
            found = json.loads((path / "repository.json").read_bytes())
        except (OSError, ValueError, RecursionError) as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"There is no trust repository in {path}.",
                hint="Make one with `placet trust init`, or name it with --repository DIR.",
            ) from e
        if found != {"format": _FORMAT}:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE, f"The trust repository in {path} is of another version of placet."
            )

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        files: Mapping[str, bytes],
        administrators: Sequence[Administrator],
        threshold: int,
        now: int,
    ) -> TrustRepository:
        """Makes a repository with an unsigned first root and targets.

        Raises:
            PolicyError: BAD_TRUST: `path` is taken, the threshold cannot be met, or a person has two keys.
            MalformedError: the files are no trust root.
            OSError: the folder cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise PolicyError(
                Reason.BAD_TRUST,
                f"{path} is already there.",
                hint="Use it with --repository, or choose another folder; a trust root is never overwritten.",
            )
        signers = {role: CryptoSigner.generate_ed25519() for role in SIGNED_ONLINE}
        root = build_root(
            administrators,
            threshold=threshold,
            online_keys={role: signer.public_key for role, signer in signers.items()},
            version=1,
            expires_at=now + VALIDITY_SECONDS[ROOT],
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Built beside its place and moved there whole: an interrupted `init` leaves nothing in the way.
        building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name in ("objects", "draft", "keys", "published/metadata", "published/targets"):
                (building / name).mkdir(parents=True)
            (building / "keys").chmod(0o700)
            for role, signer in signers.items():
                write_atomically(building / "keys" / f"{role}.pem", signer.private_bytes)
            write_atomically(building / "repository.json", json.dumps({"format": _FORMAT}).encode())
            repository = cls(building)
            repository._write_draft(root)
            repository.stage(files, now=now)
            building.rename(path)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        return cls(path)

    # -- what is published

    def published_root_bytes(self, version: int | None = None) -> bytes | None:
        """Returns a published root's file, the newest by default; None where there is none."""
        names = (path.name.split(".")[0] for path in self._metadata_folder.glob("*.root.json"))
        found = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 10]
        if not found:
            return None
        return (self._metadata_folder / f"{version or max(found)}.root.json").read_bytes()

    def published_root_files(self) -> tuple[bytes, ...]:
        """Returns the published roots' files, oldest first, without a gap up to the newest."""
        newest = self.published_root()
        files: list[bytes] = []
        for version in range(0 if newest is None else newest.version, 0, -1):
            path = self._metadata_folder / f"{version}.root.json"
            if not path.is_file() or len(files) == _MAX_ROOTS:
                break
            files.insert(0, path.read_bytes())
        return tuple(files)

    def published_root(self) -> Root | None:
        """Returns the newest published root."""
        data = self.published_root_bytes()
        return None if data is None else cast(Root, parse_metadata(data, ROOT).signed)

    def published_timestamp(self) -> Timestamp | None:
        """Returns the published timestamp: what it names is what gates see."""
        path = self._metadata_folder / "timestamp.json"
        if not path.exists():
            return None
        return cast(Timestamp, parse_metadata(path.read_bytes(), TIMESTAMP).signed)

    def published_snapshot(self) -> Snapshot | None:
        """Returns the snapshot that the published timestamp names."""
        timestamp = self.published_timestamp()
        if timestamp is None:
            return None
        path = self._metadata_folder / f"{timestamp.snapshot_meta.version}.snapshot.json"
        return cast(Snapshot, parse_metadata(path.read_bytes(), SNAPSHOT).signed)

    def published_targets_bytes(self) -> bytes | None:
        """Returns the file of the targets that gates see."""
        snapshot = self.published_snapshot()
        if snapshot is None:
            return None
        meta = snapshot.meta["targets.json"]
        return (self._metadata_folder / f"{meta.version}.targets.json").read_bytes()

    def published_files(self) -> dict[str, bytes]:
        """Returns the target files that gates see."""
        data = self.published_targets_bytes()
        return {} if data is None else self._read_files(cast(Targets, parse_metadata(data, TARGETS).signed))

    # -- the draft

    def draft_bytes(self, role: str) -> bytes | None:
        """Returns the exact bytes of a prepared role, while it is not yet published."""
        path = self.path / "draft" / f"{role}.json"
        if not path.exists():
            return None
        message = path.read_bytes()
        published: Root | Targets | None = (
            self.published_root() if role == ROOT else self._published_targets()
        )
        # A crash after publishing and before clearing leaves a draft that is already out.
        if published is not None and parse_signed(message, role).version <= published.version:
            return None
        return message

    def draft_root(self) -> Root | None:
        """Returns the prepared root, while it is not yet published."""
        message = self.draft_bytes(ROOT)
        return None if message is None else cast(Root, parse_signed(message, ROOT))

    def draft_files(self) -> dict[str, bytes]:
        """Returns the target files as they will be published, each checked against its digest."""
        message = self.draft_bytes(TARGETS)
        return self.published_files() if message is None else self.files_named_by(message)

    def files_named_by(self, targets_message: bytes) -> dict[str, bytes]:
        """Returns the files that prepared targets name by digest."""
        return self._read_files(cast(Targets, parse_signed(targets_message, TARGETS)))

    def stage(self, changes: Mapping[str, bytes], *, now: int) -> bool:
        """Puts files into the draft and prepares `targets` anew, which voids signatures on the earlier draft.

        Returns:
            Whether anything changed.

        Raises:
            MalformedError: with these files it would be no trust root; nothing was changed.
        """
        with self.lock():
            files = self.draft_files()
            if all(files.get(name) == data for name, data in changes.items()):
                return False
            self._check_changes(changes)
            files.update(changes)
            compile_trust(files=files, versions={ROOT: 1}, expires_at=now)
            self._prepare_targets(files, now)
            return True

    def renew(self, *, now: int) -> None:
        """Prepares root and targets with new expiry dates and nothing else changed."""
        with self.lock():
            root = self.published_root()
            if root is not None and self.draft_root() is None:
                root.version += 1
                root.expires = utc(now + VALIDITY_SECONDS[ROOT])
                self._write_draft(root)
            self._prepare_targets(self.draft_files(), now)

    def clear_drafts(self) -> None:
        """Removes drafts once they are published."""
        for role in SIGNED_BY_PEOPLE:
            (self.path / "draft" / f"{role}.json").unlink(missing_ok=True)
            shutil.rmtree(self.signatures_folder(role), ignore_errors=True)

    def delegator(self) -> Root:
        """Returns the root that decides who signs targets: the drafted one, or else the published one.

        Raises:
            IndeterminateError: there is neither.
        """
        root = self.draft_root() or self.published_root()
        if root is None:
            raise IndeterminateError(Reason.TRUST_UNAVAILABLE, f"The repository in {self.path} has no root.")
        return root

    # -- the folder

    @property
    def public_folder(self) -> Path:
        """What gates read."""
        return self.path / "published"

    def signatures_folder(self, role: str) -> Path:
        """Where signatures over a prepared role are collected."""
        return self.path / "draft" / f"{role}.signatures"

    def online_signer(self, role: str) -> CryptoSigner:
        """Returns the online key of `snapshot` or `timestamp`.

        Raises:
            IndeterminateError: it is missing, damaged, or others can read it.
        """
        path = self.path / "keys" / f"{role}.pem"
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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from changing the repository meanwhile."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def _metadata_folder(self) -> Path:
        return self.public_folder / "metadata"

    def _published_targets(self) -> Targets | None:
        data = self.published_targets_bytes()
        return None if data is None else cast(Targets, parse_metadata(data, TARGETS).signed)

    def _check_changes(self, changes: Mapping[str, bytes]) -> None:
        published = self.published_files()
        for name, data in changes.items():
            if not _SAFE_NAME.fullmatch(name) or ".." in name:
                raise MalformedError(Reason.BAD_VALUE, f"{name!r} cannot be the name of a target file.")
            # Approvals name an action's definition by digest; changing one would change what was approved.
            if name.startswith("actions/") and published.get(name, data) != data:
                raise PolicyError(
                    Reason.BAD_TRUST,
                    f"{name} is published and never changes.",
                    hint="Put the changed definition beside it, under the next version number.",
                )

    def _prepare_targets(self, files: Mapping[str, bytes], now: int) -> None:
        published = self._published_targets()
        (self.path / "objects").mkdir(exist_ok=True)
        for data in files.values():
            path = self.path / "objects" / sha256_hex(data)
            if not path.exists():
                write_atomically(path, data)
        self._write_draft(
            Targets(
                version=1 if published is None else published.version + 1,
                expires=utc(now + VALIDITY_SECONDS[TARGETS]),
                targets={name: TargetFile.from_data(name, data, ["sha256"]) for name, data in files.items()},
                delegations=None if published is None else published.delegations,
            )
        )

    def _write_draft(self, signed: Root | Targets) -> None:
        write_atomically(self.path / "draft" / f"{signed.type}.json", encode_signed(signed))
        # Signatures over the earlier draft no longer verify; removing them is tidiness, not a check.
        shutil.rmtree(self.signatures_folder(signed.type), ignore_errors=True)

    def _read_files(self, targets: Targets) -> dict[str, bytes]:
        files = {}
        for name, info in targets.targets.items():
            digest = info.hashes.get("sha256", "")
            path = self.path / "objects" / digest
            data = path.read_bytes() if path.is_file() else b""
            if sha256_hex(data) != digest:
                raise IndeterminateError(
                    Reason.TRUST_UNAVAILABLE,
                    f"The repository is damaged: {name} is not in {path}.",
                    hint="Copy the folder objects/ back from a backup; nothing else is lost.",
                )
            files[name] = data
        return files
