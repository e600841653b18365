"""What all tests share.

A tool that is missing skips its test on a developer's machine, with the package that has it;
under ``CI=true`` it fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from placet.testing import ToolMissing
from placet.testing.postgres import PostgresServer, start_postgres

# The contracts are shipped; here their assertions explain themselves all the same.
pytest.register_assert_rewrite("placet.testing.contracts")

# Tests must not read or write the developer's own trust, ledger or configuration.
_PRIVATE = ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
_SETTINGS = (
    "PLACET_TRUST",
    "PLACET_TRUST_SOURCE",
    "PLACET_GATE",
    "PLACET_RELAY",
    "PLACET_LEDGER",
    "PLACET_STORE",
)

PACKAGES = {
    "chromium": "chromium",
    "ssh-keygen": "openssh-client",
    "jq": "jq",
    "git": "git",
    "cc": "gcc",
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
    message = f"{name} is missing; install the Debian package {package}"
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
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL for all tests that need one; each makes a database of its own there.

    Whoever stops or kills a server starts another one: this one is everybody's.
    """
    try:
        with start_postgres() as server:
            yield server
    except ToolMissing as error:
        missing_tool(error.tool, error.package)
