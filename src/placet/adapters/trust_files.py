"""Files of the trust root that verifiers of evidence need: Sigstore roots, in-toto layouts, public keys.

    <snapshot>.files/<sha256>

A refresh leaves them beside the gate's snapshot, which holds their digests.  A file counts only while the
snapshot names it: what the administrators withdrew is gone with the next refresh, whatever lies here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from placet.adapters.private_file import remove_unfinished, write_atomically
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import IndeterminateError, Reason
from placet.core.trust import Trust
from placet.documents.pinned import MAX_PINNED_BYTES, is_pinned


class TrustFiles:
    """Reads the pinned files that go with a snapshot."""

    def __init__(self, snapshot: str | os.PathLike[str]) -> None:
        """Names the snapshot; nothing is read before it is needed."""
        self._folder = files_folder(Path(snapshot))

    def read(self, name: str, trust: Trust) -> bytes:
        """Returns a file of the trust root, such as ``sigstore/trusted_root.json``.

        Raises:
            IndeterminateError: EVIDENCE_NOT_VERIFIED: the trust root has no such file, or it is not here.
        """
        wanted = trust.files.get(name)
        if wanted is None:
            raise IndeterminateError(
                Reason.EVIDENCE_NOT_VERIFIED,
                f"The trust root has no file {name!r}.",
                hint=f"An administrator adds it: placet trust set-file {name} FILE",
            )
        try:
            with (self._folder / wanted).open("rb") as file:
                data = file.read(MAX_PINNED_BYTES + 1)
        except OSError as e:
            raise _not_here(name, str(e)) from e
        if sha256_hex(data) != wanted:
            raise _not_here(name, "it is not what the administrators signed")
        return data

    def names(self, trust: Trust, prefix: str) -> tuple[str, ...]:
        """Returns the names of the trust root's files that begin with a prefix, sorted."""
        return tuple(sorted(name for name in trust.files if name.startswith(prefix)))


def files_folder(snapshot: Path) -> Path:
    """Returns where the files that go with a snapshot lie."""
    return snapshot.with_suffix(".files")


def keep_files(snapshot: Path, files: Mapping[str, bytes]) -> frozenset[Digest]:
    """Writes the pinned files of a trust root; those of an older one stay, since its snapshot still counts.

    Returns:
        What to keep when the new snapshot is in place (`drop_files`).

    Raises:
        OSError: they cannot be written.
    """
    pinned = {sha256_hex(data): data for name, data in files.items() if is_pinned(name)}
    folder = files_folder(snapshot)
    if pinned:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for digest, data in pinned.items():
        path = folder / digest
        if not path.is_file() or sha256_hex(path.read_bytes()) != digest:
            write_atomically(path, data)
    return frozenset(pinned)


def drop_files(snapshot: Path, keep: frozenset[Digest]) -> None:
    """Removes what no snapshot names any more.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = files_folder(snapshot)
    if not folder.is_dir():
        return
    remove_unfinished(folder)
    for path in folder.iterdir():
        if path.name not in keep:
            path.unlink(missing_ok=True)


def _not_here(name: str, why: str) -> IndeterminateError:
    return IndeterminateError(
        Reason.EVIDENCE_NOT_VERIFIED,
        f"The trust root's file {name} is not beside the trust snapshot: {why}.",
        hint="`placet trust refresh` brings it; the folder beside the snapshot belongs to it.",
    )
