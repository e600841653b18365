"""The SLSA source track: how a revision came to be (spec/17-evidence.md).

Evidence about a revision says nothing of an artifact.  What ties the two is provenance by a trusted
builder, which names the commit that the artifact was built from; anybody's provenance would not do,
since whoever signs it may name the best reviewed commit of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.core.errors import PlacetError, Reason
from placet.core.evidence.build_rules import BuildRule, read_build_rule, read_source, read_texts
from placet.core.evidence.builds import check_build
from placet.core.evidence.facts import PROVENANCE, VSA, EvidenceFact
from placet.core.evidence.options import SignerRule, check_names, read_entries, read_signer
from placet.core.evidence.provenance import parse_provenance
from placet.core.evidence.refusals import unmet, unreadable
from placet.core.evidence.signers import check_signed_by_any
from placet.core.evidence.sources import normalise_repository, split_source
from placet.core.evidence.vsa_input import check_levels, map_levels, parse_summary
from placet.core.patterns import matches
from placet.core.policy import read_int
from placet.core.statement import IntentStatement

SOURCE_PREDICATE = "https://github.com/slsa-framework/slsa-source-poc/source-provenance/v1-draft"
HIGHEST_SOURCE_LEVEL = 4
_TRACK = "SOURCE"


class SourceRule(NamedTuple):
    """What a rule expects of a revision's evidence.

    `builds` says whose provenance may name the commit; None where only commits themselves are approved.
    """

    signers: tuple[SignerRule, ...]
    sources: tuple[str, ...]
    builds: BuildRule | None
    min_level: int


class SourceProvenance(NamedTuple):
    """What the source control system says of a revision, "" where it does not."""

    repository: str
    branch: str
    actor: str
    activity: str
    controls: tuple[str, ...]


def parse_source_provenance(predicate: Mapping[str, Any]) -> SourceProvenance:
    """Reads a source provenance predicate; what is of another type is left out."""
    texts = {name: value for name, value in predicate.items() if isinstance(value, str)}
    controls = predicate.get("controls")
    names = [c.get("name") for c in controls if isinstance(c, dict)] if isinstance(controls, list) else []
    return SourceProvenance(
        repository=texts.get("repo_uri", ""),
        branch=texts.get("branch", ""),
        actor=texts.get("actor", ""),
        activity=texts.get("activity_type", ""),
        controls=tuple(name for name in names if isinstance(name, str)),
    )


def read_source_rule(options: Mapping[str, Any], path: str) -> SourceRule:
    """Reads the options of ``slsa-source`` (EVD-04).

    Raises:
        MalformedError: what is unknown, missing or wrong.
    """
    check_names(options, path, "slsa-source", ("signers", "source"), ("builders", "min_level"))
    build_options = {name: options[name] for name in ("builders", "source") if name in options}
    return SourceRule(
        signers=read_entries(options, "signers", path, read_signer),
        sources=read_texts(options, "source", path, read_source),
        builds=read_build_rule(build_options, path) if "builders" in options else None,
        min_level=read_int(options.get("min_level", 1), f"{path}/min_level", 1, HIGHEST_SOURCE_LEVEL),
    )


def check_source(
    rule: SourceRule, fact: EvidenceFact, *, statement: IntentStatement, facts: tuple[EvidenceFact, ...]
) -> int | None:
    """Holds evidence about a revision against a rule, and ties it to every artifact.

    Returns:
        The source level that a verification summary states; source provenance states none.

    Raises:
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED, EVIDENCE_LEVEL, EVIDENCE_SOURCE, EVIDENCE_SUBJECT.
        IndeterminateError: EVIDENCE_UNSUPPORTED.
        MalformedError: the predicate is not in its form.
    """
    check_signed_by_any(rule.signers, fact)
    repository, level = _read_claim(rule, fact)
    if not any(matches(pattern, repository) for pattern in rule.sources):
        raise unmet(
            Reason.EVIDENCE_SOURCE,
            "The evidence is about a revision of another repository.",
            expected=", ".join(rule.sources),
            actual=repository or "not said",
        )
    for subject in statement.subjects:
        if subject.digest not in fact.subjects:
            _check_built_from(rule, fact, facts, repository, subject.digest)
    return level


def _read_claim(rule: SourceRule, fact: EvidenceFact) -> tuple[str, int | None]:
    """Returns the repository and the source level that the evidence states (EVD-18)."""
    if fact.kind == VSA:
        summary = parse_summary(fact.predicate_type, fact.predicate)
        check_levels((f"SLSA_SOURCE_LEVEL_{rule.min_level}",), summary)
        level = max(n for track, n in map_levels(summary.levels) if track == _TRACK)
        return split_source(summary.resource)[0], level
    if fact.predicate_type != SOURCE_PREDICATE:
        raise unreadable("source provenance v1-draft and verification summaries", fact.predicate_type)
    if rule.min_level > 1:
        raise unmet(
            Reason.EVIDENCE_LEVEL,
            "Source provenance says how a revision came to be, not which SLSA source level that is.",
            expected=f"SLSA_SOURCE_LEVEL_{rule.min_level}",
            actual="source provenance",
            hint="Ask with the verification summary that the source control system makes of it.",
        )
    return normalise_repository(parse_source_provenance(fact.predicate).repository), None


def _check_built_from(
    rule: SourceRule, fact: EvidenceFact, facts: tuple[EvidenceFact, ...], repository: str, artifact: str
) -> None:
    """Checks that provenance by a trusted builder names the revision as the artifact's source (EVD-17)."""
    refusals: list[PlacetError] = []
    for built in facts:
        if rule.builds is None or built.kind != PROVENANCE or artifact not in built.subjects:
            continue
        try:
            check_build(rule.builds, built)
        except PlacetError as e:
            refusals.append(e)
            continue
        claim = parse_provenance(built.predicate_type, built.predicate)
        named = {f"gitCommit:{claim.commit}", f"sha1:{claim.commit}"} if claim.commit else set()
        if claim.source_uri == repository and named & fact.subjects:
            return
    raise unmet(
        Reason.EVIDENCE_SUBJECT,
        "Nothing here shows that the artifact was built from the revision that this evidence is about.",
        expected=", ".join(sorted(fact.subjects)[:4]),
        causes=refusals,
    )
