"""One browser for all tests of the terminal's pages; each test has a terminal of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_world import PageWorld, free_port

from placet.testing import ToolMissing
from placet.testing.chromium import ChromiumSession, launch_chromium


@pytest.fixture(scope="session")
def chromium() -> Iterator[ChromiumSession]:
    try:
        with launch_chromium(viewport={"width": 1000, "height": 800}) as session:
            yield session
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(e))


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    with free_port() as listeners:
        yield listeners


@pytest.fixture
def world(sockets: list[socket.socket]) -> PageWorld:
    return PageWorld(sockets[0].getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
