"""tuf-conformance's `test_expiration`, by name: freeze attacks."""

from __future__ import annotations

import pytest
from trust_simulator import DAY, Gate, Simulator

from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, utc
from placet.cli import main
from placet.core.errors import Reason

FIRST = {ROOT: 1, TIMESTAMP: 1, SNAPSHOT: 1, TARGETS: 1}


def expire(repo: Simulator, role: str, days: int) -> None:
    repo.signed[role].expires = utc(repo.now + days * DAY)


def test_root_expired(repo: Simulator, client: Gate) -> None:
    """The expired root is kept, so that a newer one can follow; nothing else is taken under it."""
    client.refresh()
    expire(repo, ROOT, -1)
    repo.publish(ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
    error = client.refuses(Reason.TRUST_EXPIRED, "root")
    assert "old copy" in error.hint
    assert client.trusted() == FIRST | {ROOT: 2}


def test_timestamp_expired(repo: Simulator, client: Gate) -> None:
    client.refresh()
    expire(repo, TIMESTAMP, -5)
    repo.publish(TIMESTAMP)
    client.refuses(Reason.TRUST_EXPIRED, "timestamp")
    assert client.trusted() == FIRST


def test_snapshot_expired(repo: Simulator, client: Gate) -> None:
    client.refresh()
    expire(repo, SNAPSHOT, -5)
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refuses(Reason.TRUST_EXPIRED, "snapshot")
    assert client.trusted() == FIRST | {TIMESTAMP: 2}


def test_targets_expired(repo: Simulator, client: Gate) -> None:
    client.refresh()
    expire(repo, TARGETS, -5)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refuses(Reason.TRUST_EXPIRED, "targets")
    assert client.trusted() == FIRST | {TIMESTAMP: 2, SNAPSHOT: 2}


def test_expired_local_root(repo: Simulator, client: Gate) -> None:
    expire(repo, ROOT, 7)
    repo.publish(ROOT)
    client.refresh()
    expire(repo, ROOT, 21)
    repo.publish(ROOT)
    assert client.refresh(days=18).versions[ROOT] == 3


def test_expired_local_timestamp(repo: Simulator, client: Gate) -> None:
    expire(repo, TIMESTAMP, 7)
    repo.publish(TIMESTAMP)
    client.refresh()
    expire(repo, TIMESTAMP, 21)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    assert client.refresh(days=18).versions == {ROOT: 1, TIMESTAMP: 3, SNAPSHOT: 2, TARGETS: 2}


def test_expired_metadata(repo: Simulator, http_client: Gate) -> None:
    test_expired_local_timestamp(repo, http_client)


def test_rollback_of_an_expired_timestamp(repo: Simulator, client: Gate) -> None:
    """What has expired here still says what is older."""
    expire(repo, TIMESTAMP, 7)
    repo.publish(TIMESTAMP)
    client.refresh()
    expire(repo, TIMESTAMP, 21)
    repo.timestamp.version = 1
    repo.republish(TIMESTAMP)
    client.refuses(Reason.BAD_TRUST, "older", days=18)


@pytest.mark.parametrize("role", [ROOT, TARGETS, SNAPSHOT, TIMESTAMP])
def test_freeze(repo: Simulator, client: Gate, role: str) -> None:
    """Whoever shows yesterday's repository for ever is found out when the first role of it expires."""
    expire(repo, role, 7)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP, ROOT)
    client.refresh()
    assert not client.refresh(days=6).changed
    client.refuses(Reason.TRUST_EXPIRED, role, days=8)


def test_the_real_command(repo: Simulator, client: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    expire(repo, TIMESTAMP, -1)
    repo.publish(TIMESTAMP)
    start = ["trust", "refresh", "--to", str(client.snapshot), "--from", client.source]
    assert main([*start, "--root-sha256", client.root_sha256]) == 3
    said = capsys.readouterr().err
    assert "[trust-expired]" in said
    assert "this gate decides nothing yet" in said
    assert "trust publish" in said
