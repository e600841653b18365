"""`placet trust set-file`, `remove-file`, `add-action`: what evidence is verified with, kinds of actions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import make_administrator
from placet.cli import main
from placet.testing.authenticator import SoftSk
from placet.testing.private_sigstore import PrivateSigstore
from placet.testing.world import NOW, World


@pytest.fixture
def repository(tmp_path: Path) -> TrustRepository:
    """A draft with what older versions defined, and no more."""
    key = SoftSk("ed25519")
    administrator = make_administrator("ann@example.com", key.wire, kind=key.kind, origins=[], uv=True)
    files = World().files()
    return TrustRepository.create(
        tmp_path / "repository", files=files, administrators=[administrator], threshold=1, now=NOW
    )


def trust(repository: TrustRepository, *words: str) -> int:
    return main(["trust", *words, "--repository", str(repository.path)])


def test_a_sigstore_root_is_pinned_and_given_up_again(
    repository: TrustRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "sigstore/trusted_root.json"
    root = tmp_path / "root.json"
    root.write_text(json.dumps(PrivateSigstore(b"pin").trusted_root()))
    assert trust(repository, "set-file", name, str(root)) == 0
    assert repository.draft_files()[name] == root.read_bytes()
    told = capsys.readouterr().out
    assert "https://sigstore.test" in told and "SHA-256" in told
    assert trust(repository, "remove-file", name) == 0
    assert name not in repository.draft_files()
    assert trust(repository, "remove-file", name) == 2
    assert "There are: none." in capsys.readouterr().err


def test_what_is_no_such_file_is_refused(
    repository: TrustRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = repository.draft_files()
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert trust(repository, "set-file", "sigstore/trusted_root.json", str(other)) == 1
    assert trust(repository, "set-file", "people.json", str(other)) == 1
    assert "sigstore/NAME.json" in capsys.readouterr().err
    assert repository.draft_files() == before


def test_a_layout_with_inspections_is_called_what_it_is(
    repository: TrustRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = {"_type": "layout", "expires": "2030-01-01T00:00:00Z", "steps": [], "inspect": [{"run": ["sh"]}]}
    path = tmp_path / "app.layout"
    path.write_text(json.dumps({"signed": layout, "signatures": []}))
    assert trust(repository, "set-file", "layouts/app.layout", str(path)) == 0
    assert "HAS INSPECTIONS" in capsys.readouterr().out


def test_an_older_trust_root_gains_an_action(
    repository: TrustRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "actions/sign/v1.json" not in repository.draft_files()
    assert trust(repository, "add-action", "sign") == 0
    assert "actions/sign/v1.json" in repository.draft_files()
    assert trust(repository, "add-action", "juggle") == 2
    assert "There are: deploy, release, run, sign." in capsys.readouterr().err
