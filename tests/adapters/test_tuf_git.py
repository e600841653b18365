"""A trust root published in a git repository: a gate verifies it as from anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_git_courier import Repository
from tuf_trust_world import ANNA, BEN, TrustWorld

from placet.adapters.tuf.git import commit_published, is_working_tree
from placet.adapters.tuf.publish import mirror
from placet.core.errors import IndeterminateError, PlacetError
from placet.testing.world import DEFAULT_POLICY

pytestmark = pytest.mark.interop


@pytest.fixture
def theirs(tmp_path: Path, require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Repository:
    require_tool("git")
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = ann\n\temail = ann@example.com\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    return Repository(tmp_path / "checkout")


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    world = TrustWorld(tmp_path / "trust")
    world.publish(ANNA, BEN)
    return world


def test_a_gate_follows_a_repository_that_is_published_by_git(trust: TrustWorld, theirs: Repository) -> None:
    place = theirs.path / "trust"
    digest = trust.publish().root_sha256
    mirror(trust.repository, place)
    (theirs.path / "notes.txt").write_text("not ours")
    theirs.git("add", "notes.txt")
    assert is_working_tree(place)
    assert commit_published(place, "Trust root 1")
    assert not commit_published(place, "Trust root 1")
    assert theirs.git("log", "-1", "--format=%an %s") == "ann Trust root 1"
    assert "notes.txt" not in theirs.git("ls-tree", "-r", "--name-only", "HEAD")
    source = f"git+file://{theirs.path}#main:trust"
    assert trust.refresh(source, root_sha256=digest).changed
    trust.stage_policy(DEFAULT_POLICY.replace("threshold = 2", "threshold = 3"))
    trust.publish(ANNA, BEN)
    mirror(trust.repository, place)
    assert not trust.refresh(source).changed  # nobody has committed it
    commit_published(place, "Trust root 1, targets 2")
    assert trust.refresh(source).versions["targets"] == 2


def test_a_repository_that_somebody_changed_is_refused(trust: TrustWorld, theirs: Repository) -> None:
    mirror(trust.repository, theirs.path)
    digest = trust.publish().root_sha256
    people = next((theirs.path / "targets").glob("*.people.json"))
    people.write_bytes(people.read_bytes().replace(b"alice", b"mallo"))
    commit_published(theirs.path, "x")
    with pytest.raises(PlacetError, match="not the one that was signed"):
        trust.refresh(f"git+file://{theirs.path}", root_sha256=digest)
    assert not trust.snapshot.exists()


def test_a_target_that_is_a_link_is_not_followed(trust: TrustWorld, theirs: Repository) -> None:
    mirror(trust.repository, theirs.path)
    digest = trust.publish().root_sha256
    people = next((theirs.path / "targets").glob("*.people.json"))
    elsewhere = theirs.path.parent / "people"
    people.rename(elsewhere)
    people.symlink_to(elsewhere)
    theirs.commit({})
    with pytest.raises(IndeterminateError, match="missing"):
        trust.refresh(f"git+file://{theirs.path}", root_sha256=digest)


def test_a_repository_without_a_trust_root_says_where_to_look(trust: TrustWorld, theirs: Repository) -> None:
    theirs.commit({"README": "x"})
    with pytest.raises(IndeterminateError, match="no published trust root") as refused:
        trust.refresh(f"git+file://{theirs.path}", root_sha256="ab" * 32)
    assert "#main:trust" in refused.value.hint


def test_what_git_would_rewrite_is_not_committed(trust: TrustWorld, theirs: Repository) -> None:
    theirs.git("config", "filter.shout.clean", "tr a-z A-Z")
    theirs.commit({".gitattributes": "*.json filter=shout\n"})
    mirror(trust.repository, theirs.path)
    with pytest.raises(IndeterminateError, match="its settings rewrite") as refused:
        commit_published(theirs.path, "x")
    assert "did not commit" in str(refused.value)
    assert theirs.git("log", "-1", "--format=%s") == "x"
    assert "metadata" not in theirs.git("ls-tree", "-r", "--name-only", "HEAD")
