"""`make demo` keeps its promises: the whole story in real processes, with and without a browser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tell(folder: Path, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/demo.py"), *flags],
        env=os.environ | {"PLACET_DEMO_FOLDER": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,  # the issue's own promise
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def check_story(story: str) -> None:
    for promise in (
        "ALLOWED: alice@example.com and bob@example.com approved exactly this.",
        "INTENT_LEVEL_1 (Bound)",
        "level 2 needs hardware",
        "already-used",
        "log-proof-invalid",
        "Logged    alice@example.com: entry 0",
        "ALL WELL: 3 new entries checked",
        "artifact-mismatch",
        "2 of 2 people: alice@example.com bob@example.com",
        "ssh-keygen -Y verify",
    ):
        assert promise in story, promise


@pytest.mark.browser
@pytest.mark.interop
def test_the_story_in_a_real_browser(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    for tool in ("chromium", "ssh-keygen", "jq"):
        require_tool(tool)
    story = tell(tmp_path / "demo", "--headless")
    check_story(story)
    assert "real headless Chromium" in story
    assert (tmp_path / "demo/approval-page.png").stat().st_size > 10_000


@pytest.mark.interop
def test_the_story_with_software_keys(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    for tool in ("ssh-keygen", "jq"):
        require_tool(tool)
    folder = tmp_path / "demo"
    story = tell(folder, "--no-browser")
    check_story(story)
    assert "software keys from placet.testing stand in" in story
    # The lines that it prints for anybody are lines that work.
    lines = story.partition("By hand, for the first signature:")[2].splitlines()
    script = "\n".join(line.strip().removeprefix("| ") for line in lines if line.strip().startswith("|"))
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'Good "intent-v1@placet.dev" signature for' in done.stdout
