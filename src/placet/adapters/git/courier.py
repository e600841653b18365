"""A git repository as a courier: files are read from its newest commit, and small files are added to it.

git carries bytes and vouches for nothing; whoever reads them verifies them.  The repository may be anybody's,
so nothing in it is executed, checked out or followed:

- objects are fetched into a bare folder of our own, one commit deep, and read as blobs: no working tree, so
  no links, no filters, no names that become paths, no submodules; hooks are off;
- nothing is pushed to a repository on this machine, whose settings would be executed here;
- the protocol is the one of the address alone, whatever a server redirects to; nothing ever prompts;
- what git writes is limited in size and time, and so is every file that is read.

    git+https://host/path[#BRANCH[:FOLDER]]    git+ssh://git@host/path…    git+file:///path…
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from placet.adapters.git.process import MAX_BYTES, MAX_SECONDS, GitFailed, run_git
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason

PREFIX = "git+"
_PROTOCOLS = ("https", "ssh", "file")
_MAX_NAMES = 20_000
_PLAIN_FILE = ("100644", "100755")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock$|/$|\.$))[A-Za-z0-9][A-Za-z0-9._/+-]{0,200}")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(?:/[A-Za-z0-9][A-Za-z0-9._+-]*)*")
_AUTHORITY = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9._+-]*@)?(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
)
_PUSH_TRIES = 3
_HEAD = "refs/placet/head"

_SETTINGS = {
    "core.bigFileThreshold": "16m",
    "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "pack.threads": "1",
    "protocol.allow": "never",
    "push.followTags": "false",
    "submodule.recurse": "false",
}


class GitAddress(NamedTuple):
    """Where files lie: `branch` is "" for the repository's own, `folder` is "" for its top."""

    url: str
    protocol: str
    branch: str
    folder: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.url}"


class _Blob(NamedTuple):
    oid: str
    size: int


def is_git_address(text: str) -> bool:
    """Tells whether an address names a git repository."""
    return text.startswith(PREFIX)


def parse_git_address(text: str) -> GitAddress:
    """Reads the address of a repository.

    Raises:
        MalformedError: BAD_VALUE: it is not of the form above, or holds a password.
    """
    url, _, fragment = text.removeprefix(PREFIX).partition("#")
    branch, _, folder = fragment.partition(":")
    if not is_git_address(text) or not url.isascii() or not url.isprintable() or set(url) & set(" \\\"'"):
        raise _bad_address(text)
    try:
        parts = urlsplit(url)
        authority, path = parts.netloc, parts.path
    except ValueError as e:
        raise _bad_address(text) from e
    if parts.scheme not in _PROTOCOLS or parts.query or not path.startswith("/") or len(path) < 2:
        raise _bad_address(text)
    if parts.scheme == "file":
        if authority:
            raise _bad_address(text)
    elif not _AUTHORITY.fullmatch(authority) or (parts.scheme == "https" and "@" in authority):
        # The address is remembered and printed; a token in it would be, too.
        raise _bad_address(
            text, "It must name a host, and no password or token: those belong to git's own store."
        )
    if (branch and not _BRANCH.fullmatch(branch)) or (folder and not _FOLDER.fullmatch(folder)):
        raise _bad_address(text)
    return GitAddress(url, parts.scheme, branch, folder)


