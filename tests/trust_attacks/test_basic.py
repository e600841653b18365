"""tuf-conformance's `test_basic`, by name, against our client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from trust_simulator import ALL, DAY, FILES, Gate, PersonSigner, Simulator
from tuf.api.metadata import MetaFile  # type: ignore[attr-defined]

from placet.adapters.tuf import refresh as tuf_refresh
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, utc
from placet.cli import main
from placet.core.encoding import sha256_hex
from placet.core.errors import Reason
from placet.core.trust import parse_trust

FIRST = {ROOT: 1, TIMESTAMP: 1, SNAPSHOT: 1, TARGETS: 1}


def test_basic_refresh_requests(repo: Simulator, http_client: Gate) -> None:
    http_client.refresh()
    metadata = [path for path in repo.requests if path.startswith("metadata/")]
    assert metadata == [
        "metadata/1.root.json",  # looked for, since only its digest was told
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
    ]
    assert len(repo.requests) == len(metadata) + len(FILES)
    repo.requests.clear()
    http_client.refresh()
    assert repo.requests == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_basic_refresh_trusted_data(repo: Simulator, client: Gate) -> None:
    refreshed = client.refresh()
    assert {role: client.kept(role) for role in ALL} == {role: repo.metadata[role][-1] for role in ALL}
    assert refreshed.versions == FIRST
    assert parse_trust(client.snapshot.read_bytes()) == refreshed.trust
    assert refreshed.trust.files == {name: sha256_hex(data) for name, data in FILES.items()}


def test_implicit_refresh(repo: Simulator, client: Gate) -> None:
    """Nothing is taken from an older round: a file is asked for only under the metadata of this one."""
    client.refresh()
    repo.add_file("layouts/release.json", b"{}")
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    assert client.refresh().trust.files["layouts/release.json"] == sha256_hex(b"{}")


def test_invalid_initial_root(repo: Simulator, http_client: Gate) -> None:
    root = json.loads(repo.first_root)
    del root["signed"]["version"]
    data = json.dumps(root).encode()
    http_client.root_sha256 = sha256_hex(data)
    http_client.refuses(Reason.BAD_TRUST, "malformed", root=data)
    assert repo.requests == []


def test_unsigned_initial_root(repo: Simulator, http_client: Gate) -> None:
    root = json.loads(repo.first_root)
    for signature in root["signatures"]:
        signature["sig"] = root["signatures"][0]["sig"]
    data = json.dumps(root).encode()
    http_client.root_sha256 = sha256_hex(data)
    http_client.refuses(Reason.BAD_TRUST, "not signed by enough", root=data)
    assert repo.requests == []


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        (ROOT, {ROOT: 1}),
        (TIMESTAMP, {ROOT: 2}),
        (SNAPSHOT, {ROOT: 2, TIMESTAMP: 2}),
        (TARGETS, {ROOT: 2, TIMESTAMP: 2, SNAPSHOT: 2}),
    ],
)
def test_unsigned_metadata(repo: Simulator, client: Gate, role: str, trusted: dict[str, int]) -> None:
    while len(repo.signers[role]) >= repo.root.roles[role].threshold:
        repo.signers[role].popitem()
    repo.publish(*ALL)
    client.refuses(Reason.BAD_TRUST, "not signed by enough")
    assert client.trusted() == trusted


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        (ROOT, {ROOT: 1}),
        (SNAPSHOT, {ROOT: 2, TIMESTAMP: 2}),
        (TARGETS, {ROOT: 2, TIMESTAMP: 2, SNAPSHOT: 2}),
    ],
)
def test_url_and_metadata_version_mismatch(
    repo: Simulator, http_client: Gate, role: str, trusted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file says version 3 under a path that says 2."""
    repo.publish(TARGETS, bump=role != TARGETS)
    names = {TARGETS: "metadata/2.targets.json", SNAPSHOT: "metadata/2.snapshot.json", ROOT: ""}
    if role == TARGETS:
        repo.signed[TARGETS].version = 3
        repo.metadata[TARGETS].pop()
        repo.republish(TARGETS)
        repo.signed[TARGETS].version = 2
    repo.publish(SNAPSHOT)
    if role == SNAPSHOT:
        repo.metadata[SNAPSHOT].pop()
        repo.snapshot.version = 3
        repo.republish(SNAPSHOT)
        repo.snapshot.version = 2
    repo.publish(TIMESTAMP)
    repo.root.version = 3 if role == ROOT else 2
    repo.republish(ROOT)
    honest = repo.tree()
    if role != ROOT:
        honest[names[role]] = repo.metadata[role][-1]
    monkeypatch.setattr(repo, "tree", lambda: honest)
    http_client.refuses(Reason.BAD_TRUST)
    assert http_client.trusted() == trusted


def test_timestamp_content_changes(repo: Simulator, client: Gate) -> None:
    """A timestamp with the version that was accepted, and other content, is left where it is."""
    client.refresh()
    accepted = client.kept(TIMESTAMP)
    repo.timestamp.snapshot_meta.version = 100
    repo.metadata[TIMESTAMP].clear()
    repo.republish(TIMESTAMP)
    assert not client.refresh().changed
    assert client.kept(TIMESTAMP) == accepted


def test_timestamp_eq_versions_check(repo: Simulator, http_client: Gate) -> None:
    test_timestamp_content_changes(repo, http_client)


def test_basic_metadata_hash_support(repo: Simulator, client: Gate) -> None:
    repo.hashes = True
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refresh()
    repo.publish(TARGETS, SNAPSHOT)
    repo.metadata[SNAPSHOT].pop()
    repo.snapshot.meta["targets.json"].hashes = {"sha256": "0" * 64}
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    client.refuses(Reason.BAD_TRUST, "not the one that was signed")
    assert client.version(TARGETS) == 2


