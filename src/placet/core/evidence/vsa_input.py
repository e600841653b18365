"""SLSA verification summaries (VSA) as evidence: somebody trusted checked the artifact (spec/17-evidence.md).

Held as slsa-verifier holds them: the verifier that is named must be the one that signed, for this
resource, PASSED, with every level asked for.  Two things more, because a summary does not expire and is
easily copied: when it was made, and that the resource is this action's target unless the rule names another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.core.decode import Object, read_ascii, read_map
from placet.core.encoding import format_time, parse_time
from placet.core.errors import MalformedError, Reason
from placet.core.evidence.facts import EvidenceFact
from placet.core.evidence.options import SignerRule, check_names, read_entries, signer_of
from placet.core.evidence.provenance import get
from placet.core.evidence.refusals import unmet, unreadable
from placet.core.evidence.signers import check_signed_by_any
from placet.core.patterns import matches, read_pattern
from placet.core.policy import read_duration
from placet.core.statement import IntentStatement

PREDICATE_V1 = "https://slsa.dev/verification_summary/v1"
PREDICATE_V02 = "https://slsa.dev/verification_summary/v0.2"
# The member in which our own gates say when their summaries end (spec/18-verdicts.md).
EXPIRES_AT = "https://placet.dev/verdict/expiresAt"
# A month: long enough for what is verified at each release, short enough that a withdrawal is noticed.
DEFAULT_MAX_AGE = "30d"
# The clocks of two machines that both keep time.
LEEWAY_SECONDS = 300

_EMPTY: Object = {}
_NONE: list[Any] = []
_slsa_level = re.compile("SLSA_(?:([A-Z][A-Z0-9]*)_)?LEVEL_([0-9]{1,4})").fullmatch
_time = re.compile(r"([0-9-]{10}T[0-9:]{8})(?:\.[0-9]{1,12})?(?:Z|([+-])([0-9]{2}):([0-9]{2}))").fullmatch


class Summary(NamedTuple):
    """A verification summary as its signer made it; `verified_at` is None where it does not say."""

    verifier: str
    verified_at: int | None
    resource: str
    passed: bool
    levels: tuple[str, ...]
    policy: str


class VerifierRule(NamedTuple):
    """A verifier that a rule trusts, and who signs for it."""

    id: str
    signer: SignerRule


class SummaryRule(NamedTuple):
    """What a rule expects of a summary; `resource` is None for the action's own target."""

    verifiers: tuple[VerifierRule, ...]
    levels: tuple[str, ...]
    resource: str | None
    max_age: int


def parse_summary(predicate_type: str, predicate: Mapping[str, Any]) -> Summary:
    """Reads a VSA predicate of version 0.2 or 1 (EVD-12).

    Raises:
        MalformedError: WRONG_TYPE, BAD_TIME.
        IndeterminateError: EVIDENCE_UNSUPPORTED: another version.
    """
    if predicate_type not in (PREDICATE_V1, PREDICATE_V02):
        raise unreadable("verification summaries of the versions 0.2 and 1", predicate_type)
    old = predicate_type == PREDICATE_V02
    levels = [predicate.get("policy_level")] if old else get(predicate, "verifiedLevels", _NONE)
    verified_at = predicate.get("time_verified" if old else "timeVerified")
    return Summary(
        verifier=get(get(predicate, "verifier", _EMPTY), "id", ""),
        verified_at=None if verified_at is None else parse_foreign_time(verified_at),
        resource=get(predicate, "resource_uri" if old else "resourceUri", ""),
        passed=predicate.get("verification_result" if old else "verificationResult") == "PASSED",
        levels=tuple(level for level in levels if isinstance(level, str)),
        policy=get(get(predicate, "policy", _EMPTY), "uri", ""),
    )


def parse_foreign_time(value: Any) -> int:
    """Parses an RFC 3339 time in any spelling, less its fraction of a second.

    Raises:
        MalformedError: BAD_TIME.
    """
    found = _time(value) if isinstance(value, str) else None
    if found is None:
        raise MalformedError(Reason.BAD_TIME, "A time was expected, as RFC 3339 spells it.")
    local, sign, hours, minutes = found.groups()
    offset = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1) if sign else 0
    return parse_time(f"{local}Z") - offset


def parse_slsa_level(level: str) -> tuple[str, int] | None:
    """Splits ``SLSA_BUILD_LEVEL_3`` into track and number; None for other levels."""
    found = _slsa_level(level)
    return (found[1] or "", int(found[2])) if found else None


