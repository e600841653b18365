"""Intent levels: what an approval proves (spec/01-invariants.md, section "Levels").

    INTENT_LEVEL_1  Bound       an enrolled person's key signed this exact action
    INTENT_LEVEL_2  Present     + hardware, touched and unlocked, inside its window, single use
    INTENT_LEVEL_3  Isolated    + enrolled terminal with report, attested model, logged and witnessed
    INTENT_LEVEL_4  Collective  + two distinct people on distinct terminals, witness quorum

Levels are cumulative.  What one signature proves is told here; that several people on several
terminals stand behind level 4 is seen where a quorum is counted (`placet.core.rules`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from placet.core.encoding import Digest
from placet.core.people import Credential
from placet.core.report import Report
from placet.core.signature import SignatureFacts

if TYPE_CHECKING:
    from placet.core.tlog.decisions import LogFacts

MIN_LEVEL, MAX_LEVEL = 1, 4
# The highest level that can be reached without a log proof.
MAX_LEVEL_WITHOUT_LOG = 2
# The level that takes several people, however strong each of them is.
COLLECTIVE = 4

LEVEL_NAMES = {1: "Bound", 2: "Present", 3: "Isolated", 4: "Collective"}
NEEDS_OTHERS = "two people who decided on two terminals, neither of them the requester"
_UNPROVEN = "no proof that the decision is in the log"


def level_name(level: int) -> str:
    """Returns the level as it stands in a VSA's ``verifiedLevels``."""
    return f"INTENT_LEVEL_{level}"


class Circumstances(NamedTuple):
    """What surrounds one signature, and what its level rests on.

    Args:
        evidence: the digests of all evidence that the statement names.
        report: the verified report on the signature, None where there is none.
        log: what the bundle's log proofs prove; None where it carries none.
        signature: the digest by which the log knows the signature.
    """

    max_uses: int
    evidence: frozenset[Digest]
    report: Report | None
    log: LogFacts | None
    signature: Digest


def signature_level(
    person_id: str, credential: Credential, facts: SignatureFacts, around: Circumstances
) -> tuple[int, tuple[str, ...]]:
    """Returns the level of a verified signature, and what the next one lacks (LVL-01, LVL-02, LVL-03)."""
    lacking = []
    if credential.assurance == "software":
        lacking.append(
            f"{person_id} signed with a software key; level 2 needs hardware, attested or vouched for"
        )
    if not facts.user_verified:
        lacking.append(f"{person_id}'s key did not verify its user with a PIN or fingerprint")
    if around.max_uses != 1:
        lacking.append(f"the approval is for {around.max_uses} uses; level 2 needs a stated single use")
    if lacking:
        return 1, tuple(lacking)
    if around.report is None:
        lacking.append(f"no enrolled terminal reports on {person_id}'s signature")
    elif unseen := around.evidence - {e.digest for e in around.report.evidence if e.result == "verified"}:
        lacking.append(f"{around.report.terminal_id} did not verify {len(unseen)} piece(s) of the evidence")
    if credential.assurance != "attested":
        lacking.append(f"{person_id}'s authenticator model is vouched for, not attested")
    # LVL-03, INV-7: what nobody proved to be in the log is not in it.
    unlogged = around.log.lacking(around.signature) if around.log else _UNPROVEN
    if unlogged:
        lacking.append(f"{unlogged}, for {person_id}")
    if lacking:
        return MAX_LEVEL_WITHOUT_LOG, tuple(lacking)
    # LVL-06: how many people there are is counted with the quorum.
    without_quorum = around.log.lacks_quorum(around.signature) if around.log else _UNPROVEN
    return (3, (without_quorum,)) if without_quorum else (COLLECTIVE, ())
