"""Which decisions of a bundle are proven to be in the log, and when its witnesses saw them (spec/20-log.md).

Unknown logs prove nothing and are left out, with the reason: relays keep logs of their own, and a
trust root may name another.  A proof by a log of the trust root that does not hold refuses the bundle, as
a false report does: both are made by our own, and added by whoever assembles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from placet.core.bundle import IntentBundle, LogProof
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import IndeterminateError, PolicyError, Reason, VerificationError
from placet.core.report import Report, parse_report
from placet.core.tlog.leaf import DecisionLeaf, decision_leaf, leaf_hash
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.merkle import verify_inclusion
from placet.core.tlog.proof import WitnessedCheckpoint, parse_proof, verify_witnessed


class LoggedDecision(NamedTuple):
    """One decision, proven to be in a log of the trust root.

    Args:
        witnesses: names of the log policy's witnesses that cosigned the checkpoint.
        has_quorum: whether they are the policy's quorum.
        seen_by: when the quorum had cosigned, in Unix seconds; None without one.
        not_before: the latest time at which, or after which, a quorum cosigned; None without one.
    """

    log_origin: str
    leaf_index: int
    tree_size: int
    witnesses: tuple[str, ...]
    has_quorum: bool
    seen_by: int | None
    not_before: int | None


class LogFacts(NamedTuple):
    """What the log proves of a bundle's decisions, by the digest of each signature; the rest says why not.

    `reports` are the bundle's, parsed on the way, in their order there.
    """

    decisions: Mapping[Digest, LoggedDecision]
    unproven: Mapping[Digest, str]
    reports: tuple[Report, ...] = ()

    @property
    def not_before(self) -> int:
        """A lower bound of now, in Unix seconds: a quorum of witnesses signed at this time (VER-10, A18)."""
        return max((decision.not_before or 0 for decision in self.decisions.values()), default=0)

    def lacking(self, signature: Digest) -> str:
        """Returns what keeps a signature from level 3 as far as the log is concerned, or ""."""
        decision = self.decisions.get(signature)
        if decision is None:
            return self.unproven.get(signature, "no proof that the decision is in the log")
        return "" if decision.witnesses else "no witness has cosigned the log's checkpoint"

    def lacks_quorum(self, signature: Digest) -> str:
        """Returns what keeps a signature from level 4 as far as the log is concerned, or ""."""
        decision = self.decisions.get(signature)
        if decision is not None and decision.has_quorum:
            return ""
        return "the log's checkpoint is not cosigned by the quorum of witnesses"


def verify_log(bundle: IntentBundle, *, policy: LogPolicy | None, payload_digest: Digest) -> LogFacts:
    """Verifies a bundle's proofs.

    Args:
        policy: the trust root's; None where it names no log, so that no proof proves anything.
        payload_digest: SHA-256 of the statement that the bundle is about.

    Raises:
        MalformedError: a proof is not a C2SP tlog-proof, or a report is none.
        VerificationError: LOG_PROOF_INVALID: a proof does not hold, or is about a signature that is not here.
    """
    if not bundle.log:
        return LogFacts({}, {})
    reports = tuple(parse_report(report.payload) for report in bundle.reports)
    leaves = decisions_of(bundle, payload_digest, reports)
    decisions: dict[Digest, LoggedDecision] = {}
    unproven: dict[Digest, str] = {}
    checkpoints: dict[bytes, WitnessedCheckpoint] = {}
    for proof in bundle.log:
        if policy is None:
            unproven[proof.signature_digest] = "the trust root names no log"
            continue
        try:
            decision = _verify_one(proof, leaves, policy, checkpoints)
        except PolicyError as error:  # DLG-03
            unproven[proof.signature_digest] = error.message
        else:
            decisions[proof.signature_digest] = decision
    return LogFacts(decisions, unproven, reports)


def decisions_of(
    bundle: IntentBundle, payload_digest: Digest, reports: Iterable[Report] | None = None
) -> dict[Digest, DecisionLeaf]:
    """Returns the leaf of each signature that a report is about: the log takes no decision without one.

    Args:
        reports: the bundle's, where they are parsed already.

    Raises:
        MalformedError: a report is none.
    """
    parsed = reports or [parse_report(report.payload) for report in bundle.reports]
    signatures = {sha256_hex(signature.sig): signature for signature in bundle.envelope.signatures}
    return {
        report.signature_digest: decision_leaf(
            "approved", payload_digest, signatures[report.signature_digest], envelope
        )
        for report, envelope in zip(parsed, bundle.reports, strict=True)
        if report.signature_digest in signatures
    }


def _verify_one(
    proof: LogProof,
    leaves: Mapping[Digest, DecisionLeaf],
    policy: LogPolicy,
    checkpoints: dict[bytes, WitnessedCheckpoint],
) -> LoggedDecision:
    leaf = leaves.get(proof.signature_digest)
    if leaf is None:  # DLG-01
        raise VerificationError(
            Reason.LOG_PROOF_INVALID,
            "The bundle proves a decision that it does not hold.",
            path="/log/proofs",
            hint="Fetch the proofs anew: placet log attach.",
        )
    parsed = parse_proof(proof.proof)
    # Decisions made close to each other share a checkpoint, and its signatures cost more than all the hashes.
    found = checkpoints.get(parsed.checkpoint)
    if found is None:
        found = checkpoints[parsed.checkpoint] = verify_witnessed(parsed.checkpoint, policy)
    verify_inclusion(  # DLG-02
        leaf_hash(leaf),
        parsed.leaf_index,
        found.checkpoint.tree_size,
        parsed.hashes,
        found.checkpoint.root_hash,
    )
    times = found.witness_times
    return LoggedDecision(
        log_origin=found.checkpoint.log_origin,
        leaf_index=parsed.leaf_index,
        tree_size=found.checkpoint.tree_size,
        witnesses=tuple(sorted(times)),
        has_quorum=policy.seen_by(times) is not None,
        seen_by=policy.seen_by(times),
        not_before=policy.not_before(times),
    )


def proven_time(facts: LogFacts, signatures: tuple[Digest, ...]) -> int:
    """Returns by when a quorum of witnesses had seen every one of these decisions, in Unix seconds (VER-09).

    Raises:
        IndeterminateError: TIME_UNPROVEN.
    """
    times = [facts.decisions[s].seen_by for s in signatures if s in facts.decisions]
    proven = [time for time in times if time is not None]
    if not proven or len(proven) < len(signatures):
        raise IndeterminateError(
            Reason.TIME_UNPROVEN,
            "Nothing proves when this decision was made, so it cannot be judged by the rules of its time.",
            hint="An audit needs, for each signature, a log proof that a quorum of witnesses cosigned: "
            "placet log attach.",
        )
    return max(proven)
