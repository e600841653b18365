"""A gate's whole decision over what cosign signed: the approval, and evidence by whom the rule names."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from signing_people import Workshop

from placet.adapters.evidence import EvidenceVerifiers, verify_bundle_evidence
from placet.adapters.trust_files import keep_files
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.evidence.facts import PROVENANCE, SIGNATURE, Evidence
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.testing.world import ALICE, BOB, DEFAULT_POLICY, GATE, World, expected_of

SOURCE = "https://github.com/octo/PROJECT"
SIGNER = f"{SOURCE}/.github/workflows/release.yml@refs/tags/v1.0.0"
RULES = {
    PROVENANCE: f"""kind = "slsa-provenance", source = "{SOURCE}", ref = "refs/tags/v1.0.0", min_level = 2,
        builders = [{{ id = "https://github.com/actions/runner/github-hosted", level = 2 }}]""",
    SIGNATURE: f"""kind = "signature",
        signers = [{{ issuer = "https://token.actions.githubusercontent.com", identity = "{SIGNER}" }}]""",
}
VERBS = {PROVENANCE: "attest-blob", SIGNATURE: "sign-blob"}


def decide(
    workshop: Workshop, bundle: Path, kind: str, folder: Path, project: str = "app"
) -> VerifiedApproval:
    """Has two people approve a release with this evidence, and the gate verify it.

    Raises:
        PlacetError: the gate refuses.
    """
    world = World(seed=b"cosign at the gate", now=int(time.time()))
    rule = " ".join(RULES[kind].replace("PROJECT", project).split())
    world.policy = DEFAULT_POLICY.replace("max_window", f"evidence = [{{ {rule} }}]\nmax_window")
    world.more_files = {"sigstore/trusted_root.json": (workshop.files / "trusted_root.json").read_bytes()}
    snapshot = folder / "trust.json"
    snapshot.write_bytes(world.snapshot())
    keep_files(snapshot, world.files())
    world.evidence = verifier = EvidenceVerifiers(snapshot)
    content = bundle.read_bytes()
    signed = Evidence(sha256_hex(content), json.loads(content)["mediaType"], content)
    artifacts = {"app.bin": workshop.artifact.read_bytes()}
    request = world.request_release(artifacts, now=world.now, evidence=[(kind, signed)])
    approved = world.bundle(request, ALICE, BOB)
    trust = world.trust()
    return verify_for_use(
        approved,
        trust=trust,
        gate=GATE,
        expected=expected_of(request),
        now=world.now + 120,
        evidence=verify_bundle_evidence(approved, trust=trust, verifier=verifier),
    )


@pytest.mark.parametrize("rekor", [1, 2])
@pytest.mark.parametrize("kind", RULES)
def test_gate_allows_with_what_cosign_signed(
    workshop: Workshop, kind: str, rekor: int, tmp_path: Path
) -> None:
    bundle = workshop.sign_with_cosign(VERBS[kind], rekor, key=False)
    approval = decide(workshop, bundle, kind, tmp_path)
    (met,) = approval.evidence
    assert met.fact.kind == kind
    assert met.fact.logged
    assert met.level == (2 if kind == PROVENANCE else None)


@pytest.mark.parametrize("kind", RULES)
def test_gate_refuses_what_cosign_signed_for_another_project(
    workshop: Workshop, kind: str, tmp_path: Path
) -> None:
    bundle = workshop.sign_with_cosign(VERBS[kind], 2, key=False)
    with pytest.raises(PlacetError) as refusal:
        decide(workshop, bundle, kind, tmp_path, project="other")
    named = {PROVENANCE: Reason.EVIDENCE_SOURCE, SIGNATURE: Reason.EVIDENCE_SIGNER}
    assert refusal.value.reason == named[kind]
