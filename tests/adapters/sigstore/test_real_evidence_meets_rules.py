"""Real provenance against rules that an administrator could write: accepted where it fits, else named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evidence_world import (
    Case,
    github_attestations,
    go_provenance,
    google_vsa,
    npm_attestations,
    pypi_attestations,
    refusal,
    verify,
)

from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.evidence.expectations import check_expectations, check_options
from placet.core.evidence.facts import EvidenceFact
from placet.core.statement import IntentStatement, parse_statement
from placet.documents.evidence_words import describe_fact
from placet.testing.world import World

HOSTED = "https://github.com/actions/runner/github-hosted"
GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
AT = 1_790_000_000


@pytest.fixture(scope="module")
def statement() -> IntentStatement:
    return parse_statement(World().request_deploy().payload)


def judged(
    fact: EvidenceFact, options: dict[str, Any], statement: IntentStatement, at: int = AT
) -> int | Reason | None:
    check_options(fact.kind, options, "")
    try:
        return check_expectations(fact.kind, options, fact, statement=statement, facts=(fact,), at=at)
    except PlacetError as e:
        assert e.hint
        return e.reason


def one(cases: Any, name: str) -> EvidenceFact:
    (case,) = [case for case in cases if case.name.startswith(name)]
    (fact,) = verify(case)
    return fact


def test_github_provenance(test_data: Path, statement: IntentStatement) -> None:
    fact = one(github_attestations(test_data), "sigstore-js-2.1.0-bundle.json")
    rule = {
        "builders": [{"id": HOSTED, "level": 2}],
        "source": "git+https://github.com/sigstore/sigstore-js",
        "ref": "refs/heads/main",
        "commit": "26d16513386ffaa790b1c32f927544f1322e4194",
        "workflow": ".github/workflows/release.yml",
    }
    assert judged(fact, rule, statement) == 2
    wrong = {
        "source": ("https://github.com/sigstore/sigstore", Reason.EVIDENCE_SOURCE),
        "ref": ("refs/tags/*", Reason.EVIDENCE_SOURCE),
        "commit": ("0" * 40, Reason.EVIDENCE_SOURCE),
        "workflow": (".github/workflows/test.yml", Reason.EVIDENCE_SOURCE),
        "builders": ([{"id": "https://github.com/actions/runner/self-hosted"}], Reason.EVIDENCE_BUILDER),
        "build_types": (["https://b.example"], Reason.EVIDENCE_BUILD_TYPE),
        "parameters": ({"inputs": {"x": "1"}}, Reason.EVIDENCE_PARAMETERS),
    }
    for name, (value, reason) in wrong.items():
        assert judged(fact, rule | {name: value}, statement) is reason, name


def test_the_artifact_beside_real_provenance_is_what_it_covers(test_data: Path) -> None:
    fact = one(github_attestations(test_data), "custom-issuer")
    artifact = (test_data / "github" / "custom-issuer-artifact").read_bytes()
    assert f"sha256:{sha256_hex(artifact)}" in fact.subjects


def test_an_enterprises_own_issuer_is_another_issuer(test_data: Path, statement: IntentStatement) -> None:
    fact = one(github_attestations(test_data), "custom-issuer")
    builder = "https://github.com/too-legit/attest/.github/workflows/*@refs/heads/main"
    rule = {"builders": [builder], "source": "https://github.com/too-legit/attest"}
    assert judged(fact, rule, statement) is Reason.EVIDENCE_BUILDER
    issuer = "https://token.actions.githubusercontent.com/hammer-time"
    assert judged(fact, rule | {"builders": [{"id": builder, "issuer": issuer}]}, statement) == 1


def test_githubs_own_instance_counts_where_a_rule_names_it(
    test_data: Path, statement: IntentStatement
) -> None:
    fact = one(github_attestations(test_data), "github_provenance_demo-0.0.12-py3-none-any-bundle.jsonl")
    source = {"source": "https://github.com/actions/attest-demo"}
    own = {"id": HOSTED, "instance": "sigstore/github.json"}
    assert judged(fact, source | {"builders": [HOSTED]}, statement) is Reason.EVIDENCE_SIGNER
    assert judged(fact, source | {"builders": [own]}, statement) is Reason.EVIDENCE_NOT_LOGGED
    assert judged(fact, source | {"builders": [own | {"unlogged": True}]}, statement) == 1


def test_a_reusable_workflow_counts_where_a_rule_names_its_signer(
    test_data: Path, statement: IntentStatement
) -> None:
    fact = one(github_attestations(test_data), "reusable-workflow")
    source = {"source": "https://github.com/malancas/attest-demo"}
    assert judged(fact, source | {"builders": [HOSTED]}, statement) is Reason.EVIDENCE_BUILDER
    shared = "https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml@*"
    builder = {"id": HOSTED, "level": 3, "signer": shared}
    assert judged(fact, source | {"builders": [builder]}, statement) == 3
    other = builder | {"signer": shared.replace("/github/", "/mallory/", 1)}
    assert judged(fact, source | {"builders": [other]}, statement) is Reason.EVIDENCE_SIGNER


def test_npm_provenance(test_data: Path, statement: IntentStatement) -> None:
    delegator = {
        "id": f"{GENERATOR}builder_nodejs_slsa3.yml@refs/tags/v*",
        "level": 3,
        "signer": f"{GENERATOR}delegator_lowperms-generic_slsa3.yml@refs/tags/v*",
    }
    builders = [HOSTED, "https://github.com/actions/runner", delegator]
    seen: dict[str, int | Reason | None] = {}
    for case in npm_attestations(test_data):
        if not case.name.startswith("provenance"):
            continue
        if "invalidsigprov" in case.name:
            assert refusal(case).reason is Reason.EVIDENCE_INVALID
            continue
        (fact,) = verify(case)
        told = {"parameters": {"inputs": "**"}} if "ossf" in case.name else {}
        rule = {"builders": builders, "any_source": True, **told}
        seen[case.name] = judged(fact, rule, statement)
        other = {"builders": builders, "source": "https://github.com/acme/app", **told}
        assert judged(fact, other, statement) is Reason.EVIDENCE_SOURCE
        if told:
            strict = {"builders": builders, "any_source": True}
            assert judged(fact, strict, statement) is Reason.EVIDENCE_PARAMETERS
    assert len(seen) == 10
    assert {level for name, level in seen.items() if "ossf" in name} == {3}
    assert {level for name, level in seen.items() if "ossf" not in name} == {1}


def test_go_provenance(test_data: Path, statement: IntentStatement) -> None:
    builder = {"id": f"{GENERATOR}builder_go_slsa3.yml@refs/tags/v*", "level": 3}
    rule = {
        "builders": [builder],
        "source": "https://github.com/slsa-framework/example-package",
        "min_level": 3,
    }
    levels: list[int | Reason | None] = []
    for case in go_provenance(test_data):
        try:
            (fact,) = verify(case)
        except PlacetError:
            continue
        if not fact.logged:
            assert judged(fact, rule, statement) is Reason.EVIDENCE_NOT_LOGGED
        levels.append(judged(fact, rule | {"builders": [builder | {"unlogged": True}]}, statement))
        branch = judged(
            fact, rule | {"builders": [builder | {"unlogged": True}], "ref": "refs/tags/*"}, statement
        )
        assert branch == (Reason.EVIDENCE_SOURCE if "workflow_dispatch" in case.name else 3), case.name
    assert len(levels) == 47
    assert set(levels) == {3}


def test_pypi_provenance(test_data: Path, statement: IntentStatement) -> None:
    fact = one(pypi_attestations(test_data), "pypi_attestations-0.0.19.tar.gz.slsa")
    builder = "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/*"
    rule = {"builders": [builder], "source": "https://github.com/trailofbits/pypi-attestations"}
    assert judged(fact, rule | {"ref": "refs/tags/v*"}, statement) == 1
    assert judged(fact, rule | {"ref": "refs/heads/main"}, statement) is Reason.EVIDENCE_SOURCE


def test_googles_summary(test_data: Path, statement: IntentStatement) -> None:
    (fact,) = verify(google_vsa(test_data))
    assert fact.signer is not None
    verifier = {
        "id": "https://bcid.corp.google.com/verifier/bcid_package_enforcer/v0.1",
        "key": fact.signer.key_digest,
    }
    rule = {
        "verifiers": [verifier],
        "levels": ["BCID_L1", "SLSA_BUILD_LEVEL_2"],
        "resource": "gce_image://**",
    }
    made = 1_718_177_074
    assert judged(fact, rule, statement, at=made + 60) == 2
    assert judged(fact, rule, statement) is Reason.EVIDENCE_STALE
    assert judged(fact, rule, statement, at=made - 3600) is Reason.EVIDENCE_TIME
    target = {name: value for name, value in rule.items() if name != "resource"}
    assert judged(fact, target, statement, at=made) is Reason.EVIDENCE_RESOURCE
    assert (
        judged(fact, rule | {"levels": ["SLSA_BUILD_LEVEL_3"]}, statement, at=made) is Reason.EVIDENCE_LEVEL
    )


def test_real_facts_are_shown_in_words(test_data: Path) -> None:
    cases: list[Case] = [*github_attestations(test_data), *npm_attestations(test_data), google_vsa(test_data)]
    shown = 0
    for case in cases:
        try:
            facts = verify(case)
        except PlacetError:
            continue
        for fact in facts:
            rows = dict(describe_fact(fact))
            assert rows["Evidence"]
            assert ("Signed by" in rows) != ("Signed with key" in rows)
            assert not any("unreadable" in label for label in rows)
            shown += 1
    assert shown > 20
