"""Where the coordinator of a ceremony and the other administrators put files for each other.

    a folder (shared, or on a stick)    challenge.json, and <administrator>.signatures.json beside it
    a file                              the challenge; signatures go beside it
    https://… (any static server)       the challenge; signatures go back as a file, by other ways
    git+https://… git+ssh://…           a repository as mailbox: as a folder, each file a commit

A box carries and vouches for nothing: challenges are judged, signatures verified, names and sizes limited,
and what is no plain file is not opened.  A file is there whole or not at all.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Protocol

from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError

from placet.adapters.git.courier import GitCourier, cache_name, is_git_address, parse_git_address
from placet.adapters.private_file import write_atomically
from placet.adapters.tuf.fetch import HttpFetcher
from placet.adapters.tuf.trust import why_nobody_answers
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, Reason

CHALLENGE_NAME = "challenge.json"
SIGNATURES_ENDING = ".signatures.json"
# Everybody who could ever sign, and some older drafts.
_MAX_SIGNATURE_FILES = 256
_TIMEOUT_SECONDS = 60.0
# What a person's ID may hold and a file's name on every kind of stick may not.
_UNSAFE = re.compile(r"[^A-Za-z0-9@._+-]")
# A challenge lists all staff and holds credential IDs, so it is its owner's alone; in a folder that a group
# shares (g+w), the other administrators are that group.
_PRIVATE, _OF_THE_GROUP = 0o600, 0o660


class CeremonyBox(Protocol):
    """A place that several administrators reach."""

    @property
    def takes_files(self) -> bool:
        """Whether files can be put there at all."""
        ...

    def read_challenge(self, max_bytes: int) -> bytes:
        """Returns the challenge.

        Raises:
            PlacetError: it is not there, cannot be read, or is too large.
        """
        ...

    def write_challenge(self, data: bytes) -> str:
        """Puts the challenge there; returns where it lies.

        Raises:
            PlacetError: it cannot be written; what was there before still is.
        """
        ...

    def read_signatures(self, max_bytes: int) -> list[tuple[str, bytes]]:
        """Returns the signature files, each with its name.

        Raises:
            PlacetError: they cannot be read, or are too large or too many.
        """
        ...

    def write_signatures(self, name: str, data: bytes) -> str:
        """Puts a signature file there; returns where it lies.

        Raises:
            PlacetError: it cannot be written.
        """
        ...


def open_box(place: str, cache: Path) -> CeremonyBox:
    """Opens a box by what a person typed.

    Args:
        place: a folder, a file, or an address.
        cache: where a git repository's objects may be kept.

    Raises:
        MalformedError: it is an address of another kind.
        IndeterminateError: a git repository cannot be fetched.
    """
    if is_git_address(place):
        address = parse_git_address(place)
        return GitBox(GitCourier(address, cache / cache_name(address)))
    if place.startswith(("https://", "http://")):
        return HttpBox(place)
    if "://" in place:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"{place[:200]!r} is an address of a kind that is not read.",
            hint="Name a folder, a file, an https:// address, or git+https://, git+ssh:// or git+file://.",
        )
    path = Path(place)
    return FolderBox(path) if path.is_dir() or not path.suffix else FileBox(path)


def signatures_name(person: str) -> str:
    """Returns what the file with a person's signatures is called."""
    return f"{_UNSAFE.sub('_', person).lstrip('.')[:100] or 'administrator'}{SIGNATURES_ENDING}"


class FolderBox:
    """A folder that administrators share, or carry."""

    takes_files = True

    def __init__(self, folder: Path, challenge: str = CHALLENGE_NAME) -> None:
        self._folder, self._challenge = folder, folder / challenge

    def read_challenge(self, max_bytes: int) -> bytes:
        """Reads the challenge."""
        return _read_plain_file(self._challenge, max_bytes)

    def write_challenge(self, data: bytes) -> str:
        """Writes the challenge, whole or not at all."""
        return _write(self._challenge, data)

    def read_signatures(self, max_bytes: int) -> list[tuple[str, bytes]]:
        """Reads every signature file of the folder."""
        try:
            names = sorted(p.name for p in self._folder.iterdir() if p.name.endswith(SIGNATURES_ENDING))
        except OSError as e:
            raise _unreadable(self._folder, e) from e
        return [(n, _read_plain_file(self._folder / n, max_bytes)) for n in _few(names, self._folder)]

    def write_signatures(self, name: str, data: bytes) -> str:
        """Writes a signature file beside the challenge, whole or not at all."""
        return _write(self._folder / name, data)


