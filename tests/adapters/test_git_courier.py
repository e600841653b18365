"""git carries bytes: what a hostile repository, address or server does not get out of us."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from placet.adapters.git import courier as git_courier
from placet.adapters.git.courier import GitCourier, parse_git_address
from placet.adapters.git.process import GitFailed, run_git
from placet.core.errors import IndeterminateError, MalformedError, PolicyError, Reason

pytestmark = pytest.mark.interop

IDENTITY = {
    "GIT_AUTHOR_NAME": "x",
    "GIT_AUTHOR_EMAIL": "x@example.com",
    "GIT_COMMITTER_NAME": "x",
    "GIT_COMMITTER_EMAIL": "x@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


class Repository:
    """A repository of somebody else, filled with stock git."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *words],
            env=os.environ | IDENTITY,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, bytes | str]) -> None:
        for name, data in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "x")

    def courier(self, cache: Path, fragment: str = "", scheme: str = "file://", **limits: int) -> GitCourier:
        return GitCourier(parse_git_address(f"git+{scheme}{self.path}{fragment}"), cache, **limits)


# Stands in for ssh and the server behind it, which has settings of its own.
SSH = """\
#!/bin/sh
case "$*" in *-G*) exit 1;; esac
for command; do :; done
export GIT_CONFIG_GLOBAL=/dev/null
exec sh -c "$command"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the beginning of an address that leads to this machine as if it were another."""
    program = tmp_path / "fake-ssh"
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    return "ssh://git@host"


@pytest.fixture
def theirs(tmp_path: Path, require_tool: Callable[[str], str]) -> Repository:
    require_tool("git")
    return Repository(tmp_path / "theirs")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def refused(said: str) -> pytest.RaisesExc[IndeterminateError]:
    return pytest.raises(
        IndeterminateError, match=said, check=lambda e: e.reason is Reason.TRUST_UNAVAILABLE and bool(e.hint)
    )


def test_the_newest_commit_is_read_and_no_other(theirs: Repository, cache: Path) -> None:
    theirs.commit({"a.json": "one", "trust/metadata/1.root.json": "root"})
    courier = theirs.courier(cache)
    courier.fetch()
    assert courier.names() == ("a.json", "trust/metadata/1.root.json")
    assert courier.read("a.json", 10) == b"one"
    assert courier.read("b.json", 10) is None
    theirs.commit({"a.json": "two"})
    assert courier.read("a.json", 10) == b"one"
    courier.fetch()
    assert courier.read("a.json", 10) == b"two"
    with pytest.raises(MalformedError, match="larger than 2 bytes"):
        courier.read("a.json", 2)
    inner = theirs.courier(cache, "#main:trust")
    inner.fetch()
    assert inner.names() == ("metadata/1.root.json",)
    with refused("cannot be used"):
        theirs.courier(cache, "#main:nowhere").fetch()


def test_files_are_added_and_all_others_stay(cache: Path, tmp_path: Path, ssh: str) -> None:
    bare = Repository(tmp_path / "bare")
    bare.git("config", "receive.denyCurrentBranch", "ignore")
    courier = bare.courier(cache, "#main:box", ssh)
    courier.fetch()
    assert courier.names() == ()
    courier.add({"challenge.json": b"c"}, "The challenge")
    other = bare.courier(tmp_path / "other", "#main:box", ssh)
    other.fetch()
    assert other.names() == ("challenge.json",)
    courier.add({"ann.signatures.json": b"a"}, "ann")
    # The other does not know of it, and is put on top of it all the same.
    other.add({"ben.signatures.json": b"b"}, "ben")
    assert set(other.names()) == {"challenge.json", "ann.signatures.json", "ben.signatures.json"}
    before = bare.git("rev-parse", "main")
    other.add({"ben.signatures.json": b"b"}, "again")
    assert bare.git("rev-parse", "main") == before
    assert bare.git("log", "-1", "--format=%an") == "placet"


def test_a_repository_that_takes_nothing_says_so(theirs: Repository, cache: Path, ssh: str) -> None:
    theirs.commit({"a": "one"})  # its branch is checked out, so git refuses to move it
    courier = theirs.courier(cache, scheme=ssh)
    courier.fetch()
    with refused("cannot be used"):
        courier.add({"b": b"two"}, "x")


