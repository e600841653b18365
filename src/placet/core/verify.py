"""The decision: may this exact action happen, here, now?  (spec/14-verify.md)

`verify_for_use` is what a gate asks before it acts; `verify_for_audit` is what an auditor
asks about the past.  Both are pure: bytes, trust and a time go in; a verified approval, or
a named refusal, comes out.  Single use is not decided here: it needs the gate's ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from placet.core.actions import ActionDefinition
from placet.core.approvals import Approver, Ignored, verify_approvals
from placet.core.bundle import IntentBundle, parse_bundle
from placet.core.display import check_text
from placet.core.encoding import Digest, format_time, sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PolicyError, Reason, VerificationError
from placet.core.evidence.facts import EvidenceFact, MetEvidence
from placet.core.evidence.requester import verify_requester
from placet.core.expected import Expected, UnsafeAnyAction, check_expected, use_units_of
from placet.core.policy import EvidenceRule
from placet.core.rules import applicable_rules, check_evidence, check_rule_quorum, missing_for_next
from placet.core.statement import IntentStatement, check_action, parse_statement
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.core.tlog.decisions import LogFacts
    from placet.core.tlog.log_policy import LogPolicy

# These two are renewed by machines every few days and say nothing about who may approve what.
_ONLINE_ROLES = frozenset({"snapshot", "timestamp"})


class VerifiedApproval(NamedTuple):
    """What was approved, by whom, how strongly, and on what evidence.  Times are Unix seconds."""

    payload_digest: Digest
    statement: IntentStatement
    level: int
    missing_for_next_level: tuple[str, ...]
    approvers: tuple[Approver, ...]
    requester: str | None
    ignored: tuple[Ignored, ...]
    use_units: tuple[str, ...]
    evidence: tuple[MetEvidence, ...] = ()

    @property
    def text(self) -> str:
        """The one-line summary that every approver was shown."""
        return self.statement.text

    @property
    def people(self) -> tuple[str, ...]:
        """The distinct people who approved, sorted."""
        return tuple(sorted({approver.person_id for approver in self.approvers}))


def verify_for_use(
    bundle: bytes | IntentBundle,
    *,
    trust: Trust,
    gate: str,
    expected: Expected | UnsafeAnyAction,
    now: int,
    evidence: Iterable[EvidenceFact] = (),
    required: Iterable[EvidenceRule] = (),
) -> VerifiedApproval:
    """Verifies that the action about to happen was approved, by the people it needs, and is so now.

    Args:
        bundle: the ``*.intent.json`` file's bytes, or what `parse_bundle` read of them.
        trust: the gate's own snapshot; trust inside the bundle is never used (INV-6).
        gate: this gate's ID; the approval's audience must be it.
        expected: what is about to be done.
        now: the gate's clock, in Unix seconds.
        evidence: what the caller verified of the bundle's evidence.
        required: evidence that the caller requires, beyond what the rules do.

    Raises:
        MalformedError: something is not in its format.
        VerificationError: a binding or signature that must hold does not.
        PolicyError: it is not sufficient; QUORUM_NOT_MET carries the ignored signatures as causes.
        IndeterminateError: TRUST_EXPIRED, TRUST_NEWER, EVIDENCE_NOT_VERIFIED.
    """
    _check_trust_current(trust, now)
    parsed = parse_bundle(bundle) if isinstance(bundle, bytes) else bundle
    statement = parse_statement(parsed.envelope.payload)
    log = _verify_log(parsed, trust.log_policy)
    if log is not None and log.not_before > now:  # VER-10
        now = log.not_before
        _check_trust_current(trust, now)
    definition = _check_action_and_display(statement, trust)
    _check_decision(statement)
    _check_audience(statement, trust, gate)
    _check_window(statement, now)
    use_units = check_expected(statement, definition, expected)
    _check_trust_not_older(parsed, trust)
    return _decide(parsed, statement, trust, now, log, tuple(evidence), use_units, tuple(required))


def verify_for_audit(
    bundle: bytes, *, trust: Trust, logged_at: int | None, evidence: Iterable[EvidenceFact] = ()
) -> VerifiedApproval:
    """Verifies an approval of the past, judged at the time when it was logged (VER-09).

    Args:
        bundle: the ``*.intent.json`` file's bytes.
        trust: the trust of that time.
        logged_at: when the decision was logged, in Unix seconds, as the caller knows from elsewhere; None
            for the time at which a quorum of the log's witnesses had seen all of it.
        evidence: what the caller verified of the bundle's evidence.

    Raises:
        IndeterminateError: TIME_UNPROVEN without a logged time.
        MalformedError, VerificationError, PolicyError: as `verify_for_use`.
    """
    parsed = parse_bundle(bundle)
    statement = parse_statement(parsed.envelope.payload)
    log = _verify_log(parsed, trust.log_policy)
    if logged_at is None:
        logged_at = _logged_time(parsed, log)
    definition = _check_action_and_display(statement, trust)
    _check_decision(statement)
    _check_window(statement, logged_at)
    use_units = use_units_of(statement, definition, frozenset(s.digest for s in statement.subjects))
    return _decide(parsed, statement, trust, logged_at, log, tuple(evidence), use_units)


def logged_time(bundle: bytes, *, policy: LogPolicy | None) -> int:
    """Returns by when a quorum of a policy's witnesses had seen every decision of a bundle, in Unix seconds.

    Raises:
        IndeterminateError: TIME_UNPROVEN.
        MalformedError, VerificationError: as `verify_for_use`.
    """
    parsed = parse_bundle(bundle)
    return _logged_time(parsed, _verify_log(parsed, policy))


def _verify_log(bundle: IntentBundle, policy: LogPolicy | None) -> LogFacts | None:
    if not bundle.log:
        return None
    from placet.core.tlog.decisions import verify_log  # many bundles carry no proof

    return verify_log(bundle, policy=policy, payload_digest=sha256_hex(bundle.envelope.payload))


def _logged_time(bundle: IntentBundle, log: LogFacts | None) -> int:
    from placet.core.tlog.decisions import LogFacts, proven_time

    return proven_time(log or LogFacts({}, {}), tuple(sha256_hex(s.sig) for s in bundle.envelope.signatures))


def _check_trust_current(trust: Trust, now: int) -> None:
    if now >= trust.expires_at:  # VER-01
        raise IndeterminateError(
            Reason.TRUST_EXPIRED,
            f"The trust snapshot expired at {format_time(trust.expires_at)}.",
            hint="Run `placet trust refresh`; if that fails, an administrator must publish newer metadata.",
        )


def _check_trust_not_older(bundle: IntentBundle, trust: Trust) -> None:
    for role, version in bundle.trust_versions.items():  # VER-02
        if role not in _ONLINE_ROLES and version > trust.versions.get(role, 0):
            raise IndeterminateError(
                Reason.TRUST_NEWER,
                f"The approvers decided under {role} version {version}; this gate knows an older one.",
                hint="Run `placet trust refresh` at the gate.",
                expected=trust.versions.get(role, 0),
                actual=version,
            )


def current_definition(statement: IntentStatement, trust: Trust) -> ActionDefinition:
    """Returns the definition of a statement's action, which must be the one it was shown with.

    Raises:
        PolicyError: UNKNOWN_ACTION, TEMPLATE_STALE.
    """
    definition = trust.actions.get(statement.action_type)
    if definition is None:  # VER-03
        raise PolicyError(
            Reason.UNKNOWN_ACTION,
            f"The trust root defines no action of type {statement.action_type}.",
            path="/predicate/action/type",
        )
    if (statement.template_file, statement.template_digest) != (definition.file, definition.digest):
        raise PolicyError(  # DSP-05
            Reason.TEMPLATE_STALE,
            "The request was shown with another template than the trust root holds now.",
            path="/predicate/display/template",
            hint="Refresh trust and request the approval again.",
        )
    return definition


def _check_action_and_display(statement: IntentStatement, trust: Trust) -> ActionDefinition:
    definition = current_definition(statement, trust)
    check_action(statement, definition)
    check_text(statement, definition)
    return definition


def _check_decision(statement: IntentStatement) -> None:
    if statement.decision != "approve":  # VER-04
        raise PolicyError(Reason.DECISION_IS_DENY, "This is a denial. It permits nothing.")


def _check_audience(statement: IntentStatement, trust: Trust, gate: str) -> None:
    if gate not in trust.gates:  # VER-08
        raise PolicyError(
            Reason.UNKNOWN_GATE,
            f"The trust root knows no gate {gate!r}.",
            hint="An administrator adds it with `placet trust add-gate`.",
        )
    if statement.audience != f"gate:{gate}":  # VER-05
        raise PolicyError(
            Reason.WRONG_AUDIENCE,
            "The approval is for another gate.",
            path="/predicate/request/audience",
            expected=f"gate:{gate}",
            actual=statement.audience,
        )


def _check_window(statement: IntentStatement, now: int) -> None:  # INV-4
    if now < statement.issued_at:  # VER-06
        raise PolicyError(
            Reason.ISSUED_IN_FUTURE,
            f"The request was issued at {format_time(statement.issued_at)}, "
            f"but the clock here says {format_time(now)}.",
            hint="Correct the clock of this machine, or that of the requester.",
        )
    if now < statement.not_before:
        raise PolicyError(
            Reason.NOT_YET_VALID, f"The approval is valid from {format_time(statement.not_before)}."
        )
    if now >= statement.expires_at:
        raise PolicyError(
            Reason.EXPIRED,
            f"The approval expired at {format_time(statement.expires_at)}.",
            hint="Request a new one.",
        )


def _decide(
    bundle: IntentBundle,
    statement: IntentStatement,
    trust: Trust,
    at: int,
    log: LogFacts | None,
    facts: tuple[EvidenceFact, ...],
    use_units: tuple[str, ...],
    required: tuple[EvidenceRule, ...] = (),
) -> VerifiedApproval:
    rules = applicable_rules(statement, trust)
    _check_evidence_named(bundle, statement)
    requester = verify_requester(statement, bundle.evidence, trust=trust, at=at, facts=facts)
    approvers, ignored = verify_approvals(bundle, statement, trust=trust, at=at, log=log)
    met = check_evidence(required, statement, facts, at=at, who="This check")
    for rule in rules:
        met += check_evidence(rule.evidence, statement, facts, at=at, who=f"The rule for {rule.target}")
    level = min(check_rule_quorum(rule, approvers, ignored, requester) for rule in rules)  # LVL-05
    best = sorted(met, key=lambda m: m.level or 0)
    return VerifiedApproval(
        payload_digest=statement.payload_digest,
        statement=statement,
        level=level,
        missing_for_next_level=missing_for_next(level, approvers),
        approvers=approvers,
        requester=requester,
        ignored=ignored,
        use_units=use_units,
        # What two rules require counts once, with the highest level that it reached.
        evidence=tuple({(m.fact.digest, m.fact.kind, m.asked): m for m in best}.values()),
    )


def _check_evidence_named(bundle: IntentBundle, statement: IntentStatement) -> None:
    named = {reference.digest: reference.media_type for reference in statement.evidence}
    for carried in bundle.evidence:  # BND-07
        if named.get(carried.digest) != carried.media_type:
            raise VerificationError(
                Reason.EVIDENCE_MISMATCH, "The bundle carries evidence that the statement does not name."
            )


__all__ = [
    "EvidenceFact",
    "Expected",
    "MalformedError",
    "UnsafeAnyAction",
    "VerifiedApproval",
    "verify_for_audit",
    "verify_for_use",
]
