"""Every kind of evidence behind one port, and each signed piece verified once for one trust root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from placet.adapters.evidence import EvidenceVerifiers, verify_bundle_evidence
from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE, Evidence
from placet.core.statement import parse_statement
from placet.core.trust import parse_trust
from placet.lab.stage import ARTIFACT, Stage
from placet.testing.world import evidence

WHEEL = b"wheel"


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


class Counted:
    """Counts how often a bundle is really verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        real = SigstoreEvidence.verify

        def verify(*args: Any, **kwargs: Any) -> Any:
            self.times += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(SigstoreEvidence, "verify", verify)


def test_the_same_evidence_is_verified_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = stage.approve(stage.request_release(ARTIFACT, WHEEL, stage.provenance(ARTIFACT, WHEEL)))
    verifier, counted = EvidenceVerifiers(stage.snapshot), Counted(monkeypatch)
    facts = [verify_bundle_evidence(bundle, trust=stage.trust, verifier=verifier) for _ in range(5)]
    assert counted.times == 1
    assert len(facts[0]) == 1 and facts == [facts[0]] * 5


def test_a_change_of_trust_empties_what_is_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that the administrators no longer trust must not live on in a gate's memory."""
    bundle = stage.approve(stage.request_release(ARTIFACT, WHEEL, stage.provenance(ARTIFACT, WHEEL)))
    verifier, counted = EvidenceVerifiers(stage.snapshot), Counted(monkeypatch)
    verify_bundle_evidence(bundle, trust=stage.trust, verifier=verifier)
    stage.world.versions = {**stage.world.versions, "targets": 2}
    newer = stage.world.trust()
    verify_bundle_evidence(bundle, trust=newer, verifier=verifier)
    assert counted.times == 2
    del stage.world.more_files["sigstore/trusted_root.json"]
    without = parse_trust(stage.world.snapshot())
    with pytest.raises(PlacetError):
        verify_bundle_evidence(bundle, trust=without, verifier=verifier)
    verify_bundle_evidence(bundle, trust=stage.trust, verifier=verifier)
    assert counted.times == 4


def test_false_evidence_is_false_again_and_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    value = json.loads(stage.provenance(ARTIFACT, WHEEL))
    value["dsseEnvelope"]["payload"] = json.loads(stage.provenance(ARTIFACT, b"x"))["dsseEnvelope"]["payload"]
    content = json.dumps(value).encode()
    item = Evidence(sha256_hex(content), SIGSTORE_MEDIA_TYPE, content)
    statement = parse_statement(stage.world.request_deploy().payload)
    verifier, counted = EvidenceVerifiers(stage.snapshot), Counted(monkeypatch)
    for _ in range(2):
        with pytest.raises(PlacetError):
            verifier.verify(statement, (item,), trust=stage.trust)
    assert counted.times == 2


def test_the_media_type_is_part_of_what_is_kept(stage: Stage) -> None:
    """Bytes that hold as one kind must not count as another under their digest."""
    content = stage.provenance(ARTIFACT, WHEEL)
    statement = parse_statement(stage.world.request_deploy().payload)
    verifier = EvidenceVerifiers(stage.snapshot)
    good = Evidence(sha256_hex(content), SIGSTORE_MEDIA_TYPE, content)
    assert verifier.verify(statement, (good,), trust=stage.trust)
    other = good._replace(media_type="application/vnd.pypi.attestation.v1+json")
    with pytest.raises(PlacetError):
        verifier.verify(statement, (other,), trust=stage.trust)


def test_what_nobody_knows_is_left_out(stage: Stage) -> None:
    statement = parse_statement(stage.world.request_deploy().payload)
    verifier = EvidenceVerifiers(stage.snapshot)
    assert verifier.verify(statement, (evidence(b"x"),), trust=stage.trust) == ()
