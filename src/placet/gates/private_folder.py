"""A folder that only this gate run can reach, holding copies of what was approved.

Checking a file and then using it leaves a gap in which it can be swapped (A5).  Here each file is opened
once, copied, and hashed *while* it is copied: what is compared is the digest of the bytes that run.

* Symbolic links are refused everywhere below the inputs' folder: a link is a second place to swap.
* The folder is 0700, input copies are 0400, the program's copy is 0500.
* The folder is removed afterwards.  A folder left by a killed run is removed at the next start, unless its
  command is still running.

Leaves out: what the program loads by itself (shared libraries, the interpreter of a script).  To bind a
script, approve the interpreter as the executable and the script as an input file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from placet.core.actions import is_relative_path
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, PolicyError, Reason

__all__ = ["Copy", "PrivateFolder", "open_private_folder"]

# A release artifact fits; a disk image does not, and filling the gate's disk is an attack (A15).
MAX_FILE_BYTES = 4 * 1024**3
MAX_TOTAL_BYTES = 8 * 1024**3
_CHUNK_BYTES = 1024 * 1024
# The gate's own state, of which the ledger is the other half, cannot be used.
_UNAVAILABLE = Reason.LEDGER_UNAVAILABLE

# O_NONBLOCK: opening a named pipe must not wait for a writer; it has no effect on regular files.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RUN_PREFIX = "run-"
_GROUP_FILE = "process-group"


class Copy(NamedTuple):
    """A private copy: `name` as approved, `digest` of the bytes at `path`."""

    name: str
    path: Path
    digest: Digest
    size: int


class PrivateFolder:
    """A fresh private folder; made by `open_private_folder`.

    Args:
        path: the folder; it exists, is empty and belongs to this run alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"
        self._program = path / "program"
        self._copied = 0
        for folder in (self.work, self._program):
            folder.mkdir(mode=0o700)

    @property
    def group_file(self) -> Path:
        """Where the command writes its process group, so that a later run leaves it alone."""
        return self.path / _GROUP_FILE

    def copy_input(self, source: Path, name: str) -> Copy:
        """Copies the input file `name` below `source` into the working folder, hashing what is copied.

        Args:
            source: the folder that holds the inputs; chosen by the caller, so it may itself be a link.
            name: the approved relative path.

        Raises:
            PolicyError: EXECUTION_MISMATCH if it is missing, linked or no plain file; TOO_LARGE.
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        if not is_relative_path(name):
            raise _refused(name, "is not a plain relative path")
        *folders, last = name.split("/")
        with ExitStack() as opened:
            with _named_source(name, missing_hint=_say_where(source)):
                place = _closing(opened, os.open(source, _OPEN_FOLDER))
                for folder in folders:
                    place = _closing(opened, os.open(folder, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=place))
                file = _closing(opened, os.open(last, _OPEN_FILE, dir_fd=place))
            destination = self.work.joinpath(name)
            with _named_storage(self.path):
                destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._copy(file, name, destination, 0o400)

    def copy_program(self, path: str) -> Copy:
        """Copies the program at the absolute `path`, hashing what is copied.

        Raises:
            PolicyError: EXECUTION_MISMATCH if it is missing, linked or no plain file; TOO_LARGE.
            IndeterminateError: LEDGER_UNAVAILABLE.
        """
        with _named_storage(self.path):
            if os.statvfs(self._program).f_flag & os.ST_NOEXEC:
                # Found out now and not after the use is consumed.
                raise IndeterminateError(
                    _UNAVAILABLE,
                    f"Nothing can be executed from {self.path}: its file system is mounted noexec.",
                    hint="Set XDG_STATE_HOME to a folder on another file system.",
                )
        with ExitStack() as opened:
            with _named_source(path):
                file = _closing(opened, os.open(path, _OPEN_FILE))
            return self._copy(file, path, self._program / Path(path).name, 0o500)

    def _copy(self, file: int, name: str, destination: Path, mode: int) -> Copy:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _refused(name, "is not a plain file")
        digest, size = hashlib.sha256(), 0
        with _named_storage(self.path):
            # Mode 0600 until it is complete: a copy that can be executed is a complete one.
            target = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while True:
                with _named_source(name):
                    chunk = os.read(file, _CHUNK_BYTES)
                if not chunk:
                    break
                size += len(chunk)
                self._count(name, size, len(chunk))
                digest.update(chunk)
                with _named_storage(self.path):
                    _write_all(target, chunk)
            with _named_storage(self.path):
                os.fchmod(target, mode)
        finally:
            os.close(target)
        return Copy(name, destination, Digest(digest.hexdigest()), size)

    def _count(self, name: str, size: int, more: int) -> None:
        # Counted as it is read: a file may grow while it is copied, so its reported size proves nothing.
        self._copied += more
        if size > MAX_FILE_BYTES or self._copied > MAX_TOTAL_BYTES:
            raise PolicyError(
                Reason.TOO_LARGE,
                f"{name} is too large: a gate copies at most {MAX_FILE_BYTES // 1024**3} GiB per file and"
                f" {MAX_TOTAL_BYTES // 1024**3} GiB in all.",
                hint="Approve a command that fetches the large part by digest.",
            )


@contextmanager
def open_private_folder(parent: Path) -> Iterator[PrivateFolder]:
    """Makes a fresh private folder below `parent`, removes it at the end, and stale ones at the start.

    Raises:
        IndeterminateError: LEDGER_UNAVAILABLE.
    """
    with ExitStack() as opened:
        with _named_storage(parent):
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(parent)
            with _locked(parent):
                _remove_stale(parent)
                path = parent / f"{_RUN_PREFIX}{secrets.token_hex(16)}"
                path.mkdir(mode=0o700)
                opened.callback(_remove, path)
                # Held for as long as this gate lives: that is how others know that the folder is not stale.
                fcntl.flock(_closing(opened, os.open(path, _OPEN_FOLDER)), fcntl.LOCK_EX)
            folder = PrivateFolder(path)
        yield folder


def _check_owner(folder: Path) -> None:
    """Refuses a folder in which others could put a folder of theirs in the place of ours."""
    status = folder.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise IndeterminateError(
            _UNAVAILABLE,
            f"Other users can write to {folder}, and could exchange what is about to be executed.",
            hint=f"Take it for yourself: chmod go-w {folder}",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as opened:
        fcntl.flock(_closing(opened, os.open(folder, _OPEN_FOLDER)), fcntl.LOCK_EX)
        yield


def _remove_stale(parent: Path) -> None:
    """Removes the folders of killed runs; call it under the parent's lock, so none is half-made."""
    for path in parent.glob(f"{_RUN_PREFIX}*"):
        with suppress(OSError), ExitStack() as opened:
            place = _closing(opened, os.open(path, _OPEN_FOLDER | os.O_NOFOLLOW))
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _command_is_running(path / _GROUP_FILE):
                _remove(path)


