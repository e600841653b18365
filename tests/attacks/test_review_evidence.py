"""Attacks on evidence that comes in: true documents about something else, and documents that are too much.

Each of these was a hole, found by reading the code as an attacker would.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.evidence import EvidenceVerifiers, verify_bundle_evidence
from placet.adapters.evidence_sources.documents import Found, Unusable
from placet.adapters.evidence_sources.near import read_links
from placet.adapters.evidence_sources.registry import _complete
from placet.adapters.oci.client import RegistryClient
from placet.adapters.oci.reference import parse_reference
from placet.ceremony.decide import prepare
from placet.ceremony.publish import assemble
from placet.ceremony.request import build_request
from placet.core.bundle import IntentRequest, carries_evidence
from placet.core.display import SECTION_EVIDENCE
from placet.core.encoding import b64encode, encode_canonical, format_time, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, SIGSTORE_MEDIA_TYPE, VSA, EvidenceFact, Signer
from placet.core.evidence.vsa_input import PREDICATE_V1
from placet.core.statement import parse_statement
from placet.documents.pinned import check_pinned
from placet.lab.stage import Stage
from placet.terminal.screen import build_screen
from placet.terminal.screen_parts import Block
from placet.testing.private_sigstore import PrivateSigstore
from placet.testing.private_sigstore.bundles import Shape
from placet.testing.world import DEPLOY, DEPLOY_TARGET, artifact, evidence

sys.path.insert(0, str(Path(__file__).parents[1] / "core/evidence"))
sys.path.insert(0, str(Path(__file__).parents[1] / "adapters/sigstore"))

from evidence_world import JOB, STATEMENT, Case, private_root, reason, verify
from facts_world import APP, AT, OWN, PATH, TAG, build, github, hold, predicate, statement

GOOD, EVIL = b"the wheel that the pipeline built", b"the wheel that somebody put in its place"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def blocks_of(stage: Stage, request: IntentRequest) -> tuple[Block, ...]:
    """Returns what a terminal shows of a request's evidence."""
    review = prepare(request, trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    progress = assemble(request, (), trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    screen = build_screen(review, progress, None, stage.now)
    return next(s for s in screen.sections if s.title == SECTION_EVIDENCE).blocks


def deploy(stage: Stage, bundle: bytes, image: bytes) -> IntentRequest:
    """Asks for a deployment, of which no rule wants evidence, with evidence all the same."""
    return stage.world.request_deploy(
        image, evidence=[("slsa-provenance", evidence(bundle, SIGSTORE_MEDIA_TYPE))]
    )


# What people are shown


def test_true_provenance_of_another_artifact_is_not_shown_as_if_it_were_about_this_one(stage: Stage) -> None:
    """No rule asks for it, so nothing refuses it; a person sees the real builder beside the evil image."""
    shown, _ = blocks_of(stage, deploy(stage, stage.provenance("app", GOOD), EVIL))
    assert [note.kind for note in shown.notes] == ["warning"]
    assert shown.notes[0].text.startswith("It is about something else")


def test_evidence_about_a_part_of_the_artifacts_says_so(stage: Stage) -> None:
    bundle = evidence(stage.provenance("a", GOOD), SIGSTORE_MEDIA_TYPE)
    ask = stage.world.ask(
        DEPLOY,
        DEPLOY_TARGET,
        {"strategy": "rolling", "replicas": "6"},
        [artifact("registry.example/a", GOOD), artifact("registry.example/b", EVIL)],
        evidence=[("slsa-provenance", bundle)],
    )
    shown, _ = blocks_of(stage, build_request(ask, trust=stage.trust))
    assert shown.notes[1].kind == "warning" and "1 of the 2 artifacts" in shown.notes[1].text


def test_a_signer_whom_no_rule_names_is_said_to_be_nobody_s_choice(stage: Stage) -> None:
    """Anybody gets a certificate in anybody's public Sigstore; a good signature is not a trusted one."""
    shown, _ = blocks_of(stage, deploy(stage, stage.provenance("app", GOOD), GOOD))
    assert [note.kind for note in shown.notes] == ["fact", "claim"]
    assert "No rule" in shown.notes[1].text


# What memory it takes


def test_true_evidence_of_strangers_does_not_fill_a_gate_s_memory(stage: Stage) -> None:
    """Anybody can have large documents signed; those that were verified must not all be kept."""
    verifier, about = EvidenceVerifiers(stage.snapshot), parse_statement(stage.world.request_deploy().payload)

    def feed(number: int) -> None:
        said = {**STATEMENT, "predicate": {"list": [[str(i)] for i in range(5_000)], "number": number}}
        bundle = stage.sigstore.sign_statement(stage.job, said)
        verifier.verify(about, (evidence(bundle, SIGSTORE_MEDIA_TYPE),), trust=stage.trust)

    feed(0)
    tracemalloc.start()
    try:
        for number in range(1, 60):
            feed(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 24 * 1024 * 1024


def test_a_member_that_stands_twice_among_very_many_is_found_at_once() -> None:
    """The search for its name compared each with each: a request of one megabyte took minutes to refuse."""
    names = ",".join(f'"{i}":0' for i in range(100_000))
    begun = time.process_time()
    with pytest.raises(MalformedError) as caught:
        parse_json(f'{{{names},"99999":0}}'.encode(), max_bytes=4 * 1024 * 1024, what="bundle")
    assert caught.value.reason is Reason.DUPLICATE_MEMBER
    assert time.process_time() - begun < 5


# Whether it is verified at all


def test_a_courier_cannot_hide_evidence_from_the_gate(stage: Stage) -> None:
    """A member of this name, in what rides along for audits, made the gate look at no evidence."""
    wheel = stage.provenance("app.whl", GOOD)
    bundle = json.loads(stage.approve(stage.request_release("app.whl", GOOD, wheel)))
    bundle["trust"]["metadata"] = {"evidence": []}
    facts = verify_bundle_evidence(encode_canonical(bundle), trust=stage.trust, verifier=stage.verifiers)
    assert [fact.kind for fact in facts] == ["slsa-provenance"]
    assert not carries_evidence(stage.world.bundle(stage.world.request_deploy()))


# Whom a certificate names


def test_a_workflow_below_the_runner_s_name_is_no_runner() -> None:
    """Of a runner any workflow of the source signs; a rule that names a workflow must not mean that."""
    posing = "https://github.com/actions/runner/.github/workflows/release.yml@refs/tags/v1.2.3"
    rule = {"builders": ["https://github.com/**/.github/workflows/release.yml@refs/tags/*"], "source": APP}
    other = f"{APP}/.github/workflows/anything.yml@{TAG}"
    with pytest.raises(PolicyError) as caught:
        hold(rule, build(github(other), predicate(posing)))
    assert caught.value.reason is Reason.EVIDENCE_BUILDER


def test_a_wildcard_for_runners_does_not_take_in_own_runners() -> None:
    own = "https://github.com/actions/runner/self-hosted"
    rule = {"builders": ["https://github.com/actions/runner/*"], "source": APP}
    fact = build(github(runnerEnvironment="self-hosted"), predicate(own))
    with pytest.raises(PolicyError) as caught:
        hold(rule, fact)
    assert caught.value.reason is Reason.EVIDENCE_BUILDER
    allowed = {"id": "https://github.com/actions/runner/*", "self_hosted": True}
    assert hold({**rule, "builders": [allowed]}, fact) == 1


# When it was made


def summary(*, verified_at: int, signed_at: int) -> EvidenceFact:
    said = {
        "verifier": {"id": "https://check.example"},
        "timeVerified": format_time(verified_at),
        "resourceUri": statement().target,
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    }
    return EvidenceFact(
        VSA,
        statement().payload_digest,
        frozenset(subject.digest for subject in statement().subjects),
        signer=Signer("key", key_digest="a" * 64),
        signed_at=signed_at,
        predicate_type=PREDICATE_V1,
        predicate=said,
    )


def test_a_summary_is_not_younger_than_its_signature() -> None:
    """Whoever held a verifier for a minute could write summaries that are fresh next year."""
    rule = {
        "verifiers": [{"id": "https://check.example", "key": "a" * 64}],
        "levels": ["SLSA_BUILD_LEVEL_3"],
        "max_age": "1h",
    }
    assert hold(rule, summary(verified_at=AT - 60, signed_at=AT - 30)) == 3
    assert hold(rule, summary(verified_at=AT - 60, signed_at=0)) == 3
    with pytest.raises(PolicyError) as caught:
        hold(rule, summary(verified_at=AT - 60, signed_at=AT - 30 * 86_400))
    assert caught.value.reason is Reason.EVIDENCE_STALE


def test_an_instance_without_logs_proves_times_by_timestamps_so_a_bare_envelope_does_not_do() -> None:
    """A rule says `unlogged` for GitHub's own; a short-lived key that leaked must not sign for ever."""
    sigstore = PrivateSigstore(b"seed")
    files = {"sigstore/github.json": private_root(sigstore, tlogs=[], ctlogs=[])}
    shape = Shape(rekor="none", sct=False)
    bundle = json.loads(sigstore.sign_statement(JOB, STATEMENT, shape))
    (fact,) = verify(Case("stamped", json.dumps(bundle).encode(), files=files))
    assert fact.signed_at and not fact.logged
    material = bundle["verificationMaterial"]
    der = (material.get("certificate") or material["x509CertificateChain"]["certificates"][0])["rawBytes"]
    pem = f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"
    envelope = bundle["dsseEnvelope"]
    envelope["signatures"][0]["cert"] = pem
    bare = Case("bare", json.dumps(envelope).encode(), DSSE_MEDIA_TYPE, files)
    assert reason(bare) is Reason.EVIDENCE_TIME


# What it says in a refusal


def test_a_hostile_claim_does_not_flood_whoever_reads_the_refusal() -> None:
    """A claim may have a megabyte; the refusal is read by tired people, and kept in journals."""
    flood = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/" + "x" * 500_000
    rule = {"builders": [f"{APP}/{PATH}@refs/tags/*"], "source": APP}
    for fact in (build(said=predicate(flood)), build(said=predicate(OWN, source=APP + "x" * 500_000))):
        with pytest.raises(PolicyError) as caught:
            hold(rule, fact)
        said = caught.value
        assert max(len(str(text)) for text in (said.message, said.expected, said.actual)) < 2000


# Where it is found


def test_a_registry_s_numbers_beyond_all_numbers_are_no_log_entry() -> None:
    body = b64encode(b'{"kind":"dsse","apiVersion":"0.0.1"}')
    for index in ("Infinity", "-Infinity", "NaN", "1e999"):
        entry = (
            f'{{"Payload":{{"body":"{body}","logIndex":{index},"logID":"00","integratedTime":1}},'
            '"SignedEntryTimestamp":"AA=="}'
        )
        envelope = b'{"payload":"e30=","signatures":[{"sig":"AA=="}]}'
        annotations = {"dev.sigstore.cosign/certificate": "x", "dev.sigstore.cosign/bundle": entry}
        assert b'"cert"' in _complete(envelope, annotations)


def test_links_to_endless_files_are_not_read(tmp_path: Path) -> None:
    """An earlier step of the build may leave anything in the folder of links."""
    (tmp_path / "build.aaaaaaaa.link").symlink_to("/dev/zero")
    found = read_links(tmp_path)
    assert isinstance(found, Unusable) and not isinstance(found, Found)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "0.0.0.0",
        "localhost.",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "2130706433",
        "127.1",
        "[::]",
    ],
)
def test_a_registry_elsewhere_does_not_send_us_to_this_machine_s_services(host: str) -> None:
    with BoundedHttp(seconds=1) as http:
        client = RegistryClient(parse_reference("registry.example/team/app"), http, plain_http=True)
        with pytest.raises(HttpError, match="where we do not go"):
            client._check_redirect("http://registry.example/v2/team/app/blobs/x", f"http://{host}:8080/")
        assert client._check_redirect("http://registry.example/v2/", "http://10.1.2.3/blob")


# What administrators are shown


@pytest.mark.parametrize(
    "step", [{"pubkeys": 5}, {"pubkeys": True}, {"name": "x", "pubkeys": {"a": 1}}, {"pubkeys": "ab"}]
)
def test_a_layout_of_strangers_is_refused_by_name(step: Any) -> None:
    data = json.dumps({"signed": {"_type": "layout", "steps": [step]}}).encode()
    with pytest.raises(MalformedError):
        check_pinned("layouts/app.layout", data)
