"""Which of the facts meets what is required (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Iterable

from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.evidence.expectations import check_expectations
from placet.core.evidence.facts import SOURCE, VSA, EvidenceFact, MetEvidence
from placet.core.policy import EACH, EvidenceRule
from placet.core.statement import IntentStatement


def meet(
    required: EvidenceRule, statement: IntentStatement, facts: tuple[EvidenceFact, ...], *, at: int, who: str
) -> tuple[MetEvidence, ...]:
    """Returns the facts that meet a requirement for every artifact.

    One piece of evidence must cover all artifacts, so that parts of different builds are not mixed; with
    the option ``each`` every artifact may have its own.

    Args:
        at: when it must be met, in Unix seconds.
        who: who requires it, as the refusal names it.

    Raises:
        PolicyError: EVIDENCE_REQUIRED, EVIDENCE_SUBJECT, or why the first candidate does not meet it.
        IndeterminateError: EVIDENCE_NOT_VERIFIED.
    """
    named = {ref.digest: ref.media_type for ref in statement.evidence if ref.name == required.kind}
    if not named:  # POL-11
        raise PolicyError(
            Reason.EVIDENCE_REQUIRED,
            f"{who} requires evidence: {required.kind}.",
            hint="Ask again with it: placet request finds it beside the file, or name it with --evidence.",
        )
    kinds = (SOURCE, VSA) if required.kind == SOURCE else (required.kind,)
    candidates = [fact for fact in facts if fact.digest in named and fact.kind in kinds]
    if not candidates:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            f"{who} requires {required.kind}; evidence of that name is here, and nothing here verified it.",
            hint="Carry it in the request, in a form that this version reads (spec/17-evidence.md).",
        )
    artifacts = frozenset(subject.digest for subject in statement.subjects)
    groups = [frozenset({digest}) for digest in artifacts] if required.options.get(EACH) else [artifacts]
    met: dict[str, MetEvidence] = {}
    for group in groups:
        fact, level = _first_that_holds(
            [f for f in candidates if required.kind == SOURCE or f.subjects >= group],
            required,
            statement,
            facts,
            at,
        )
        met[fact.digest] = MetEvidence(fact, named[fact.digest], level, required.kind)
    return tuple(met.values())


def _first_that_holds(
    candidates: Iterable[EvidenceFact],
    required: EvidenceRule,
    statement: IntentStatement,
    facts: tuple[EvidenceFact, ...],
    at: int,
) -> tuple[EvidenceFact, int | None]:
    options = {name: value for name, value in required.options.items() if name != EACH}
    refusals: list[PlacetError] = []
    for fact in candidates:
        try:
            level = check_expectations(required.kind, options, fact, statement=statement, facts=facts, at=at)
            return fact, level
        except PlacetError as e:
            refusals.append(e)
    if refusals:
        raise refusals[0]
    raise PolicyError(
        Reason.EVIDENCE_SUBJECT,
        f"The evidence {required.kind} does not cover every artifact of this action.",
        path="/subject",
        hint="Ask with evidence that names them all, or ask for each artifact on its own.",
    )
