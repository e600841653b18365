"""The trust root's files beside a snapshot: bytes that the administrators signed, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet.adapters.trust_files import TrustFiles, drop_files, files_folder, keep_files
from placet.core.errors import IndeterminateError
from placet.core.trust import parse_trust
from placet.testing.world import World

FILES = {"keys/a.pub": b"one", "sigstore/trusted_root.json": b"two", "people.json": b"{}"}


def test_what_was_signed_is_read_and_nothing_else(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.json"
    world = World()
    world.more_files = {"keys/a.pub": b"one", "sigstore/trusted_root.json": b"two"}
    trust = parse_trust(world.snapshot())
    files = TrustFiles(snapshot)
    with pytest.raises(IndeterminateError, match="not beside the trust snapshot"):
        files.read("keys/a.pub", trust)
    keep = keep_files(snapshot, FILES)
    assert len(keep) == 2, "the people file is no file of verifiers"
    assert files.read("keys/a.pub", trust) == b"one"
    assert files.names(trust, "sigstore/") == ("sigstore/trusted_root.json",)
    with pytest.raises(IndeterminateError, match="has no file"):
        files.read("keys/b.pub", trust)
    (files_folder(snapshot) / trust.files["keys/a.pub"]).write_bytes(b"another")
    with pytest.raises(IndeterminateError, match="not what the administrators signed"):
        files.read("keys/a.pub", trust)
    keep_files(snapshot, FILES)
    assert files.read("keys/a.pub", trust) == b"one"


def test_an_older_snapshot_keeps_its_files_until_the_new_one_is_in_place(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.json"
    first = keep_files(snapshot, FILES)
    second = keep_files(snapshot, {"keys/a.pub": b"three"})
    assert {path.name for path in files_folder(snapshot).iterdir()} == first | second
    drop_files(snapshot, second)
    assert {path.name for path in files_folder(snapshot).iterdir()} == second


def test_without_such_files_there_is_no_folder(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.json"
    drop_files(snapshot, keep_files(snapshot, {"people.json": b"{}"}))
    assert not files_folder(snapshot).exists()
