"""Missing tools skip a test on a developer's machine and fail it in CI."""

import os
from collections.abc import Generator

import pytest

from placet.testing import ToolMissing


def _skip_outside_ci(error: ToolMissing) -> None:
    if os.environ.get("CI") == "true":
        raise error
    pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    try:
        return (yield)
    except ToolMissing as error:
        _skip_outside_ci(error)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    try:
        return (yield)
    except ToolMissing as error:
        _skip_outside_ci(error)
        raise
