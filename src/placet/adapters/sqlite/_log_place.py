"""Where a log lives, so that a restored or copied one is noticed before it signs another history.

Two marks, as a ledger has them (`placet.adapters.sqlite._ledger_place` says what each catches): the **file
mark** inside the database, and beside it the **newest signed checkpoint** in a small file.  A database that
was put back is behind that checkpoint, or is not consistent with it.

The checkpoint's file is written after each commit and not synced: the page cache survives the death of the
process, and a sync would double the cost of an append.  After a power failure it may be behind, which only
means that less is noticed; it is never ahead of an honest database, whose commit was synced first.

Leaves out: a whole machine rolled back to a snapshot.  It cannot be noticed from inside; the log's witnesses
notice it, because they refuse a checkpoint that is older than one that they cosigned.
"""

from __future__ import annotations

import os
from pathlib import Path

from placet.adapters.log_tree import TreeEdge, log_damaged
from placet.adapters.sqlite._ledger_place import read_file_mark, sync_folder
from placet.core.errors import PlacetError
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.merkle import consistency_proof, verify_consistency
from placet.core.tlog.note import VerifierKey
from placet.core.tlog.tiles import ReadTile, read_node_from_tiles

# Overwritten in place, and never longer: a power failure leaves the old one or the new one.
_BLOCK = 512
_DECLARE = (
    "If it was moved as it is, say so with `placet log declare`. If it was restored, leaves may be lost."
)


def checkpoint_path(database: Path) -> Path:
    """Returns the path of the file with the newest signed checkpoint of the log in `database`."""
    return database.with_name(f"{database.name}.checkpoint")


class CheckpointFile:
    """The newest signed checkpoint, beside the database."""

    def __init__(self, database: Path) -> None:
        self._path = checkpoint_path(database)
        self._file: int | None = None

    def write(self, checkpoint: bytes) -> None:
        """Writes a checkpoint; it survives the death of the process.

        Raises:
            OSError: it could not be written.
        """
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
            # What a log of a longer name left behind.
            os.ftruncate(self._file, min(os.fstat(self._file).st_size, _padded(checkpoint)))
        os.pwrite(self._file, checkpoint.ljust(_padded(checkpoint), b"\n"), 0)

    def sync(self) -> None:
        """Makes what was written survive the death of the machine.

        Raises:
            OSError: it could not be synced.
        """
        if self._file is not None:
            os.fsync(self._file)
            sync_folder(self._path.parent)

    def read(self) -> bytes | None:
        """Returns the checkpoint, or None where there is no file.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return self._path.read_bytes().rstrip(b"\n") + b"\n"
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Syncs and closes the file.

        Raises:
            OSError: it could not be synced.
        """
        if self._file is not None:
            self.sync()
            os.close(self._file)
            self._file = None


def _padded(checkpoint: bytes) -> int:
    return -(-len(checkpoint) // _BLOCK) * _BLOCK


def check_new_place(database: Path, key: VerifierKey) -> None:
    """Checks that no log was here whose database is gone; one without leaves is no loss.

    Raises:
        IndeterminateError: LOG_DAMAGED.
        OSError: the checkpoint's file cannot be read.
    """
    newest = CheckpointFile(database).read()
    if newest is None:
        return
    try:
        if verify_checkpoint(newest, key).tree_size == 0:
            return
    except PlacetError:
        pass  # Whatever it is, it is not of this new log.
    beside = checkpoint_path(database).name
    raise log_damaged(f"{database} has no log, but {beside} beside it says that it had one. {_DECLARE}")


def check_place(database: Path, place: str, edge: TreeEdge, read_tile: ReadTile, key: VerifierKey) -> None:
    """Checks that this is the very file that was born here, with everything that was ever signed.

    Raises:
        IndeterminateError: LOG_DAMAGED.
        OSError: the file or its checkpoint cannot be examined.
    """
    if read_file_mark(database) != place:
        raise log_damaged(
            f"The log in {database} is not in the file that it was in: it was copied or restored. {_DECLARE}"
        )
    newest = CheckpointFile(database).read()
    if newest is None:
        raise log_damaged(
            f"The log in {database} has lost {checkpoint_path(database).name} beside it. {_DECLARE}"
        )
    check_continues(newest, edge, read_tile, key)


def check_continues(checkpoint: bytes, edge: TreeEdge, read_tile: ReadTile, key: VerifierKey) -> None:
    """Checks that the tree with this edge continues what a checkpoint signed.

    Raises:
        IndeterminateError: LOG_DAMAGED.
    """
    size = edge.compact.size
    try:
        signed = verify_checkpoint(checkpoint, key)
        if signed.tree_size > size:
            raise log_damaged(
                f"The log has lost leaves: it has {size}, and signed a checkpoint of {signed.tree_size}."
            )
        proof = consistency_proof(signed.tree_size, size, read_node_from_tiles(read_tile, size))
        verify_consistency(signed.tree_size, signed.root_hash, size, edge.compact.root(), proof)
    except PlacetError as e:
        raise log_damaged(f"The log does not continue what it signed before: {e}") from e
