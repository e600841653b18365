"""Publishing: from a fully signed draft to a folder that gates read.

Order is what makes it safe: contents first, then the metadata that names them, the timestamp last and by
one rename.  Until then gates see the old trust root, from then on the new one; a crash in between loses
nothing and is repaired by publishing again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from placet.adapters.private_file import write_atomically
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_signing import check_complete, signatures
from placet.adapters.tuf_trust import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    VALIDITY_SECONDS,
    assemble,
    check_people_hold_one_key,
    named_errors,
    parse_metadata,
    parse_signed,
    utc,
)
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.core.trust import compile_trust

_PUBLIC_MODE = 0o644


class Published(NamedTuple):
    """What gates see now.  `root_sha256` is the digest of the newest root's file; it starts a gate."""

    versions: dict[str, int]
    expires_at: dict[str, int]
    root_sha256: Digest


def publish(repository: TrustRepository, *, now: int) -> Published:
    """Publishes the draft, or renews snapshot and timestamp where there is none.

    Raises:
        PolicyError: QUORUM_NOT_MET naming who is missing.
        IndeterminateError: root or targets have expired and must be renewed first.
        MalformedError: no gate could use this trust root.
    """
    with repository.lock():
        check_complete(repository)
        root_file, targets_file = _current_files(repository)
        root = cast(Root, parse_metadata(root_file, ROOT).signed)
        targets = parse_metadata(targets_file, TARGETS)
        check_people_hold_one_key(root)
        with named_errors("the draft"):
            root.verify_delegate(TARGETS, targets.signed_bytes, targets.signatures)
        _check_not_expired({ROOT: root, TARGETS: targets.signed}, now)
        files = repository.draft_files()
        compile_trust(files=files, versions={ROOT: root.version}, expires_at=now)

        _write_targets(repository, targets.signed, files)
        metadata = repository.public_folder / "metadata"
        _write_public(metadata / f"{root.version}.root.json", root_file)
        _write_public(metadata / f"{targets.signed.version}.targets.json", targets_file)
        snapshot, timestamp = _sign_online(repository, targets.signed.version, targets_file, now)
        repository.clear_drafts()
    roles = {ROOT: root, TARGETS: targets.signed, SNAPSHOT: snapshot, TIMESTAMP: timestamp}
    return Published(
        versions={name: signed.version for name, signed in roles.items()},
        expires_at={name: int(signed.expires.timestamp()) for name, signed in roles.items()},
        root_sha256=sha256_hex(root_file),
    )


def mirror(repository: TrustRepository, folder: Path) -> None:
    """Copies what is published to another folder, in the same safe order.

    Raises:
        OSError: the folder cannot be written.
    """
    with repository.lock():
        for path in _in_safe_order(repository.public_folder):
            copy = folder / path.relative_to(repository.public_folder)
            data = path.read_bytes()
            if not copy.exists() or copy.read_bytes() != data:
                _write_public(copy, data)


def _in_safe_order(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in (folder / "targets").rglob("*") if path.is_file())
    metadata = sorted(path for path in (folder / "metadata").iterdir() if not path.name.startswith("."))
    # A new root may name a new timestamp key; it comes right before the timestamp.
    last = ("root.json", "timestamp.json")
    yield from (path for path in metadata if not path.name.endswith(last))
    for ending in last:
        yield from (path for path in metadata if path.name.endswith(ending))


def _current_files(repository: TrustRepository) -> tuple[bytes, bytes]:
    """Returns the metadata files of root and targets as they will be public."""
    found = []
    for role, published in (
        (ROOT, repository.published_root_bytes()),
        (TARGETS, repository.published_targets_bytes()),
    ):
        message = repository.draft_bytes(role)
        if message is not None:
            published = assemble(parse_signed(message, role), signatures(repository, role))
        if published is None:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"The repository has no {role}.",
                hint="Make it with `placet trust init`.",
            )
        found.append(published)
    return found[0], found[1]


def _check_not_expired(roles: dict[str, Root | Targets], now: int) -> None:
    for role, signed in roles.items():
        if signed.expires.timestamp() <= now:
            raise IndeterminateError(
                Reason.TRUST_EXPIRED,
                f"{role} version {signed.version} has expired; gates would refuse it.",
                hint="Run `placet trust sign --renew`, have the administrators sign, and publish again.",
            )


def _write_targets(repository: TrustRepository, targets: Targets, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if targets.targets[name].hashes["sha256"] != sha256_hex(data):
            raise PolicyError(Reason.BAD_TRUST, f"{name} is not the file that was signed.")
        folder, _, base = name.rpartition("/")
        path = repository.public_folder / "targets" / folder / f"{sha256_hex(data)}.{base}"
        if not path.exists():
            _write_public(path, data)


def _sign_online(
    repository: TrustRepository, targets_version: int, targets_file: bytes, now: int
) -> tuple[Snapshot, Timestamp]:
    metadata = repository.public_folder / "metadata"
    old_snapshot, old_timestamp = repository.published_snapshot(), repository.published_timestamp()
    snapshot = Snapshot(
        version=1 if old_snapshot is None else old_snapshot.version + 1,
        expires=utc(now + VALIDITY_SECONDS[SNAPSHOT]),
        meta={"targets.json": MetaFile.from_data(targets_version, targets_file, ["sha256"])},
    )
    snapshot_file = _signed_online(repository, snapshot)
    timestamp = Timestamp(
        version=1 if old_timestamp is None else old_timestamp.version + 1,
        expires=utc(now + VALIDITY_SECONDS[TIMESTAMP]),
        snapshot_meta=MetaFile.from_data(snapshot.version, snapshot_file, ["sha256"]),
    )
    _write_public(metadata / f"{snapshot.version}.snapshot.json", snapshot_file)
    _write_public(metadata / "timestamp.json", _signed_online(repository, timestamp))
    return snapshot, timestamp


def _signed_online(repository: TrustRepository, signed: Snapshot | Timestamp) -> bytes:
    metadata: Metadata[Any] = Metadata(cast(Any, signed))
    metadata.sign(repository.online_signer(signed.type))
    return bytes(metadata.to_bytes(JSONSerializer()))


def _write_public(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, mode=_PUBLIC_MODE)
