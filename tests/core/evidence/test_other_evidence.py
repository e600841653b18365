"""Summaries, revisions, SBOMs and layouts by attackers; options that would let them in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from facts_world import APP, AT, COMMIT, OWN, RULE, build, github, hold, statement
from hypothesis import given
from hypothesis import strategies as st

from placet.core.encoding import format_time
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason
from placet.core.evidence.expectations import check_options
from placet.core.evidence.facts import ATTESTATION, IN_TOTO, KINDS, SOURCE, VSA, EvidenceFact, Signer
from placet.core.evidence.matching import meet
from placet.core.evidence.source_track import SOURCE_PREDICATE
from placet.core.evidence.vsa_input import PREDICATE_V1, parse_foreign_time
from placet.core.policy import EvidenceRule, parse_policy, rule_from_object, rule_to_object

KEY = Signer("key", key_digest="c" * 64)
VERIFIER = "https://verifier.example"
VSA_RULE: dict[str, Any] = {
    "verifiers": [{"id": VERIFIER, "key": "c" * 64}],
    "levels": ["SLSA_BUILD_LEVEL_2", "OURS"],
}
SOURCE_RULE: dict[str, Any] = {
    "signers": [{"key": "c" * 64}],
    "source": APP,
    "builders": RULE["builders"],
    "min_level": 3,
}
DAY = 86_400
DOCS = Path(__file__).resolve().parents[3] / "docs" / "how-to-require-evidence.md"


def vsa(signer: Signer = KEY, subjects: frozenset[str] | None = None, **changes: Any) -> EvidenceFact:
    said = {
        "verifier": {"id": VERIFIER},
        "timeVerified": format_time(AT - DAY),
        "resourceUri": statement().target,
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "OURS"],
    }
    artifacts = frozenset(subject.digest for subject in statement().subjects)
    return build(
        signer,
        said | changes,
        kind=VSA,
        predicate_type=PREDICATE_V1,
        subjects=subjects or artifacts,
        logged=False,
    )


def refusal(options: dict[str, Any], fact: EvidenceFact, *facts: EvidenceFact, kind: str = "") -> Reason:
    with pytest.raises(PolicyError) as caught:
        hold(options, fact, *facts, kind=kind)
    return caught.value.reason


def test_an_honest_summary_is_accepted() -> None:
    assert hold(VSA_RULE, vsa()) == 3


def test_a20_vsa_copied_to_another_resource() -> None:
    for resource in ("k8s://test/ns/shop/deploy/app", statement().target + "2", statement().target[:-1], ""):
        assert refusal(VSA_RULE, vsa(resourceUri=resource)) is Reason.EVIDENCE_RESOURCE


def test_a20_stale_vsa() -> None:
    for made in (AT - 31 * DAY, 1):
        assert refusal(VSA_RULE, vsa(timeVerified=format_time(made))) is Reason.EVIDENCE_STALE
    assert refusal(VSA_RULE | {"max_age": "1h"}, vsa()) is Reason.EVIDENCE_STALE
    assert refusal(VSA_RULE, vsa(timeVerified=format_time(AT + DAY))) is Reason.EVIDENCE_TIME


def test_a20_vsa_signed_by_another_service() -> None:
    assert refusal(VSA_RULE, vsa(Signer("key", key_digest="d" * 64))) is Reason.EVIDENCE_SIGNER
    assert refusal(VSA_RULE, vsa(verifier={"id": VERIFIER + "/x"})) is Reason.EVIDENCE_SIGNER
    assert refusal(VSA_RULE, vsa(github())) is Reason.EVIDENCE_SIGNER


@given(st.integers(0, 12), st.integers(1, 12))
def test_a_slsa_level_counts_from_the_one_asked_for(stated: int, asked: int) -> None:
    options = VSA_RULE | {"levels": [f"SLSA_BUILD_LEVEL_{asked}"]}
    fact = vsa(verifiedLevels=[f"SLSA_BUILD_LEVEL_{stated}", "SLSA_SOURCE_LEVEL_12"])
    if stated >= asked:
        assert hold(options, fact) == stated
    else:
        assert refusal(options, fact) is Reason.EVIDENCE_LEVEL


@pytest.mark.parametrize("level", ["SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_", "SLSA_BUILD_LEVEL_٣"])
def test_a_level_that_is_no_number_is_none(level: str) -> None:
    assert refusal(VSA_RULE, vsa(verifiedLevels=[level, "OURS"])) is Reason.EVIDENCE_LEVEL


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-06-12T07:24:34.351608Z", 1718177074),
        ("2024-06-12T07:24:34Z", 1718177074),
        ("2024-06-12T09:24:34+02:00", 1718177074),
        ("2024-06-12T05:54:34.5-01:30", 1718177074),
    ],
)
def test_times_of_others_are_read_in_their_spellings(text: str, seconds: int) -> None:
    assert parse_foreign_time(text) == seconds


@given(st.text(max_size=40) | st.integers() | st.none())
def test_what_is_no_time_is_a_named_refusal(value: Any) -> None:
    with pytest.raises(MalformedError):
        parse_foreign_time(value)


def revision(commit: str = COMMIT, **changes: Any) -> EvidenceFact:
    said = {"resourceUri": f"git+{APP}", "verifiedLevels": ["SLSA_SOURCE_LEVEL_3"]} | changes
    return vsa(subjects=frozenset({f"gitCommit:{commit}"}), **said)


def test_a_revision_is_tied_to_the_artifact_by_a_trusted_build() -> None:
    assert hold(SOURCE_RULE, revision(), build(), kind=SOURCE) == 3


def test_a_reviewed_revision_that_the_artifact_was_not_built_from() -> None:
    other = revision("b" * 40)
    assert refusal(SOURCE_RULE, other, build(), kind=SOURCE) is Reason.EVIDENCE_SUBJECT
    assert refusal(SOURCE_RULE, revision(), kind=SOURCE) is Reason.EVIDENCE_SUBJECT


def test_provenance_by_anybody_does_not_tie_a_revision() -> None:
    mallory = build(github("https://github.com/mallory/x/.github/workflows/release.yml@refs/tags/v1"))
    assert refusal(SOURCE_RULE, revision(), mallory, kind=SOURCE) is Reason.EVIDENCE_SUBJECT
    elsewhere = build(subjects=frozenset({"sha256:" + "0" * 64}))
    assert refusal(SOURCE_RULE, revision(), elsewhere, kind=SOURCE) is Reason.EVIDENCE_SUBJECT


def test_a_revision_of_another_repository_that_the_pattern_fits() -> None:
    rule = SOURCE_RULE | {"source": "https://github.com/acme/*"}
    assert hold(rule, revision(), build(), kind=SOURCE) == 3
    other = revision(resourceUri="git+https://github.com/acme/other")
    assert refusal(rule, other, build(), kind=SOURCE) is Reason.EVIDENCE_SUBJECT


def test_source_provenance_states_no_level() -> None:
    fact = revision()._replace(kind=SOURCE, predicate_type=SOURCE_PREDICATE, predicate={"repo_uri": APP})
    assert refusal(SOURCE_RULE, fact, build()) is Reason.EVIDENCE_LEVEL
    assert hold(SOURCE_RULE | {"min_level": 1}, fact, build()) is None


def test_an_attackers_layout_is_another_layout() -> None:
    rule = {"layout": "layouts/a.layout", "owners": ["layouts/keys/ann.pub"]}
    fact = build(
        Signer("functionaries"),
        {"layout": "layouts/a.layout", "owners": ["layouts/keys/eve.pub"]},
        kind=IN_TOTO,
    )
    assert refusal(rule, fact) is Reason.EVIDENCE_LAYOUT
    assert hold(rule, fact._replace(predicate=rule)) is None


def test_an_attestation_of_another_type() -> None:
    rule = {"signers": [{"key": "c" * 64}], "predicate_type": "https://x.example/v1"}
    fact = build(KEY, {}, kind=ATTESTATION, predicate_type="https://x.example/v1/evil")
    assert refusal(rule, fact) is Reason.EVIDENCE_REQUIRED
    assert hold(rule, fact._replace(predicate_type="https://x.example/v1")) is None


def test_the_right_signer_with_another_fault_is_what_is_said() -> None:
    wrong = {"issuer": "https://x.example", "identity": "x"}
    right = {"issuer": "https://token.actions.githubusercontent.com", "identity": OWN}
    fact = build(said={}, kind="signature", logged=False)
    assert refusal({"signers": [wrong, right]}, fact) is Reason.EVIDENCE_NOT_LOGGED


def test_a_subset_of_the_artifacts_is_not_enough() -> None:
    action = statement()._replace(
        subjects=(*statement().subjects, statement().subjects[0]._replace(digest="sha256:x"))
    )
    fact = build()
    action = action._replace(evidence=(statement().evidence or ()))
    named = action._replace(evidence=(_reference(fact),))
    with pytest.raises(PolicyError) as caught:
        meet(EvidenceRule("slsa-provenance", RULE), named, (fact,), at=AT, who="The rule")
    assert caught.value.reason is Reason.EVIDENCE_SUBJECT


def _reference(fact: EvidenceFact) -> Any:
    from placet.core.statement import EvidenceRef

    return EvidenceRef(fact.kind, "application/json", fact.digest)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "builders",
    "source",
    "any_source",
    "min_level",
    "parameters",
    "verifiers",
    "levels",
    "signers",
    "layout",
)


@given(
    st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON, max_size=5)
)
def test_options_are_refused_as_a_policys_in_words(kind: str, options: dict[str, Any]) -> None:
    try:
        check_options(kind, options, "/rule/0")
    except MalformedError as e:
        assert e.reason is Reason.BAD_POLICY
        assert e.path.startswith("/rule/0")
        assert e.hint
        assert str(e).isprintable()


@given(st.sampled_from(KINDS), st.dictionaries(st.text(max_size=12), JSON, max_size=4))
def test_only_named_refusals_escape_from_any_predicate(kind: str, said: dict[str, Any]) -> None:
    rules: dict[str, dict[str, Any]] = {
        "slsa-provenance": RULE,
        "slsa-vsa": VSA_RULE,
        "slsa-source": SOURCE_RULE,
    }
    rules["in-toto"] = {"layout": "layouts/a", "owners": ["layouts/b"]}
    plain = {"signers": [{"key": "c" * 64}]}
    options = rules.get(kind, plain | ({"predicate_type": "x:y"} if kind == ATTESTATION else {}))
    try:
        hold(options, build(said=said, kind=kind))
    except PlacetError as e:
        assert not isinstance(e, MalformedError) or e.reason is not Reason.BAD_POLICY


def test_the_policies_of_the_guide_compile() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    rule = (
        '[[rule]]\naction = "x:a"\ntarget = "**"\nlevel = 1\nquorum = { threshold = 1, of = ["group:g"] }\n'
    )
    kinds: set[str] = set()
    for block in blocks:
        policy = block if "[[rule]]" in block else rule + block
        tomllib.loads(policy)
        (compiled,) = parse_policy(policy.encode(), scope="s", file="policy/s.toml")
        assert rule_from_object(rule_to_object(compiled), "") == compiled
        kinds |= {required.kind for required in compiled.evidence}
    assert kinds == set(KINDS)
