"""Holding an approval against the rules in force (spec/09-policy.md, spec/14-verify.md).

The gate selects the rules itself; the policy that a statement names is only compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from placet.core.approvals import Approver, Ignored
from placet.core.errors import PolicyError, Reason
from placet.core.evidence.facts import EvidenceFact, MetEvidence
from placet.core.levels import COLLECTIVE, LEVEL_NAMES, MAX_LEVEL_WITHOUT_LOG, NEEDS_OTHERS, level_name
from placet.core.policy import EvidenceRule, Rule, select_rules
from placet.core.quorum import QuorumResult, evaluate_without_requester
from placet.core.statement import IntentStatement
from placet.core.trust import Trust


def applicable_rules(statement: IntentStatement, trust: Trust) -> tuple[Rule, ...]:
    """Returns the rules that apply, after checking that the request was made under them.

    Raises:
        PolicyError: NO_MATCHING_RULE, POLICY_STALE, WINDOW_TOO_LONG, LEVEL_NEEDS_LOG.
    """
    rules = select_rules(trust.rules, trust.scopes, action=statement.action_type, target=statement.target)
    if not rules:  # POL-08
        raise PolicyError(
            Reason.NO_MATCHING_RULE,
            f"No rule allows {statement.action_type} on {statement.target}; without a rule, nothing is.",
            hint="An administrator adds a rule with `placet trust set-policy`.",
        )
    current = trust.files.get(statement.policy_file)
    if statement.policy_digest != current or statement.policy_file not in [rule.file for rule in rules]:
        # POL-09
        raise PolicyError(
            Reason.POLICY_STALE,
            "The request was made under other rules than those in force now.",
            path="/predicate/policy",
            hint="Refresh trust and request the approval again.",
        )
    for rule in rules:
        if statement.expires_at - statement.not_before > rule.max_window:  # POL-10
            raise PolicyError(
                Reason.WINDOW_TOO_LONG,
                f"The rule for {rule.target} allows a window of {rule.max_window} seconds at most.",
                hint="Request the approval with a shorter --expires.",
            )
        if rule.level > MAX_LEVEL_WITHOUT_LOG and trust.log_policy is None:  # LVL-03
            raise PolicyError(
                Reason.LEVEL_NEEDS_LOG,
                f"The rule for {rule.target} requires {level_name(rule.level)} ({LEVEL_NAMES[rule.level]}), "
                "which needs a witnessed log, and the trust root names none.",
                hint="An administrator pins one: placet trust set-file log-policy FILE; or sets level 2.",
            )
    return rules


def check_evidence(
    required: Iterable[EvidenceRule],
    statement: IntentStatement,
    facts: tuple[EvidenceFact, ...],
    *,
    at: int,
    who: str,
) -> tuple[MetEvidence, ...]:
    """Checks that the evidence required is named, was verified for every subject, and says what it must.

    Args:
        at: when it must, in Unix seconds.
        who: who requires it, for refusals.

    Raises:
        PolicyError: EVIDENCE_REQUIRED, or why the evidence does not meet what is required.
        IndeterminateError: EVIDENCE_NOT_VERIFIED.
    """
    met: list[MetEvidence] = []
    for rule in required:  # POL-11
        from placet.core.evidence.matching import meet  # most rules require none

        met += meet(rule, statement, facts, at=at, who=who)
    return tuple(met)


def check_rule_quorum(
    rule: Rule, approvers: tuple[Approver, ...], ignored: tuple[Ignored, ...], requester: str | None
) -> int:
    """Checks that enough distinct people approved, strongly enough.

    Returns:
        The highest level at which the signatures that reach it satisfy the rule.

    Raises:
        PolicyError: QUORUM_NOT_MET, LEVEL_TOO_LOW, TERMINALS_NOT_DISTINCT; the ignored signatures are its
            causes.
    """
    reached = _reached_level(rule, approvers, requester)
    if reached >= rule.level:
        return reached
    causes = tuple(i.error for i in ignored)
    if reached:  # LVL-04
        weak = dict.fromkeys(m for a in approvers if a.level < rule.level for m in a.missing)
        why = "; ".join(weak) or NEEDS_OTHERS  # whoever is strong enough alone lacks nothing but company
        raise PolicyError(
            Reason.LEVEL_TOO_LOW,
            f"The rule requires {level_name(rule.level)} ({LEVEL_NAMES[rule.level]}): {why}.",
            causes=causes,
        )
    if (
        rule.distinct_terminals
        and _evaluate(rule._replace(distinct_terminals=False), approvers, requester, 1).met
    ):
        raise PolicyError(
            Reason.TERMINALS_NOT_DISTINCT,
            "The rule requires that each person decides on a terminal of their own.",
            causes=causes,
        )
    lacking = "; ".join(_evaluate(rule, approvers, requester, rule.level).missing)
    raise PolicyError(  # POL-05
        Reason.QUORUM_NOT_MET,
        f"Not enough people approved. {_say_who(rule, approvers)} Missing: {lacking}.",
        causes=causes,
    )


def _say_who(rule: Rule, approvers: tuple[Approver, ...]) -> str:
    """Says who approved, and whose approval is there but too weak for the rule to count."""
    strong = sorted({a.person_id for a in approvers if a.level >= rule.level})
    weak = {
        a.person_id: "software key" if a.assurance == "software" else a.missing[0]
        for a in approvers
        if a.person_id not in strong
    }
    parts = [f"Approved: {', '.join(strong) or 'nobody'}."] if strong or not weak else []
    if weak:
        people = ", ".join(f"{person} ({why})" for person, why in sorted(weak.items()))
        parts.append(f"Approved, but below {level_name(rule.level)}: {people}.")
    return " ".join(parts)


def missing_for_next(level: int, approvers: tuple[Approver, ...]) -> tuple[str, ...]:
    """Returns what keeps an approval of this level from the next one, in words."""
    missing = tuple(dict.fromkeys(m for a in approvers if a.level <= level for m in a.missing))
    return missing or ((NEEDS_OTHERS,) if level == COLLECTIVE - 1 else ())


def reached_level(rules: tuple[Rule, ...], approvers: tuple[Approver, ...], requester: str | None) -> int:
    """Returns the highest level at which the signatures that reach it satisfy every rule, or 0 (LVL-05)."""
    return min(_reached_level(rule, approvers, requester) for rule in rules)


def _reached_level(rule: Rule, approvers: tuple[Approver, ...], requester: str | None) -> int:
    # More signatures never unmeet a quorum, so what is met at a level is met at every lower one.
    for level in range(max((approver.level for approver in approvers), default=0), 0, -1):
        if _evaluate(rule, approvers, requester, level).met:
            return level
    return 0


def _has_two(approvers: list[Approver]) -> bool:
    """Tells whether two people decided on two terminals."""
    return any(
        one.person_id != two.person_id and one.terminal_id != two.terminal_id
        for one in approvers
        for two in approvers
    )


def _evaluate(rule: Rule, approvers: tuple[Approver, ...], requester: str | None, level: int) -> QuorumResult:
    """Evaluates a rule over the people whose signatures reach `level`."""
    strong = [a for a in approvers if a.level >= level]
    if level >= COLLECTIVE:  # LVL-06
        # An unverified requester could be any of them, so it must hold whoever is taken away.
        absent = {requester} if requester is not None else {"", *(a.person_id for a in strong)}
        if not all(_has_two([a for a in strong if a.person_id != one]) for one in absent):
            return QuorumResult(False, frozenset(), (NEEDS_OTHERS,))
        rule = rule._replace(exclude_requester=True, distinct_terminals=True)
    if not rule.distinct_terminals:
        return evaluate_without_requester(rule, {a.person_id: a.groups for a in strong}, requester)
    # POL-12: of several people at one terminal only one counts; try each choice, there are few.
    by_terminal: dict[str, dict[str, tuple[str, ...]]] = {}
    for approver in strong:
        if approver.terminal_id:
            by_terminal.setdefault(approver.terminal_id, {})[approver.person_id] = approver.groups
    result = QuorumResult(False, frozenset(), ("people on distinct terminals",))
    for choice in product(*(people.items() for people in by_terminal.values())):
        result = evaluate_without_requester(rule, dict(choice), requester)
        if result.met:
            break
    return result
