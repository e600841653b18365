"""`placet request` and the evidence that rules ask for: found, verified, attached; or said why not."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from placet.adapters.trust_files import keep_files
from placet.cli import main
from placet.cli._evidence import evidence_verifier
from placet.core.bundle import parse_request
from placet.core.evidence.facts import PYPI_MEDIA_TYPE, SIGSTORE_MEDIA_TYPE
from placet.core.statement import parse_statement
from placet.testing import world as worlds
from placet.testing.intoto import Chain, pem
from placet.testing.private_sigstore import PrivateSigstore, github_claims
from placet.testing.registry import MANIFEST, SoftRegistry, image_manifest
from placet.testing.world import DEPLOY_TARGET, GATE, RELEASE_TARGET, World

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILDER = "https://github.com/actions/runner/github-hosted"
WHEEL = b"wheel"
NAME = "app-1.0-py3-none-any.whl"
RULE = """
[[rule]]
action = "https://placet.dev/actions/{action}/v1"
target = "{target}"
level = 1
quorum = {{ threshold = 1, of = ["group:release"] }}
evidence = [{evidence}]
"""
SLSA = (
    '{ kind = "slsa-provenance", builders = [{ id = "'
    + BUILDER
    + '", level = 3, instance = "sigstore/trusted_root.json" }], source = "git+https://github.com/octo/app" }'
)


class Bench:
    """A folder with a snapshot, an artifact, and a Sigstore whose root the trust root names."""

    def __init__(self, folder: Path, evidence: str) -> None:
        self.folder = folder
        self.sigstore = PrivateSigstore(b"request")
        rules = [("release", "pkg:**"), ("deploy", "k8s://**")]
        policy = "".join(RULE.format(action=a, target=t, evidence=evidence) for a, t in rules)
        self.world = World(policy=policy)
        self.world.expires_at = worlds.NOW + 86_400
        root = json.dumps(self.sigstore.trusted_root()).encode()
        self.world.more_files["sigstore/trusted_root.json"] = root
        snapshot = folder / "snapshot.json"
        snapshot.write_bytes(self.world.snapshot())
        keep_files(snapshot, self.world.files())
        (folder / NAME).write_bytes(WHEEL)

    def provenance(
        self, artifact: bytes | str = WHEEL, *, repository: str = "octo/app", name: str = NAME
    ) -> bytes:
        sha256 = artifact if isinstance(artifact, str) else hashlib.sha256(artifact).hexdigest()
        workflow = {
            "ref": "refs/tags/v1.0.0",
            "repository": f"https://github.com/{repository}",
            "path": ".github/workflows/release.yml",
        }
        source = {
            "uri": f"git+https://github.com/{repository}@refs/tags/v1.0.0",
            "digest": {"gitCommit": "f" * 40},
        }
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {"sha256": sha256}}],
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                    "externalParameters": {"workflow": workflow},
                    "resolvedDependencies": [source],
                },
                "runDetails": {"builder": {"id": BUILDER}},
            },
        }
        return self.sigstore.sign_statement(github_claims(repository), statement)

    def beside(self, suffix: str, content: bytes) -> None:
        (self.folder / f"{NAME}{suffix}").write_bytes(content)

    def release(self, *more: str, also: tuple[str, ...] = ()) -> int:
        common = ["--trust", str(self.folder / "snapshot.json"), "--gate", GATE, "--file"]
        words = ["request", "release", str(self.folder / NAME), *also]
        words += ["--to", RELEASE_TARGET, "--version", "1.0"]
        return main([*words, *common, str(self.folder / "a.request.json"), *more])

    def deploy(self, image: str, *more: str) -> int:
        common = ["--trust", str(self.folder / "snapshot.json"), "--gate", GATE, "--file"]
        words = ["request", "deploy", image, "--to", DEPLOY_TARGET]
        return main([*words, *common, str(self.folder / "a.request.json"), *more])

    def sent(self) -> list[tuple[str, str, bytes]]:
        """Name, media type and content of what the request carries; an error where nothing was sent."""
        request = parse_request((self.folder / "a.request.json").read_bytes())
        carried = {evidence.digest: evidence.content for evidence in request.evidence}
        references = parse_statement(request.payload).evidence
        assert len(references) == len(carried)
        return [(ref.name, ref.media_type, carried[ref.digest]) for ref in references]

    def nothing_sent(self) -> bool:
        return not (self.folder / "a.request.json").exists()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    return Bench(tmp_path, SLSA)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with SoftRegistry() as registry:
        yield registry


def test_provenance_beside_a_file_goes_along(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bench.provenance()
    bench.beside(".sigstore.json", bundle)
    assert bench.release() == 0
    assert bench.sent() == [("slsa-provenance", SIGSTORE_MEDIA_TYPE, bundle)]
    said = capsys.readouterr().err
    assert "Evidence: slsa-provenance from" in said
    assert "Note:" not in said
    # What was sent is what a gate's own check of the rule takes.
    request = parse_request((bench.folder / "a.request.json").read_bytes())
    statement = parse_statement(request.payload)
    trust = bench.world.trust()
    facts = evidence_verifier(bench.folder / "snapshot.json").verify(statement, request.evidence, trust=trust)
    from placet.core.rules import check_evidence

    (rule,) = [rule for rule in trust.rules if rule.action.endswith("release/v1")]
    assert check_evidence(rule.evidence, statement, facts, at=int(time.time()), who="The rule")


def test_without_a_rule_nothing_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: SoftRegistry
) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    bench = Bench(tmp_path, "")
    bench.beside(".sigstore.json", b"nonsense that nobody reads")
    assert bench.release() == 0
    assert bench.sent() == []
    (tmp_path / "a.request.json").unlink()
    assert bench.deploy(f"{registry.host}/app@{registry.add_image('app')}") == 0
    assert bench.sent() == []
    assert registry.asked == []


def test_only_what_the_rule_asks_for_goes_along(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """One provenance of two that hold; no SBOM, no signature."""
    bench.beside(".sigstore.json", bench.provenance())
    bench.beside(".slsa.sigstore.json", bench.provenance())
    bench.beside(".publish.attestation", bench.sigstore.sign_artifact("alice@example.com", WHEEL))
    bench.beside(".sbom.json", b'{"bomFormat": "CycloneDX"}')
    bench.beside(".attestation", bench.sigstore.sign_artifact("alice@example.com", b"another wheel"))
    assert bench.release() == 0
    assert [name for name, _, _ in bench.sent()] == ["slsa-provenance"]
    # Nor is anything said of what nobody needs.
    assert "Note:" not in capsys.readouterr().err


def test_a_kind_that_is_missing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.release() == 1
    assert bench.nothing_sent()
    said = capsys.readouterr().err
    assert "asks for slsa-provenance, and none was found. Nothing was sent. [evidence-required]" in said
    assert f"Looked beside {bench.folder / NAME}. There it would be FILE.sigstore.json" in said
    assert "--evidence" in said


def tampered(bundle: bytes) -> bytes:
    value = json.loads(bundle)
    payload = json.loads(b64decode(value["dsseEnvelope"]["payload"]))
    payload["subject"][0]["name"] = "another name"
    value["dsseEnvelope"]["payload"] = b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda bench: bench.provenance(repository="evil/app"), "evidence-source"),
        (lambda bench: bench.provenance(b"another wheel"), "evidence-subject"),
        (lambda bench: tampered(bench.provenance()), "evidence-invalid"),
    ],
    ids=["source", "subject", "signature"],
)
def test_evidence_that_does_not_hold_is_not_sent(
    bench: Bench, capsys: pytest.CaptureFixture[str], make: Any, reason: str
) -> None:
    """With its own reason, and before anybody touches a key; whether it was found or named."""
    bench.beside(".sigstore.json", make(bench))
    assert bench.release() == 1
    said = capsys.readouterr().err
    assert f"[{reason}]" in said
    assert "Nothing was sent." in said
    assert (reason == "evidence-invalid") or ("\n  Expected  " in said and "\n  Found     " in said)
    assert bench.nothing_sent()
    (bench.folder / f"{NAME}.sigstore.json").rename(bench.folder / "named.json")
    assert bench.release("--evidence", str(bench.folder / "named.json")) == 1
    assert f"[{reason}]" in capsys.readouterr().err
    assert bench.nothing_sent()


def test_what_does_not_hold_is_left_out_beside_what_does(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    good = bench.provenance()
    bench.beside(".intoto.jsonl", tampered(bench.provenance()) + b"\nbroken\n" + good + b"\n")
    assert bench.release() == 0
    assert [content for _, _, content in bench.sent()] == [good]
    said = capsys.readouterr().err
    assert f"{NAME}.intoto.jsonl, line 1: " in said
    assert "[evidence-invalid]" in said
    # What is no evidence at all is said only where some is missing.
    assert "it cannot be read" not in said
    (bench.folder / "a.request.json").unlink()
    bench.beside(".intoto.jsonl", b"{}\nbroken\n")
    assert bench.release() == 1
    assert f"{NAME}.intoto.jsonl, line 2: it cannot be read" in capsys.readouterr().err


def test_each_file_may_have_its_own_where_the_rule_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    other = "app-1.0.tar.gz"
    for each, code in ((", each = true }", 0), (" }", 1)):
        bench = Bench(tmp_path, SLSA.removesuffix(" }") + each)
        bench.beside(".sigstore.json", bench.provenance())
        (tmp_path / other).write_bytes(b"sources")
        (tmp_path / f"{other}.sigstore.json").write_bytes(bench.provenance(b"sources", name=other))
        assert bench.release(also=(str(tmp_path / other),)) == code
        if code == 0:
            assert [name for name, _, _ in bench.sent()] == ["slsa-provenance"] * 2
            (tmp_path / "a.request.json").unlink()
    assert bench.nothing_sent()
    assert "[evidence-subject]" in capsys.readouterr().err


def test_a_file_of_github_with_several_bundles(bench: Bench) -> None:
    """As `gh attestation download` names it."""
    good = bench.provenance()
    digest = hashlib.sha256(WHEEL).hexdigest()
    lines = bench.provenance(repository="evil/app") + b"\n" + good + b"\n"
    (bench.folder / f"sha256:{digest}.jsonl").write_bytes(lines)
    assert bench.release() == 0
    assert [content for _, _, content in bench.sent()] == [good]


def test_what_is_named_goes_along_though_no_rule_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    bench = Bench(tmp_path, "")
    (tmp_path / "signature.json").write_bytes(bench.sigstore.sign_artifact("alice@example.com", WHEEL))
    (tmp_path / "provenance.json").write_bytes(bench.provenance())
    named = ["--evidence", str(tmp_path / "signature.json"), "--evidence", str(tmp_path / "provenance.json")]
    assert bench.release(*named) == 0
    assert sorted(name for name, _, _ in bench.sent()) == ["signature", "slsa-provenance"]
    (tmp_path / "a.request.json").unlink()
    (tmp_path / "sbom.json").write_text('{"bomFormat": "CycloneDX"}')
    assert bench.release("--evidence", str(tmp_path / "sbom.json")) == 2
    assert "not signed, so it proves nothing" in capsys.readouterr().err
    assert bench.release("--evidence", str(tmp_path / "missing.json")) == 2
    assert bench.release("--links", str(tmp_path)) == 2
    assert "asks for in-toto links" in capsys.readouterr().err
    assert bench.nothing_sent()


def attach_bundle(registry: SoftRegistry, repository: str, image: str, bundle: bytes) -> None:
    value = image_manifest(registry.add_blob(b"{}"), registry.add_blob(bundle))
    value["layers"][0]["mediaType"] = value["artifactType"] = SIGSTORE_MEDIA_TYPE
    value["subject"] = {"mediaType": MANIFEST, "digest": image, "size": 1}
    registry.add_manifest(repository, value)


def test_provenance_of_an_image_comes_from_its_registry(bench: Bench, registry: SoftRegistry) -> None:
    image = registry.add_image("team/app")
    wrong = bench.provenance("00" * 32)
    good = bench.provenance(image.removeprefix("sha256:"))
    for bundle in (wrong, good):
        attach_bundle(registry, "team/app", image, bundle)
    assert bench.deploy(f"{registry.host}/team/app@{image}") == 0
    assert [(name, content) for name, _, content in bench.sent()] == [("slsa-provenance", good)]
    (bench.folder / "a.request.json").unlink()
    registry.asked.clear()
    named = bench.folder / "good.json"
    named.write_bytes(good)
    assert bench.deploy(f"oci://{registry.host}/team/app@{image}", "--evidence", str(named)) == 0
    assert registry.asked == []  # everything is there already


def test_a_registry_that_is_down_leaves_it_undecided(
    bench: Bench, registry: SoftRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    image = f"127.0.0.1:1/team/app@sha256:{'ab' * 32}"
    assert bench.deploy(image) == 3
    said = capsys.readouterr().err
    assert "none was found. Nothing was sent." in said
    assert "cannot be reached" in said
    assert bench.deploy(image, "--evidence-from", "nowhere") == 1
    assert "Nothing was looked at." in capsys.readouterr().err
    assert bench.deploy(f"app@sha256:{'ab' * 32}") == 1
    assert "in no registry, as 'app' names none" in capsys.readouterr().err
    assert bench.nothing_sent()


def test_a_request_that_would_be_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    bench = Bench(tmp_path, "")
    sbom = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": NAME, "digest": {"sha256": hashlib.sha256(WHEEL).hexdigest()}}],
        "predicateType": "https://cyclonedx.org/bom",
        "predicate": {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": ["x" * 1000] * 700},
    }
    (tmp_path / "sbom.json").write_bytes(bench.sigstore.sign_statement(github_claims("octo/app"), sbom))
    assert bench.release("--evidence", str(tmp_path / "sbom.json")) == 2
    said = capsys.readouterr().err
    assert "1048576 travel at most" in said
    assert "The largest piece is sbom from" in said
    assert bench.nothing_sent()


def test_real_npm_provenance_names_packages_by_sha512(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], test_data: Path
) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    rule = (
        '{ kind = "slsa-provenance", builders = ["https://github.com/actions/runner/github-hosted"], '
        'source = "git+https://github.com/sigstore/sigstore-js" }'
    )
    world = World(policy=RULE.format(action="release", target="pkg:**", evidence=rule))
    world.expires_at = worlds.NOW + 86_400
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    package = tmp_path / "sigstore-js-2.1.0.tgz"
    package.write_bytes((test_data / "github/sigstore-js-2.1.0.tgz").read_bytes())
    bundles = (test_data / "github/sigstore-js-2.1.0_with_2_bundles.jsonl").read_bytes()
    (tmp_path / "sigstore-js-2.1.0.tgz.sigstore.jsonl").write_bytes(bundles)
    words = ["request", "release", str(package), "--to", "pkg:npm/sigstore", "--version", "2.1.0"]
    words += ["--trust", str(tmp_path / "snapshot.json"), "--gate", GATE]
    assert main([*words, "--file", str(tmp_path / "a.request.json")]) == 1
    assert "ask with --digest sha512" in capsys.readouterr().err
    assert main([*words, "--digest", "sha512", "--file", str(tmp_path / "a.request.json")]) == 0
    request = parse_request((tmp_path / "a.request.json").read_bytes())
    (subject,) = parse_statement(request.payload).subjects
    assert subject.digest == f"sha512:{hashlib.sha512(package.read_bytes()).hexdigest()}"
    assert len(request.evidence) == 1


class Index(BaseHTTPRequestHandler):
    """A package index with one provenance object."""

    body = b""

    def do_GET(self) -> None:
        found = self.path == "/integrity/pypi-attestations/0.0.19/pypi_attestations-0.0.19.tar.gz/provenance"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_real_attestation_from_a_package_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], test_data: Path
) -> None:
    """PyPI's publish attestation, by the workflow that the rule names; only a flag asks for it."""
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    rule = (
        '{ kind = "attestation", predicate_type = "https://docs.pypi.org/attestations/publish/v1", '
        'signers = [{ issuer = "https://token.actions.githubusercontent.com", identity_pattern = '
        '"https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@**" }] }'
    )
    world = World(policy=RULE.format(action="release", target="pkg:**", evidence=rule))
    world.expires_at = worlds.NOW + 86_400
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    name = "pypi_attestations-0.0.19.tar.gz"
    (tmp_path / name).write_bytes((test_data / "pep740" / name).read_bytes())
    Index.body = (test_data / "pep740" / f"{name}.provenance").read_bytes()
    words = ["request", "release", str(tmp_path / name), "--to", "pkg:pypi/x", "--version", "0.0.19"]
    words += ["--trust", str(tmp_path / "snapshot.json"), "--gate", GATE]
    words += ["--file", str(tmp_path / "a.request.json")]
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        words += ["--pypi", f"http://127.0.0.1:{server.server_port}"]
        assert main(words) == 1
        assert "none was found" in capsys.readouterr().err
        assert main([*words, "--evidence-from", "pypi"]) == 0
        server.shutdown()
    request = parse_request((tmp_path / "a.request.json").read_bytes())
    (reference,) = parse_statement(request.payload).evidence
    assert (reference.name, reference.media_type) == ("attestation", PYPI_MEDIA_TYPE)


def test_links_of_a_layout_go_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    layout, owner = "layouts/app.layout", "layouts/keys/owner.pub"
    bench = Bench(tmp_path, f'{{ kind = "in-toto", layout = "{layout}", owners = ["{owner}"] }}')
    chain = Chain()
    bench.world.more_files |= {layout: chain.signed(chain.layout(), chain.owner), owner: pem(chain.owner)}
    (tmp_path / "snapshot.json").write_bytes(bench.world.snapshot())
    keep_files(tmp_path / "snapshot.json", bench.world.files())
    for folder, wheel in (("good", WHEEL), ("evil", b"evil")):
        (tmp_path / folder).mkdir()
        for name, content in chain.files(chain.link(wheel=wheel)).items():
            (tmp_path / folder / name).write_bytes(content)
    assert bench.release("--links", str(tmp_path / "evil")) == 1
    assert bench.nothing_sent()
    assert "Nothing was sent." in capsys.readouterr().err
    assert bench.release("--links", str(tmp_path / "good")) == 0
    assert [name for name, _, _ in bench.sent()] == ["in-toto"]
