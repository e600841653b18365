"""The two statements that a gate makes of an approval: VSA v1 and SVR v0.2 (spec/18-verdicts.md).

They are made from a `VerifiedApproval`, which only `verify_for_use` makes: so there is no verdict
without an approval, and nothing in one that was not verified.

Neither format has an expiry that engines check.  Ours stands in a member of our own, named by a URI
as both formats' rules for extensions want it; whoever ignores it relies on `timeVerified` alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.bundle import IntentBundle
from placet.core.decode import Object
from placet.core.dsse import encode_envelope
from placet.core.encoding import format_time, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.evidence.facts import DSSE_MEDIA_TYPE
from placet.core.evidence.vsa_input import EXPIRES_AT
from placet.core.expected import Expected
from placet.core.policy import select_rules
from placet.core.statement import STATEMENT_TYPE
from placet.core.trust import SCOPES_FILE, Trust
from placet.core.verdict.levels import intent_levels, slsa_levels
from placet.core.verify import VerifiedApproval

VSA_TYPE = "https://slsa.dev/verification_summary/v1"
SVR_TYPE = "https://in-toto.io/attestation/svr/v0.2"
SLSA_VERSION = "1.2"

_OURS = "https://placet.dev/verdict/"
SINGLE_USE = _OURS + "singleUse"
RESOURCE_URI = _OURS + "resourceUri"
INPUT_ATTESTATIONS = _OURS + "inputAttestations"
REASON = _OURS + "reason"

# Long enough for an admission controller that is asked right after; too short to be kept and reused.
DEFAULT_LIFE = 600
MAX_LIFE = 86_400


class Judgement(NamedTuple):
    """Who judged, when, and what was not asked.

    Args:
        trust: the gate's own snapshot.
        gate: this gate's ID.
        version: placet's version.
        at: when it was judged, in Unix seconds.
        life: for how many seconds the verdict may be relied on.
        used: whether the use was consumed in the gate's ledger.
    """

    trust: Trust
    gate: str
    version: str
    at: int
    life: int = DEFAULT_LIFE
    used: bool = False

    @property
    def verifier(self) -> str:
        """The gate's URI, as verdicts name it (VSA-02)."""
        return verifier_id(self.trust, self.gate)


def verifier_id(trust: Trust, gate: str) -> str:
    """Returns the URI of a gate (VSA-02): the RP ID is the deployment's own host name, so no other has it."""
    return f"https://{trust.deployment.rp_id}/gates/{gate}"


def policy_uri(trust: Trust, file: str) -> str:
    """Returns the URI of a file of the trust root."""
    return f"https://{trust.deployment.rp_id}/trust/{file}"


def build_vsa(approval: VerifiedApproval, bundle: IntentBundle, judgement: Judgement) -> Object:
    """Returns the SLSA verification summary of an approval.

    Args:
        approval: what `verify_for_use` returned for `bundle`.

    Raises:
        PolicyError: EXPIRED, or BAD_VALUE for a life that is none.
        VerificationError: SUBJECT_MISMATCH: the bundle is not the one that was verified.
    """
    subjects = _subjects(approval)
    slsa = slsa_levels(approval.evidence, _digests(approval))
    levels = [f"SLSA_{track}_LEVEL_{level}" for track, level in slsa.items()]  # VSA-05
    predicate = {
        "verifier": {"id": judgement.verifier, "version": {"placet": judgement.version}},
        "timeVerified": format_time(judgement.at),
        "resourceUri": approval.statement.target,  # VSA-10
        "policy": _policy(approval, judgement.trust),
        "inputAttestations": _inputs(approval, bundle),
        "verificationResult": "PASSED",  # VSA-08
        "verifiedLevels": intent_levels(approval.level) + levels,
        "slsaVersion": SLSA_VERSION,
        EXPIRES_AT: _expiry(approval, judgement),
        SINGLE_USE: _single_use(judgement),
    }
    return _statement(subjects, VSA_TYPE, predicate)


def build_svr(approval: VerifiedApproval, bundle: IntentBundle, judgement: Judgement) -> Object:
    """Returns the simple verification result of an approval.

    Raises:
        PolicyError, VerificationError: as `build_vsa`.
    """
    subjects = _subjects(approval)
    slsa = slsa_levels(approval.evidence, _digests(approval))
    # Engines compare these strings and know no order, so each level that is reached is written out.
    levels = [f"SLSA_{track}_LEVEL_{n}" for track, level in slsa.items() for n in range(1, level + 1)]
    predicate = {
        "verifier": {"id": judgement.verifier, "policies": [_policy(approval, judgement.trust)]},
        "timeCreated": format_time(judgement.at),
        "properties": intent_levels(approval.level) + levels,
        RESOURCE_URI: approval.statement.target,
        INPUT_ATTESTATIONS: _inputs(approval, bundle),
        EXPIRES_AT: _expiry(approval, judgement),
        SINGLE_USE: _single_use(judgement),
    }
    return _statement(subjects, SVR_TYPE, predicate)


