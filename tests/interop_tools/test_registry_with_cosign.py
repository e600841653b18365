"""An image in a registry, between cosign and us: each finds what the other attached.

With Debian's docker-registry, which knows no referrers, and with one that does.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from other_tools import OtherTools
from signing_people import JOB, JOB_IDENTITY, PREDICATE, Workshop

from placet.adapters.bounded_http import BoundedHttp
from placet.adapters.oci.client import RegistryClient
from placet.adapters.oci.reference import parse_reference
from placet.adapters.trust_files import keep_files
from placet.adapters.verdict_key import VerdictKey
from placet.cli import main
from placet.core.bundle import parse_request
from placet.core.statement import parse_statement
from placet.testing import world as worlds
from placet.testing.private_sigstore import GITHUB_ISSUER
from placet.testing.registry import MANIFEST, SoftRegistry, debian_registry, image_manifest
from placet.testing.world import DEPLOY_TARGET, GATE, World

VSA = "https://slsa.dev/verification_summary/v1"
POLICY = """
[[rule]]
action = "https://placet.dev/actions/deploy/v1"
target = "k8s://**"
level = 1
quorum = { threshold = 1, of = ["group:release"] }
evidence = [{ kind = "slsa-provenance", source = "git+https://github.com/octo/app", builders = [
  { id = "https://github.com/actions/runner/github-hosted", instance = "sigstore/trusted_root.json" },
] }]
"""


@pytest.fixture(params=["debian", "referrers"])
def image(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    require_tool: Callable[[str], str],
) -> Iterator[str]:
    """An image by digest, in a registry."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    if request.param == "referrers":
        with SoftRegistry() as registry:
            yield push_image(registry.host)
        return
    require_tool("docker-registry")
    (tmp_path / "registry").mkdir()
    with debian_registry(tmp_path / "registry") as host:
        yield push_image(host)


def push_image(host: str) -> str:
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    )
    with BoundedHttp(seconds=30) as http:
        client = RegistryClient(parse_reference(f"{host}/team/app"), http)
        value = image_manifest(client.put_blob(config.encode()), client.put_blob(b"layer"))
        value["config"]["size"] = len(config)
        content = json.dumps(value).encode()
        client.put_manifest(content, media_type=MANIFEST, tag="1.0")
    return f"{host}/team/app@sha256:{hashlib.sha256(content).hexdigest()}"


def verify_attestation(tools: OtherTools, workshop: Workshop, image: str, identity: str) -> bool:
    return tools.cosign(
        "verify-attestation",
        *("--type", VSA, "--trusted-root", workshop.files / "trusted_root.json"),
        *("--certificate-identity", identity, "--certificate-oidc-issuer", GITHUB_ISSUER),
        *("--use-signed-timestamps", "--allow-http-registry", image),
    ).accepted


def test_cosign_finds_a_verdict_that_we_attach(tools: OtherTools, workshop: Workshop, image: str) -> None:
    assert not verify_attestation(tools, workshop, image, JOB_IDENTITY)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": {"sha256": image.rpartition(":")[2]}}],
        "predicateType": VSA,
        "predicate": {"verificationResult": "PASSED"},
    }
    Path("vsa.sigstore.json").write_bytes(workshop.sigstore.sign_statement(JOB, statement))
    assert main(["attach", image, "vsa.sigstore.json"]) == 0
    assert verify_attestation(tools, workshop, image, JOB_IDENTITY)
    assert not verify_attestation(tools, workshop, image, "mallory@example.com")


def test_cosign_finds_a_verdict_of_a_gates_key(tools: OtherTools, image: str) -> None:
    """As `placet verify --verdict` writes it, and without any Sigstore."""
    key, other = (VerdictKey.create(Path(f"{name}.pem").resolve()) for name in ("gate", "other"))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": {"sha256": image.rpartition(":")[2]}}],
        "predicateType": VSA,
        "predicate": {"verificationResult": "PASSED", "verifiedLevels": ["INTENT_LEVEL_2"]},
    }
    Path("vsa.sigstore.json").write_bytes(key.sign(statement, as_bundle=True))
    Path("other.pub").write_bytes(other.public_pem)
    Path("gate.pub").write_bytes(key.public_pem)
    assert main(["attach", image, "vsa.sigstore.json"]) == 0
    for name, accepted in (("gate.pub", True), ("other.pub", False)):
        words = ["verify-attestation", "--key", Path(name).resolve(), "--type", VSA, "--insecure-ignore-tlog"]
        assert tools.cosign(*words, "--allow-http-registry", image).accepted == accepted


@pytest.mark.parametrize("form", ["bundle", "tag"])
def test_we_find_provenance_that_cosign_attached(
    tools: OtherTools, workshop: Workshop, image: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bundle on the image, and in the form that cosign had before."""
    Path("predicate.json").write_text(json.dumps(PREDICATE))
    Path("token").write_text(workshop.sigstore.token(JOB))
    files = workshop.files
    old = [
        *("--new-bundle-format=false", "--use-signing-config=false"),
        *("--fulcio-url", workshop.server.address, "--rekor-url", workshop.server.address),
    ]
    new: list[str | Path] = ["--signing-config", files / "signing_config_v2.json"]
    signed = tools.cosign(
        *("attest", "--yes", "--trusted-root", files / "trusted_root.json", "--allow-http-registry"),
        *(new if form == "bundle" else old),
        *("--identity-token", Path("token").resolve(), "--predicate", Path("predicate.json").resolve()),
        *("--type", "slsaprovenance1", image),
    )
    assert signed.accepted, signed.said
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    world = World(policy=POLICY)
    world.expires_at = worlds.NOW + 86_400
    world.more_files["sigstore/trusted_root.json"] = (files / "trusted_root.json").read_bytes()
    Path("snapshot.json").write_bytes(world.snapshot())
    keep_files(Path("snapshot.json"), world.files())
    words = ["request", "deploy", image, "--to", DEPLOY_TARGET, "--trust", "snapshot.json", "--gate", GATE]
    assert main([*words, "--file", "a.request.json"]) == 0
    request = parse_request(Path("a.request.json").read_bytes())
    (reference,) = parse_statement(request.payload).evidence
    assert reference.name == "slsa-provenance"