class FileBox(FolderBox):
    """A challenge file of any name; signatures lie beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent, path.name)


class HttpBox:
    """A static web server from which the challenge is pulled."""

    takes_files = False

    def __init__(self, url: str) -> None:
        self._url = f"{url}{CHALLENGE_NAME}" if url.endswith("/") else url

    def read_challenge(self, max_bytes: int) -> bytes:
        """Fetches the challenge, no more of it than there may be and for no longer than a minute."""
        try:
            data: bytes = HttpFetcher(_TIMEOUT_SECONDS).download_bytes(self._url, max_bytes)
        except DownloadLengthMismatchError as e:
            raise MalformedError(Reason.TOO_LARGE, f"{self._url} has more than {max_bytes} bytes.") from e
        except DownloadError as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"Nobody answers at {self._url}: {why}."
                if (why := why_nobody_answers(e))
                else f"The challenge cannot be fetched from {self._url}: {e}.",
                hint="Check the address and the network.",
            ) from e
        return data

    def write_challenge(self, data: bytes) -> str:
        """Refuses: a static server takes nothing."""
        raise self._takes_nothing()

    def read_signatures(self, max_bytes: int) -> list[tuple[str, bytes]]:
        """Refuses: a static server lists nothing."""
        raise self._takes_nothing()

    def write_signatures(self, name: str, data: bytes) -> str:
        """Refuses: a static server takes nothing."""
        raise self._takes_nothing()

    def _takes_nothing(self) -> PlacetError:
        return MalformedError(
            Reason.BAD_VALUE,
            f"Nothing can be put to {self._url}, nor is there a list of what is there.",
            hint="Use a folder here, and let your web server serve it; signatures come back as files.",
        )


class GitBox:
    """A repository used as a mailbox."""

    def __init__(self, courier: GitCourier) -> None:
        """Fetches the newest commit.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE.
        """
        self._courier = courier
        self.takes_files = courier.takes_files
        courier.fetch()

    def read_challenge(self, max_bytes: int) -> bytes:
        """Reads the challenge of the newest commit."""
        data = self._courier.read(CHALLENGE_NAME, max_bytes)
        if data is None:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"There is no {CHALLENGE_NAME} in {self._courier.address}.",
                hint="The coordinator puts it there: `placet trust export`. Branch and folder go after #.",
            )
        return data

    def write_challenge(self, data: bytes) -> str:
        """Commits and pushes the challenge."""
        return self._add(CHALLENGE_NAME, data, "A trust change to be signed")

    def read_signatures(self, max_bytes: int) -> list[tuple[str, bytes]]:
        """Reads every signature file of the newest commit."""
        names = [n for n in self._courier.names() if n.endswith(SIGNATURES_ENDING) and "/" not in n]
        found = ((name, self._courier.read(name, max_bytes)) for name in _few(names, self._courier.address))
        return [(name, data) for name, data in found if data is not None]

    def write_signatures(self, name: str, data: bytes) -> str:
        """Commits and pushes a signature file."""
        return self._add(name, data, f"Signatures: {name}")

    def _add(self, name: str, data: bytes, message: str) -> str:
        self._courier.add({name: data}, message)
        return f"{name} in {self._courier.address}"


def _few(names: list[str], where: object) -> list[str]:
    if len(names) > _MAX_SIGNATURE_FILES:
        raise MalformedError(
            Reason.TOO_MANY,
            f"There are more than {_MAX_SIGNATURE_FILES} signature files in {where}.",
            hint="Move the old ones away; they are over drafts that are published or given up.",
        )
    return names


def _read_plain_file(path: Path, max_bytes: int) -> bytes:
    """Reads a file that others put there: no link to another file of this machine, and no pipe that waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MalformedError(Reason.BAD_VALUE, f"{path} is no plain file.")
            data = file.read(max_bytes + 1)
    except OSError as e:
        raise _unreadable(path, e) from e
    if len(data) > max_bytes:
        raise MalformedError(
            Reason.TOO_LARGE, f"{path} is larger than {max_bytes} bytes; it is no such file."
        )
    return data


def _write(path: Path, data: bytes) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = path.parent.stat().st_mode
        # The group of a sticky folder, such as /tmp, is nobody's choice.
        shared = folder & stat.S_IWGRP and not folder & stat.S_ISVTX
        write_atomically(path, data, mode=_OF_THE_GROUP if shared else _PRIVATE)
    except OSError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"{path} cannot be written: {e.strerror or e}.",
            hint="Make room or choose another place. Nothing is left there by halves.",
        ) from e
    return str(path)


def _unreadable(path: Path, error: OSError) -> PlacetError:
    return IndeterminateError(
        Reason.TRUST_UNAVAILABLE,
        f"{path} cannot be read: {error.strerror or error}.",
        hint="Check the name; links are not followed. The coordinator writes it with `placet trust export`.",
    )
