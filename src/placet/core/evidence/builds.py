"""Holding SLSA provenance against a rule (spec/17-evidence.md).

Provenance is a claim by whoever signed it.  So the builder that it names must be the one that signed;
then that builder must be one of the rule's, and what it says of source, reference, commit and external
parameters what the rule expects.  For GitHub's builders the certificate, which the job that was built
cannot choose, must say the same as the predicate, which it could.
"""

from __future__ import annotations

from placet.core.errors import PolicyError, Reason
from placet.core.evidence.build_rules import (
    HOSTED_RUNNER,
    OWN_RUNNER,
    WORKFLOWS,
    BuilderRule,
    BuildRule,
    is_github_builder,
    is_runner,
)
from placet.core.evidence.facts import EvidenceFact, Signer
from placet.core.evidence.parameters import check_parameters
from placet.core.evidence.provenance import Provenance, parse_provenance
from placet.core.evidence.refusals import BEWARE, first_that_passes, unmet
from placet.core.evidence.signers import check_signer, check_standing, say_signer
from placet.core.evidence.sources import normalise_repository
from placet.core.patterns import matches

_REUSABLE = (
    "Unless it is a reusable workflow that you know: then an administrator names it in the rule, as the "
    "builder's signer."
)


def check_build(rule: BuildRule, fact: EvidenceFact) -> int:
    """Holds a provenance fact against a rule.

    Returns:
        The build level to which the rule trusts the builder.

    Raises:
        PolicyError: EVIDENCE_BUILDER, EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED, EVIDENCE_LEVEL,
            EVIDENCE_BUILD_TYPE, EVIDENCE_SOURCE, EVIDENCE_PARAMETERS.
        MalformedError, IndeterminateError: as `parse_provenance`.
    """
    claim = parse_provenance(fact.predicate_type, fact.predicate)
    level = _check_builder(rule.builders, claim, fact)
    if level < rule.min_level:  # EVD-08
        raise unmet(
            Reason.EVIDENCE_LEVEL,
            f"The rule trusts this builder to SLSA build level {level}; it requires {rule.min_level}.",
            expected=rule.min_level,
            actual=level,
        )
    if rule.build_types and claim.build_type not in rule.build_types:  # EVD-09
        raise unmet(
            Reason.EVIDENCE_BUILD_TYPE,
            "The artifact was built in another way than the rule allows.",
            expected=", ".join(rule.build_types),
            actual=claim.build_type,
        )
    _check_source(rule, claim)
    check_parameters(rule.parameters, claim.external_parameters)
    return level


def _check_builder(builders: tuple[BuilderRule, ...], claim: Provenance, fact: EvidenceFact) -> int:
    named = [builder for builder in builders if matches(builder.id, claim.builder_id)]
    if not named:  # EVD-07
        raise unmet(
            Reason.EVIDENCE_BUILDER,
            "The artifact comes from a builder that the rule does not trust.",
            expected=", ".join(builder.id for builder in builders),
            actual=claim.builder_id,
        )
    named.sort(key=lambda builder: -builder.level)
    return first_that_passes(named, lambda builder: _check_bound(builder, claim, fact)).level


def _check_bound(builder: BuilderRule, claim: Provenance, fact: EvidenceFact) -> None:
    """Checks that the builder that the provenance names is the one that signed it (EVD-07)."""
    signer = fact.signer or Signer("")
    if builder.signer is not None:
        check_signer(builder.signer, fact)
        if signer.kind == "certificate" and is_github_builder(claim.builder_id):
            _check_certificate(builder, claim, signer)
        return
    if signer.kind != "certificate" or signer.issuer != builder.issuer:
        raise _not_its_signer(claim, signer, f"a workflow, as {builder.issuer} says")
    if is_runner(claim.builder_id):
        # Only the certificate says in whose repository the runner worked; the predicate may be the job's own.
        if not claim.source_uri or not signer.identity.startswith(claim.source_uri + WORKFLOWS):
            raise _not_its_signer(claim, signer, f"a workflow of {claim.source_uri or 'the source'}")
    elif signer.identity != claim.builder_id:
        raise _not_its_signer(claim, signer, claim.builder_id)
    check_standing(fact, builder.instance, unlogged=builder.unlogged)
    _check_certificate(builder, claim, signer)


def _not_its_signer(claim: Provenance, signer: Signer, expected: str) -> PolicyError:
    return unmet(
        Reason.EVIDENCE_BUILDER,
        f"The provenance names the builder {claim.builder_id}, but {say_signer(signer)} signed it.",
        expected=expected,
        actual=say_signer(signer),
        hint=f"{BEWARE} {_REUSABLE}" if is_runner(claim.builder_id) else BEWARE,
    )


def _check_certificate(builder: BuilderRule, claim: Provenance, signer: Signer) -> None:
    """Holds what GitHub's provenance says of its build against the certificate (EVD-07)."""
    runner = signer.claims.get("runnerEnvironment", "")
    says_hosted = claim.builder_id == HOSTED_RUNNER
    # A wildcard for runners means GitHub's own, unless the rule says otherwise.
    foreign = runner not in ("", "github-hosted") and not (builder.self_hosted or builder.id == OWN_RUNNER)
    if foreign or (says_hosted and runner != "github-hosted"):
        raise unmet(
            Reason.EVIDENCE_BUILDER,
            "The build ran on a runner that GitHub does not host.",
            expected="github-hosted",
            actual=runner or "not said by the certificate",
            hint="Build on a GitHub-hosted runner. An administrator who trusts the own runners as much "
            "writes self_hosted = true at the builder.",
        )
    certified = normalise_repository(signer.claims.get("sourceRepositoryUri", ""))
    facts = [
        ("source repository", certified, claim.source_uri),
        ("reference", signer.claims.get("sourceRepositoryRef", ""), claim.source_ref),
        ("commit", signer.claims.get("sourceRepositoryDigest", ""), claim.commit),
    ]
    config = signer.claims.get("buildConfigUri", "")
    if config:  # older certificates do not name the file that told the builder what to do
        facts.append(("workflow", config.partition("@")[0], f"{claim.source_uri}/{claim.entry_point}"))
    for what, says, claimed in facts:
        if says != claimed or not says:
            raise unmet(
                Reason.EVIDENCE_SOURCE,
                f"Certificate and provenance differ about the {what}.",
                expected=says,
                actual=claimed,
                hint=BEWARE,
            )


def _check_source(rule: BuildRule, claim: Provenance) -> None:
    """Holds repository, reference, commit and entry point against the rule (EVD-10)."""
    wanted = [
        ("from the source repository", rule.sources, claim.source_uri),
        ("from the reference", rule.refs, claim.source_ref),
        ("from the commit", (rule.commit,) if rule.commit else (), claim.commit),
        ("as told by the workflow", rule.entry_points, claim.entry_point),
    ]
    for what, patterns, claimed in wanted:
        if patterns and not any(matches(pattern, claimed) for pattern in patterns):
            raise unmet(
                Reason.EVIDENCE_SOURCE,
                f"The artifact was not built {what} that the rule expects.",
                expected=", ".join(patterns),
                actual=claimed or "not said",
            )
