"""What the tier fetches is locked by hash, and no lock names where it is fetched from."""

from __future__ import annotations

import json
import re
from pathlib import Path

from other_tools import OtherTools

HERE = Path(__file__).parent


def test_every_npm_package_is_locked_by_hash_and_by_no_host() -> None:
    lock = json.loads((HERE / "node" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not [name for name, entry in packages.items() if "resolved" in entry]


def test_every_wheel_is_locked_by_hash() -> None:
    text = re.sub(r"#.*|\\\n", "", (HERE / "requirements.txt").read_text())
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines
    assert all("==" in line and "--hash=sha256:" in line for line in lines)


def test_tools_are_of_the_generation_that_is_meant(tools: OtherTools) -> None:
    """Older ones, such as Debian stable's, read neither Rekor v2 nor the newest bundles."""
    packages = (tools.cache / "debian" / "packages").read_text()
    assert int(re.search(r"^cosign_(\d+)\.", packages, re.MULTILINE)[1]) >= 3
    assert tools.run(tools.cache / "node" / "node", "--version").output.startswith("v22.")