class GitCourier:
    """A repository, seen through a private bare folder that keeps what was fetched."""

    def __init__(
        self, address: GitAddress, cache: Path, *, max_bytes: int = MAX_BYTES, seconds: int = MAX_SECONDS
    ):
        """Opens nothing yet; `fetch` does.

        Args:
            cache: a folder of ours, made when needed; it may be removed at any time.
            max_bytes: of what one fetch may write, and of each file.
            seconds: for each call of git.
        """
        self.address = address
        self._cache, self._max_bytes, self._seconds = cache, max_bytes, seconds
        self._blobs: dict[str, _Blob] = {}
        self._commit = ""

    @property
    def takes_files(self) -> bool:
        """Whether files may be added.

        A push to a repository on this machine has git run its hooks, filters and other settings in our name,
        whoever wrote them there.  Fetching does not: git sees to that for repositories of others.
        """
        return self.address.protocol != "file"

    def fetch(self) -> None:
        """Takes up the newest commit.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE: git is missing, or cannot fetch, or fetches too much.
        """
        if self._cache.exists() and not self._is_usable():
            shutil.rmtree(self._cache)
        if not self._cache.exists():
            self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Without a template there is no hook and no setting that we did not write.
            self._git("init", "--quiet", "--bare", "--template=", str(self._cache))
        self._commit, self._blobs = "", {}
        wanted = f"refs/heads/{self.address.branch}" if self.address.branch else "HEAD"
        if not self._git("ls-remote", "--", self.address.url, wanted).strip():
            return  # nobody has put anything there yet
        options = (
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--force",
        )
        self._git("fetch", *options, "--", self.address.url, f"{wanted}:{_HEAD}")
        self._commit = self._git("rev-parse", "--verify", f"{_HEAD}^{{commit}}").decode("ascii").strip()
        self._blobs = self._list_blobs()

    def names(self) -> tuple[str, ...]:
        """Returns the files of the folder and of folders in it; links and submodules are none."""
        return tuple(self._blobs)

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """Returns a file; None where there is none.

        Raises:
            MalformedError: TOO_LARGE.
            IndeterminateError: git cannot read it.
        """
        blob = self._blobs.get(name)
        if blob is None:
            return None
        if blob.size > max_bytes:
            raise MalformedError(
                Reason.TOO_LARGE, f"{name} in {self.address} is larger than {max_bytes} bytes."
            )
        return self._git("cat-file", "blob", blob.oid)

    def add(self, files: Mapping[str, bytes], message: str) -> None:
        """Puts files into the folder, as one commit on top of the newest, and leaves all others as they are.

        Raises:
            PolicyError: BAD_VALUE: the repository lies on this machine, see `takes_files`.
            IndeterminateError: TRUST_UNAVAILABLE: the repository takes nothing from us.
        """
        if not self.takes_files:
            raise PolicyError(
                Reason.BAD_VALUE,
                f"Nothing is pushed to {self.address}: git would run that repository's own programs here.",
                hint="Use a plain folder instead, or reach the repository by git+ssh:// or git+https://.",
            )
        for tries in range(1, _PUSH_TRIES + 1):
            commit, before = self._commit_files(files, message), self._commit
            if commit == before:
                return
            branch = self.address.branch or self._default_branch()
            pushed = f"{commit}:refs/heads/{branch}"
            try:
                self._git("push", "--quiet", "--no-verify", "--", self.address.url, pushed)
            except IndeterminateError:
                self.fetch()
                # Where somebody else was quicker, theirs comes first and ours is put on top of it.
                if tries == _PUSH_TRIES or self._commit == before:
                    raise
                continue
            self.fetch()
            return

    def _is_usable(self) -> bool:
        if _size_of(self._cache) > self._max_bytes:
            return False
        try:
            return self._git("rev-parse", "--is-bare-repository") == b"true\n"
        except IndeterminateError:
            return False

    def _list_blobs(self) -> dict[str, _Blob]:
        tree = f"{self._commit}:{self.address.folder}"
        listed = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", tree).split(b"\0")
        found: dict[str, _Blob] = {}
        for line in listed[:-1]:
            what, _, name = line.partition(b"\t")
            mode, kind, oid, size = what.decode("ascii").split()
            if kind == "blob" and mode in _PLAIN_FILE:
                found[name.decode("utf-8", "backslashreplace")] = _Blob(oid, int(size))
        if len(found) > _MAX_NAMES:
            raise self._unavailable(f"it holds more than {_MAX_NAMES} files")
        return found

    def _default_branch(self) -> str:
        told = self._git("ls-remote", "--symref", "--", self.address.url, "HEAD").decode("utf-8", "replace")
        match = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", told, re.MULTILINE)
        branch = match[1] if match else "main"
        if not _BRANCH.fullmatch(branch):
            raise self._unavailable("its branch has a name that is not taken; name another after #")
        return branch

    def _commit_files(self, files: Mapping[str, bytes], message: str) -> str:
        with tempfile.TemporaryDirectory(prefix="placet-git-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            if self._commit:
                self._git("read-tree", self._commit, variables=index)
            for name, data in files.items():
                oid = self._git("hash-object", "-w", "--stdin", standard_input=data).decode("ascii").strip()
                path = f"{self.address.folder}/{name}" if self.address.folder else name
                self._git("update-index", "--add", "--cacheinfo", f"100644,{oid},{path}", variables=index)
            tree = self._git("write-tree", variables=index).decode("ascii").strip()
        if (
            self._commit
            and tree == self._git("rev-parse", f"{self._commit}^{{tree}}").decode("ascii").strip()
        ):
            return self._commit
        parents = ["-p", self._commit] if self._commit else []
        return self._git("commit-tree", tree, *parents, "-m", message).decode("ascii").strip()

    def _git(
        self, *words: str, variables: Mapping[str, str] | None = None, standard_input: bytes = b""
    ) -> bytes:
        settings = _SETTINGS | {f"protocol.{self.address.protocol}.allow": "always"}
        where = [] if words[0] == "init" else [f"--git-dir={self._cache}"]
        try:
            return run_git(
                [*where, *words],
                settings=settings,
                variables={"GIT_AUTHOR_NAME": "placet", "GIT_AUTHOR_EMAIL": "placet@localhost"}
                | {"GIT_COMMITTER_NAME": "placet", "GIT_COMMITTER_EMAIL": "placet@localhost"}
                | dict(variables or {}),
                standard_input=standard_input,
                max_bytes=self._max_bytes,
                seconds=self._seconds,
            )
        except GitFailed as e:
            raise self._unavailable(str(e)) from e

    def _unavailable(self, why: str) -> PlacetError:
        return IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"The git repository {self.address} cannot be used: {why}.",
            hint="Try the same with `git ls-remote`. Keys and tokens come from git's own settings; nothing "
            "is asked for here.",
        )


def _size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _bad_address(text: str, why: str = "") -> PlacetError:
    return MalformedError(
        Reason.BAD_VALUE,
        f"{text[:200]!r} is no address of a git repository. {why}".strip(),
        hint="As in git+https://host/path#branch:folder, git+ssh://git@host/path or git+file:///path.",
    )


def cache_name(address: GitAddress) -> str:
    """Returns a name for the folder that keeps what was fetched from there."""
    return sha256_hex("\0".join(address).encode())[:32]
