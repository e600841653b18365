"""The report as one page of HTML: no script, no other file, nothing from elsewhere.

Every text is escaped where it is put in; texts of others stand in table cells and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

from placet.core.encoding import format_time
from placet.log.monitor_events import APPROVED, Event
from placet.log.monitor_findings import SEVERITIES
from placet.log.monitor_report import AuditReport, LogState, PersonSummary, ReportedFinding, ReportedUse

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_GROUP = 4
_COMMAND = re.compile("`([^`]+)`")


class _Cell(NamedTuple):
    """A cell: HTML that is escaped already, and the classes of its column."""

    html: str
    classes: str = ""


def render_report(report: AuditReport) -> str:
    """Returns the page."""
    period = f"{_date(report.since)} to {_date(report.until - 1)}"
    title = f"Approvals from {period}"
    style = files("placet.log").joinpath("monitor_report.css").read_text(encoding="utf-8")
    logs = "one-log" if len(report.logs) < 2 else "logs"
    of = f" of {report.deployment}" if report.deployment else ""
    made = f"Audit report{of}, made at {_time_text(report.made_at)}. All times are UTC."
    body = "\n".join(
        [
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="quiet">{escape(made)}</p></header>',
            "<main>",
            _counts(report),
            _findings(report.findings),
            _uses_of("Uses without approval", [u for u in report.uses if u.without_approval]),
            _uses_of("Break-glass uses", [u for u in report.uses if u.break_glass]),
            _decisions(report.decisions),
            _people(report.people),
            _uses_of("What was done", report.uses, empty="Nothing was done by approvals in this time."),
            _trust(report.trust_changes),
            _basis(report.logs),
            "</main>",
        ]
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<style>\n{style}</style>\n</head>\n<body class="{logs}">\n{body}\n</body>\n</html>\n'
    )


def _counts(report: AuditReport) -> str:
    counts = {
        "approvals": sum(event.kind == APPROVED for event in report.decisions),
        "denials": sum(event.kind != APPROVED for event in report.decisions),
        "uses": len(report.uses),
        "uses without approval": sum(use.without_approval for use in report.uses),
        "break-glass uses": sum(use.break_glass for use in report.uses),
        "trust changes": len(report.trust_changes),
        "open findings": sum(found.settled_at is None for found in report.findings),
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{count}</dd></div>" for name, count in counts.items())
    return f'<dl class="counts">{items}</dl>'


def _findings(findings: Sequence[ReportedFinding]) -> str:
    if not findings:
        return _section("Findings", "<p>Nothing was found that needs anybody's attention.</p>")
    ordered = sorted(
        findings,
        key=lambda found: (
            found.settled_at is not None,
            SEVERITIES.index(found.finding.severity),
            found.first_at,
        ),
    )
    return _section("Findings", "\n".join(_finding(found) for found in ordered))


def _finding(found: ReportedFinding) -> str:
    severity, name = found.finding.severity, found.finding.name
    if found.settled_at is None:
        step = _COMMAND.sub(r"<code>\1</code>", escape(found.finding.next_step))
        state = f"Open since {_time(found.first_at)}. {step}"
    else:
        why = escape(found.settled_because or "no reason given")
        state = f"Found {_time(found.first_at)}, settled {_time(found.settled_at)}: {why}"
    kind = f"{severity}{'' if found.settled_at is None else ' settled'}"
    return (
        f'<div class="finding {kind}"><p class="what">{severity.capitalize()}: {name}</p>'
        f'<p>{escape(found.finding.message)}</p><p class="quiet">{state}</p></div>'
    )


def _decisions(decisions: Sequence[Event]) -> str:
    rows = [
        [
            _Cell(_time(event.when), "short"),
            _Cell(_who(event), "name"),
            _Cell("Approved" if event.kind == APPROVED else "<strong>Denied</strong>", "short"),
            _Cell(_what(event.text, event.target, event.payload), "wide"),
            _Cell(escape(event.terminal or "not known"), "name"),
            _Cell(_seconds(event.seconds_on_screen if event.terminal else None), "number"),
            _Cell(_entry(event), "number"),
        ]
        for event in decisions
    ]
    columns = ("When", "Who", "Decided", "What", "Terminal", "Looked for", "Entry")
    return _section(
        "Who approved what",
        _table("Who approved what", columns, rows, empty="Nobody decided anything in this time."),
    )


def _people(people: Sequence[PersonSummary]) -> str:
    rows = [
        [
            _Cell(escape(person.person), "name"),
            _Cell(escape(", ".join(person.terminals) or "not known"), "name"),
            _Cell(str(person.approved), "number"),
            _Cell(str(person.denied), "number"),
            _Cell(_seconds(person.median_seconds), "number"),
            _Cell(_seconds(person.least_seconds), "number"),
        ]
        for person in people
    ]
    columns = ("Person", "Terminals", "Approved", "Denied", "Looked, median", "Shortest look")
    note = (
        "<p>A look of a few seconds is no reading. Ask what would help: fewer requests, or clearer ones.</p>"
    )
    return _section("How they decided", note + _table("How they decided", columns, rows, empty="Nobody."))


def _uses_of(title: str, uses: Sequence[ReportedUse], *, empty: str = "None.") -> str:
    rows = [
        [
            _Cell(_time(use.event.when), "short"),
            _Cell(escape(use.event.gate or "not known"), "name"),
            _Cell(_what(use.text, use.target, use.event.payload), "wide"),
            _Cell("<br>".join(map(escape, use.people)) or "nobody", "name"),
            _Cell(_remark(use), "mark"),
            _Cell(_entry(use.event), "number"),
        ]
        for use in uses
    ]
    columns = ("When", "Gate", "What", "Approved by", "Remark", "Entry")
    return _section(title, _table(title, columns, rows, empty=empty))


def _remark(use: ReportedUse) -> str:
    said = ["without approval"] * use.without_approval + ["break-glass"] * use.break_glass
    if not use.event.verified:
        said.append("not verified")
    elif not use.approvals_verified:
        said.append("approvals not verified")
    return f"<strong>{', '.join(said)}</strong>" if said else "as approved"


def _trust(events: Sequence[Event]) -> str:
    rows = [
        [
            _Cell(_time(event.when), "short"),
            _Cell(
                escape(f"{event.role} version {event.version}" if event.role else "not shown to this monitor")
            ),
            _Cell(" ".join(f"<code>{keyid[:16]}</code>" for keyid in event.keyids), "wide"),
            _Cell("yes" if event.verified else "<strong>no</strong>"),
            _Cell(_entry(event), "number"),
        ]
        for event in events
    ]
    columns = ("Logged by", "What changed", "Keys that signed", "Verified", "Entry")
    return _section("Trust changes", _table("Trust changes", columns, rows, empty="None."))


def _basis(logs: Sequence[LogState]) -> str:
    items = "".join(
        f"<div><dt>{escape(log.origin)}</dt>"
        f"<dd>{log.tree_size} entries, root hash {_grouped(log.root_hash)}, "
        + (f"seen by its witnesses {_time(log.witnessed_at)}" if log.witnessed_at else "not witnessed")
        + f"; checked {_time(log.checked_at)}</dd></div>"
        for log in logs
    )
    said = (
        "Every entry was verified to be in these logs. When somebody decided, and how long they looked, is "
        "what their terminal reports and signs; when a gate acted is what the gate signs. Entries whose "
        "record this monitor was not shown are listed by key and digest."
    )
    return _section("What this rests on", f'<p>{said}</p><dl class="basis">{items}</dl>')


# -- small parts


def _section(title: str, html: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>\n{html}</section>'


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[_Cell]], *, empty: str) -> str:
    lines = [_row(columns, row) for row in rows]
    if not lines:
        return f"<p>{escape(empty)}</p>"
    numbers = {"Looked for", "Entry", "Approved", "Denied", "Looked, median", "Shortest look"}
    head = "".join(
        f'<th scope="col"{" class=number" if column in numbers else ""}>{escape(column)}</th>'
        for column in columns
    )
    return (
        # Wide tables scroll sideways, which those without a mouse must be able to do, too.
        f'<div class="table" role="group" aria-label="{escape(title)}" tabindex="0">'
        f"<table><caption>{escape(title)}</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def _row(columns: Sequence[str], row: Sequence[_Cell]) -> str:
    cells = []
    for i, (column, cell) in enumerate(zip(columns, row, strict=True)):
        classes = f' class="{cell.classes}"' if cell.classes else ""
        tag, scope = ("th", ' scope="row"') if i == 0 else ("td", "")
        cells.append(
            f'<{tag}{scope}{classes} data-column="{escape(column)}"><span>{cell.html}</span></{tag}>'
        )
    return f"<tr>{''.join(cells)}</tr>"


def _who(event: Event) -> str:
    who = escape(event.person) if event.person else f"key <code>{event.keyids[0][:16]}</code>"
    return who if event.verified else f"{who} <strong>(not verified)</strong>"


def _what(text: str, target: str, payload: str) -> str:
    if not text:
        return f"not shown to this monitor: <code>{payload[:16]}</code>"
    more = f'<br><span class="quiet">{escape(target)}</span>' if target and target not in text else ""
    return f"{escape(text)}{more}"


def _entry(event: Event) -> str:
    return f'{event.leaf_index}<span class="log quiet"> of {escape(event.log_origin)}</span>'


def _seconds(seconds: int | None) -> str:
    if seconds is None:
        return "not known"
    minutes, rest = divmod(seconds, 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _grouped(digest: str) -> str:
    groups = " ".join(digest[i : i + _GROUP] for i in range(0, len(digest), _GROUP))
    return f"<code>{groups}</code>"


def _date(seconds: int) -> str:
    return format_time(seconds)[:10]


def _time_text(seconds: int) -> str:
    return format_time(seconds)[:16].replace("T", " ")


def _time(seconds: int) -> str:
    return f'<time datetime="{format_time(seconds)}">{_time_text(seconds)}</time>'
