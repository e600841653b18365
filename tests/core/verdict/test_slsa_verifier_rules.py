"""Our VSA, and Google's, before the rules of slsa-verifier."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import verdict_world
from slsa_verifier_rules import Refused, match_verified_levels, slsa_levels, ssh_fingerprint, verify_vsa
from verdict_world import VERIFIER, Case

from placet.adapters.verdict_key import VerdictKey
from placet.core.encoding import encode_canonical


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return verdict_world.case(tmp_path)


def judge(case: Case, data: bytes | None = None, **changes: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "public_key": case.key.public_pem,
        "subject_digests": sorted(case.digests),
        "verifier_id": VERIFIER,
        "resource_uri": case.target,
        "verified_levels": ["INTENT_LEVEL_1", "SLSA_BUILD_LEVEL_3"],
    }
    return verify_vsa(case.sign() if data is None else data, **asked | changes)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return str(caught.value).partition(":")[0]


def signed(case: Case, change: Callable[[dict[str, Any]], None]) -> bytes:
    statement = case.statement()
    change(statement["predicate"])
    return case.key.sign(statement)


def test_our_vsa_is_accepted(case: Case) -> None:
    assert judge(case)["predicate"]["verificationResult"] == "PASSED"


@pytest.mark.parametrize(
    "level", ["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_3", "INTENT_LEVEL_1"]
)
def test_lower_slsa_levels_are_included(case: Case, level: str) -> None:
    judge(case, verified_levels=[level])
    judge(case, verified_levels=[])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject_digests": []}, "ErrorEmptyRequiredField"),
        ({"subject_digests": ["sha256:" + "ab" * 32]}, "ErrorMissingSubjectDigest"),
        ({"subject_digests": ["ab" * 32]}, "ErrorInvalidDssePayload"),
        ({"verifier_id": "https://demo.placet.localhost/gates/prod-us"}, "ErrorMismatchVerifierID"),
        ({"resource_uri": "k8s://prod-us/ns/shop/deploy/app"}, "ErrorMismatchResourceURI"),
        ({"verified_levels": ["SLSA_BUILD_LEVEL_4"]}, "ErrorMismatchVerifiedLevels"),
        ({"verified_levels": ["SLSA_SOURCE_LEVEL_1"]}, "ErrorMismatchVerifiedLevels"),
        ({"verified_levels": ["INTENT_LEVEL_2"]}, "ErrorMismatchVerifiedLevels"),
    ],
)
def test_what_it_refuses_of_ours(case: Case, changes: dict[str, Any], error: str) -> None:
    assert refusal(lambda: judge(case, **changes)) == error


def test_another_key_and_a_changed_payload(case: Case, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = VerdictKey.create(tmp_path / "other" / "verdict.pem")
    assert refusal(lambda: judge(case, public_key=other.public_pem)) == "ErrorNoValidSignature"
    envelope = json.loads(case.sign())
    payload = base64.b64decode(envelope["payload"]).replace(b"INTENT_LEVEL_1", b"INTENT_LEVEL_4")
    changed = json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}).encode()
    assert refusal(lambda: judge(case, changed)) == "ErrorNoValidSignature"
    none = json.dumps(envelope | {"signatures": []}).encode()
    assert refusal(lambda: judge(case, none)) == "ErrorNoValidSignature"


def test_trap_a_any_other_slsa_value_spoils_the_whole_summary(case: Case) -> None:
    """Both values stand in the SLSA specification; so we never write one (VSA-06)."""
    for odd in ("SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_SOURCE_TWO_PARTY_REVIEWED", "SLSA_L3"):
        data = signed(case, lambda p, odd=odd: p["verifiedLevels"].append(odd))  # type: ignore[misc]
        assert refusal(lambda data=data: judge(case, data)) == "ErrorInvalidSLSALevel"  # type: ignore[misc]
    assert slsa_levels(case.statement()["predicate"]["verifiedLevels"]) == {"BUILD": 3}


def test_trap_b_a_key_id_of_ours_hides_the_signature(case: Case) -> None:
    """Empty is accepted whatever the verifier calls the key; another name is skipped (VSA-03)."""
    envelope = json.loads(case.sign())
    assert envelope["signatures"][0]["keyid"] == ""
    judge(case, key_id="keystore://1/gate")
    envelope["signatures"][0]["keyid"] = "gate:prod-eu"
    assert refusal(lambda: judge(case, encode_canonical(envelope))) == "ErrorNoValidSignature"
    envelope["signatures"][0]["keyid"] = ssh_fingerprint(case.key._key.public_key())
    judge(case, encode_canonical(envelope))


def test_it_checks_neither_time_nor_policy_nor_inputs(case: Case) -> None:
    """What our own check adds: so nobody should think that it expires there."""
    data = signed(case, lambda p: [p.pop(n) for n in ("timeVerified", "policy", "inputAttestations")])
    assert judge(case, data)


@pytest.mark.parametrize("change", [{"verificationResult": "FAILED"}, {"verificationResult": "passed"}])
def test_only_passed_passes(case: Case, change: dict[str, Any]) -> None:
    assert (
        refusal(lambda: judge(case, signed(case, lambda p: p.update(change))))
        == "ErrorInvalidVerificationResult"
    )


def test_required_members_must_not_be_empty(case: Case) -> None:
    for change in ({"resourceUri": ""}, {"verifier": {"id": ""}}):
        data = signed(case, lambda p, change=change: p.update(change))  # type: ignore[misc]
        assert refusal(lambda data=data: judge(case, data)) == "ErrorEmptyRequiredField"  # type: ignore[misc]


def test_an_svr_and_a_statement_of_another_type_are_none(case: Case) -> None:
    assert refusal(lambda: judge(case, case.sign("svr"))) == "ErrorInvalidDssePayload"
    other = case.key.sign(case.statement() | {"_type": "https://example.com/Statement/v9"})
    assert refusal(lambda: judge(case, other)) == "ErrorInvalidDssePayload"
    envelope = json.loads(case.sign()) | {"payloadType": "application/json"}
    assert refusal(lambda: judge(case, encode_canonical(envelope))) == "ErrorInvalidDssePayload"


def test_several_levels_of_one_track_are_read_as_the_highest() -> None:
    match_verified_levels(["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_3"], ["SLSA_BUILD_LEVEL_2"])


def google(test_data: Path) -> tuple[bytes, bytes]:
    folder = test_data / "slsa" / "vsa" / "gce" / "v1"
    return (folder / "gke-gce-pre.bcid-vsa.jsonl").read_bytes(), (
        folder / "vsa_signing_public_key.pem"
    ).read_bytes()


GOOGLE = {
    "key_id": "keystore://76574:prod:vsa_signing_public_key",
    "subject_digests": ["gce_image_id:8970095005306000053"],
    "verifier_id": "https://bcid.corp.google.com/verifier/bcid_package_enforcer/v0.1",
    "resource_uri": "gce_image://gke-node-images:gke-12615-gke1418000-cos-101-17162-463-29-c-cgpv1-pre",
    "verified_levels": ["BCID_L1", "SLSA_BUILD_LEVEL_2"],
}


def test_googles_vsa_is_accepted_by_these_rules(test_data: Path) -> None:
    """So they are those of the tool, whose own test this is."""
    attestation, key = google(test_data)
    statement = verify_vsa(attestation, public_key=key, **GOOGLE)  # type: ignore[arg-type]
    assert statement["predicate"]["timeVerified"].startswith("2024-06-12")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"verified_levels": ["SLSA_BUILD_LEVEL_3"]}, "ErrorMismatchVerifiedLevels"),
        ({"verified_levels": ["BCID_L2"]}, "ErrorMismatchVerifiedLevels"),
        ({"subject_digests": ["my-gist:123"]}, "ErrorMissingSubjectDigest"),
        ({"key_id": ""}, "ErrorNoValidSignature"),
        ({"resource_uri": "gce_image://other"}, "ErrorMismatchResourceURI"),
    ],
)
def test_what_these_rules_refuse_of_googles(test_data: Path, changes: dict[str, Any], error: str) -> None:
    attestation, key = google(test_data)
    assert refusal(lambda: verify_vsa(attestation, public_key=key, **GOOGLE | changes)) == error
