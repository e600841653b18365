"""Why evidence is not enough, with what to do next (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason

T = TypeVar("T")

_ADMINISTRATOR = "if this one is right, an administrator adds it to the rule."
_NEXT = {
    Reason.EVIDENCE_SIGNER: f"Ask again with evidence by a signer that the rule names; {_ADMINISTRATOR}",
    Reason.EVIDENCE_NOT_LOGGED: "Use evidence with its log entry. For an instance without a public log, such "
    "as GitHub's own, an administrator writes unlogged = true into the rule.",
    Reason.EVIDENCE_BUILDER: f"Build it with a builder that the rule names; {_ADMINISTRATOR}",
    Reason.EVIDENCE_BUILD_TYPE: f"Build it in the way that the rule names; {_ADMINISTRATOR}",
    Reason.EVIDENCE_SOURCE: f"Build from the source that the rule names; {_ADMINISTRATOR}",
    Reason.EVIDENCE_PARAMETERS: "Build without it. Where it may be given, an administrator lists it: "
    'parameters = { name = "value" }, with "**" for any value.',
    Reason.EVIDENCE_LEVEL: "Build, or have it verified, at a higher level; rules say how far whom to trust.",
    Reason.EVIDENCE_RESOURCE: "Have the summary made for this resource. Where summaries name packages and "
    'not targets, an administrator says so in the rule: resource = "pkg:…".',
    Reason.EVIDENCE_TIME: "Have the summary made with the verifier's clock set; check this machine's, too.",
    Reason.EVIDENCE_STALE: "Have the artifact verified again and ask with the new summary.",
    Reason.EVIDENCE_SUBJECT: "Ask with provenance of the same build as well, by a builder that the rule has.",
    Reason.EVIDENCE_REQUIRED: "Ask with evidence of the type that the rule names.",
    Reason.EVIDENCE_LAYOUT: "Ask with the links of the steps that this layout has.",
}
# Several names of workflows.
_MAX_SAID = 1000
BEWARE = "Do not trust where this evidence came from: somebody signed what is not theirs to say."


def unmet(
    reason: Reason,
    message: str,
    *,
    expected: object = None,
    actual: object = None,
    hint: str = "",
    causes: Iterable[PlacetError] = (),
) -> PolicyError:
    """Returns the refusal of evidence that was verified and is not what a rule expects."""
    hint = hint or _NEXT[reason]
    said, wanted, found = (_cut(value) for value in (message, expected, actual))
    return PolicyError(reason, str(said), expected=wanted, actual=found, hint=hint, causes=tuple(causes))


def _cut(value: object) -> object:
    """Cuts what others wrote: a claim may have a megabyte, and people read the refusal."""
    if not isinstance(value, str) or len(value) <= _MAX_SAID:
        return value
    return f"{value[:_MAX_SAID]}... ({len(value) - _MAX_SAID} more characters)"


def unreadable(what: str, actual: str) -> IndeterminateError:
    """Returns the refusal of a predicate in a version that is not read here."""
    return IndeterminateError(
        Reason.EVIDENCE_UNSUPPORTED,
        f"This version of placet reads {what}.",
        path="/predicateType",
        actual=actual[:200],
        hint="Update placet here, or have it written in one of these versions.",
    )


def first_that_passes(candidates: Iterable[T], check: Callable[[T], None]) -> T:
    """Returns the first candidate that a check does not refuse.

    Raises:
        PolicyError: nobody passes; whoever is the right signer with another fault says most.
    """
    refusals: list[PolicyError] = []
    for candidate in candidates:
        try:
            check(candidate)
        except PolicyError as e:
            refusals.append(e)
        else:
            return candidate
    raise next((e for e in refusals if e.reason is not Reason.EVIDENCE_SIGNER), refusals[0])
