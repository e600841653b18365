"""Uses held against approvals: what was done, and who allowed it.  Pure.

A gate decides with everything in hand; a monitor sees what was logged.  So what is wrong here is an
alarm about the gate or the log, and nothing that a gate would have had to let through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from placet.core.encoding import format_time
from placet.core.policy import Quorum, Rule, select_rules
from placet.core.quorum import evaluate_quorum
from placet.core.trust import Trust
from placet.log.monitor_events import APPROVED, DENIED, Event
from placet.log.monitor_findings import Finding, FindingName, finding, quote


def judge_use(use: Event, named: Mapping[str, Event], *, uses_so_far: int) -> tuple[Finding, ...]:
    """Returns what is wrong with a use.

    Args:
        use: a use.
        named: leaf hash → what the logs hold, of the leaves that the use names.
        uses_so_far: how often the same unit of the same approval was used, this use included.
    """
    wrong = [_wrong_approval(use, leaf, named.get(leaf)) for leaf in use.approvals]
    if not use.approvals:
        wrong.append("names no approval")
    found = []
    if why := "; it ".join(dict.fromkeys(filter(None, wrong))):
        found.append(_about(use, FindingName.USE_WITHOUT_APPROVAL, f"{_used(use)} {why}."))
    holding = approvals_of(use, named)
    allowed = min((a.max_uses for a in holding if a.max_uses), default=0)
    if allowed and uses_so_far > allowed:
        often = "once" if allowed == 1 else f"{allowed} times"
        text = f"{_used(use)} is use number {uses_so_far} of what may be used {often}."
        found.append(_about(use, FindingName.USED_TOO_OFTEN, text))
    for approval in holding[:1]:  # all are over the same payload
        if use.at and approval.expires_at and not approval.not_before <= use.at < approval.expires_at:
            text = (
                f"{_used(use)} was at {format_time(use.at)}, outside the window of its approval "
                f"({format_time(approval.not_before)} to {format_time(approval.expires_at)})."
            )
            found.append(_about(use, FindingName.USED_OUTSIDE_WINDOW, text))
    return tuple(found)


def approvals_of(use: Event, named: Mapping[str, Event]) -> tuple[Event, ...]:
    """Returns the approvals that hold, of those that a use names."""
    return tuple(
        named[leaf] for leaf in use.approvals if leaf in named and not _wrong_approval(use, leaf, named[leaf])
    )


def judge_quorum(use: Event, approvals: Sequence[Event], trust: Trust) -> tuple[Finding, ...]:
    """Holds the people whose approvals a use names against the rules in force.

    Rules and people may have changed since, so an unmet quorum is a warning.  Where the people met one way
    of several, and not the first, that is break-glass (ADR 0019).
    """
    verified = [a for a in approvals if a.verified]
    if not verified:
        # Where no record was shown, nothing could be verified, and that is said elsewhere.
        if not any(a.text for a in approvals):
            return ()
        text = f"{_used(use)} rests on approvals of which none could be verified."
        return (_about(use, FindingName.QUORUM_NOT_LOGGED, text),)
    people = {a.person: a.groups for a in verified}
    first = verified[0]
    rules = select_rules(trust.rules, trust.scopes, action=first.action, target=first.target)
    found = []
    for rule in rules:
        result = evaluate_quorum(rule.quorum, people)
        names = ", ".join(sorted(people))
        if not result.met:
            text = (
                f"{_used(use)} rests on approvals by {names}. By the rules of today that is too few: "
                f"{'; '.join(result.missing)}."
            )
            found.append(_about(use, FindingName.QUORUM_NOT_LOGGED, text))
        elif is_break_glass(rule, people):
            text = f"{_used(use)} was allowed by break-glass, by {names}."
            found.append(_about(use, FindingName.BREAK_GLASS, text))
    return tuple(dict.fromkeys(found))


def is_break_glass(rule: Rule, people: dict[str, tuple[str, ...]]) -> bool:
    """Tells whether people met a quorum by another way than its usual one (ADR 0019).

    Where one of several nested quorums is enough, the first is the usual way.
    """
    ways = [way for way in rule.quorum.of if isinstance(way, Quorum)]
    if rule.quorum.threshold != 1 or len(ways) < 2 or len(ways) != len(rule.quorum.of):
        return False
    return not evaluate_quorum(ways[0], people).met


def judge_unused(approval: Event) -> Finding:
    """Returns the finding of an approval that expired without a use."""
    who = approval.person or f"key {approval.keyids[0][:16]}"
    text = f"What {who} approved was never used: {quote(approval.text)} ({approval.name})."
    return _about(approval, FindingName.NEVER_USED, text)


def judge_denial(denial: Event) -> Finding:
    """Returns the finding of a denial."""
    who = denial.person or f"The key {denial.keyids[0][:16]}"
    what = quote(denial.text) if denial.text else f"the request {denial.payload[:16]}"
    return _about(denial, FindingName.DENIED, f"{who} denied {what} ({denial.name}).")


def _wrong_approval(use: Event, leaf: str, approval: Event | None) -> str:
    """Returns what is wrong with one approval that a use names, or ""."""
    if approval is None:
        return f"names an approval that is in no log ({leaf[:16]})"
    if approval.kind == DENIED:
        return f"names a denial ({approval.name})"
    if approval.kind != APPROVED:
        return f"names something that is no approval ({approval.name})"
    if approval.payload != use.payload:
        return f"names the approval of something else ({approval.name})"
    if approval.log_origin == use.log_origin and approval.leaf_index > use.leaf_index:
        return f"was logged before the approval that it names ({approval.name})"
    if use.verified and approval.verified and approval.gate != use.gate:
        return f"was at gate {use.gate}; its approval is for gate {quote(approval.gate)} ({approval.name})"
    return ""


def _used(use: Event) -> str:
    # Whoever wrote a use that is not verified chose its gate's name.
    where = f" at gate {use.gate if use.verified else quote(use.gate)}" if use.gate else ""
    return f"The use{where} ({use.name})"


def _about(event: Event, name: FindingName, text: str) -> Finding:
    return finding(name, event.leaf_hash, text, log_origin=event.log_origin, leaf_index=event.leaf_index)
