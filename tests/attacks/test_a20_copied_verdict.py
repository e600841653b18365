"""A20: a verdict copied to another resource, stale, signed by the service without an approval, or flipped.

Three judges hear each: placet's own check, the rules of slsa-verifier, and a placet gate whose rule takes
another gate's summary as evidence, through the real adapters.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "verdict"))

import verdict_world
from attack_world import refusal
from slsa_verifier_rules import Refused, verify_vsa
from verdict_world import AT, VERIFIER, Case

from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.adapters.trust_files import TrustFiles
from placet.core.bundle import parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.encoding import b64encode, encode_canonical, format_time, parse_json
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, VSA, Evidence
from placet.core.evidence.vsa_input import EXPIRES_AT
from placet.core.statement import parse_statement
from placet.core.verdict.check import verify_verdict
from placet.core.verdict.statements import build_failed_vsa
from placet.core.verify import Expected, VerifiedApproval, verify_for_use
from placet.testing.world import ALICE, BOB, DEPLOY_TARGET, GATE, World, evidence, expected_of

STAGING = "k8s://staging/ns/shop/deploy/app"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return verdict_world.case(tmp_path)


def ours(case: Case, data: bytes, *, now: int = AT, **changes: Any) -> Reason | None:
    """Returns why our own check refuses a verdict."""
    return _reason(
        lambda: verify_verdict(data, key=case.key.public, expected=case.expected(**changes), now=now)
    )


def theirs(case: Case, data: bytes, **changes: Any) -> str | None:
    """Returns why slsa-verifier's rules refuse a VSA."""
    asked: dict[str, Any] = {
        "public_key": case.key.public_pem,
        "subject_digests": sorted(case.digests),
        "verifier_id": VERIFIER,
        "resource_uri": case.target,
        "verified_levels": ["INTENT_LEVEL_1"],
    }
    try:
        verify_vsa(data, **asked | changes)
    except Refused as e:
        return str(e).partition(":")[0]
    return None


class NextGate:
    """A gate that requires the first gate's summary of the same artifact."""

    def __init__(self, case: Case, folder: Path, *, resource: str = "") -> None:
        verifier = f'verifiers = [{{ id = "{VERIFIER}", key = "{case.key.public.digest}" }}]'
        levels = 'levels = ["INTENT_LEVEL_1", "SLSA_BUILD_LEVEL_3"]'
        about = f', resource = "{resource}"' if resource else ""
        demand = f'evidence = [{{ kind = "slsa-vsa", {verifier}, {levels}{about} }}]'
        window = 'max_window = "1h"'
        policy = case.world.policy.replace(window, f"{window}\n{demand}")
        self.world = World(seed=b"verdict", policy=policy)
        self.world.more_files = dict(case.world.more_files)
        self.verifier = SigstoreEvidence(TrustFiles(folder / "snapshot.json"))

    def judge(self, data: bytes, *, target: str = DEPLOY_TARGET, now: int = AT) -> VerifiedApproval:
        """Decides about a deployment of the same image, with a summary as its evidence."""
        item = evidence(data, DSSE_MEDIA_TYPE)
        entry = {"name": VSA, "mediaType": item.media_type, "digest": {"sha256": item.digest}}
        request = self.world.request_deploy(target=target)
        value = parse_json(request.payload, max_bytes=1 << 20, what="payload")
        value["predicate"]["evidence"] = [entry]
        request = request._replace(payload=encode_canonical(value), evidence=(item,))
        trust = self.world.trust()
        facts = self.verifier.verify(parse_statement(request.payload), (item,), trust=trust)
        self.world.evidence = self.verifier
        bundle = self.world.bundle(request, ALICE, BOB)
        return verify_for_use(
            bundle, trust=trust, gate=GATE, expected=expected_of(request), now=now, evidence=facts
        )

    def reason(self, data: bytes, **more: Any) -> Reason | None:
        return _reason(lambda: self.judge(data, **more))


def _reason(call: Callable[[], object]) -> Reason | None:
    try:
        call()
    except PlacetError as e:
        return e.reason
    return None


@pytest.fixture
def gate(case: Case, tmp_path: Path) -> NextGate:
    return NextGate(case, tmp_path)


def test_an_honest_verdict_is_accepted_by_all(case: Case, gate: NextGate) -> None:
    data = case.sign()
    assert (ours(case, data), theirs(case, data), gate.reason(data)) == (None, None, None)
    met = gate.judge(data).evidence
    assert [(m.fact.kind, m.level) for m in met] == [(VSA, 3)]
    assert ours(case, case.sign("svr")) is None


def test_a_verdict_copied_to_another_resource(case: Case, gate: NextGate) -> None:
    data = case.sign()
    assert ours(case, data, target=STAGING) is Reason.EVIDENCE_RESOURCE
    assert ours(case, case.sign("svr"), target=STAGING) is Reason.EVIDENCE_RESOURCE
    assert theirs(case, data, resource_uri=STAGING) == "ErrorMismatchResourceURI"
    assert gate.reason(data, target=STAGING) is Reason.EVIDENCE_RESOURCE


def test_a_verdict_copied_to_another_artifact(case: Case) -> None:
    other = frozenset({"sha256:" + "ab" * 32})
    assert ours(case, case.sign(), subjects=other) is Reason.EVIDENCE_SUBJECT
    assert theirs(case, case.sign(), subject_digests=sorted(other)) == "ErrorMissingSubjectDigest"


