"""`placet sign` as the gate's own machine runs it, after two people approved that signature."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from signing_people import SLSA_V1, Workshop

from placet.adapters.sqlite.ledger import declare_new_birth
from placet.ceremony.request import build_request
from placet.core.decode import Object
from placet.core.encoding import sha256_hex
from placet.documents.signing import Artifact, build_statement
from placet.gates.signing_plan import SIGN_ACTION
from placet.testing.world import ALICE, BOB, GATE, World, artifact

SERVICE = "https://signer.example.com/release"
TARGET = "pkg:pypi/app"
POLICY = f"""
[[rule]]
action = "{SIGN_ACTION}"
target = "pkg:**"
level = 1
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false
max_window = "1h"
"""


class Signed(NamedTuple):
    """Where `placet sign` put what it signed."""

    signature: Path
    reference: Path


def sign_with_placet(workshop: Workshop, folder: Path, predicate: Object | None) -> Signed:
    """Has two people approve a signature, and runs `placet sign` as the gate's own machine."""
    world = World(seed=b"sign for others", policy=POLICY, now=int(time.time()) - 120)
    definition = files("placet.actions").joinpath("sign", "v1.json").read_bytes()
    world.more_files = {"actions/sign/v1.json": definition}
    name, data = workshop.artifact.name, workshop.artifact.read_bytes()
    parameters: Object = {"form": "artifact"}
    options: list[str | Path] = []
    if predicate is not None:
        written = json.dumps(predicate).encode()
        statement = build_statement((Artifact(name, sha256_hex(data)),), SLSA_V1, written)
        digest = {"sha256": sha256_hex(statement)}
        parameters = {"form": "statement", "statement": {"predicateType": SLSA_V1, "digest": digest}}
        (folder / "statement.json").write_bytes(statement)
        options = ["--statement", folder / "statement.json"]
    ask = world.ask(SIGN_ACTION, TARGET, parameters, [artifact(name, data)], now=world.now)
    request = build_request(ask, trust=world.trust())
    answers = world.bundle(request, ALICE, BOB)
    inputs = {"trust.json": world.snapshot(), "app.intent.json": answers}
    inputs["token"] = workshop.sigstore.token(SERVICE).encode()
    for file, content in inputs.items():
        (folder / file).write_bytes(content)
    declare_new_birth(folder / "ledger.sqlite3", now=world.now - 1000)
    command: list[str | Path] = [Path(sys.executable).parent / "placet", "sign", "--output", folder, *options]
    command += ["--intent", folder / "app.intent.json", "--trust", folder / "trust.json", "--gate", GATE]
    command += ["--ledger", folder / "ledger.sqlite3", "--identity-token-file", folder / "token"]
    command += ["--sigstore-config", workshop.files / "trust_config_v2.json", workshop.artifact]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Signed(folder / f"{name}.sigstore.json", folder / f"{name}.reference.sigstore.json")
