"""`placet trust refresh` remembers where it was; `placet trust show` speaks to ssh-keygen."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet.adapters.paths import snapshot_path
from placet.cli import _trust_gate, main


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each refresh was made from; the refresh itself is tests/adapters/test_tuf_refresh.py's."""
    from placet.adapters.tuf_refresh import Refreshed
    from placet.testing.world import World

    sources: list[str] = []
    world = World()

    def refresh(source: str, snapshot: Path, **_words: object) -> Refreshed:
        sources.append(source)
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.write_bytes(world.snapshot())
        return Refreshed(world.trust(), world.versions, world.expires_at, True)

    monkeypatch.setattr(_trust_gate, "refresh", refresh)
    monkeypatch.chdir(tmp_path)
    return sources


def test_refresh_remembers_its_source_beside_the_snapshot(
    published: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["trust", "refresh"]) == 2
    assert main(["trust", "refresh", "--from", "web"]) == 0
    assert main(["trust", "refresh"]) == 0
    assert main(["trust", "refresh", "--from", "https://trust.example"]) == 0
    assert main(["trust", "refresh"]) == 0
    assert main(["trust", "refresh", "--to", "elsewhere.json"]) == 2
    assert published == ["web", str(tmp_path / "web"), *["https://trust.example"] * 2]
    assert snapshot_path().with_suffix(".source").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("PLACET_TRUST_SOURCE", "https://set.example")
    assert main(["trust", "refresh"]) == 0
    assert published[-1] == "https://set.example"