def test_links_and_submodules_are_no_files(theirs: Repository, cache: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (theirs.path / "link").symlink_to(secret)
    (theirs.path / "up").symlink_to("../..")
    inner = Repository(theirs.path / "inner")
    inner.commit({"evil": "x"})
    theirs.commit({"a": "one", ".gitmodules": '[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n'})
    courier = theirs.courier(cache)
    courier.fetch()
    assert courier.names() == (".gitmodules", "a")
    assert courier.read("link", 100) is None
    assert courier.read("inner/evil", 100) is None


def test_nothing_of_theirs_is_executed(
    theirs: Repository, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh: str
) -> None:
    """Hooks and filters that a caller's template, a configuration or an attribute would bring in."""
    marker = tmp_path / "executed"
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "pre-push", "post-commit", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f'[filter "evil"]\n\tsmudge = touch {marker}\n[core]\n\thooksPath = {hooks}\n')
    theirs.commit({"a": "one", ".gitattributes": "* filter=evil\n"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(hooks.parent))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {marker}")
    theirs.git("config", "receive.denyCurrentBranch", "ignore")
    courier = theirs.courier(cache, scheme=ssh)
    courier.fetch()
    assert courier.read("a", 10) == b"one"
    courier.add({"b": b"two"}, "x")
    assert not marker.exists()
    assert not (cache / "hooks").exists()  # of a template that this machine has


def test_nothing_is_pushed_to_a_repository_on_this_machine(
    theirs: Repository, cache: Path, tmp_path: Path
) -> None:
    """A stick with a repository on it: a push would run what its owner wrote into it, in our name."""
    marker = tmp_path / "executed"
    theirs.commit({"a": "one", ".gitattributes": "* filter=evil\n"})
    for hook in ("pre-receive", "update", "post-receive", "reference-transaction", "push-to-checkout"):
        path = theirs.path / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {marker}\n")
        path.chmod(0o755)
    for name, value in (
        ("receive.denyCurrentBranch", "updateInstead"),
        ("filter.evil.smudge", f"touch {marker}"),
        ("core.fsmonitor", f"touch {marker}"),
        ("core.alternateRefsCommand", f"touch {marker}"),
        ("uploadpack.packObjectsHook", f"touch {marker}"),
    ):
        theirs.git("config", name, value)
    marker.unlink(missing_ok=True)  # while it was set up
    courier = theirs.courier(cache)
    courier.fetch()
    assert courier.read("a", 10) == b"one"
    with pytest.raises(PolicyError, match="own programs") as error:
        courier.add({"b": b"two"}, "x")
    assert "plain folder" in error.value.hint
    assert not marker.exists()


def test_a_callers_git_variables_lead_nowhere(
    theirs: Repository, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.commit({"a": "one"})
    mine = Repository(tmp_path / "mine")
    monkeypatch.setenv("GIT_DIR", str(mine.path / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(mine.path / ".git" / "objects"))
    courier = theirs.courier(cache)
    courier.fetch()
    assert courier.names() == ("a",)
    assert not any((mine.path / ".git" / "objects" / "pack").iterdir())


def test_more_than_is_allowed_is_not_fetched(theirs: Repository, cache: Path) -> None:
    theirs.commit({"a": os.urandom(300_000)})
    with refused("holds more than 100000 bytes"):
        theirs.courier(cache, max_bytes=100_000).fetch()
    theirs.commit({f"f{n}": "x" for n in range(30)})


def test_more_files_than_are_read_are_refused(
    theirs: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.commit({f"f{n}": "x" for n in range(30)})
    monkeypatch.setattr(git_courier, "_MAX_NAMES", 29)
    with refused("more than 29 files"):
        theirs.courier(cache).fetch()


def test_a_full_or_broken_cache_is_made_anew(theirs: Repository, cache: Path) -> None:
    theirs.commit({"a": "one"})
    (cache / "objects").mkdir(parents=True)
    (cache / "objects" / "rubbish").write_bytes(b"x" * 2_000_000)
    courier = theirs.courier(cache, max_bytes=1_000_000)
    courier.fetch()
    assert not (cache / "objects" / "rubbish").exists()
    shutil.rmtree(cache / "objects")
    courier.fetch()
    assert courier.read("a", 10) == b"one"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="did not finish in 1 seconds"):
        run_git(["-c", "alias.wait=!sleep 60", "wait"], settings={}, seconds=1)


def test_an_address_leads_to_no_other_protocol(
    theirs: Repository, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository may name another place for itself; only the protocol of the address is spoken."""
    theirs.commit({"a": "one"})
    config = tmp_path / "config"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    for other, place in (("ext", f"ext::sh -c touch% {tmp_path}/executed "), ("http", "http://127.0.0.1:1/")):
        config.write_text(f'[url "{place}"]\n\tinsteadOf = file://\n')
        with refused(f"transport '{other}' not allowed"):
            theirs.courier(cache).fetch()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "address",
    [
        "https://host/path",
        "git+https://",
        "git+https://host",
        "git+https://host/",
        "git+--upload-pack=touch /tmp/x",
        "git+-oProxyCommand=x",
        "git+ext::sh -c touch",
        "git+ext://sh/x",
        "git+git://host/path",
        "git+http://host/path",
        "git+ssh://-oProxyCommand=x/path",
        "git+ssh://a@-oProxyCommand=x/path",
        "git+ssh://user:word@host/path",
        "git+https://token@host/path",
        "git+https://user:token@host/path",
        "git+file://host/path",
        "git+file:///path\n",
        "git+file:///pa th",
        "git+https://host/p?x=1",
        "git+https://[/p",
        "git+https://h\u00f6st/path",
        "git+https://host/path#-b",
        "git+https://host/path#a..b",
        "git+https://host/path#main:../x",
        "git+https://host/path#main:/x",
        "git+https://host/path#main:-x",
        "git+https://host/path#main:a//b",
    ],
)
def test_an_address_that_is_more_than_a_place_is_refused(address: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse_git_address(address)
    assert refused.value.reason is Reason.BAD_VALUE
    assert "git+https://host/path" in refused.value.hint


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("git+https://host/path.git", ("https://host/path.git", "https", "", "")),
        ("git+https://host:8443/a/b#main", ("https://host:8443/a/b", "https", "main", "")),
        ("git+ssh://git@host/a#rel/1:trust/prod", ("ssh://git@host/a", "ssh", "rel/1", "trust/prod")),
        ("git+file:///srv/x#:trust", ("file:///srv/x", "file", "", "trust")),
        ("git+https://[::1]:1/x", ("https://[::1]:1/x", "https", "", "")),
    ],
)
def test_addresses_that_are_places(address: str, parts: tuple[str, ...]) -> None:
    assert tuple(parse_git_address(address)) == parts


def test_git_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="git is not installed"):
        run_git(["version"], settings={})
