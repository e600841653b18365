"""What all tests share.

A tool that is missing skips its test on a developer's machine, with the package that has it;
under ``CI=true`` it fails.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from placet.testing import ToolMissing
from placet.testing.object_storage import ObjectStorage, start_object_storage
from placet.testing.postgres import PostgresServer, run_sql, start_postgres

# The contracts are shipped; here their assertions explain themselves all the same.
pytest.register_assert_rewrite("placet.testing.contracts")

# No test is timed: a busy machine would turn it red.
settings.register_profile("untimed", parent=settings(), deadline=None)
settings.load_profile("untimed")

# A shell ignores it for what it starts in the background, and whatever inherits that cannot be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests must not read or write the developer's own trust, ledger or configuration.
_PRIVATE = ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
_SETTINGS = (
    "PLACET_TRUST",
    "PLACET_TRUST_SOURCE",
    "PLACET_GATE",
    "PLACET_RELAY",
    "PLACET_RELAY_TOKEN",
    "PLACET_RELAY_TOKEN_FILE",
    "PLACET_RELAY_CA_FILE",
    "PLACET_LEDGER",
    "PLACET_STORE",
    "PLACET_VERDICT_KEY",
    "PLACET_USE_KEY",
)

PACKAGES = {
    "chromium": "chromium",
    "ssh-keygen": "openssh-client",
    "jq": "jq",
    "git": "git",
    "cc": "gcc",
    "openssl": "openssl",
    "fido2-token": "fido2-tools",
}


@pytest.fixture(autouse=True)
def private_homes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points every XDG directory at a fresh folder and clears placet's own settings."""
    home = tmp_path_factory.mktemp("home")
    for variable in _PRIVATE:
        monkeypatch.setenv(variable, str(home / variable.lower()))
    for variable in _SETTINGS:
        monkeypatch.delenv(variable, raising=False)


def missing_tool(name: str, package: str) -> None:
    """Fails under CI, skips elsewhere: a tool that a test needs is not here."""
    source = package if " " in package else f"the Debian package {package}"
    message = f"{name} is missing; install {source}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def require_tool() -> Callable[[str], str]:
    """Returns a function that gives a tool's path."""

    def require(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            missing_tool(name, PACKAGES.get(name, name))
        return str(path)

    return require


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of signed material that others made; it is not part of the project."""
    place = os.environ.get("PLACET_TEST_DATA")
    if place and Path(place).is_dir():
        return Path(place)
    message = "PLACET_TEST_DATA names no folder with real bundles (CONTRIBUTING.md says what is in it)"
    if os.environ.get("CI") == "true" and place:
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL for all tests that need one; who stops or kills a server takes `mortal_postgres`."""
    yield from _postgres()


@pytest.fixture(scope="session")
def mortal_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may kill; it starts it again before it ends."""
    yield from _postgres()


def _postgres() -> Iterator[PostgresServer]:
    try:
        with start_postgres() as server:
            yield server
    except ToolMissing as error:
        missing_tool(error.tool, error.package)


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """A real S3 server for all tests that need one; each takes a prefix of its own."""
    try:
        with start_object_storage() as server:
            yield server
    except ToolMissing as error:
        missing_tool(error.tool, error.package)


@pytest.fixture(scope="module")
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a database for a module's tests."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def empty_database(postgres_database: str) -> str:
    """The same without placet's tables: making them anew is quicker than a database for each test."""
    run_sql(postgres_database, "DROP SCHEMA IF EXISTS placet_relay, placet_ledger CASCADE")
    return postgres_database
