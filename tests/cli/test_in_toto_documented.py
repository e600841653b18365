"""The commands of docs/how-to-in-toto.md run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from test_in_toto_command import GateShop

from placet.adapters.sqlite.ledger import declare_new_birth
from placet.core.policy import parse_policy
from placet.testing.intoto import WHEEL
from placet.testing.world import ALICE, BOB

GUIDE = Path(__file__).parents[2] / "docs" / "how-to-in-toto.md"


def test_the_guide_s_commands_run(tmp_path: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 8

    shop = GateShop(tmp_path)
    shop.world.gates = [shop.world.gates[0]]
    shop.save_trust()
    home = tmp_path / "home"
    snapshot, ledger = home / "data/placet/trust/snapshot.json", home / "state/placet/gate/ledger.sqlite3"
    snapshot.parent.mkdir(parents=True)
    ledger.parent.mkdir(parents=True)
    snapshot.write_bytes(shop.trust.read_bytes())
    declare_new_birth(ledger, now=shop.world.now - 100)
    (tmp_path / "gated.layout").write_bytes(shop.layout.read_bytes())
    chain = shop.chain
    (tmp_path / "build.layout").write_bytes(chain.signed(chain.layout(), chain.owner))
    shop.layout.unlink()
    target = "pkg:pypi/app"
    shop.approve(shop.world.request_release({"app.whl": WHEEL}, target=target), ALICE, BOB)

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PLACET_"))}
    homes = {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_STATE_HOME": str(home / "state")}
    env = {**kept, **homes, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in lines:
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_the_guide_s_rules_are_rules() -> None:
    rule, evidence = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (parsed,) = parse_policy((rule + evidence).encode(), scope="default", file="policy/default.toml")
    assert parsed.layout == "layouts/app.layout"
    assert [required.kind for required in parsed.evidence] == ["in-toto"]
