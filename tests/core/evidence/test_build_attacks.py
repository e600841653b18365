"""Provenance by attackers: valid signatures by somebody, in the name of somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from facts_world import APP, COMMIT, ISSUER, OWN, PATH, RULE, RUNNER, TAG, build, github, hold, predicate
from hypothesis import given
from hypothesis import strategies as st

from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason
from placet.core.evidence.facts import EvidenceFact, Signer

HOSTED = {"builders": [RUNNER], "source": APP}


def refused(options: dict[str, Any], fact: EvidenceFact) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        hold(options, fact)
    error = caught.value
    assert error.message and error.hint and error.hint.endswith((".", "\u201d"))
    assert error.expected is not None and error.actual is not None
    return error


def test_honest_provenance_is_accepted() -> None:
    assert hold(RULE, build()) == 1
    assert hold(RULE | {"min_level": 2}, build()) == 2
    assert hold(HOSTED, build(said=predicate(RUNNER))) == 1


def test_wrong_builder() -> None:
    assert refused(RULE, build(said=predicate("https://evil.example"))).reason is Reason.EVIDENCE_BUILDER


def test_builder_id_claimed_but_signed_by_another_workflow() -> None:
    for identity in (
        OWN.replace("release", "test"),
        OWN.replace(TAG, "refs/heads/main"),
        OWN + "x",
        OWN[:-1],
    ):
        assert refused(RULE, build(github(identity))).reason is Reason.EVIDENCE_BUILDER


def test_self_hosted_runner_posing_as_github_hosted() -> None:
    fact = build(github(runnerEnvironment="self-hosted"), predicate(RUNNER))
    assert refused(HOSTED, fact).reason is Reason.EVIDENCE_BUILDER
    assert refused(RULE, build(github(runnerEnvironment="self-hosted"))).reason is Reason.EVIDENCE_BUILDER
    own = {"builders": ["https://github.com/actions/runner/self-hosted"], "source": APP}
    said = predicate("https://github.com/actions/runner/self-hosted")
    assert hold(own, build(github(runnerEnvironment="self-hosted"), said)) == 1


@pytest.mark.parametrize(
    "source",
    [f"{APP}-evil", "https://github.com/acme/ap", "https://github.com/acme", "https://github.com/Acme/app"],
)
def test_source_prefix_tricks(source: str) -> None:
    signer = github(
        f"{source}/{PATH}@{TAG}", sourceRepositoryUri=source, buildConfigUri=f"{source}/{PATH}@{TAG}"
    )
    assert refused(HOSTED, build(signer, predicate(RUNNER, source=source))).reason in (
        Reason.EVIDENCE_SOURCE,
        Reason.EVIDENCE_BUILDER,  # no repository: nothing a workflow could be of
    )


def test_reusable_workflow_of_an_attackers_fork() -> None:
    fork = "https://github.com/mallory/app"
    fact = build(github(f"{fork}/{PATH}@{TAG}"), predicate(RUNNER))
    assert refused(HOSTED, fact).reason is Reason.EVIDENCE_BUILDER
    reusable = {
        "id": RUNNER,
        "level": 3,
        "signer": "https://github.com/acme/workflows/.github/workflows/build.yml@*",
    }
    rule = {"builders": [reusable], "source": APP}
    assert refused(rule, fact).reason is Reason.EVIDENCE_SIGNER
    shared = github("https://github.com/acme/workflows/.github/workflows/build.yml@" + COMMIT)
    assert hold(rule, build(shared, predicate(RUNNER))) == 3


def test_a_trusted_reusable_workflow_called_from_an_attackers_repository() -> None:
    rule = {"builders": [{"id": RUNNER, "signer": f"{APP}/.github/workflows/*@*/*/*"}], "source": APP}
    fact = build(github(sourceRepositoryUri="https://github.com/mallory/app"), predicate(RUNNER))
    assert refused(rule, fact).reason is Reason.EVIDENCE_SOURCE


def test_a_job_cannot_write_another_source_than_its_certificate_has() -> None:
    for claim in ("sourceRepositoryUri", "sourceRepositoryRef", "sourceRepositoryDigest", "buildConfigUri"):
        for value in ("x", "https://github.com/mallory/app", ""):
            if (claim, value) != ("buildConfigUri", ""):  # certificates of 2022 have none
                assert refused(RULE, build(github(**{claim: value}))).reason is Reason.EVIDENCE_SOURCE


def test_tag_and_branch_of_one_name() -> None:
    ref = "refs/heads/refs/tags/v1.2.3"
    identity = f"{APP}/{PATH}@{ref}"
    signer = github(identity, sourceRepositoryRef=ref, buildConfigUri=identity)
    fact = build(signer, predicate(RUNNER, ref=ref))
    assert refused(HOSTED | {"ref": "refs/tags/*"}, fact).reason is Reason.EVIDENCE_SOURCE


def test_extra_external_parameter() -> None:
    fact = build(said=predicate(parameters={"inputs": {"debug": "true"}}))
    assert refused(RULE, fact).reason is Reason.EVIDENCE_PARAMETERS
    assert hold(RULE | {"parameters": {"inputs": {"debug": "true"}}}, fact) == 1
    assert hold(RULE | {"parameters": {"inputs": "**"}}, fact) == 1


def test_own_sigstore_does_not_speak_for_github() -> None:
    own = github()._replace(instance="sigstore/own.json")
    assert refused(RULE, build(own)).reason is Reason.EVIDENCE_SIGNER
    rule = {"builders": [{"id": OWN, "instance": "sigstore/own.json"}], "source": APP}
    assert hold(rule, build(own)) == 1
    assert refused(rule, build()).reason is Reason.EVIDENCE_SIGNER


def test_without_a_log_only_where_the_rule_says_so() -> None:
    with pytest.raises(PolicyError) as caught:
        hold(RULE, build(logged=False))
    assert caught.value.reason is Reason.EVIDENCE_NOT_LOGGED
    assert hold({"builders": [{"id": OWN, "unlogged": True}], "source": APP}, build(logged=False)) == 1


@given(st.sampled_from(["kind", "issuer", "identity", "instance"]), st.text(max_size=20))
def test_any_change_of_the_signer_is_refused(member: str, value: str) -> None:
    signer = github()
    if getattr(signer, member) != value:
        with pytest.raises(PolicyError):
            hold(RULE, build(Signer(**(signer._asdict() | {member: value}))))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "buildDefinition",
                        "runDetails",
                        "builder",
                        "id",
                        "buildType",
                        "externalParameters",
                        "workflow",
                        "uri",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict))
)
def test_no_other_predicate_is_accepted_and_only_named_refusals_escape(said: dict[str, Any]) -> None:
    with pytest.raises(PlacetError):
        hold(RULE, build(said=said))


def test_a_key_speaks_only_for_the_builder_that_it_was_named_for() -> None:
    key = Signer("key", key_digest="c" * 64)
    assert refused(RULE, build(key)).reason is Reason.EVIDENCE_BUILDER
    rule = {"builders": [{"id": "https://b.example", "key": "c" * 64}, OWN], "source": APP}
    assert refused(rule, build(key)).reason is Reason.EVIDENCE_BUILDER
    other = {"builders": [{"id": OWN, "issuer": ISSUER, "signer": OWN}], "source": APP}
    assert hold(other, build()) == 1


def test_a_workflow_without_a_reference_is_refused_when_the_rule_is_written() -> None:
    bare = OWN.partition("@")[0]
    for builder in (bare, {"id": bare, "level": 3}):
        with pytest.raises(MalformedError, match="ends with its reference") as caught:
            hold({"builders": [builder], "source": APP}, build())
        assert f"{bare}@refs/tags/*" in caught.value.hint
    assert hold({"builders": [f"{bare}**"], "source": APP}, build()) == 1
