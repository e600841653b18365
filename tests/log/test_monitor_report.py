"""The report's page: everything escaped, nothing from elsewhere, readable by everybody; no formula in CSV."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from placet.core.encoding import parse_time
from placet.log.monitor_events import Event
from placet.log.monitor_findings import FindingName, finding
from placet.log.monitor_report import (
    AuditReport,
    LogState,
    ReportedFinding,
    build_report,
    report_to_csv,
    report_to_object,
)
from placet.log.monitor_report_page import render_report
from placet.testing import ToolMissing
from placet.testing.chromium import ChromiumSession, launch_chromium

sys.path.insert(0, str(Path(__file__).parents[1] / "terminal"))

SINCE, UNTIL = parse_time("2026-11-01T00:00:00Z"), parse_time("2026-12-01T00:00:00Z")
AT = parse_time("2026-11-23T10:00:00Z")
NASTY = '=HYPERLINK("http://evil.example")</td><script>alert(1)</script>&amp;\''
LONG = "k8s://prod-eu/" + "ns/" * 40 + "x" * 90


def event(index: int, kind: str, **more: object) -> Event:
    base = Event("log.example", index, f"{index:064x}", kind, "ab" * 32, ("cd" * 32,), seen_at=AT + 60)
    return base._replace(verified=True, at=AT + index, **more)  # type: ignore[arg-type]


def sample(since: int = SINCE, until: int = UNTIL) -> AuditReport:
    """One of everything, with names and texts of all sizes."""
    decided = {"person": "alice@example.com", "terminal": "t1", "text": "Deploy app", "target": "k8s://a"}
    events = [
        event(0, "approved", **decided, seconds_on_screen=3),
        event(1, "approved", **decided | {"person": NASTY, "text": NASTY, "terminal": NASTY}),
        event(2, "denied", **decided | {"text": LONG}, seconds_on_screen=4000),
        event(3, "approved")._replace(verified=False, at=0),
        event(4, "used", gate="prod-eu", approvals=(f"{0:064x}",)),
        event(5, "used", gate=NASTY, approvals=(f"{1:064x}",)),
        event(6, "used")._replace(verified=False),
        event(7, "trust", role="root", version=3),
        event(8, "trust")._replace(verified=False),
    ]
    by_hash = {item.leaf_hash: item for item in events}
    found = [
        (FindingName.USE_WITHOUT_APPROVAL, 6, None),
        (FindingName.BREAK_GLASS, 5, AT + 99),
        (FindingName.DENIED, 2, AT),
        (FindingName.FORK, None, None),
    ]
    findings = [
        ReportedFinding(
            finding(name, str(index), f"About {NASTY}", log_origin="log.example", leaf_index=index),
            AT,
            settled,
            "" if settled is None else NASTY,
        )
        for name, index, settled in found
    ]
    logs = [LogState("log.example", 9, "ab" * 32, AT, AT), LogState("other.example", 0, "cd" * 32, 0, AT)]
    return build_report(
        events, by_hash.get, findings, logs, since=since, until=until, made_at=AT, deployment=NASTY
    )


def test_the_page_holds_no_markup_of_others() -> None:
    page = render_report(sample())
    assert "<script" not in page and "</td><" in page and "&lt;script&gt;" in page
    assert re.findall(r"(?:src=|href=|url\()[^>]*", page) == []
    assert page.count("<html") == 1 and "default-src 'none'" in page


def test_cells_are_no_formulas() -> None:
    rows = list(csv.DictReader(io.StringIO(report_to_csv(sample()))))
    assert len(rows) == 9
    assert not [value for row in rows for value in row.values() if value[:1] in "=+-@\t\r" and value]
    assert f"'{NASTY}" in {row["text"] for row in rows}


def test_what_the_report_says() -> None:
    found = report_to_object(sample())
    assert [use["withoutApproval"] for use in found["uses"]] == [False, False, True]
    assert [use["breakGlass"] for use in found["uses"]] == [False, True, False]
    assert found["uses"][0]["approvedBy"] == ["alice@example.com"]
    # A denial has a table of its own; findings are what somebody must look into.
    assert [item["name"] for item in found["findings"]] == ["use-without-approval", "break-glass", "fork"]
    # What was settled belongs to its own time only; what is open, to every report.
    later = report_to_object(sample(UNTIL, UNTIL + 86_400))
    assert [item["name"] for item in later["findings"]] == ["use-without-approval", "fork"]
    assert [p["person"] for p in found["people"]] == [NASTY, "alice@example.com", "key cdcdcdcdcdcdcdcd"]
    assert found["people"][1]["medianSecondsOnScreen"] == 2001


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumSession]:
    try:
        with launch_chromium(viewport={"width": 1200, "height": 900}) as session:
            yield session
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(e))


@pytest.mark.browser
def test_everybody_can_read_it(chromium: ChromiumSession, tmp_path: Path) -> None:
    from page_driver import WIDER_THAN_THE_SCREEN, check_with_axe

    page, noise = chromium.page, []
    page.on("console", lambda message: noise.append(message.text))
    page.on("request", lambda request: noise.append(request.url) if request.url[:4] == "http" else None)
    page.set_content(render_report(sample()))
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        check_with_axe(page, f"report, {scheme}")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(WIDER_THAN_THE_SCREEN) == []
    check_with_axe(page, "report, small")
    page.set_viewport_size({"width": 1200, "height": 900})
    page.emulate_media(media="print", color_scheme="dark")
    # Paper is white whatever the screen was.
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
    assert noise == []


@pytest.mark.parametrize("text", ["  =cmd", "a;=cmd", "a\n=cmd", "＝cmd", "a; +1", "\t=cmd"])
def test_no_spreadsheet_finds_a_formula_behind_spaces_or_other_separators(text: str) -> None:
    report = sample()
    event = report.decisions[0]._replace(text=text)
    rows = csv.DictReader(io.StringIO(report_to_csv(report._replace(decisions=(event,)))))
    (row,) = [row for row in rows if ("'" in row["text"] and "cmd" in row["text"]) or "'+1" in row["text"]]
    assert not re.search(r"(^|[;\t\n])\s*[=+＝]", row["text"])
