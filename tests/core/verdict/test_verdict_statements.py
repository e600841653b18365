"""Verdicts say what was verified and no more, whatever it was; others' libraries read them."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import verdict_world
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from slsa_verifier_rules import slsa_levels as levels_by_slsa_verifier
from verdict_world import AT, Case, provenance

from placet.core.encoding import Digest, encode_canonical, format_time, parse_canonical_json, parse_time
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.evidence.facts import SOURCE, VSA, EvidenceFact, MetEvidence
from placet.core.evidence.vsa_input import EXPIRES_AT
from placet.core.verdict.check import verify_verdict
from placet.core.verdict.envelope import parse_verdict
from placet.core.verdict.keys import parse_gate_key
from placet.core.verdict.levels import parse_slsa_levels, slsa_levels
from placet.core.verdict.statements import MAX_LIFE, build_failed_vsa
from placet.core.verify import Expected

RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KINDS = st.sampled_from(["vsa", "svr"])

# The types of the members that SLSA 1.2 and SVR v0.2 name, and Statement v1 around them.
_TEXT = {"type": "string", "minLength": 1}
_DIGESTS = {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}
_RESOURCE = {
    "type": "object",
    "properties": {"uri": _TEXT, "name": _TEXT, "mediaType": _TEXT, "digest": _DIGESTS},
    "required": ["digest"],
    "additionalProperties": False,
}
_TIME = {"type": "string", "pattern": "^[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}Z$"}
_EXTENSIONS = {"^https://placet[.]dev/verdict/": {}}
_POLICY = {"type": "object", "properties": {"uri": _TEXT, "digest": _DIGESTS}, "required": ["uri"]}
_ID = {"type": "string", "pattern": "^https://"}
_VSA = {
    "type": "object",
    "properties": {
        "verifier": {"type": "object", "properties": {"id": _ID, "version": _DIGESTS}, "required": ["id"]},
        "timeVerified": _TIME,
        "resourceUri": _TEXT,
        "policy": _POLICY,
        "inputAttestations": {"type": "array", "items": _RESOURCE},
        "verificationResult": {"enum": ["PASSED", "FAILED"]},
        "verifiedLevels": {"type": "array", "items": _TEXT, "uniqueItems": True},
        "dependencyLevels": {"type": "object"},
        "slsaVersion": {"const": "1.2"},
    },
    "required": ["verifier", "resourceUri", "policy", "verificationResult", "verifiedLevels"],
    "patternProperties": _EXTENSIONS,
    "additionalProperties": False,
}
_SVR = {
    "type": "object",
    "properties": {
        "verifier": {
            "type": "object",
            "properties": {"id": _ID, "policies": {"type": "array", "items": _POLICY}},
            "required": ["id", "policies"],
        },
        "timeCreated": _TIME,
        "properties": {"type": "array", "items": _TEXT, "uniqueItems": True},
    },
    "required": ["verifier", "timeCreated", "properties"],
    "patternProperties": _EXTENSIONS,
    "additionalProperties": False,
}


def statement_schema(predicate: dict[str, Any]) -> Draft202012Validator:
    # sigstore-go parses the Statement with strict protobuf: these members and no others.
    return Draft202012Validator(
        {
            "type": "object",
            "properties": {
                "_type": {"const": "https://in-toto.io/Statement/v1"},
                "subject": {"type": "array", "minItems": 1, "items": _RESOURCE},
                "predicateType": _ID,
                "predicate": predicate,
            },
            "required": ["_type", "subject", "predicateType", "predicate"],
            "additionalProperties": False,
        }
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return verdict_world.case(tmp_path)


@RELAXED
@given(kind=KINDS, at=st.integers(AT, AT + 3000), life=st.integers(1, MAX_LIFE), used=st.booleans())
def test_whatever_is_made_has_the_form_and_holds_until_it_ends(
    case: Case, kind: str, at: int, life: int, used: bool
) -> None:
    statement = case.statement(kind, at=at, life=life, used=used)
    statement_schema(_VSA if kind == "vsa" else _SVR).validate(statement)
    ends = parse_time(statement["predicate"][EXPIRES_AT])
    assert at < ends <= min(at + life, case.approval.statement.expires_at, case.judgement.trust.expires_at)
    data = case.key.sign(statement)
    for now in (at, ends - 1):
        verify_verdict(data, key=case.key.public, expected=case.expected(), now=now)
    for now in (at - 1, ends):
        with pytest.raises(PolicyError) as caught:
            verify_verdict(data, key=case.key.public, expected=case.expected(), now=now)
        assert caught.value.reason is Reason.EVIDENCE_STALE


@RELAXED
@given(data=st.data(), kind=KINDS, as_bundle=st.booleans())
def test_any_changed_bit_is_refused(case: Case, data: st.DataObject, kind: str, as_bundle: bool) -> None:
    signed = case.sign(kind, as_bundle=as_bundle)
    # An ECDSA signature's length varies, so that what is drawn must not depend on it.
    at = data.draw(st.integers(0, 2**20)) % (len(signed) * 8)
    changed = bytearray(signed)
    changed[at // 8] ^= 1 << at % 8
    try:
        found = verify_verdict(bytes(changed), key=case.key.public, expected=case.expected(), now=AT)
    except PlacetError:
        return
    # A bundle's key hint and media type are words of the courier; what was signed stayed as it is.
    assert as_bundle
    assert parse_verdict(bytes(changed)) == parse_verdict(signed)
    assert found.subjects == case.digests


@given(data=st.binary(max_size=400))
def test_nothing_but_our_errors_escapes(data: bytes) -> None:
    with pytest.raises(PlacetError):
        parse_verdict(data)


@given(
    values=st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_no_predicate_of_the_gates_own_key_makes_anything_else_escape(values: Any) -> None:
    key = _memory_key()
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": "ab" * 32}}]}
    for predicate_type, member in (
        ("https://slsa.dev/verification_summary/v1", "verifier"),
        ("https://slsa.dev/verification_summary/v1", "verifiedLevels"),
        ("https://slsa.dev/verification_summary/v1", "inputAttestations"),
        ("https://in-toto.io/attestation/svr/v0.2", "properties"),
        ("https://in-toto.io/attestation/svr/v0.2", EXPIRES_AT),
    ):
        predicate = {
            "verificationResult": "PASSED",
            "inputAttestations": [{"name": "intent"}],
            member: values,
        }
        data = key.sign(statement | {"predicateType": predicate_type, "predicate": predicate})
        expected = verdict_world.ExpectedVerdict("https://a/gates/b", "t", frozenset({"sha256:" + "ab" * 32}))
        with pytest.raises(PlacetError):
            verify_verdict(data, key=key.public, expected=expected, now=AT)


def _memory_key() -> Any:
    from placet.adapters.verdict_key import VerdictKey

    return VerdictKey(ec.derive_private_key(7, ec.SECP256R1()))


ARTIFACTS = [f"sha256:{n:064x}" for n in range(4)]
COMMIT = "gitCommit:" + "ab" * 20
LEVELS = st.one_of(st.none(), st.integers(1, 3))
MET = st.one_of(
    st.builds(
        lambda subjects, level: provenance(*subjects, level=level),
        st.sets(st.sampled_from(ARTIFACTS)),
        LEVELS,
    ),
    st.builds(lambda level: provenance(COMMIT, level=level, kind=SOURCE), LEVELS),
)


@given(met=st.lists(MET, max_size=6), wanted=st.sets(st.sampled_from(ARTIFACTS), min_size=1))
def test_no_slsa_level_is_claimed_that_some_artifact_does_not_reach(
    met: list[MetEvidence], wanted: set[str]
) -> None:
    found = slsa_levels(met, wanted)
    assert set(found) <= {"BUILD", "SOURCE"}
    builds = [m for m in met if m.fact.kind != SOURCE]
    naive = min(max((m.level or 0 for m in builds if a in m.fact.subjects), default=0) for a in wanted)
    assert found.get("BUILD", 0) == naive
    assert found.get("SOURCE", 0) == max((m.level or 0 for m in met if m.fact.kind == SOURCE), default=0)
    assert all(level > 0 for level in found.values())


@given(met=st.lists(MET, max_size=4), more=MET)
def test_more_evidence_never_lowers_a_level(met: list[MetEvidence], more: MetEvidence) -> None:
    before, after = slsa_levels(met, ARTIFACTS[:2]), slsa_levels([*met, more], ARTIFACTS[:2])
    assert all(after.get(track, 0) >= level for track, level in before.items())


@pytest.mark.parametrize("level", [None, 1, 2, 3])
def test_a_vsa_has_one_level_of_a_slsa_track_and_an_svr_all_of_them(
    tmp_path: Path, level: int | None
) -> None:
    made = verdict_world.case(tmp_path, artifacts=3, level=level)
    vsa, svr = made.statement("vsa")["predicate"], made.statement("svr")["predicate"]
    assert [v for v in vsa["verifiedLevels"] if v.startswith("SLSA_")] == (
        [f"SLSA_BUILD_LEVEL_{level}"] if level else []
    )
    assert svr["properties"] == ["INTENT_LEVEL_1"] + [f"SLSA_BUILD_LEVEL_{n + 1}" for n in range(level or 0)]
    assert levels_by_slsa_verifier(vsa["verifiedLevels"]) == levels_by_slsa_verifier(svr["properties"])


def test_intent_levels_are_cumulative_in_both(case: Case) -> None:
    strong = case._replace(approval=case.approval._replace(level=4))
    names = [f"INTENT_LEVEL_{n}" for n in (1, 2, 3, 4)]
    assert strong.statement("vsa")["predicate"]["verifiedLevels"][:4] == names
    assert strong.statement("svr")["predicate"]["properties"][:4] == names


def test_a_summary_about_an_artifact_never_lends_its_source_level_to_the_build(case: Case) -> None:
    stated = {"verifiedLevels": ["SLSA_BUILD_LEVEL_1", "SLSA_SOURCE_LEVEL_3"]}
    digest = next(iter(case.digests))
    kind = "https://slsa.dev/verification_summary/v1"
    fact = EvidenceFact(VSA, Digest("ab" * 32), frozenset({digest}), predicate_type=kind, predicate=stated)  # type: ignore[arg-type]
    assert slsa_levels([MetEvidence(fact, "", 3)], {digest}) == {"SOURCE": 3}
    assert slsa_levels([MetEvidence(fact, "", 1)], {digest}) == {"BUILD": 1}
    assert slsa_levels([MetEvidence(fact, "", None)], {digest}) == {}


def test_a_verifier_that_states_more_than_slsa_knows_is_believed_no_further() -> None:
    digest = "sha256:" + "ab" * 32
    fact = EvidenceFact("slsa-provenance", Digest("c" * 64), frozenset({digest}))
    assert slsa_levels([MetEvidence(fact, "", 9999)], {digest}) == {"BUILD": 3}


@pytest.mark.parametrize("odd", ["SLSA_LEVEL_3", "SLSA_BUILD_LEVEL_", "SLSA_BUILD_LEVEL_03x", "SLSA_"])
def test_a_slsa_value_of_another_form_is_refused(odd: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_slsa_levels(["INTENT_LEVEL_1", odd])
    assert caught.value.reason is Reason.BAD_VALUE


def test_the_inputs_are_those_of_the_bundle_that_was_verified(case: Case) -> None:
    inputs = case.statement()["predicate"]["inputAttestations"]
    assert [item["name"] for item in inputs] == [
        "intent",
        "terminal-report",
        "terminal-report",
        "slsa-provenance",
    ]
    container = parse_canonical_json(case.bundle, max_bytes=1 << 20, what="bundle")
    envelopes = [container["envelope"], *container["reports"]]
    digests = [hashlib.sha256(encode_canonical(envelope)).hexdigest() for envelope in envelopes]
    assert [item["digest"]["sha256"] for item in inputs[:3]] == digests
    other = case._replace(parsed=case.parsed._replace(envelope=case.parsed.envelope._replace(payload=b"{}")))
    with pytest.raises(VerificationError):
        other.statement()


def test_the_proof_of_who_asked_is_an_input_where_it_counted(case: Case) -> None:
    from placet.core.statement import EvidenceRef

    proof = EvidenceRef("requester-proof", "application/x", "cd" * 32)  # type: ignore[arg-type]
    asked = case.approval.statement._replace(evidence=(proof,))
    for requester, listed in (("alice@example.com", True), (None, False)):
        approval = case.approval._replace(statement=asked, requester=requester)
        inputs = case._replace(approval=approval).statement()["predicate"]["inputAttestations"]
        assert ("requester-proof" in [item["name"] for item in inputs]) is listed


def test_a_refusal_gives_failed_alone_and_undecided_nothing(case: Case) -> None:
    expected = Expected(case.target, frozenset({"sha256:" + "ab" * 32}), case.approval.statement.action_type)
    refusal = PolicyError(Reason.ARTIFACT_MISMATCH, "Not what was approved.")
    statement = build_failed_vsa(refusal, expected, case.judgement)
    statement_schema(_VSA).validate(statement)
    assert statement["predicate"]["verifiedLevels"] == ["FAILED"]
    assert "inputAttestations" not in statement["predicate"]
    no_rule = build_failed_vsa(
        refusal, expected._replace(target="pkg:x", action_type="https://a/b"), case.judgement
    )
    assert no_rule["predicate"]["policy"]["uri"].endswith("/trust/scopes.json")


def test_every_life_outside_the_bounds_is_refused(case: Case) -> None:
    for life in (-1, 0, MAX_LIFE + 1):
        with pytest.raises(PolicyError) as caught:
            case.statement(life=life)
        assert caught.value.reason is Reason.BAD_VALUE
    with pytest.raises(PolicyError) as caught:
        case.statement(at=case.approval.statement.expires_at)
    assert caught.value.reason is Reason.EXPIRED


def test_a_verdict_key_has_one_spelling(case: Case) -> None:
    key = case.key._key.public_key()
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    assert serialization.load_der_public_key(compressed)  # a key, and the same one
    for other in (compressed, case.key.public.der + b"\0", b""):
        with pytest.raises(MalformedError) as caught:
            parse_gate_key(other)
        assert caught.value.reason is Reason.BAD_KEY


# What others made reads it.


def test_securesystemslib_verifies_it_with_an_empty_key_id(case: Case) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    # It takes a signature only by a key of the same ID, so its user says which key the empty one is.
    named = SSlibKey.from_crypto(case.key._key.public_key())
    key = SSlibKey("", named.keytype, named.scheme, named.keyval)
    for kind in ("vsa", "svr"):
        envelope = Envelope.from_dict(json.loads(case.sign(kind)))
        assert list(envelope.verify([key], threshold=1)) == [""]
        assert json.loads(envelope.payload) == case.statement(kind)


def test_in_toto_reads_the_envelope(case: Case) -> None:
    from in_toto.models.metadata import Envelope

    assert Envelope.from_dict(json.loads(case.sign())).payload_type == "application/vnd.in-toto+json"


def test_sigstore_python_verifies_its_dsse_and_reads_the_bundle(case: Case) -> None:
    from sigstore import dsse
    from sigstore_models.bundle.v1 import Bundle

    bundle = json.loads(case.sign(as_bundle=True))
    envelope = dsse.Envelope._from_json(json.dumps(bundle["dsseEnvelope"]))
    assert json.loads(dsse._verify(case.key._key.public_key(), envelope)) == case.statement()
    parsed = Bundle.from_json(json.dumps(bundle))
    hint = base64.b64decode(parsed.verification_material.public_key.hint)
    assert hint.hex() == case.key.public.digest


def test_it_is_the_statement_of_its_time(case: Case) -> None:
    assert case.statement()["predicate"]["timeVerified"] == format_time(AT)
    assert case.statement("svr")["predicate"]["timeCreated"] == format_time(AT)
