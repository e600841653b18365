"""tuf-conformance's delegation graphs and unusual role names, by name.

placet reads one level of delegations, each of one scope's rules to the role of that scope; the graphs' shapes
are the published ones.  Owners who delegate further close their own scope; whatever else administrators
delegate is refused, since nobody could say what a gate would read.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from trust_simulator import FILES, Gate, Simulator
from tuf.api.metadata import DelegatedRole, Delegations  # type: ignore[attr-defined]

from placet.adapters.tuf.refresh import Refreshed
from placet.adapters.tuf.trust import SNAPSHOT, TARGETS, TIMESTAMP
from placet.core.errors import PlacetError, Reason

POLICY = FILES["policy/default.toml"]
# Each edge: who delegates to whom.  Then, which scopes are open to a gate, and which are closed.
GRAPHS: dict[str, tuple[list[tuple[str, str]], str, str]] = {
    "basic-delegation": ([("", "a")], "a", ""),
    "single-level-delegations": ([("", "a"), ("", "b")], "ab", ""),
    "two-level-delegations": ([("", "a"), ("", "b"), ("b", "c")], "a", "b"),
    "two-level-test-DFS-order-of-traversal": ([("", "a"), ("", "b"), ("a", "c"), ("a", "d")], "b", "a"),
    "three-level-delegation-test-DFS-order-of-traversal": (
        [("", "a"), ("", "b"), ("a", "c"), ("c", "d")],
        "b",
        "a",
    ),
    "cyclic-graph": ([("", "a"), ("", "b"), ("b", "c"), ("c", "d"), ("d", "b")], "a", "b"),
    "two-roles-delegating-to-a-third": ([("", "a"), ("", "b"), ("b", "c"), ("a", "c")], "", "ab"),
    "self-delegation": ([("", "a"), ("a", "a")], "", "a"),
    "back-to-the-top": ([("", "a"), ("a", "")], "", "a"),
}


def role_of(scope: str) -> str:
    return f"scope-{scope}" if scope else TARGETS


def build(repo: Simulator, edges: list[tuple[str, str]]) -> list[str]:
    """Publishes a graph of delegations; returns the delegated roles."""
    repo.hashes = True
    scopes = ",".join(f'"{name}":["**"]' for name in ("default", "a", "b", "c", "d"))
    repo.add_file("scopes.json", b'{"scopes":{%s}}' % scopes.encode())
    top = repo.signers[TARGETS]
    for by, to in edges:
        repo.delegate(role_of(to), [f"policy/{to or 'default'}.toml"], by=role_of(by))
    repo.signers[TARGETS] = top
    roles = list(dict.fromkeys(role_of(to) for _, to in edges if to))
    for role in roles:
        repo.add_file(f"policy/{role.removeprefix('scope-')}.toml", POLICY, role)
    repo.publish(*roles, TARGETS, SNAPSHOT, TIMESTAMP)
    return roles


def closed(refreshed: Refreshed) -> str:
    return "".join(sorted(note.split()[2] for note in refreshed.notes))


@pytest.fixture
def client(http_client: Gate) -> Gate:
    """Where a role came from makes no difference to what it may say."""
    return http_client


@pytest.mark.parametrize(("edges", "read", "shut"), GRAPHS.values(), ids=GRAPHS)
def test_graph_traversal(
    repo: Simulator, client: Gate, edges: list[tuple[str, str]], read: str, shut: str
) -> None:
    build(repo, edges)
    refreshed = client.refresh()
    assert closed(refreshed) == shut
    assert {rule.scope for rule in refreshed.trust.rules} == {"default", *read, *shut}


@pytest.mark.parametrize("pattern", ["*", "policy/*", "policy/?.toml", "policy/[ab].toml", "**"])
def test_targetfile_search(repo: Simulator, client: Gate, pattern: str) -> None:
    """A delegation by pattern, as the published trees have: a file that nobody names cannot be asked for."""
    build(repo, [("", "a")])
    roles_of(repo)["scope-a"].paths = [pattern]
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refuses(Reason.BAD_TRUST, "exact files")


def roles_of(repo: Simulator) -> dict[str, DelegatedRole]:
    delegations = repo.top.delegations
    assert isinstance(delegations, Delegations)
    assert delegations.roles is not None
    return delegations.roles


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "\x1b[2J", "a" * 200])
def test_unusual_role_name(repo: Simulator, client: Gate, role: str, tmp_path: Path) -> None:
    """A role's name becomes a path here and there; it leads nowhere, and moves no cursor."""
    repo.hashes = True
    repo.delegate(role, ["policy/other.toml"])
    repo.publish(role, TARGETS, SNAPSHOT, TIMESTAMP)
    error = client.refuses(Reason.BAD_TRUST)
    assert str(error).isprintable()
    assert set(tmp_path.rglob("delegatedrole*")) == set()
    assert {path.name for path in client.metadata.iterdir()} == {
        *(f"{name}.json" for name in ("root", "timestamp", "snapshot", "targets")),
        "root_history",
    }


def test_an_owner_of_another_scope_s_rules(repo: Simulator, client: Gate) -> None:
    build(repo, [("", "a"), ("", "b")])
    roles_of(repo)["scope-b"].paths = ["policy/a.toml"]
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refuses(Reason.BAD_TRUST, "policy/a.toml")


def test_an_owner_who_writes_other_files(repo: Simulator, client: Gate) -> None:
    """People, or the rules of another scope, in an owner's own metadata: that owner's scope is closed."""
    build(repo, [("", "a"), ("", "b")])
    for name in ("people.json", "policy/b.toml"):
        repo.add_file(name, b'{"people":[]}', "scope-a")
    repo.publish("scope-a", SNAPSHOT, TIMESTAMP)
    refreshed = client.refresh()
    assert closed(refreshed) == "a"
    assert len(refreshed.trust.people) == 3


def test_a_delegated_role_rolled_back(repo: Simulator, client: Gate) -> None:
    build(repo, [("", "a")])
    repo.publish("scope-a", SNAPSHOT, TIMESTAMP)
    client.refresh()
    repo.signed["scope-a"].version = 1
    repo.republish("scope-a")
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refuses(Reason.BAD_TRUST, "older")


def test_a_delegated_role_that_disappears_from_the_snapshot(repo: Simulator, client: Gate) -> None:
    build(repo, [("", "a")])
    client.refresh()
    repo.publish(SNAPSHOT)
    del repo.snapshot.meta["scope-a.json"]
    repo.metadata[SNAPSHOT].pop()
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    client.refuses(Reason.BAD_TRUST, "missing info")


def test_a_delegated_role_below_its_threshold(repo: Simulator, client: Gate) -> None:
    """Published by whoever holds the online keys, without the owners: nothing in the scope is allowed."""
    build(repo, [("", "a")])
    repo.signers["scope-a"].clear()
    repo.publish("scope-a", SNAPSHOT, TIMESTAMP)
    assert closed(client.refresh()) == "a"


def test_a_delegated_role_under_the_snapshot_of_another_day(repo: Simulator, http_client: Gate) -> None:
    """Mix and match: a courier's other bytes fail the refresh, and close nothing."""
    build(repo, [("", "a")])
    repo.publish("scope-a", SNAPSHOT, TIMESTAMP)
    mixed = repo.tree() | {"metadata/2.scope-a.json": repo.metadata["scope-a"][0] + b" "}
    repo.fetch = mixed.get  # type: ignore[method-assign]
    with contextlib.suppress(PlacetError):
        http_client.refresh()
    assert not http_client.snapshot.exists()
