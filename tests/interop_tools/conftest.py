"""What the interoperability tier shares: the tools of others, or a skip that says how to get them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from other_tools import OtherTools, default_cache
from signing_people import Workshop

from placet.testing.private_sigstore import PrivateSigstoreServer


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> OtherTools:
    """The tools that scripts/setup-interop fetched; they run with an empty home."""
    cache = default_cache()
    missing = [part for part in ("debian", "python", "node") if not (cache / f"{part}.stamp").is_file()]
    if missing:
        message = "the tools of others are not here; run: scripts/setup-interop"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return OtherTools(cache, tmp_path_factory.mktemp("home-of-others"))


@pytest.fixture(scope="session")
def workshop(tools: OtherTools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A private Sigstore on loopback, and one artifact to sign."""
    with PrivateSigstoreServer(intermediate=True) as server:
        yield Workshop(server, tools, tmp_path_factory.mktemp("workshop"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("real_stack") is None:
            item.add_marker("interop_tools")
