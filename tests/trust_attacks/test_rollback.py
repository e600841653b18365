"""tuf-conformance's `test_rollback`, by name, against our client: nothing older comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trust_simulator import ALL, Gate, Simulator

from placet.adapters.tuf import refresh as tuf_refresh
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.cli import main
from placet.core.errors import Reason, VerificationError

OLDER = (Reason.BAD_TRUST, "older than one that was already accepted")

with_hashes = pytest.mark.parametrize("hashes", [False, True], ids=["basic", "with hashes"])


@pytest.fixture(autouse=True, params=[True, False], ids=["record", "record removed"])
def record(request: pytest.FixtureRequest) -> bool:
    """Each attack also on a gate where somebody removed the client's record: only the snapshot knows."""
    return bool(request.param)


@pytest.fixture
def client(http_client: Gate) -> Gate:
    """Whatever it came by, older is older; test_basic and test_expiration read folders, too."""
    return http_client


def forget(client: Gate, record: bool) -> tuple[Reason, str]:
    """Removes the record where the test is to be without it; returns how a rollback is refused then."""
    if record:
        return OLDER
    shutil.rmtree(client.metadata.parent)
    return Reason.BAD_TRUST, "has"


def test_simple_snapshot_rollback(repo: Simulator, client: Gate, record: bool) -> None:
    """An older snapshot under a timestamp that names the newer one is not even fetched."""
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refresh()
    newer = client.kept(SNAPSHOT)
    forget(client, record)
    repo.snapshot.version = 1
    repo.metadata[SNAPSHOT].pop()
    if record:
        assert not client.refresh().changed
        assert client.kept(SNAPSHOT) == newer
    else:
        client.refuses(Reason.TRUST_UNAVAILABLE, "missing")


def test_new_timestamp_version_rollback(repo: Simulator, client: Gate, record: bool) -> None:
    repo.publish(TIMESTAMP)
    client.refresh()
    how = forget(client, record)
    repo.timestamp.version = 1
    repo.republish(TIMESTAMP)
    client.refuses(*how)
    assert not record or client.version(TIMESTAMP) == 2


@with_hashes
def test_snapshot_rollback(repo: Simulator, client: Gate, hashes: bool, record: bool) -> None:
    repo.hashes = hashes
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refresh()
    how = forget(client, record)
    repo.snapshot.version = 1
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    client.refuses(*how)
    assert not record or (client.version(TIMESTAMP), client.version(SNAPSHOT)) == (2, 2)


def test_new_timestamp_snapshot_rollback(repo: Simulator, client: Gate, record: bool) -> None:
    test_snapshot_rollback(repo, client, False, record)


def test_new_snapshot_version_rollback(repo: Simulator, client: Gate, record: bool) -> None:
    """The whole old repository again, as it was: the most usual rollback."""
    old = {role: list(files) for role, files in repo.metadata.items()}
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refresh()
    how = forget(client, record)
    repo.metadata = old
    client.refuses(*how)


@with_hashes
def test_targets_rollback(repo: Simulator, client: Gate, hashes: bool, record: bool) -> None:
    repo.hashes = hashes
    repo.publish(TARGETS)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refresh()
    how = forget(client, record)
    repo.top.version = 1
    repo.republish(TARGETS)
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refuses(*how)
    assert not record or client.version(TARGETS) == 3


def test_new_targets_version_rollback(repo: Simulator, client: Gate, record: bool) -> None:
    test_targets_rollback(repo, client, False, record)


def test_new_snapshot_version_mismatch(repo: Simulator, client: Gate, record: bool) -> None:
    """The timestamp vouches for another snapshot than the one under that number."""
    client.refresh()
    forget(client, record)
    good = repo.metadata[SNAPSHOT][-1]
    repo.publish(SNAPSHOT, TIMESTAMP)
    repo.metadata[SNAPSHOT][-1] = good
    client.refuses(Reason.TRUST_UNAVAILABLE, "missing")


