"""What a rule asks of a piece of evidence beyond its kind (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placet.core.errors import IndeterminateError, Reason
from placet.core.evidence.facts import EvidenceFact
from placet.core.statement import IntentStatement


def check_options(kind: str, options: Mapping[str, Any], path: str) -> None:
    """Checks the options of a rule when its policy is compiled."""


def check_expectations(
    kind: str,
    options: Mapping[str, Any],
    fact: EvidenceFact,
    *,
    statement: IntentStatement,
    facts: tuple[EvidenceFact, ...],
    at: int,
) -> int | None:
    """Holds a verified fact against a rule's options; returns the SLSA level that is met."""
    if options:
        raise IndeterminateError(Reason.EVIDENCE_NOT_VERIFIED, "This version cannot judge these options.")
    return None
