"""What a rule asks of a piece of evidence beyond its kind (spec/17-evidence.md).

One table: kind → reader of its options, and check of a verified fact.  Options are read by the same
reader when a policy is compiled and when it is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from placet.core.decode import read_ascii
from placet.core.errors import Reason
from placet.core.evidence.build_rules import read_build_rule
from placet.core.evidence.builds import check_build
from placet.core.evidence.facts import (
    ATTESTATION,
    IN_TOTO,
    KINDS,
    PROVENANCE,
    SBOM,
    SOURCE,
    VSA,
    EvidenceFact,
    kind_of,
)
from placet.core.evidence.options import (
    check_names,
    in_words,
    read_entries,
    read_formats,
    read_signer,
    refuse,
)
from placet.core.evidence.refusals import unmet
from placet.core.evidence.sbom import FORMATS, check_sbom
from placet.core.evidence.signers import check_signed_by_any
from placet.core.evidence.source_track import check_source, read_source_rule
from placet.core.evidence.vsa_input import check_summary, read_summary_rule
from placet.core.policy import read_pinned_file
from placet.core.statement import IntentStatement


def check_options(kind: str, options: Mapping[str, Any], path: str) -> None:
    """Checks the options of a rule's evidence, when its policy is compiled (EVD-04).

    Args:
        kind: the evidence's, one of `placet.core.evidence.facts.KINDS`.
        options: everything else in the rule's entry, except ``each``.
        path: JSON pointer of the entry.

    Raises:
        MalformedError: BAD_POLICY: the kind or an option is unknown, one is missing or wrong, or the rule
            could never be met.
    """
    _read_rule(kind, options, path)


@in_words
def _read_rule(kind: str, options: Mapping[str, Any], path: str) -> Any:
    if kind in _READERS:
        return _READERS[kind](options, path)
    if kind in KINDS:
        return _read_plain(kind, options, path)
    raise refuse(f"There is no evidence of the kind {kind[:80]!r}.", path, f"There are: {', '.join(KINDS)}.")


def _read_layout(options: Mapping[str, Any], path: str) -> tuple[str, tuple[str, ...]]:
    check_names(options, path, IN_TOTO, ("layout", "owners"), ())
    layout = read_pinned_file(options["layout"], f"{path}/layout", "layouts/")
    owners = read_entries(options, "owners", path, lambda v, at: read_pinned_file(v, at, "layouts/"))
    return layout, owners


def _read_plain(kind: str, options: Mapping[str, Any], path: str) -> tuple[Any, str, tuple[str, ...]]:
    """Reads the options of the kinds that ask who signed, and little else."""
    required = ("signers", "predicate_type") if kind == ATTESTATION else ("signers",)
    check_names(options, path, kind, required, ("formats",) if kind == SBOM else ())
    signers = read_entries(options, "signers", path, read_signer)
    predicate_type = ""
    if kind == ATTESTATION:
        predicate_type = read_ascii(options["predicate_type"], f"{path}/predicate_type")
        if kind_of(predicate_type) != ATTESTATION:
            raise refuse(
                f"Statements of the type {predicate_type} are of the kind {kind_of(predicate_type)}.",
                f"{path}/predicate_type",
                f'Write kind = "{kind_of(predicate_type)}": its options say what it must contain.',
            )
    return signers, predicate_type, read_formats(options, path, FORMATS) if kind == SBOM else ()


_READERS: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    PROVENANCE: read_build_rule,
    VSA: read_summary_rule,
    SOURCE: read_source_rule,
    IN_TOTO: _read_layout,
}


def check_expectations(
    kind: str,
    options: Mapping[str, Any],
    fact: EvidenceFact,
    *,
    statement: IntentStatement,
    facts: tuple[EvidenceFact, ...],
    at: int,
) -> int | None:
    """Holds a verified fact against the options of a rule.

    Args:
        kind: the kind that the rule requires.
        options: the rule's, without ``each``.
        fact: verified, of that kind, and covering the artifacts where its kind can.
        statement: the action that is to be approved.
        facts: everything that was verified; evidence about a source is tied to an artifact through these.
        at: when it must hold, in Unix seconds.

    Returns:
        The SLSA build or source level that is met, None where the kind has none.

    Raises:
        PolicyError: why the fact is not enough; each expectation has a reason of its own.
        MalformedError: the predicate is not in the form of its type; BAD_POLICY where a snapshot has options
            that this version does not know.
        IndeterminateError: EVIDENCE_UNSUPPORTED: the predicate is of a version that is not read here.
    """
    rule = _read_rule(kind, options, "")
    if kind == PROVENANCE:
        return check_build(rule, fact)
    if kind == VSA:
        return check_summary(rule, fact, statement=statement, at=at)
    if kind == SOURCE:
        return check_source(rule, fact, statement=statement, facts=facts)
    if kind == IN_TOTO:
        _check_layout(rule, fact)
        return None
    signers, predicate_type, formats = rule
    check_signed_by_any(signers, fact)
    if kind == SBOM:
        check_sbom(formats, fact)
    if kind == ATTESTATION and fact.predicate_type != predicate_type:  # EVD-20
        raise unmet(
            Reason.EVIDENCE_REQUIRED,
            "The attestation is of another type than the rule requires.",
            expected=predicate_type,
            actual=fact.predicate_type,
        )
    return None


def _check_layout(rule: tuple[str, tuple[str, ...]], fact: EvidenceFact) -> None:
    """Checks that what held is this rule's layout, signed by this rule's owners (EVD-21)."""
    layout, owners = rule
    if fact.predicate.get("layout") != layout or fact.predicate.get("owners") != list(owners):
        raise unmet(
            Reason.EVIDENCE_LAYOUT,
            "The links satisfy another layout than the rule requires.",
            expected=layout,
            actual=str(fact.predicate.get("layout"))[:200],
        )
