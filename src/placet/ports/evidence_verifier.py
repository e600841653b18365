"""What checks the evidence that a statement names.

The core judges what evidence means for a rule; it does not know tokens, provenance or certificates.
Whoever implements `EvidenceVerifier` must keep these promises:

1. **A fact is verified here and now.**  Signature, issuer and validity were checked by this machine, with
   keys that its own trust snapshot leads to.  What somebody else says they checked is no fact.
2. **A fact is about these bytes.**  Its digest is that of the evidence that was checked.
3. **Unknown is left out.**  Evidence of a kind that is not known yields no fact, and no error.
4. **False is an error.**  Evidence of a known kind that does not verify is never passed over in silence.
"""

from __future__ import annotations

from typing import Protocol

from placet.core.evidence.facts import Evidence, EvidenceFact
from placet.core.statement import IntentStatement
from placet.core.trust import Trust


class EvidenceVerifier(Protocol):
    """Verifies evidence.  The module's docstring lists its obligations."""

    def verify(
        self, statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        """Returns what was verified.

        Raises:
            VerificationError: evidence is false.
            IndeterminateError: it cannot be judged here, such as without an issuer's keys.
            MalformedError: it is not in its format.
        """
        ...


class NoEvidence:
    """Verifies nothing, so that whatever needs evidence is refused."""

    def verify(
        self, statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        """Returns no facts."""
        return ()


NO_EVIDENCE = NoEvidence()
