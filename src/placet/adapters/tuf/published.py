"""What a working repository publishes: roots, the roles that the timestamp leads to, and their files.

Everything is read from the folder as it is; nothing here verifies signatures.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import cast
from urllib.parse import quote

from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, parse_metadata
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, Reason

# Far more than yearly rotation ever makes; bounds what a folder made by somebody else can cost.
_MAX_ROOTS = 256


class PublishedTrust:
    """The published side of the working repository at `path`."""

    path: Path

    @property
    def public_folder(self) -> Path:
        """What gates read."""
        return self.path / "published"

    @property
    def metadata_folder(self) -> Path:
        """The published metadata files."""
        return self.public_folder / "metadata"

    def published_root_bytes(self, version: int | None = None) -> bytes | None:
        """Returns a published root's file, the newest by default; None where there is none."""
        names = (path.name.split(".")[0] for path in self.metadata_folder.glob("*.root.json"))
        found = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 10]
        if not found:
            return None
        return (self.metadata_folder / f"{version or max(found)}.root.json").read_bytes()

    def published_root_files(self) -> tuple[bytes, ...]:
        """Returns the published roots' files, oldest first, without a gap up to the newest."""
        newest = self.published_root()
        files: list[bytes] = []
        for version in range(0 if newest is None else newest.version, 0, -1):
            path = self.metadata_folder / f"{version}.root.json"
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
        path = self.metadata_folder / "timestamp.json"
        if not path.exists():
            return None
        return cast(Timestamp, parse_metadata(path.read_bytes(), TIMESTAMP).signed)

    def published_snapshot(self) -> Snapshot | None:
        """Returns the snapshot that the published timestamp names."""
        timestamp = self.published_timestamp()
        if timestamp is None:
            return None
        path = self.metadata_folder / f"{timestamp.snapshot_meta.version}.snapshot.json"
        return cast(Snapshot, parse_metadata(path.read_bytes(), SNAPSHOT).signed)

    def published_targets_bytes(self, role: str = TARGETS) -> bytes | None:
        """Returns the file of the targets, or of a delegated role, that gates see."""
        snapshot = self.published_snapshot()
        meta = None if snapshot is None else snapshot.meta.get(f"{role}.json")
        if meta is None:
            return None
        return (self.metadata_folder / f"{meta.version}.{role_file_name(role)}.json").read_bytes()

    def published_targets(self, role: str = TARGETS) -> Targets | None:
        """Returns the targets, or a delegated role, that gates see."""
        data = self.published_targets_bytes(role)
        return None if data is None else cast(Targets, parse_metadata(data, role).signed)

    def published_files(self) -> dict[str, bytes]:
        """Returns the target files that gates see, those of delegated roles among them."""
        targets = self.published_targets()
        files = {} if targets is None else self.read_files(targets)
        for role, paths in delegated_paths(targets).items():
            if (delegated := self.published_targets(role)) is not None:
                files |= self.read_files(delegated, only=paths)
        return files

    def read_files(self, targets: Targets, *, only: Collection[str] | None = None) -> dict[str, bytes]:
        """Returns the contents of the files that targets name, each checked against its digest.

        Args:
            targets: the metadata that names them.
            only: the files that a delegated role may say; what else it names is not read.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE where one is missing or damaged.
        """
        files = {}
        for name, info in targets.targets.items():
            if only is not None and name not in only:
                continue
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


def role_file_name(role: str) -> str:
    """Returns how a role's files are called: as python-tuf's client asks for them."""
    return quote(role, "")


def delegated_paths(targets: Targets | None) -> dict[str, tuple[str, ...]]:
    """Returns delegated role → the exact files that it signs."""
    if targets is None or targets.delegations is None:
        return {}
    return {name: tuple(role.paths or ()) for name, role in (targets.delegations.roles or {}).items()}