def test_new_targets_hash_mismatch(repo: Simulator, http_client: Gate) -> None:
    test_basic_metadata_hash_support(repo, http_client)


def test_metadata_bytes_match(repo: Simulator, client: Gate) -> None:
    data = repo.metadata[TIMESTAMP].pop() + b" "
    repo.metadata[TIMESTAMP].append(data)
    client.refresh()
    assert client.kept(TIMESTAMP) == data


def test_new_targets_version_mismatch(repo: Simulator, client: Gate) -> None:
    """Targets that no snapshot names are not fetched."""
    client.refresh()
    repo.publish(TARGETS)
    assert not client.refresh().changed
    assert client.version(TARGETS) == 1


def test_custom_fields(repo: Simulator, client: Gate) -> None:
    client.refresh()
    repo.root.unrecognized_fields["custom-field"] = "value"
    repo.root.roles[ROOT].unrecognized_fields["another-field"] = "value"
    repo.add_key(ROOT, PersonSigner("dora@example.com", None, **{"extra-field": {"a": 1, "b": 2}}))
    repo.publish(ROOT)
    assert client.refresh().versions[ROOT] == 2


def test_deprecated_keyid_hash_algorithms(repo: Simulator, client: Gate) -> None:
    """A member that older TUF had, with nonsense in it, changes nothing."""
    signer = repo.new_online_key()
    signer.public_key.unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repo.set_keys(SNAPSHOT, [signer], [signer], 1)
    repo.publish(ROOT, SNAPSHOT, TIMESTAMP)
    assert client.refresh().versions == FIRST | {ROOT: 2, SNAPSHOT: 2, TIMESTAMP: 2}


def test_wrong_hashing_algorithm(repo: Simulator, http_client: Gate) -> None:
    test_deprecated_keyid_hash_algorithms(repo, http_client)


def test_snapshot_404(repo: Simulator, client: Gate) -> None:
    client.refresh()
    repo.timestamp.snapshot_meta.version += 1
    repo.timestamp.version += 1
    repo.republish(TIMESTAMP)
    client.refuses(Reason.TRUST_UNAVAILABLE, "missing")
    assert client.trusted() == FIRST | {TIMESTAMP: 2}


def test_targets_404(repo: Simulator, client: Gate) -> None:
    client.refresh()
    repo.snapshot.meta["targets.json"].version += 1
    repo.snapshot.version += 1
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    client.refuses(Reason.TRUST_UNAVAILABLE, "missing")
    assert client.trusted() == FIRST | {SNAPSHOT: 2, TIMESTAMP: 2}


def test_timestamp_404(repo: Simulator, client: Gate) -> None:
    client.refresh()
    del repo.metadata[TIMESTAMP]
    client.refuses(Reason.TRUST_UNAVAILABLE, "missing")
    assert client.trusted() == FIRST


def test_incorrect_metadata_type(repo: Simulator, client: Gate) -> None:
    """A snapshot that would do as a timestamp, signed by the timestamp's key, and published as one."""
    (timestamp_key,) = repo.signers[TIMESTAMP].values()
    repo.set_keys(SNAPSHOT, [timestamp_key], [timestamp_key], 1)
    repo.snapshot.meta = {"snapshot.json": MetaFile(1)}
    repo.publish(ROOT)
    repo.snapshot.version = 2
    repo.republish(SNAPSHOT)
    repo.metadata[TIMESTAMP].append(repo.metadata[SNAPSHOT].pop())
    client.refuses(Reason.BAD_TRUST)
    assert client.trusted() == {ROOT: 2}


@pytest.mark.parametrize("version", ["2.0.0", "0.9.0", "1", "1.x.0", ""])
@pytest.mark.parametrize("role", ALL)
def test_wrong_spec_version(repo: Simulator, http_client: Gate, role: str, version: str) -> None:
    """Metadata of a TUF that this client does not speak, well signed."""
    repo.signed[role].spec_version = version
    repo.publish(*ALL)
    http_client.refuses(Reason.BAD_TRUST, "malformed")


def test_faketime(repo: Simulator, client: Gate) -> None:
    """The time that is told to the client is the one by which it judges."""
    repo.root.expires = utc(repo.now + 7 * DAY)
    repo.publish(ROOT)
    client.refresh(days=6)
    client.refuses(Reason.TRUST_EXPIRED, "root", days=8)


def test_max_root_rotations(repo: Simulator, http_client: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile quorum that makes a new root for every question does not keep the gate busy for ever."""
    http_client.refresh()
    honest: Callable[[str], bytes | None] = repo.fetch

    def endless(path: str) -> bytes | None:
        if path.endswith(".root.json") and honest(path) is None:
            repo.publish(ROOT)
        return honest(path)

    monkeypatch.setattr(tuf_refresh, "_MAX_ROOTS", 5)
    monkeypatch.setattr(repo, "fetch", endless)
    http_client.refuses(Reason.TOO_MANY, "5 roots")
    assert http_client.version(ROOT) == 6


def test_the_real_command_over_http(
    repo: Simulator, http_client: Gate, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["trust", "refresh", "--to", str(http_client.snapshot)]
    start = [*arguments, "--from", http_client.source, "--root-sha256", http_client.root_sha256]
    assert main(start) == 0
    assert "root 1, timestamp 1, snapshot 1, targets 1" in capsys.readouterr().out
    repo.signers[TIMESTAMP].clear()
    repo.publish(TIMESTAMP)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "unchanged and valid until" in said
    assert "[bad-trust]" in said
    assert main(["trust", "refresh", "--from", http_client.source, "--to", str(tmp_path / "new")]) == 3
    assert "--root-sha256" in capsys.readouterr().err