def _command_is_running(group_file: Path) -> bool:
    """Tells whether the command of a killed gate lives on; taking its files away could break it half-way."""
    try:
        group = int(group_file.read_bytes() or b"0")
        if group <= 1:
            return False
        os.killpg(group, 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    # A command may have left folders without write permission; a leftover is removed at a later start.
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def _closing(opened: ExitStack, file: int) -> int:
    opened.callback(os.close, file)
    return file


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _refused(name: str, problem: str, hint: str = "") -> PolicyError:
    return PolicyError(
        Reason.EXECUTION_MISMATCH,
        f"{name} {problem}.",
        hint=hint or "Put the approved file itself there; links, pipes and folders are not followed.",
    )


def _say_where(source: Path) -> str:
    return f"It was looked for in {source.absolute()}; say where the inputs are with --inputs DIR."


@contextmanager
def _named_source(name: str, *, missing_hint: str = "") -> Iterator[None]:
    """Names the failures of reading what should be run."""
    try:
        yield
    except FileNotFoundError as error:
        raise _refused(name, "does not exist", missing_hint) from error
    except OSError as error:
        # O_NOFOLLOW answers ELOOP for a linked file and ENOTDIR for a linked folder.
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _refused(name, "is a symbolic link, or is reached through what is not a folder") from error
        if error.errno == errno.ENXIO:
            raise _refused(name, "is not a plain file") from error
        raise IndeterminateError(
            _UNAVAILABLE, f"{name} cannot be read: {error.strerror or error}."
        ) from error


@contextmanager
def _named_storage(folder: Path) -> Iterator[None]:
    """Names the failures of writing the gate's own copies."""
    try:
        yield
    except OSError as error:
        raise IndeterminateError(
            _UNAVAILABLE,
            f"The gate cannot prepare its private folder in {folder}: {error.strerror or error}.",
            hint="Check the disk and the folder's owner and mode; nothing was executed.",
        ) from error
