"""Intent and SLSA level in one decision, with real signatures, and the verdict that says both."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import placet
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier, policy

from placet.adapters.evidence import EvidenceVerifiers
from placet.adapters.trust_files import keep_files
from placet.cli import UserError
from placet.cli._verify_required import _builders
from placet.core.encoding import sha256_hex
from placet.core.evidence.facts import PROVENANCE, SIGSTORE_MEDIA_TYPE, Evidence
from placet.testing.private_sigstore import PrivateSigstoreServer, github_claims
from placet.testing.world import ALICE, BOB, GATE, RELEASE_TARGET, World

WHEEL = b"a wheel"
SOURCE = "https://github.com/octo/app"
BUILDER = "https://github.com/actions/runner/github-hosted"
SERVICE = "https://gates.example.com/prod-eu"
JOB = github_claims("octo/app", ref="refs/tags/v1.0.0")
SLSA = ("--builder", BUILDER, "--source", SOURCE)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"verify slsa") as running:
        yield running


def provenance(builder: str = BUILDER, artifact: bytes = WHEEL) -> dict[str, Any]:
    workflow = {"ref": JOB["ref"], "repository": SOURCE, "path": ".github/workflows/release.yml"}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app.whl", "digest": {"sha256": hashlib.sha256(artifact).hexdigest()}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                "externalParameters": {"workflow": workflow},
                "resolvedDependencies": [
                    {"uri": f"git+{SOURCE}@{JOB['ref']}", "digest": {"gitCommit": JOB["sha"]}}
                ],
            },
            "runDetails": {"builder": {"id": builder}},
        },
    }


class Gate:
    """A release with provenance, approved by two people; the rules ask nothing of its build."""

    def __init__(self, folder: Path, server: PrivateSigstoreServer) -> None:
        self.folder, self.server = folder, server
        now = int(time.time()) - 120
        self.world = World(now=now)
        root = json.dumps(server.sigstore.trusted_root()).encode()
        self.world.more_files["sigstore/trusted_root.json"] = root
        snapshot = folder / "snapshot.json"
        self.world.evidence = EvidenceVerifiers(snapshot)
        keep_files(snapshot, self.world.files())
        snapshot.write_bytes(self.world.snapshot())
        bundle = server.sigstore.sign_statement(JOB, provenance())
        carried = Evidence(sha256_hex(bundle), SIGSTORE_MEDIA_TYPE, bundle)
        request = self.world.request_release({"app.whl": WHEEL}, evidence=[(PROVENANCE, carried)])
        (folder / "app.intent.json").write_bytes(self.world.bundle(request, ALICE, BOB))
        (folder / "app.whl").write_bytes(WHEEL)

    def placet(self, *line: str) -> subprocess.CompletedProcess[str]:
        return placet(self.folder, *line)

    def verify(self, *more: str) -> subprocess.CompletedProcess[str]:
        asked = (
            "--trust",
            "snapshot.json",
            "--gate",
            GATE,
            "--action",
            "release",
            "--target",
            RELEASE_TARGET,
        )
        return self.placet("verify", "app.intent.json", *asked, "--artifact", "app.whl", *more)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, server: PrivateSigstoreServer) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"), server)


def test_intent_and_build_level_are_one_decision(gate: Gate) -> None:
    done = gate.verify("--require-slsa", "3", *SLSA, "--ref", "refs/tags/v*", "--commit", JOB["sha"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ALLOWED: {ALICE} and {BOB} approved exactly this." in done.stdout
    assert "Evidence  slsa-provenance, SLSA Build level 3" in done.stdout
    assert f"built by   {BUILDER}" in done.stdout
    assert "github.com/octo/app" in done.stdout
    said = json.loads(gate.verify("--require-slsa", "3", *SLSA, "--json").stdout)
    (evidence,) = said["evidence"]
    assert (evidence["builder"], evidence["level"], evidence["commit"]) == (BUILDER, 3, JOB["sha"])
    slsa = [f"SLSA_BUILD_LEVEL_{n}" for n in (1, 2, 3)]
    assert said["verifiedLevels"] == ["INTENT_LEVEL_1", *slsa]


@pytest.mark.parametrize(
    ("demand", "reason"),
    [
        (("--builder", f"{BUILDER}s", "--source", SOURCE), "evidence-builder"),
        (("--builder", BUILDER, "--source", "https://github.com/octo/other"), "evidence-source"),
        ((*SLSA, "--ref", "refs/heads/main"), "evidence-source"),
        ((*SLSA, "--commit", "ab" * 20), "evidence-source"),
        ((*SLSA, "--build-type", "https://example.com/build/v1"), "evidence-build-type"),
    ],
)
def test_what_the_build_does_not_meet_denies(gate: Gate, demand: tuple[str, ...], reason: str) -> None:
    done = gate.verify("--require-slsa", "3", *demand, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["reason"]) == (1, reason)
    assert {"expected", "found"} == said["difference"].keys()


@pytest.mark.parametrize(
    ("builder", "level"), [(BUILDER, 2), ({"id": BUILDER}, 2), ({"id": BUILDER, "level": 3}, 3)]
)
def test_a_rule_s_builder_is_trusted_as_far_as_the_rule_asks(builder: Any, level: int) -> None:
    """As the rules themselves read it, where the builder has no level of its own."""
    base = {"min_level": 2, "builders": [builder]}
    assert _builders([], base, level) == [{"id": BUILDER, "level": level}]
    if level < 3:
        with pytest.raises(UserError, match=f"to level {level}"):
            _builders([], base, 3)


def test_the_verdict_says_both_levels(gate: Gate) -> None:
    assert gate.placet("verdict", "init").returncode in (0, 3)
    levels = {}
    for kind, member in (("vsa", "verifiedLevels"), ("svr", "properties")):
        done = gate.verify("--require-slsa", "3", *SLSA, "--verdict", kind, "--verdict-type", kind)
        assert done.returncode == 0, done.stdout + done.stderr
        envelope = json.loads((gate.folder / kind).read_text())
        predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        levels[kind] = predicate[member]
    assert levels["vsa"] == ["INTENT_LEVEL_1", "SLSA_BUILD_LEVEL_3"]
    assert levels["svr"] == ["INTENT_LEVEL_1", *(f"SLSA_BUILD_LEVEL_{n}" for n in (1, 2, 3))]
    # What nobody required was not judged, so it is not claimed.
    gate.verify("--verdict", "plain")
    payload = base64.b64decode(json.loads((gate.folder / "plain").read_text())["payload"])
    assert json.loads(payload)["predicate"]["verifiedLevels"] == ["INTENT_LEVEL_1"]


def test_a_verdict_by_the_gates_identity_at_sigstore(gate: Gate) -> None:
    config = gate.folder / "config.json"
    config.write_text(json.dumps(gate.server.sigstore.client_trust_config()))
    (gate.folder / "token").write_text(gate.server.sigstore.token(SERVICE))
    options = ("--verdict-sign-with", "sigstore", "--sigstore-config", "config.json")
    asked = ("--require-slsa", "3", *SLSA, "--verdict", "v.sigstore.json")
    done = gate.verify(*asked, *options, "--identity-token-file", "token")
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = Bundle.from_json((gate.folder / "v.sigstore.json").read_bytes())
    trusted = ClientTrustConfig.from_json(config.read_text()).trusted_root
    who = policy.Identity(identity=SERVICE, issuer=gate.server.address)
    kind, payload = Verifier(trusted_root=trusted).verify_dsse(bundle, who)
    statement = json.loads(payload)
    assert kind == "application/vnd.in-toto+json"
    assert statement["predicate"]["verifiedLevels"] == ["INTENT_LEVEL_1", "SLSA_BUILD_LEVEL_3"]
    (gate.folder / "v.sigstore.json").unlink()
    nobody = gate.verify(*asked, *options)
    assert (nobody.returncode, "No verdict could be signed" in nobody.stderr) == (3, True)
    (gate.folder / "token").write_text("no token")
    false = gate.verify(*asked, *options, "--identity-token-file", "token")
    assert (false.returncode, "No verdict could be signed" in false.stderr) == (3, True)
    both = gate.verify(*asked, *options, "--verdict-format", "dsse")
    assert (both.returncode, "what comes of it is a bundle" in both.stderr) == (2, True)
    assert not (gate.folder / "v.sigstore.json").exists()