def test_mix_and_match(
    repo: Simulator, http_client: Gate, record: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets of one day under the snapshot of another, each well signed."""
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    http_client.refresh()
    how = forget(http_client, record)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    mixed = repo.tree() | {"metadata/3.targets.json": repo.metadata[TARGETS][1]}
    monkeypatch.setattr(repo, "tree", lambda: mixed)
    http_client.refuses(how[0], "older than one that was already accepted")


def test_mix_and_match_with_hashes(repo: Simulator, client: Gate, record: bool) -> None:
    """The same content, version and signatures in other bytes are not what the snapshot vouches for."""
    repo.hashes = True
    client.refresh()
    forget(client, record)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    data = repo.metadata[TARGETS].pop()
    repo.metadata[TARGETS].append(data.replace(b"\n ", b"\n\t", 1))
    assert repo.metadata[TARGETS][-1] != data
    client.refuses(Reason.BAD_TRUST, "not the one that was signed")


# -- the way back after a stolen online key counted versions up


def fast_forward(repo: Simulator, client: Gate, role: str) -> None:
    repo.signed[role].version = 99_999
    repo.republish(role)
    for voucher in (SNAPSHOT, TIMESTAMP)[(TARGETS, SNAPSHOT, TIMESTAMP).index(role) :]:
        repo.publish(voucher)
    assert client.refresh().versions[role] == 99_999


def test_new_targets_fast_forward_recovery(repo: Simulator, client: Gate, record: bool) -> None:
    fast_forward(repo, client, TARGETS)
    how = forget(client, record)
    repo.top.version = 2
    repo.republish(TARGETS)
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refuses(*how)
    repo.rotate_keys(SNAPSHOT)
    repo.publish(ROOT, SNAPSHOT, TIMESTAMP)
    assert client.refresh().versions[TARGETS] == 2


def test_new_snapshot_fast_forward_recovery(repo: Simulator, client: Gate, record: bool) -> None:
    fast_forward(repo, client, SNAPSHOT)
    how = forget(client, record)
    repo.snapshot.version = 2
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    client.refuses(*how)
    repo.rotate_keys(SNAPSHOT)
    repo.rotate_keys(TIMESTAMP)
    repo.publish(ROOT)
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    assert client.refresh().versions[SNAPSHOT] == 2


def test_new_timestamp_fast_forward_recovery(repo: Simulator, client: Gate, record: bool) -> None:
    fast_forward(repo, client, TIMESTAMP)
    how = forget(client, record)
    repo.timestamp.version = 2
    repo.republish(TIMESTAMP)
    client.refuses(*how)
    repo.rotate_keys(TIMESTAMP)
    repo.publish(ROOT)
    repo.republish(TIMESTAMP)
    assert client.refresh().versions[TIMESTAMP] == 2


@pytest.mark.parametrize("role", [TARGETS, SNAPSHOT, TIMESTAMP])
def test_a_key_that_is_added_forgets_no_version(
    repo: Simulator, client: Gate, role: str, record: bool
) -> None:
    """Only a rotation after which the old keys no longer suffice is a way back."""
    fast_forward(repo, client, role)
    how = forget(client, record)
    for online in (SNAPSHOT, TIMESTAMP):
        repo.add_key(online)
    repo.publish(ROOT)
    repo.signed[role].version = 1
    repo.republish(role)
    for voucher in (SNAPSHOT, TIMESTAMP):
        repo.publish(voucher)
    if role == TIMESTAMP:
        repo.timestamp.version = 1
        repo.republish(TIMESTAMP)
    client.refuses(*how)


def test_root_never_goes_back(repo: Simulator, client: Gate, record: bool) -> None:
    """Not even with every online key new: the newest root that was seen stays."""
    old = list(repo.metadata[ROOT])
    repo.rotate_keys(SNAPSHOT)
    repo.rotate_keys(TIMESTAMP)
    repo.publish(*ALL)
    client.refresh()
    forget(client, record)
    repo.metadata[ROOT] = old
    if record:
        assert not client.refresh().changed
        assert client.version(ROOT) == 2
    else:
        client.refuses(Reason.BAD_TRUST)


def test_not_even_where_a_half_removed_record_says_that_keys_were_rotated(
    repo: Simulator, client: Gate, record: bool, tmp_path: Path
) -> None:
    """The way back is for what online keys vouch for; nothing vouches for a root but its quorum."""
    repo.rotate_keys(SNAPSHOT)
    repo.publish(*ALL)
    old = client.refresh().trust
    (tmp_path / "root_history").mkdir()
    (tmp_path / "root_history" / "2.root.json").write_bytes(repo.metadata[ROOT][1])
    (tmp_path / "root.json").write_bytes(repo.metadata[ROOT][0])
    with pytest.raises(VerificationError, match="root is version 1"):
        tuf_refresh._check_not_older(old, {**old.versions, ROOT: 1}, tmp_path)


def test_the_real_command(
    repo: Simulator, client: Gate, record: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["trust", "refresh", "--to", str(client.snapshot)]
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    assert main([*arguments, "--from", client.source, "--root-sha256", client.root_sha256]) == 0
    forget(client, record)
    for role in (TARGETS, SNAPSHOT, TIMESTAMP):
        del repo.metadata[role][1:]
    assert main([*arguments, "--from", client.source, "--root-sha256", client.root_sha256]) == 1
    said = capsys.readouterr().err
    assert "[bad-trust]" in said
    assert "bring back a revoked approver" in said
    assert "The earlier snapshot is unchanged" in said
