"""Snapshot and timestamp: what the online keys sign, when something is published and when it is renewed.

They say which versions are current.  Each holds when it was signed, as `issuedAt`, so that whoever looks
knows how much of its time has passed.  The timestamp is one file that is replaced by one rename: a crash at
any moment leaves the old one or the new one, and every snapshot that a timestamp ever named stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from placet.adapters.private_file import remove_unfinished, write_atomically
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import SNAPSHOT, TIMESTAMP, VALIDITY_SECONDS, utc
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, Reason

ISSUED_AT = "issuedAt"
_PUBLIC_MODE = 0o644


class Renewal(NamedTuple):
    """What gates see after a renewal: role → version, and when each expires."""

    versions: dict[str, int]
    expires_at: dict[str, int]


def sign_online(
    repository: TrustRepository,
    meta: Mapping[str, MetaFile],
    *,
    root: Root,
    now: int,
    validity: Mapping[str, int] | None = None,
) -> tuple[Snapshot, Timestamp]:
    """Publishes the next snapshot with these members, and the timestamp that leads to it; needs the lock.

    Args:
        repository: the working repository.
        meta: what the snapshot says about targets roles.
        root: the root whose online keys must sign; those of the published one sign along.
        now: Unix seconds.
        validity: seconds by role, where they differ from the usual ones.

    Raises:
        IndeterminateError: an online key is not here.
        OSError: the folder cannot be written.
    """
    seconds = {**VALIDITY_SECONDS, **(validity or {})}
    old = repository.published_snapshot()
    snapshot = Snapshot(
        version=1 if old is None else old.version + 1,
        expires=utc(now + seconds[SNAPSHOT]),
        # What was in a snapshot once stays there, or clients refuse the next one.
        meta=({} if old is None else old.meta) | dict(meta),
        unrecognized_fields={ISSUED_AT: format_time(now)},
    )
    data = signed_online(repository, snapshot, root)
    timestamp = _next_timestamp(
        repository, MetaFile.from_data(snapshot.version, data, ["sha256"]), now, seconds[TIMESTAMP]
    )
    timestamp_data = signed_online(repository, timestamp, root)  # before anything is written: the key is here
    write_public(repository.metadata_folder / f"{snapshot.version}.snapshot.json", data)
    _write_timestamp(repository.metadata_folder, timestamp, timestamp_data)
    return snapshot, timestamp


def renew_online(
    repository: TrustRepository, *, now: int, validity: Mapping[str, int] | None = None
) -> Renewal:
    """Renews the timestamp of what is published, and the snapshot once half of its time has passed.

    Drafts are left alone, whether or not they are complete.

    Raises:
        IndeterminateError: nothing is published, what is published cannot be read, or a key is not here.
        OSError: the folder cannot be written.
    """
    with repository.lock():
        remove_unfinished(repository.metadata_folder)
        root, snapshot = repository.published_root(), repository.published_snapshot()
        old = repository.published_timestamp()
        if root is None or snapshot is None or old is None:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"Nothing is published in {repository.path} yet.",
                hint="Have the administrators sign, then run `placet trust publish`.",
            )
        seconds = {**VALIDITY_SECONDS, **(validity or {})}
        if snapshot.expires.timestamp() - now <= seconds[SNAPSHOT] / 2:
            snapshot, timestamp = sign_online(repository, {}, root=root, now=now, validity=validity)
        else:
            timestamp = _next_timestamp(repository, old.snapshot_meta, now, seconds[TIMESTAMP])
            # A timestamp never outlives the snapshot that it leads to.
            timestamp.expires = min(timestamp.expires, snapshot.expires)
            data = signed_online(repository, timestamp, root)
            _write_timestamp(repository.metadata_folder, timestamp, data)
    roles = {SNAPSHOT: snapshot, TIMESTAMP: timestamp}
    return Renewal(
        {role: signed.version for role, signed in roles.items()},
        {role: int(signed.expires.timestamp()) for role, signed in roles.items()},
    )


def signed_online(repository: TrustRepository, signed: Snapshot | Timestamp, root: Root) -> bytes:
    """Returns a metadata file, signed by the root's online key and by that of the published root.

    Raises:
        IndeterminateError: the root's key is not here.
    """
    metadata: Metadata[Any] = Metadata(cast(Any, signed))
    for signer in repository.online_keys.signers(signed.type, root, repository.published_root()):
        metadata.sign(signer, append=True)
    return bytes(metadata.to_bytes(JSONSerializer()))


def write_public(path: Path, data: bytes) -> None:
    """Writes a file that everybody may read, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, mode=_PUBLIC_MODE)


def _write_timestamp(folder: Path, timestamp: Timestamp, data: bytes) -> None:
    # No client asks for the numbered one: it says to audits what was current on that day.
    write_public(folder / f"{timestamp.version}.timestamp.json", data)
    write_public(folder / "timestamp.json", data)


def _next_timestamp(repository: TrustRepository, meta: MetaFile, now: int, seconds: int) -> Timestamp:
    old = repository.published_timestamp()
    return Timestamp(
        version=1 if old is None else old.version + 1,
        expires=utc(now + seconds),
        snapshot_meta=meta,
        unrecognized_fields={ISSUED_AT: format_time(now)},
    )
