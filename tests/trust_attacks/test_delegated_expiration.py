"""tuf-conformance's `test_delegated_expiration`, by name: late owners close their own scope."""

from __future__ import annotations

from trust_simulator import DAY, FILES, Gate, Simulator

from placet.adapters.tuf.refresh import Refreshed
from placet.adapters.tuf.trust import SNAPSHOT, TARGETS, TIMESTAMP, utc

SCOPES = b'{"scopes":{"default":["**"],"payments":["k8s://pay/**"]}}'
ROLE, POLICY = "scope-payments", "policy/payments.toml"


def delegate(repo: Simulator, *, days: int) -> None:
    repo.hashes = True
    repo.add_file("scopes.json", SCOPES)
    repo.delegate(ROLE, [POLICY], expires=utc(repo.now + days * DAY))
    repo.add_file(POLICY, FILES["policy/default.toml"], ROLE)
    repo.publish(ROLE, TARGETS, SNAPSHOT, TIMESTAMP)


def is_closed(refreshed: Refreshed) -> bool:
    """Whether every rule of the scope asks for somebody who cannot exist."""
    rules = [rule for rule in refreshed.trust.rules if rule.scope == "payments"]
    assert rules
    shut = ["owners of the scope payments" in repr(rule.quorum) for rule in rules]
    assert all(shut) == any(shut) == bool(refreshed.notes)
    return all(shut)


def test_delegated_targets_expired(repo: Simulator, client: Gate) -> None:
    delegate(repo, days=-1)
    refreshed = client.refresh()
    assert is_closed(refreshed)
    assert "expired" in refreshed.notes[0]
    assert refreshed.expires_at == repo.now + 30 * DAY


def test_expired_local_delegated_targets(repo: Simulator, client: Gate) -> None:
    delegate(repo, days=7)
    first = client.refresh()
    assert not is_closed(first)
    assert first.expires_at == repo.now + 7 * DAY
    assert is_closed(client.refresh(days=18))


def test_expired_local_delegated_targets_updates(repo: Simulator, client: Gate) -> None:
    delegate(repo, days=7)
    client.refresh()
    repo.signed[ROLE].expires = utc(repo.now + 21 * DAY)
    repo.publish(ROLE, SNAPSHOT, TIMESTAMP)
    refreshed = client.refresh(days=18)
    assert refreshed.versions[ROLE] == 2
    assert not is_closed(refreshed)
