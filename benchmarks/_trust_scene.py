"""A trust root of any size, published as administrators would, for the benchmarks of trust."""

from __future__ import annotations

import json
import time
from pathlib import Path

from placet.adapters.tuf.publish import publish
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import attach_signature, pending_messages
from placet.adapters.tuf.trust import make_administrator
from placet.core.sshsig import NAMESPACE_TRUST
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.world import World

ADMINISTRATORS = 3
THRESHOLD = 2
RULES_PER_SCOPE = 20
RULE = """
[[rule]]
action = "https://placet.dev/actions/deploy/v1"
target = "k8s://scope-{scope}/ns/app-{rule}/**"
level = 2
quorum = {{ threshold = 2, of = ["group:team-{scope}", {{ threshold = 1, of = ["group:release"] }}] }}
exclude_requester = true
distinct_terminals = true
max_window = "1h"
"""


def make_files(people: int, rules: int = 0) -> dict[str, bytes]:
    """Returns the target files of a deployment with so many people, a key each, and so many more rules."""
    world = World()
    for number in range(len(world.keys), people):
        person = f"approver-{number}@example.com"
        world.keys[person] = SoftWebAuthn(
            rp_id=world.rp_id, web_origin=world.origin("t1"), seed=person.encode()
        )
        world.groups[person] = ["release", f"team-{number % 10}"]
    files = world.files()
    scopes = json.loads(files["scopes.json"])["scopes"]
    for scope in range(-(-rules // RULES_PER_SCOPE)):
        count = min(RULES_PER_SCOPE, rules - scope * RULES_PER_SCOPE)
        text = "".join(RULE.format(scope=scope, rule=rule) for rule in range(count))
        files[f"policy/scope{scope}.toml"] = text.encode()
        scopes[f"scope{scope}"] = [f"k8s://scope-{scope}/**"]
    files["scopes.json"] = json.dumps({"scopes": scopes}).encode()
    return files


def publish_files(folder: Path, files: dict[str, bytes]) -> tuple[Path, str]:
    """Publishes files under a quorum of software keys; returns the folder and the root's SHA-256."""
    now = int(time.time())
    keys = {f"admin-{number}@example.com": SoftSk() for number in range(ADMINISTRATORS)}
    repository = TrustRepository.create(
        folder / "repository",
        files=files,
        administrators=[
            make_administrator(person, key.wire, kind=key.kind, origins=(), uv=True)
            for person, key in keys.items()
        ],
        threshold=THRESHOLD,
        now=now,
    )
    for key in list(keys.values())[:THRESHOLD]:
        for role, message in pending_messages(repository):
            attach_signature(repository, role, key.keyid, key.sign(NAMESPACE_TRUST, message))
    return repository.public_folder, publish(repository, now=now).root_sha256
