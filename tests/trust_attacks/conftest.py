"""Fixtures of the trust attacks: one HTTP server for all, and a gate for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trust_simulator import Gate, Simulator, TrustServer, trust_server


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of refreshes would wait for the disk; what a power cut leaves cannot be seen here anyway."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="session")
def server() -> Iterator[TrustServer]:
    with trust_server() as running:
        yield running


@pytest.fixture
def repo() -> Simulator:
    return Simulator()


@pytest.fixture(params=["folder", "http"])
def client(request: pytest.FixtureRequest, repo: Simulator, server: TrustServer, tmp_path: Path) -> Gate:
    """A gate that follows `repo` and has refreshed nothing yet: from a folder, and over HTTP."""
    return Gate(repo, tmp_path, server.serve(repo) if request.param == "http" else None)


@pytest.fixture
def http_client(repo: Simulator, server: TrustServer, tmp_path: Path) -> Gate:
    return Gate(repo, tmp_path, server.serve(repo))


@pytest.fixture
def new_client(server: TrustServer, tmp_path: Path) -> Callable[[Simulator], Gate]:
    """Returns a gate for a simulator that the test made itself."""
    return lambda simulator: Gate(simulator, tmp_path, server.serve(simulator))
