"""The published trust root in a git repository: read by gates, committed by administrators.

git is one more courier: a gate's TUF client verifies what it reads exactly as it would from a web server.
One refresh reads one commit, so that a push in between is not seen by halves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from placet.adapters.git.courier import GitCourier, parse_git_address
from placet.adapters.git.process import GitFailed, run_git
from placet.core.errors import IndeterminateError, Reason

GIT_SCHEME = "git:///"
# As large as any file of a trust root; the client has limits of its own for each kind of metadata.
_MAX_FILE_BYTES = 64 * 1024 * 1024
_PUBLISHED = ("metadata", "targets")


class GitFetcher(FetcherInterface):
    """Reads a published repository from the newest commit of a git repository."""

    def __init__(self, courier: GitCourier) -> None:
        self._courier = courier

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = unquote(url.removeprefix(GIT_SCHEME))
        data = self._courier.read(name, _MAX_FILE_BYTES)
        if data is None:
            raise DownloadHTTPError(f"{name[:200]} is not there", 404)
        return iter((data,))


def open_git(source: str, cache: Path, *, seconds: int) -> tuple[str, FetcherInterface]:
    """Fetches the newest commit; returns what python-tuf's client needs to read it.

    Raises:
        MalformedError: the address is none.
        IndeterminateError: TRUST_UNAVAILABLE: git cannot fetch it, or no trust root is published in it.
    """
    courier = GitCourier(parse_git_address(source), cache, seconds=seconds)
    courier.fetch()
    if not any(name.startswith("metadata/") for name in courier.names()):
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"There is no published trust root in {source}.",
            hint="Name the branch and folder that hold metadata/ and targets/, as in git+https://host/x#main:trust",
        )
    return GIT_SCHEME, GitFetcher(courier)


def is_working_tree(folder: Path) -> bool:
    """Tells whether a folder lies in a git working tree."""
    return any((parent / ".git").exists() for parent in (folder.absolute(), *folder.absolute().parents))


def commit_published(folder: Path, message: str) -> bool:
    """Commits what was published in a folder of a git working tree, and nothing else that is changed there.

    The checkout is the administrator's own: its filters and settings are theirs, and are executed.

    Returns:
        Whether there was anything to commit.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE: git refuses, or would keep other bytes than those published.
    """
    present = [name for name in _PUBLISHED if (folder / name).is_dir()]
    try:
        _git(folder, "add", "--force", "--", *present)
        if not _git(folder, "diff", "--cached", "--name-only", "--", *present).strip():
            return False
        _check_kept_as_they_are(folder, present)
        _git(folder, "commit", "--quiet", "--no-verify", "-m", message, "--", *present)
    except GitFailed as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"It is published in {folder}, and git did not commit it: {e}.",
            hint="Put that right, then commit metadata/ and targets/ yourself.",
        ) from e
    return True


def _check_kept_as_they_are(folder: Path, present: list[str]) -> None:
    """Refuses what git would rewrite, as for line ends or large files: no signature would fit it."""
    entries = _git(folder, "ls-files", "--stage", "-z", "--", *present).split(b"\0")[:-1]
    named = [entry.partition(b"\t") for entry in entries]
    paths = b"".join(os.fsencode(folder.absolute()) + b"/" + name + b"\n" for _, _, name in named)
    plain = _git(folder, "hash-object", "--no-filters", "--stdin-paths", standard_input=paths).split()
    for (what, _, name), as_it_is in zip(named, plain, strict=True):
        if what.split()[1] != as_it_is:
            where = name.decode("utf-8", "backslashreplace")
            raise GitFailed(f"its settings rewrite {where}; write `* -text -filter` in .gitattributes")


def _git(folder: Path, *words: str, standard_input: bytes = b"") -> bytes:
    settings = {"submodule.recurse": "false"}
    return run_git(["-C", str(folder), *words], settings=settings, standard_input=standard_input)
