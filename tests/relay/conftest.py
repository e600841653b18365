"""One relay for a module's tests: starting a process for each would take longer than they do."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from relay_process import RelayProcess, running

from placet.client import RelayClient


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    # Without limits: these tests are many callers at one address, and about everything else.
    with running(tmp_path_factory.mktemp("relay"), "--no-limits") as process:
        yield process


@pytest.fixture
def http(relay: RelayProcess) -> Iterator[httpx.Client]:
    """Plain HTTP, for what our client would never send."""
    with httpx.Client(base_url=relay.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def client(relay: RelayProcess) -> Iterator[RelayClient]:
    with RelayClient(relay.url) as client:
        yield client
