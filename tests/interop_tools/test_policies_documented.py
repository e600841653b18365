"""The commands of examples/policies/README.md run as they are written, and end in what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from other_tools import OtherTools
from test_policy_engines import POLICIES, ask_opa

from placet.testing.world import ALICE, BOB, World


def test_the_commands_lead_from_an_approval_to_a_decision(
    tools: OtherTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (POLICIES / "README.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (question,) = re.findall(r"```jq\n(.*?)```", text, re.DOTALL)
    *lines, opa = block.splitlines()
    world = World(seed=b"policies", now=int(time.time()) - 120)
    request = world.request_release({"app.whl": b"a wheel"}, target="pkg:pypi/app", now=world.now)
    (tmp_path / "app.whl").write_bytes(b"a wheel")
    (tmp_path / "app.intent.json").write_bytes(world.bundle(request, ALICE, BOB))
    (tmp_path / "trust.json").write_bytes(world.snapshot())
    (tmp_path / "input.jq").write_text(question)
    path = f"{Path(sys.executable).parent}:{tools.path('cosign').parent}:{os.environ['PATH']}"
    settings = {"PATH": path, "PLACET_TRUST": str(tmp_path / "trust.json"), "PLACET_GATE": "prod-eu"}

    def shell(line: str) -> None:
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    shell("placet verdict init --key key.pem && mv key.pub verdict.pub")
    monkeypatch.setenv("PLACET_VERDICT_KEY", str(tmp_path / "key.pem"))
    for line in lines:
        shell(line)
    document = opa.split()[-1].removeprefix("data.")
    shutil.copy(POLICIES / "verdict.rego", tmp_path)
    asked = json.loads((tmp_path / "input.json").read_text())
    assert ask_opa(tools, document, asked) is True, ask_opa(tools, "placet.verdict.missing", asked)
    assert ask_opa(tools, document, asked | {"wanted": asked["wanted"] | {"target": "pkg:pypi/b"}}) is False
