"""What this machine verifies of the evidence that requests and bundles carry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from placet.adapters.paths import snapshot_path
from placet.core.bundle import carries_evidence
from placet.core.evidence.facts import EvidenceFact
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.ports.evidence_verifier import EvidenceVerifier


def evidence_verifier(snapshot: str | os.PathLike[str] | None) -> EvidenceVerifier:
    """Returns what verifies evidence with the files that lie beside a snapshot (default: this machine's)."""
    from placet.adapters.evidence import EvidenceVerifiers

    return EvidenceVerifiers(snapshot or snapshot_path())


def verify_bundle_evidence(
    bundle: bytes, *, trust: Trust, snapshot: str | os.PathLike[str] | None
) -> tuple[EvidenceFact, ...]:
    """Verifies what a bundle carries as evidence; imports nothing more where there is none.

    Raises:
        PlacetError: the bundle is malformed, or its evidence is false or cannot be judged here.
    """
    if not carries_evidence(bundle):
        return ()
    from placet.adapters import evidence

    return evidence.verify_bundle_evidence(bundle, trust=trust, verifier=evidence_verifier(snapshot))
