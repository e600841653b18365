"""What this machine verifies of the evidence that requests and bundles carry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import snapshot_path
from placet.core.bundle import parse_bundle
from placet.core.evidence.facts import EvidenceFact
from placet.core.evidence.requester import TOKEN_MEDIA_TYPE
from placet.core.statement import parse_statement
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.ports.evidence_verifier import EvidenceVerifier


def evidence_verifier(snapshot: str | os.PathLike[str] | None) -> EvidenceVerifier:
    """Returns what verifies evidence with the keys that lie beside a snapshot (default: this machine's)."""
    from placet.adapters.oidc.tokens import TokenVerifier

    return TokenVerifier(Path(snapshot or snapshot_path()))


def verify_bundle_evidence(
    bundle: bytes, *, trust: Trust, snapshot: str | os.PathLike[str] | None
) -> tuple[EvidenceFact, ...]:
    """Verifies what a bundle carries as evidence; reads nothing more where there is none of a known kind.

    Raises:
        PlacetError: the bundle is malformed, or its evidence is false or cannot be judged here.
    """
    if TOKEN_MEDIA_TYPE.encode() not in bundle:
        return ()
    parsed = parse_bundle(bundle)
    statement = parse_statement(parsed.envelope.payload)
    return evidence_verifier(snapshot).verify(statement, parsed.evidence, trust=trust)
