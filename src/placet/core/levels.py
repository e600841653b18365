"""Intent levels: what an approval proves (spec/01-invariants.md, section "Levels").

    INTENT_LEVEL_1  Bound       an enrolled person's key signed this exact action
    INTENT_LEVEL_2  Present     + hardware, touched and unlocked, inside its window, single use
    INTENT_LEVEL_3  Isolated    + enrolled terminal with report, attested model, logged and witnessed
    INTENT_LEVEL_4  Collective  + two distinct people on distinct terminals, witness quorum

Levels are cumulative.  Levels 3 and 4 need proofs of the log, which this version does not
read; it defines them and refuses them with that reason.
"""

from __future__ import annotations

from placet.core.people import Credential
from placet.core.signature import SignatureFacts

MIN_LEVEL, MAX_LEVEL = 1, 4
# The highest level that can be reached without a log proof.
MAX_LEVEL_WITHOUT_LOG = 2

LEVEL_NAMES = {1: "Bound", 2: "Present", 3: "Isolated", 4: "Collective"}
NEEDS_LOG = "a proof that the decision is in a witnessed log (this version of placet reads none yet)"


def level_name(level: int) -> str:
    """Returns the level as it stands in a VSA's ``verifiedLevels``."""
    return f"INTENT_LEVEL_{level}"


def signature_level(
    person_id: str, credential: Credential, facts: SignatureFacts, *, max_uses: int, has_report: bool
) -> tuple[int, tuple[str, ...]]:
    """Returns the level of one verified signature, and what it lacks for the next one (LVL-01, LVL-02)."""
    lacking = []
    if credential.assurance == "software":
        lacking.append(
            f"{person_id} signed with a software key; level 2 needs hardware, attested or vouched for"
        )
    if not facts.user_verified:
        lacking.append(f"{person_id}'s key did not verify its user with a PIN or fingerprint")
    if max_uses != 1:
        lacking.append(f"the approval is for {max_uses} uses; level 2 needs a stated single use")
    if lacking:
        return 1, tuple(lacking)
    if not has_report:
        lacking.append(f"no enrolled terminal reports on {person_id}'s signature")
    if credential.assurance != "attested":
        lacking.append(f"{person_id}'s authenticator model is vouched for, not attested")
    return MAX_LEVEL_WITHOUT_LOG, (*lacking, NEEDS_LOG)