def read_summary_rule(options: Mapping[str, Any], path: str) -> SummaryRule:
    """Reads the options of ``slsa-vsa`` (EVD-04).

    Raises:
        MalformedError: what is unknown, missing or wrong.
    """
    check_names(options, path, "slsa-vsa", ("verifiers", "levels"), ("resource", "max_age"))
    return SummaryRule(
        verifiers=read_entries(options, "verifiers", path, _read_verifier),
        levels=read_entries(options, "levels", path, read_ascii),
        resource=read_pattern(options["resource"], f"{path}/resource") if "resource" in options else None,
        max_age=read_duration(options.get("max_age", DEFAULT_MAX_AGE), f"{path}/max_age"),
    )


def _read_verifier(value: Any, path: str) -> VerifierRule:
    members = read_map(value, path, max_items=8)
    check_names(members, path, "verifier", ("id",), ("issuer", "signer", "key", "instance", "unlogged"))
    return VerifierRule(
        read_ascii(members["id"], f"{path}/id"), signer_of(members, members.get("signer"), path)
    )


def check_summary(
    rule: SummaryRule, fact: EvidenceFact, *, statement: IntentStatement, at: int
) -> int | None:
    """Holds a summary against a rule.

    Returns:
        The SLSA build level that it states, None where it states none.

    Raises:
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED, EVIDENCE_RESOURCE, EVIDENCE_LEVEL, EVIDENCE_TIME,
            EVIDENCE_STALE.
        MalformedError, IndeterminateError: as `parse_summary`.
    """
    summary = parse_summary(fact.predicate_type, fact.predicate)
    _check_verifier(rule.verifiers, summary, fact)
    resource = statement.target if rule.resource is None else rule.resource
    good = summary.resource == resource if rule.resource is None else matches(resource, summary.resource)
    if not good:  # EVD-14
        raise unmet(
            Reason.EVIDENCE_RESOURCE,
            "The verification summary is about another resource.",
            expected=resource,
            actual=summary.resource,
        )
    check_levels(rule.levels, summary)
    check_age(rule.max_age, summary, fact, at)
    return max((n for t, n in map_levels(summary.levels) if t == "BUILD"), default=None)


def map_levels(levels: tuple[str, ...]) -> list[tuple[str, int]]:
    """Returns the SLSA levels among all levels, as (track, number)."""
    return [level for text in levels if (level := parse_slsa_level(text)) is not None]


def _check_verifier(verifiers: tuple[VerifierRule, ...], summary: Summary, fact: EvidenceFact) -> None:
    """Checks that the verifier that is named is trusted, and the one that signed (EVD-13)."""
    named = [verifier for verifier in verifiers if verifier.id == summary.verifier]
    if not named:
        raise unmet(
            Reason.EVIDENCE_SIGNER,
            "The summary is by a verifier that the rule does not trust.",
            expected=", ".join(verifier.id for verifier in verifiers),
            actual=summary.verifier,
        )
    check_signed_by_any([verifier.signer for verifier in named], fact)


def check_levels(wanted: tuple[str, ...], summary: Summary) -> None:
    """Checks that a summary passed, with every level asked for or a higher one of its track (EVD-15).

    Raises:
        PolicyError: EVIDENCE_LEVEL.
    """
    stated = map_levels(summary.levels)
    for level in wanted:
        slsa = parse_slsa_level(level)
        enough = any(t == slsa[0] and n >= slsa[1] for t, n in stated) if slsa else level in summary.levels
        if not summary.passed or not enough:
            raise unmet(
                Reason.EVIDENCE_LEVEL,
                "The verifier did not find what the rule requires.",
                expected=f"PASSED with {', '.join(wanted)}",
                actual=f"{'PASSED' if summary.passed else 'not PASSED'} with {', '.join(summary.levels)}",
            )


def check_age(max_age: int, summary: Summary, fact: EvidenceFact, at: int) -> None:
    """Checks that a summary says when it was made, not in the future and not long ago (EVD-16).

    Raises:
        PolicyError: EVIDENCE_TIME, EVIDENCE_STALE.
    """
    made = summary.verified_at if summary.verified_at is not None else fact.signed_at
    if not made or made > at + LEEWAY_SECONDS:
        raise unmet(
            Reason.EVIDENCE_TIME,
            "The summary is of the future." if made else "The summary does not say when it was made.",
            expected=f"at or before {format_time(at)}",
            actual=format_time(made) if made else None,
        )
    if fact.signed_at:  # whoever held a verifier for a minute could have dated its summaries ahead
        made = min(made, fact.signed_at)
    if at - made > max_age:
        raise unmet(
            Reason.EVIDENCE_STALE,
            "The summary is older than the rule accepts.",
            expected=f"since {format_time(max(0, at - max_age))}",
            actual=format_time(made),
        )
    ends = fact.predicate.get(EXPIRES_AT)
    if ends is not None and at >= parse_foreign_time(ends):  # VSA-07
        raise unmet(
            Reason.EVIDENCE_STALE,
            "The summary is over: it says itself until when it was good.",
            expected=f"before {ends}",
            actual=format_time(at),
        )