def test_a_stale_verdict(case: Case, gate: NextGate) -> None:
    """slsa-verifier does not ask for the time: there an old one stays good, which our documentation says."""
    data, late = case.sign(), AT + 601
    assert ours(case, data, now=late) is Reason.EVIDENCE_STALE
    assert ours(case, case.sign("svr"), now=late) is Reason.EVIDENCE_STALE
    assert gate.reason(data, now=late) is Reason.EVIDENCE_STALE
    assert theirs(case, data) is None


def test_a_verdict_that_prolongs_itself(case: Case) -> None:
    """Whoever has the key can write any time; what lives for a year is refused all the same."""
    statement = case.statement()
    statement["predicate"][EXPIRES_AT] = format_time(AT + 365 * 86_400)
    assert ours(case, case.key.sign(statement)) is Reason.EVIDENCE_STALE


def test_a_verdict_signed_by_the_service_without_an_approval(case: Case, gate: NextGate) -> None:
    """There is no way to make one here: `VerifiedApproval` comes from the decision alone.

    Whoever holds the key writes what they like.  A summary that rests on nothing is noticed; one that names
    a digest is as good as its signer, which is why a verdict is not an approval.
    """
    for kind, member in (
        ("vsa", "inputAttestations"),
        ("svr", "https://placet.dev/verdict/inputAttestations"),
    ):
        statement = case.statement(kind)
        del statement["predicate"][member][0]
        assert ours(case, case.key.sign(statement)) is Reason.MISSING_MEMBER
        del statement["predicate"][member]
        assert ours(case, case.key.sign(statement)) is Reason.WRONG_TYPE


def test_a_request_signed_by_the_service_alone(case: Case, gate: NextGate) -> None:
    """It passes for neither an approval nor a verdict."""
    payload = case.parsed.envelope.payload
    signature = {"keyid": "", "sig": b64encode(case.key._key.sign(pae(PAYLOAD_TYPE, payload), _ecdsa()))}
    alone = {"payload": b64encode(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    data = encode_canonical(alone)
    assert ours(case, data) is Reason.UNSUPPORTED_TYPE
    assert theirs(case, data) == "ErrorInvalidDssePayload"
    assert gate.reason(data) is Reason.EVIDENCE_NOT_VERIFIED
    container = json.loads(case.bundle) | {"envelope": alone, "reports": []}
    container["trust"]["versions"] = {}
    assert refusal(lambda: parse_bundle(encode_canonical(container))).reason is Reason.BAD_DIGEST


def test_the_service_cannot_add_its_signature_to_those_of_people(case: Case) -> None:
    container = json.loads(case.bundle)
    signature = b64encode(case.key._key.sign(pae(PAYLOAD_TYPE, case.parsed.envelope.payload), _ecdsa()))
    container["envelope"]["signatures"].append({"keyid": "", "sig": signature})
    assert refusal(lambda: parse_bundle(encode_canonical(container))).reason is Reason.BAD_DIGEST


def test_a_failed_verdict_that_is_flipped(case: Case, gate: NextGate) -> None:
    expected = Expected(case.target, case.digests, case.approval.statement.action_type)
    denied = PolicyError(Reason.QUORUM_NOT_MET, "Not enough people approved.")
    failed = case.key.sign(build_failed_vsa(denied, expected, case.judgement))
    assert ours(case, failed) is Reason.EVIDENCE_LEVEL
    assert theirs(case, failed) == "ErrorInvalidVerificationResult"
    assert gate.reason(failed) is Reason.EVIDENCE_LEVEL
    envelope = json.loads(failed)
    payload = base64.b64decode(envelope["payload"])
    for flipped in (
        payload.replace(b'"FAILED","', b'"PASSED","'),
        payload.replace(b'"FAILED"', b'"PASSED"'),
        payload.replace(b'["FAILED"]', b'["INTENT_LEVEL_1"]'),
    ):
        assert flipped != payload
        data = encode_canonical(envelope | {"payload": b64encode(flipped)})
        assert ours(case, data) is Reason.SIGNATURE_INVALID
        assert theirs(case, data) == "ErrorNoValidSignature"
        assert gate.reason(data) is Reason.EVIDENCE_INVALID


def test_a_verdict_by_a_key_that_the_trust_root_does_not_name(
    case: Case, gate: NextGate, tmp_path: Path
) -> None:
    (tmp_path / "attacker").mkdir()
    forged = case._replace(key=verdict_world.VerdictKey.create(tmp_path / "attacker" / "verdict.pem")).sign()
    assert ours(case, forged) is Reason.SIGNATURE_INVALID
    assert gate.reason(forged) is Reason.EVIDENCE_INVALID


def test_a_verdict_in_the_name_of_another_gate(case: Case, gate: NextGate) -> None:
    statement = case.statement()
    statement["predicate"]["verifier"]["id"] = VERIFIER.replace(GATE, "prod-us")
    data = case.key.sign(statement)
    assert ours(case, data) is Reason.EVIDENCE_SIGNER
    assert gate.reason(data) is Reason.EVIDENCE_SIGNER


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256())


def test_evidence_of_this_kind_is_read_from_its_bytes(case: Case, gate: NextGate) -> None:
    """Not from the name that a requester gives it."""
    item = Evidence(evidence(case.sign("svr")).digest, DSSE_MEDIA_TYPE, case.sign("svr"))
    facts = gate.verifier.verify(case.approval.statement, (item,), trust=gate.world.trust())
    assert [fact.kind for fact in facts] == ["attestation"]
