"""`placet attach` and `placet fetch`: approvals and verdicts on images in registries."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from placet.adapters.bounded_http import BoundedHttp
from placet.adapters.oci.client import RegistryClient
from placet.adapters.oci.reference import parse_reference
from placet.adapters.oci.referrers import find_subject, list_referrers
from placet.ceremony.publish import add_answer, empty_bundle
from placet.cli import main
from placet.core.bundle import BUNDLE_MEDIA_TYPE, encode_bundle, parse_bundle
from placet.core.encoding import encode_canonical
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE
from placet.testing import world as worlds
from placet.testing.private_sigstore import PrivateSigstore, github_claims
from placet.testing.registry import MANIFEST, SoftRegistry, debian_registry, image_manifest
from placet.testing.world import ALICE, BOB, DEPLOY_TARGET, GATE, World, artifact

VSA = "https://slsa.dev/verification_summary/v1"
LAYER = b"layer"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)


@pytest.fixture(params=["referrers", "tags", "debian"])
def host(request: pytest.FixtureRequest, tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[str]:
    if request.param == "debian":
        require_tool("docker-registry")
        (tmp_path / "registry").mkdir()
        with debian_registry(tmp_path / "registry") as address:
            yield address
        return
    with SoftRegistry(referrers=request.param == "referrers") as registry:
        yield registry.host


def push_image(host: str) -> bytes:
    with BoundedHttp(seconds=30) as http:
        client = RegistryClient(parse_reference(f"{host}/team/app"), http)
        manifest = json.dumps(image_manifest(client.put_blob(b"{}"), client.put_blob(LAYER))).encode()
        client.put_manifest(manifest, media_type=MANIFEST, tag="1.0")
    return manifest


def approve(world: World, manifest: bytes, path: str, *, ago: int = 0, **more: Any) -> bytes:
    """Writes an approval to deploy an image, with trust metadata inside as `--with-trust` puts it."""
    at = worlds.NOW - ago
    request = world.request_deploy(image=manifest, now=at, **more)
    bundle = empty_bundle(request)
    for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
        bundle = add_answer(bundle, world.approve(request, person, terminal=terminal, decided_at=at + 10))
    value = json.loads(encode_bundle(bundle))
    value["trust"]["metadata"] = {"1.root.json": "cGVvcGxl"}
    value["trust"]["targets"] = {"people.json": "cGVvcGxl"}
    content = encode_canonical(value)
    Path(path).write_bytes(content)
    return content


def digest_of(manifest: bytes) -> str:
    return f"sha256:{artifact('', manifest)['digest']['sha256']}"


def test_an_approval_goes_to_the_registry_and_back(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the list of people, unless that is asked for; and the gate accepts what comes back."""
    world = World()
    world.expires_at = worlds.NOW + 86_400
    Path("snapshot.json").write_bytes(world.snapshot())
    manifest = push_image(host)
    image = f"{host}/team/app@{digest_of(manifest)}"
    content = approve(world, manifest, "app.intent.json")
    assert main(["attach", image, "app.intent.json"]) == 0
    assert f"Attached app.intent.json to {image}" in capsys.readouterr().out
    assert main(["fetch", f"{host}/team/app:1.0", "-o", "fetched.intent.json"]) == 0
    assert "not verified" in capsys.readouterr().out
    fetched = Path("fetched.intent.json").read_bytes()
    assert b"people.json" in content
    assert b"people.json" not in fetched
    assert set(json.loads(fetched)["trust"]) == {"versions"}
    assert parse_bundle(fetched) == parse_bundle(content)
    words = [
        "verify",
        "fetched.intent.json",
        "--trust",
        "snapshot.json",
        "--gate",
        GATE,
        "--action",
        "deploy",
    ]
    assert main([*words, "--target", DEPLOY_TARGET, "--artifact", digest_of(manifest)]) == 0
    with BoundedHttp(seconds=30) as http:
        client = RegistryClient(parse_reference(image), http)
        listed = list_referrers(client, digest_of(manifest))
        assert [d.artifact_type for d in listed] == [BUNDLE_MEDIA_TYPE]
    capsys.readouterr()
    assert main(["attach", image, "app.intent.json", "--with-trust", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["attached"]) == 1
    with BoundedHttp(seconds=30) as http:
        client = RegistryClient(parse_reference(image), http)
        assert len(list_referrers(client, digest_of(manifest))) == 2


def test_several_approvals_of_one_image(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    manifest = push_image(host)
    image = f"{host}/team/app@{digest_of(manifest)}"
    assert main(["fetch", image]) == 3
    assert "No approval hangs on" in capsys.readouterr().err
    for number, (gate, ago) in enumerate([(GATE, 0), ("prod-us", 0), (GATE, 7200)]):
        approve(world, manifest, f"{number}.intent.json", gate=gate, ago=ago)
    assert main(["attach", image, "0.intent.json", "1.intent.json", "2.intent.json"]) == 0
    assert main(["fetch", image]) == 2
    said = capsys.readouterr()
    assert "2 approvals hang on" in said.err
    assert "--request ID" in said.err
    assert main(["fetch", image, "--list", "--json", "--all"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["verified"] is False
    assert len(listed["approvals"]) == 3
    assert main(["fetch", image, "--gate", "prod-us", "-o", "us.json"]) == 0
    assert parse_bundle(Path("us.json").read_bytes()) == parse_bundle(Path("1.intent.json").read_bytes())
    oldest = listed["approvals"][-1]["request"]
    assert main(["fetch", image, "--request", oldest[:16], "-o", "one.json"]) == 0
    assert parse_bundle(Path("one.json").read_bytes()) == parse_bundle(Path("2.intent.json").read_bytes())


def test_what_is_not_about_the_image_is_not_attached(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    with SoftRegistry() as registry:
        image = registry.add_image("team/app", tag="1.0")
        approve(world, b"another image", "other.intent.json")
        before = dict(registry.manifests)
        assert main(["attach", f"{registry.host}/team/app:1.0", "other.intent.json"]) == 2
        assert f"is not about {registry.host}/team/app:1.0, which is {image}" in capsys.readouterr().err
        assert registry.manifests == before


def test_an_approval_that_lies_about_its_image(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever may write to the registry can hang anything on an image: what is about another is left out."""
    world = World()
    with SoftRegistry() as registry:
        image = registry.add_image("team/app")
        other = approve(world, b"another image", "other.intent.json")
        for content, artifact_type in (
            (other, BUNDLE_MEDIA_TYPE),
            (b"nonsense", BUNDLE_MEDIA_TYPE),
            (b"{}", ""),
        ):
            value = image_manifest(registry.add_blob(b"{}"), registry.add_blob(content))
            value["layers"][0]["mediaType"] = artifact_type or "text/plain"
            value["subject"] = {"mediaType": MANIFEST, "digest": image, "size": 1}
            if artifact_type:
                value["artifactType"] = artifact_type
            registry.add_manifest("team/app", value)
        assert main(["fetch", f"{registry.host}/team/app@{image}"]) == 3
        said = capsys.readouterr().err
        assert "is about other artifacts" in said
        assert "is no approval of" in said
        assert said.count("Note:") == 2


def sigstore_bundle(image: str, **changes: object) -> dict[str, object]:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": {"sha256": image.removeprefix("sha256:")}}],
        "predicateType": VSA,
        "predicate": {"verificationResult": "PASSED"},
    }
    signed = PrivateSigstore(b"attach").sign_statement(github_claims("octo/app"), statement)
    value: dict[str, object] = json.loads(signed)
    return value | changes


def test_a_verdict_goes_where_cosign_looks(host: str) -> None:
    manifest = push_image(host)
    image = digest_of(manifest)
    Path("vsa.sigstore.json").write_text(json.dumps(sigstore_bundle(image)))
    assert main(["attach", f"{host}/team/app:1.0", "vsa.sigstore.json"]) == 0
    with BoundedHttp(seconds=30) as http:
        client = RegistryClient(parse_reference(f"{host}/team/app"), http)
        assert find_subject(client, "", "1.0").digest == image
        (descriptor,) = list_referrers(client, image)
    assert descriptor.artifact_type == SIGSTORE_MEDIA_TYPE
    assert descriptor.annotations["dev.sigstore.bundle.predicateType"] == VSA


def test_what_could_spoil_the_image_for_sigstores_tools_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One unparsable document under Sigstore's type, and some admission controllers refuse the image."""
    with SoftRegistry() as registry:
        image = registry.add_image("team/app")
        good = sigstore_bundle(image)
        envelope = good["dsseEnvelope"]
        assert isinstance(envelope, dict)
        signature = envelope["signatures"][0]
        bad = [
            {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"},
            {"verificationMaterial": {"publicKey": {}, "certificate": {}}},
            {"verificationMaterial": {}},
            {"dsseEnvelope": {**envelope, "signatures": [signature, signature]}},
            {"dsseEnvelope": {**envelope, "signatures": []}},
            {"dsseEnvelope": {**envelope, "payloadType": "text/plain"}},
            {"dsseEnvelope": {**envelope, "payload": "e30="}},
            {"dsseEnvelope": None},
        ]
        before = dict(registry.manifests)
        for changes in bad:
            Path("bad.json").write_text(json.dumps(good | changes))
            assert main(["attach", f"{registry.host}/team/app@{image}", "bad.json"]) == 1, changes
        assert registry.manifests == before
        assert "placet:" in capsys.readouterr().err


def test_words_that_mean_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.json").write_text("{}")
    assert main(["attach", "registry.example/app", "missing.json"]) == 2
    assert main(["attach", "127.0.0.1:1/app", "x.json"]) == 1
    assert main(["fetch", "No Image"]) == 2
    assert main(["fetch", "127.0.0.1:1/app"]) == 3
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert "Nothing was fetched." in said
