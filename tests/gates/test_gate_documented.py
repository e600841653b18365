"""The commands of docs/how-to-run-a-gate.md run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, TrustWorld

from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import encode_bundle, parse_request
from placet.testing import world as worlds
from placet.testing.world import ALICE, BOB

GUIDE = Path(__file__).parents[2] / "docs" / "how-to-run-a-gate.md"
REQUEST = (
    "placet request run --for host://build-1 --input app.whl --file app.request.json -- /bin/cat app.whl"
)


class Gate:
    """A user on a gate's machine, with a shell."""

    def __init__(self, home: Path, trust: TrustWorld, root_sha256: str) -> None:
        self.home = home
        paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PLACET_"))}
        self.env = {**kept, "HOME": str(home), "PATH": paths, "WHERE": str(trust.public), "HEX": root_sha256}

    def shell(self, line: str) -> str:
        done = subprocess.run(
            ["sh", "-c", line], cwd=self.home, env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


def test_the_guide_s_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 5)
    trust = TrustWorld(tmp_path / "trust")
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    gate = Gate(home, trust, trust.publish(ANNA, BEN).root_sha256)
    text = GUIDE.read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) > 8

    first, looking = 2, lines.index("placet verify app.intent.json --unsafe-any-action")
    for line in lines[:first]:
        gate.shell(line)
    (home / ".config" / "placet").mkdir(parents=True)
    (home / ".config" / "placet" / "config.toml").write_text(toml)
    for line in lines[first:looking]:
        gate.shell(line)
    time.sleep(1.1)  # the ledger accepts what is requested from the next second on
    (home / "app.whl").write_bytes(b"wheel")
    gate.shell(REQUEST)
    request = parse_request((home / "app.request.json").read_bytes())
    refreshed = trust.refresh(root_sha256=gate.env["HEX"])
    trust.world.versions, trust.world.expires_at = refreshed.versions, refreshed.expires_at
    bundle = empty_bundle(request)
    for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
        answer = trust.world.approve(request, person, terminal=terminal, decided_at=int(time.time()))
        bundle = add_answer(bundle, answer)
    (home / "app.intent.json").write_bytes(encode_bundle(bundle))
    said = {line: gate.shell(line) for line in lines[looking:]}
    assert "wheel" in said[next(line for line in lines if "--event-id" in line)]
    assert "exit code 0" in said["placet ledger show"]