def build_failed_vsa(refusal: PlacetError, expected: Expected, judgement: Judgement) -> Object:
    """Returns the summary of a refusal: of what was about to be used, at the target it was for (VSA-08).

    Raises:
        PlacetError: `refusal` itself where it is undecided, for then nothing was found to fail.
        PolicyError: BAD_VALUE where there is no artifact that the summary could be about.
    """
    if isinstance(refusal, IndeterminateError):
        raise refusal
    if not expected.subjects:
        raise PolicyError(
            Reason.BAD_VALUE, "A verdict needs an artifact to be about, and this action has none."
        )
    trust = judgement.trust
    rules = select_rules(trust.rules, trust.scopes, action=expected.action_type, target=expected.target)
    file = rules[0].file if rules else SCOPES_FILE
    predicate = {
        "verifier": {"id": judgement.verifier, "version": {"placet": judgement.version}},
        "timeVerified": format_time(judgement.at),
        "resourceUri": expected.target,
        "policy": {"uri": policy_uri(trust, file), "digest": {"sha256": trust.files[file]}},
        "verificationResult": "FAILED",
        "verifiedLevels": ["FAILED"],
        "slsaVersion": SLSA_VERSION,
        EXPIRES_AT: format_time(judgement.at + _life(judgement)),
        REASON: str(refusal.reason),
    }
    subjects = [
        {"name": digest, "digest": {algorithm: value}}
        for digest in sorted(expected.subjects)
        for algorithm, _, value in (digest.partition(":"),)
    ]
    return _statement(subjects, VSA_TYPE, predicate)


def _statement(subjects: list[Object], predicate_type: str, predicate: Object) -> Object:
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def _digests(approval: VerifiedApproval) -> frozenset[str]:
    """Returns the digests that were verified: all, or those that are used where each is a use of its own."""
    every = frozenset(subject.digest for subject in approval.statement.subjects)
    return every if approval.use_units == ("action",) else every.intersection(approval.use_units)


def _subjects(approval: VerifiedApproval) -> list[Object]:
    """Returns the subjects that the verdict is about, as the statement names them (VSA-01)."""
    wanted = _digests(approval)
    parsed = zip(approval.statement.subjects, approval.statement.value["subject"], strict=True)
    return [value for subject, value in parsed if subject.digest in wanted]


def _policy(approval: VerifiedApproval, trust: Trust) -> Object:
    statement = approval.statement
    uri = policy_uri(trust, statement.policy_file)
    return {"uri": uri, "digest": {"sha256": statement.policy_digest}}


def _inputs(approval: VerifiedApproval, bundle: IntentBundle) -> list[Object]:
    """Returns every attestation that the verification rests on (VSA-04).

    The envelope that people signed, the reports of their terminals, who asked, and the evidence that rules
    required and that met them.
    """
    if bundle.envelope.payload != approval.statement.payload:
        raise VerificationError(
            Reason.SUBJECT_MISMATCH, "The verdict's bundle is not the one that was verified."
        )
    request = f"urn:uuid:{approval.statement.request_id}"
    found: list[Any] = [("intent", request, DSSE_MEDIA_TYPE, sha256_hex(encode_envelope(bundle.envelope)))]
    for report in bundle.reports:
        found.append(("terminal-report", "", DSSE_MEDIA_TYPE, sha256_hex(encode_envelope(report))))
    if approval.requester is not None:
        for ref in approval.statement.evidence:
            if ref.name in ("requester-proof", "requester-token"):
                found.append((ref.name, "", ref.media_type, ref.digest))
    found += [(met.fact.kind, "", met.media_type, met.fact.digest) for met in approval.evidence]
    found = list(dict.fromkeys(found))  # one piece of evidence may meet several demands
    return [
        {"name": name, "mediaType": media_type, "digest": {"sha256": digest}} | ({"uri": uri} if uri else {})
        for name, uri, media_type, digest in found
    ]


def _life(judgement: Judgement) -> int:
    if not 0 < judgement.life <= MAX_LIFE:  # VSA-07
        raise PolicyError(
            Reason.BAD_VALUE,
            "A verdict lives for one second to one day: it says what is so now.",
            expected=f"1 to {MAX_LIFE} seconds",
            actual=judgement.life,
        )
    return judgement.life


def _expiry(approval: VerifiedApproval, judgement: Judgement) -> str:
    """Returns when the verdict ends: never after the approval or the trust that it rests on (VSA-07)."""
    bounds = (approval.statement.expires_at, judgement.trust.expires_at)
    ends = min(judgement.at + _life(judgement), *bounds)
    if ends <= judgement.at:
        raise PolicyError(Reason.EXPIRED, "The approval is over, so there is no verdict about it.")
    return format_time(ends)


def _single_use(judgement: Judgement) -> str:
    return "consumed" if judgement.used else "not-checked"
