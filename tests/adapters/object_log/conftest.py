"""A place for one log on the S3 server that all tests share, and wires to it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from object_log_world import Place

from placet.testing.object_storage import ENVIRONMENT, ObjectStorage, StorageWire


@pytest.fixture
def place(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty prefix, whose key the environment holds."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return Place(object_storage, f"test-{secrets.token_hex(8)}").set_up()


@pytest.fixture
def wire(object_storage: ObjectStorage) -> Iterator[Callable[[], StorageWire]]:
    """Makes wires, one for each server of a log."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(StorageWire(object_storage.port))
