"""What happened in a period, for people who ask afterwards: who approved what, and what came of it.  Pure.

The data behind the report's three forms: a page (`monitor_report_page`), JSON and CSV.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from placet.core.encoding import format_time
from placet.log.monitor_events import APPROVED, DECISIONS, DENIED, TRUST, USED, Event
from placet.log.monitor_findings import Finding, FindingName, Severity

_CSV = (
    *("at", "kind", "person", "text", "target", "gate", "terminal", "secondsOnScreen", "verified"),
    *("breakGlass", "withoutApproval", "approvedBy", "approvalsVerified", "role", "version", "keyids"),
    *("log", "entry", "leafHash", "payloadSha256"),
)
# A spreadsheet takes a cell that begins so for a formula; some skip spaces, or know the wide characters of
# East Asia, or cut lines at other separators than ours.
_FORMULA = re.compile(r"(?:^|[;\t\r\n])\s*(?=[=+\-@＝＋－＠\t\r])")


class LogState(NamedTuple):
    """How far a log was verified when the report was made."""

    origin: str
    tree_size: int
    root_hash: str
    witnessed_at: int
    checked_at: int


class ReportedFinding(NamedTuple):
    """A finding of the period, or one that is still open."""

    finding: Finding
    first_at: int
    settled_at: int | None
    settled_because: str


class ReportedUse(NamedTuple):
    """A use, with the people whose approvals it names."""

    event: Event
    text: str
    target: str
    people: tuple[str, ...]
    break_glass: bool
    without_approval: bool
    approvals_verified: bool = True


class PersonSummary(NamedTuple):
    """What one person did in the period.  Seconds are None where no terminal told them."""

    person: str
    approved: int
    denied: int
    median_seconds: int | None
    least_seconds: int | None
    terminals: tuple[str, ...]


class AuditReport(NamedTuple):
    """A report.  Times are Unix seconds; `until` is exclusive."""

    since: int
    until: int
    made_at: int
    deployment: str
    logs: tuple[LogState, ...]
    decisions: tuple[Event, ...]
    people: tuple[PersonSummary, ...]
    uses: tuple[ReportedUse, ...]
    trust_changes: tuple[Event, ...]
    findings: tuple[ReportedFinding, ...]


def build_report(
    events: Iterable[Event],
    find: Callable[[str], Event | None],
    findings: Sequence[ReportedFinding],
    logs: Sequence[LogState],
    *,
    since: int,
    until: int,
    made_at: int,
    deployment: str = "",
) -> AuditReport:
    """Builds a report.

    Args:
        events: what happened in the period, oldest first.
        find: returns what stands under a leaf hash.
        findings: all that the monitor has; those of another time that are settled are left out.
        logs: how far they were verified.
        since: the period's beginning.
        until: its end.
        made_at: now.
        deployment: its name.
    """
    happened = tuple(events)
    decisions = tuple(event for event in happened if event.kind in DECISIONS)
    marked = {(found.finding.name, found.finding.log_origin, found.finding.leaf_index) for found in findings}
    return AuditReport(
        since=since,
        until=until,
        made_at=made_at,
        deployment=deployment,
        logs=tuple(logs),
        decisions=decisions,
        people=_summarise(decisions),
        uses=tuple(_reported(event, find, marked) for event in happened if event.kind == USED),
        trust_changes=tuple(event for event in happened if event.kind == TRUST),
        findings=tuple(found for found in findings if _belongs(found, since, until)),
    )


def _belongs(found: ReportedFinding, since: int, until: int) -> bool:
    if found.finding.severity is Severity.NOTICE:
        return False  # denials and trust changes have tables of their own
    return found.settled_at is None or since <= found.first_at < until


def _reported(
    use: Event, find: Callable[[str], Event | None], marked: set[tuple[FindingName, str, int | None]]
) -> ReportedUse:
    named = [found for leaf in use.approvals if (found := find(leaf))]
    approvals = [found for found in named if found.kind == APPROVED and found.payload == use.payload]
    first = next((a for a in approvals if a.text), None)

    def has(name: FindingName) -> bool:
        return (name, use.log_origin, use.leaf_index) in marked

    return ReportedUse(
        event=use,
        text=first.text if first else "",
        target=first.target if first else "",
        people=tuple(sorted({a.person or f"key {a.keyids[0][:16]}" for a in approvals if a.keyids})),
        break_glass=has(FindingName.BREAK_GLASS),
        without_approval=has(FindingName.USE_WITHOUT_APPROVAL),
        approvals_verified=all(approval.verified for approval in approvals),
    )


def _summarise(decisions: Sequence[Event]) -> tuple[PersonSummary, ...]:
    by_person: dict[str, list[Event]] = {}
    for event in decisions:
        by_person.setdefault(event.person or f"key {event.keyids[0][:16]}", []).append(event)
    return tuple(_summary(person, events) for person, events in sorted(by_person.items()))


def _summary(person: str, events: Sequence[Event]) -> PersonSummary:
    seconds = [event.seconds_on_screen for event in events if event.terminal]
    return PersonSummary(
        person=person,
        approved=sum(event.kind == APPROVED for event in events),
        denied=sum(event.kind == DENIED for event in events),
        median_seconds=int(median(seconds)) if seconds else None,
        least_seconds=min(seconds, default=None),
        terminals=tuple(sorted({event.terminal for event in events if event.terminal})),
    )


# -- for programs


def report_to_object(report: AuditReport) -> dict[str, Any]:
    """Returns a report as JSON members."""
    return {
        "from": format_time(report.since),
        "to": format_time(report.until),
        "madeAt": format_time(report.made_at),
        "deployment": report.deployment,
        "logs": [_log_to_object(log) for log in report.logs],
        "people": [
            {
                "person": p.person,
                "approved": p.approved,
                "denied": p.denied,
                "medianSecondsOnScreen": p.median_seconds,
                "leastSecondsOnScreen": p.least_seconds,
                "terminals": list(p.terminals),
            }
            for p in report.people
        ],
        "decisions": [_event_to_object(event) for event in report.decisions],
        "uses": [_use_to_object(use) for use in report.uses],
        "trustChanges": [_event_to_object(event) for event in report.trust_changes],
        "findings": [_finding_to_object(found) for found in report.findings],
    }


def _log_to_object(log: LogState) -> dict[str, Any]:
    return {
        "origin": log.origin,
        "treeSize": str(log.tree_size),
        "rootHash": log.root_hash,
        "witnessedAt": _time(log.witnessed_at),
        "checkedAt": _time(log.checked_at),
    }


def _event_to_object(event: Event) -> dict[str, Any]:
    about_trust = {"role": event.role, "version": str(event.version)} if event.kind == TRUST else {}
    decided = {
        "person": event.person or None,
        "text": event.text or None,
        "target": event.target or None,
        "terminal": event.terminal or None,
        "secondsOnScreen": str(event.seconds_on_screen) if event.terminal else None,
    }
    return {
        "kind": event.kind,
        "at": _time(event.at),
        "seenAt": _time(event.seen_at),
        "verified": event.verified,
        "gate": event.gate or None,
        "keyids": list(event.keyids),
        "payload": {"sha256": event.payload},
        "log": event.log_origin,
        "leafIndex": str(event.leaf_index),
        "leafHash": event.leaf_hash,
    } | (decided if event.kind in DECISIONS else about_trust)


def _use_to_object(use: ReportedUse) -> dict[str, Any]:
    return _event_to_object(use.event) | {
        "text": use.text or None,
        "target": use.target or None,
        "approvedBy": list(use.people),
        "breakGlass": use.break_glass,
        "withoutApproval": use.without_approval,
        "approvalsVerified": use.approvals_verified,
    }


def _finding_to_object(found: ReportedFinding) -> dict[str, Any]:
    return finding_to_object(found.finding) | {
        "firstAt": format_time(found.first_at),
        "settledAt": _time(found.settled_at or 0),
        "settledBecause": found.settled_because or None,
    }


def finding_to_object(found: Finding) -> dict[str, Any]:
    """Returns a finding as JSON members."""
    return {
        "id": found.id,
        "name": str(found.name),
        "severity": str(found.severity),
        "message": found.message,
        "next": found.next_step,
        "log": found.log_origin or None,
        "leafIndex": None if found.leaf_index is None else str(found.leaf_index),
    }


def _time(seconds: int) -> str | None:
    return format_time(seconds) if seconds else None


def report_to_csv(report: AuditReport) -> str:
    """Returns what happened as one table, oldest first; cells are no formulas, whatever they hold."""
    rows = [_row(_event_to_object(event)) for event in (*report.decisions, *report.trust_changes)]
    rows += [_row(_use_to_object(use)) for use in report.uses]
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (row["at"], row["log"], int(row["entry"]))))
    return out.getvalue()


def _row(value: dict[str, Any]) -> dict[str, str]:
    given = value | {
        "at": value["at"] or value["seenAt"],
        "entry": value["leafIndex"],
        "payloadSha256": value["payload"]["sha256"],
    }
    return {name: _cell(given.get(name)) for name in _CSV}


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(value) if isinstance(value, list) else str(value if value is not None else "")
    return _FORMULA.sub(lambda found: f"{found[0]}'", text)
