"""Where a ledger lives, so that a restored or copied one is noticed (obligation 4 of `UseLedger`).

Two marks, because each catches what the other cannot:

* the **file mark**, kept inside the database: inode number and birth time of the database file.  No ordinary
  tool can set a file's birth time, so a database copied back from a backup carries the mark of the file
  that it was copied from.  (Inode numbers alone are not enough: ext4 gives the same one to the next file.)
* the **stamp**, a small file beside the database: the ledger's ID and the number of its latest use, written
  and synced after each use.  A database rewritten in place, or without its write-ahead log, is behind it.

Leaves out: a whole machine rolled back to a snapshot brings both marks back consistently and cannot be
noticed from inside.  Whoever rolls a gate back declares the new birth.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

# From linux/stat.h; the layout of struct statx is the same on every architecture.
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO = 0x100
_STATX_BTIME = 0x800
_STATX_SIZE = 256
_MASK_OFFSET, _INODE_OFFSET, _BTIME_OFFSET = 0, 32, 80

_STAMP_MAGIC = "placet-ledger-stamp 1"
# Fixed length, far below one sector, overwritten in place: never longer, never torn.
_STAMP_LENGTH = len(_STAMP_MAGIC) + len(" ") + 32 + len(" ") + 20 + len("\n")


class Stamp(NamedTuple):
    """The ledger that last wrote here, and its latest use."""

    ledger_id: str
    latest_use: int


def read_file_mark(path: Path) -> str:
    """Returns what tells this very file from any copy of it: inode number and, where known, birth time.

    Raises:
        OSError: the file cannot be examined.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    wanted = _STATX_INO | _STATX_BTIME
    if not hasattr(libc, "statx"):
        return f"inode:{path.lstat().st_ino}"
    if libc.statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, wanted, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    (mask,) = struct.unpack_from("=I", buffer.raw, _MASK_OFFSET)
    (inode,) = struct.unpack_from("=Q", buffer.raw, _INODE_OFFSET)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer.raw, _BTIME_OFFSET)
    if not mask & _STATX_BTIME:
        return f"inode:{inode}"
    return f"inode:{inode} born:{seconds}.{nanoseconds:09d}"


def stamp_path(ledger: Path) -> Path:
    """Returns the path of the stamp that belongs to the ledger at `ledger`."""
    return ledger.with_name(f"{ledger.name}.stamp")


def write_stamp(ledger: Path, stamp: Stamp) -> None:
    """Writes the stamp durably; the caller holds the ledger's write lock, so stamps never fall back.

    Raises:
        OSError: it could not be written or synced.
    """
    path = stamp_path(ledger)
    text = f"{_STAMP_MAGIC} {stamp.ledger_id} {stamp.latest_use:020d}\n"
    created = not path.exists()
    stamp_file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(stamp_file, text.encode("ascii"), 0)
        os.fsync(stamp_file)
    finally:
        os.close(stamp_file)
    if created:
        sync_folder(path.parent)


def raise_stamp(ledger: Path, stamp: Stamp) -> None:
    """Writes the stamp durably unless a later one is there, for writers that hold no common lock.

    Raises:
        OSError: it could not be written or synced.
    """
    ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(ledger.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        known = read_stamp(ledger)
        if known is None or known.latest_use < stamp.latest_use:
            write_stamp(ledger, stamp)
    finally:
        os.close(folder)


def read_stamp(ledger: Path) -> Stamp | None:
    """Returns the stamp, or None if there is none or it is not one.

    Raises:
        OSError: it exists and cannot be read.
    """
    try:
        with stamp_path(ledger).open("rb") as file:
            data = file.read(_STAMP_LENGTH + 1)
    except FileNotFoundError:
        return None
    parts = data.decode("ascii", "replace").removeprefix(_STAMP_MAGIC).split()
    if len(data) != _STAMP_LENGTH or len(parts) != 2 or not parts[1].isdecimal():
        return None
    return Stamp(ledger_id=parts[0], latest_use=int(parts[1]))


def sync_folder(folder: Path) -> None:
    """Makes new names in `folder` survive power loss.

    Raises:
        OSError: the folder could not be synced.
    """
    folder_file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_file)
    finally:
        os.close(folder_file)


def writable_by_others(path: Path) -> bool:
    """Tells whether someone other than this user and root may write to `path`: they could undo uses.

    Raises:
        OSError: the path cannot be examined.
    """
    status = path.stat()
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
