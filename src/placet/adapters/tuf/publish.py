"""Publishing: from a fully signed draft to a folder that gates read.

Order is what makes it safe: contents first, then the metadata that names them, the timestamp by one rename.
Until then gates see the old trust root, from then on the new one; a crash in between loses nothing and is
completed by publishing again.  A new root comes last.  What was published right before it is signed by those
whom the old root names *and* by those whom the new one names, so gates on either side of it accept it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    MetaFile,
    Targets,
)

from placet.adapters.private_file import remove_unfinished
from placet.adapters.tuf.history import record
from placet.adapters.tuf.online import sign_online, write_public
from placet.adapters.tuf.published import role_file_name
from placet.adapters.tuf.release import choose_release
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import PendingRole, pending_roles
from placet.adapters.tuf.trust import (
    ROOT,
    SNAPSHOT,
    TIMESTAMP,
)
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PolicyError, Reason


class Published(NamedTuple):
    """What gates see now.  `root_sha256` is the digest of the newest root's file; it starts a gate.

    `going` are the drafts that went out; those in `waiting` lack signatures and stay.  `closed` is scope →
    why gates refuse everything in it.
    """

    versions: dict[str, int]
    expires_at: dict[str, int]
    root_sha256: Digest
    going: tuple[str, ...]
    waiting: tuple[PendingRole, ...]
    closed: dict[str, str]


def publish(repository: TrustRepository, *, now: int, closing: Collection[str] = ()) -> Published:
    """Publishes what is complete of the draft, or renews snapshot and timestamp where there is none.

    Args:
        repository: the working repository.
        now: Unix seconds.
        closing: scopes that may be published without rules that count, so that gates refuse all in them.

    Raises:
        PolicyError: QUORUM_NOT_MET naming who is missing.
        IndeterminateError: root or targets have expired and must be renewed first.
        MalformedError: no gate could use this trust root.
    """
    with repository.lock():
        remove_unfinished(repository.public_folder)
        release = choose_release(repository, closing=closing, now=now)
        going = [item for item in pending_roles(repository) if item not in release.waiting]
        for role, targets in release.roles.items():
            _write_targets(repository, targets, release.files)
            name = f"{targets.version}.{role_file_name(role)}.json"
            write_public(repository.metadata_folder / name, release.role_files[role])
        root_path = repository.metadata_folder / f"{release.root.version}.root.json"
        if repository.published_root() is None:
            write_public(root_path, release.root_file)
        meta = {
            f"{role}.json": MetaFile.from_data(targets.version, release.role_files[role], ["sha256"])
            for role, targets in release.roles.items()
        }
        snapshot, timestamp = sign_online(repository, meta, root=release.root, now=now)
        # After the timestamp, which gates that have the old root and those with the new one accept.
        write_public(root_path, release.root_file)
        _record(repository, going, now)
        repository.clear_drafts(keep=[item.role for item in release.waiting])
    signed = {ROOT: release.root, **release.roles, SNAPSHOT: snapshot, TIMESTAMP: timestamp}
    return Published(
        versions={name: item.version for name, item in signed.items()},
        expires_at={name: int(item.expires.timestamp()) for name, item in signed.items()},
        root_sha256=sha256_hex(release.root_file),
        going=release.going,
        waiting=release.waiting,
        closed=release.closed,
    )


def _record(repository: TrustRepository, going: Sequence[PendingRole], now: int) -> None:
    """Keeps who signed what went out; a renewal of the online roles is not worth a line."""
    if going:
        text = "; ".join(f"{item.role} signed by {', '.join(item.signed)}" for item in going)
        versions = {item.role: item.version for item in going}
        record(repository, "published", text, now=now, versions=versions)


def mirror(repository: TrustRepository, folder: Path) -> None:
    """Copies what is published to another folder, in the same safe order.

    Raises:
        OSError: the folder cannot be written.
    """
    with repository.lock():
        for name in ("metadata", "targets"):
            remove_unfinished(folder / name)
        for path in _in_safe_order(repository.public_folder):
            copy = folder / path.relative_to(repository.public_folder)
            data = path.read_bytes()
            if not copy.exists() or copy.read_bytes() != data:
                write_public(copy, data)


def _in_safe_order(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in (folder / "targets").rglob("[!.]*") if path.is_file())
    metadata = sorted((folder / "metadata").glob("[!.]*"))
    # The timestamp by one rename, when all that it leads to is there; a new root after it, as in `publish`.
    yield from (path for path in metadata if not path.name.endswith(("root.json", "timestamp.json")))
    for ending in ("timestamp.json", "root.json"):
        yield from (path for path in metadata if path.name.endswith(ending))


def _write_targets(repository: TrustRepository, targets: Targets, files: dict[str, bytes]) -> None:
    for name, info in targets.targets.items():
        data = files[name]
        if info.hashes["sha256"] != sha256_hex(data):
            raise PolicyError(Reason.BAD_TRUST, f"{name} is not the file that was signed.")
        folder, _, base = name.rpartition("/")
        path = repository.public_folder / "targets" / folder / f"{sha256_hex(data)}.{base}"
        if not path.exists():
            write_public(path, data)
