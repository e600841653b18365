"""One real relay behind all hostile ones: starting a process for each would take longer than the attacks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_world import Place, hurry, quiet_port

from placet.testing.hostile_relay import HostileRelay

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from relay_process import running


@pytest.fixture(scope="session")
def real_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("real")) as process:
        yield process.url


@pytest.fixture
def place(real_relay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A deployment whose relay is hostile, and honest until a test says which lies it tells."""
    hurry(monkeypatch)
    with HostileRelay(real_relay, hold=False) as relay:
        place = Place(real_relay, relay, tmp_path, quiet_port())
        yield place
        place.close()
