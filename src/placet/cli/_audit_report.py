"""``placet audit report``: what happened in a period, from what the monitor verified and kept."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from placet.adapters.paths import snapshot_path
from placet.adapters.private_file import write_atomically
from placet.adapters.sqlite.audit import AuditStore
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._audit_findings import open_store
from placet.cli._shared import load_trust, now, setting
from placet.core.encoding import parse_time
from placet.core.errors import MalformedError, PlacetError
from placet.log.monitor import finding_of
from placet.log.monitor_events import Event
from placet.log.monitor_report import (
    AuditReport,
    LogState,
    ReportedFinding,
    build_report,
    report_to_csv,
    report_to_object,
)
from placet.log.monitor_report_page import render_report

_DAY = 86_400
_DEFAULT_DAYS = 30


def run_report(args: argparse.Namespace, folder: Path) -> int:
    """Writes a report; returns the exit code."""
    at = now()
    since = _read_date(args.since) if args.since else at - at % _DAY - _DEFAULT_DAYS * _DAY
    until = _DAY + (_read_date(args.until) if args.until else at - at % _DAY)
    if since >= until:
        raise UserError("The period ends before it begins.", "--from is the first day, --to the last one.")
    with open_store(folder) as store:
        report = _build(store, since, until, at, _deployment(args))
    match args.form:
        case "json":
            text = json.dumps(report_to_object(report), indent=2, ensure_ascii=False) + "\n"
        case "csv":
            text = report_to_csv(report)
        case _:
            text = render_report(report)
    _write(args.output, text)
    return EXIT_ALLOW


def _build(store: AuditStore, since: int, until: int, at: int, deployment: str) -> AuditReport:
    def find(leaf_hash: str) -> Event | None:
        leaves = store.find_leaves(bytes.fromhex(leaf_hash))
        return Event.from_object(leaves[0].event) if leaves else None

    return build_report(
        (Event.from_object(leaf.event) for leaf in store.leaves_between(since, until)),
        find,
        [
            ReportedFinding(finding_of(item), item.first_at, item.settled_at, item.settled_because)
            for item in store.list_findings(settled=True)
        ],
        [
            LogState(log.origin, log.tree_size, log.root.hex(), log.witnessed_at, log.checked_at)
            for log in store.list_followed()
        ],
        since=since,
        until=until,
        made_at=at,
        deployment=deployment,
    )


def _deployment(args: argparse.Namespace) -> str:
    """Returns the deployment's name, where this machine knows it."""
    try:
        return load_trust(setting(args.trust, "trust") or snapshot_path()).deployment.name
    except PlacetError:
        if args.trust is not None:
            raise
        return ""


def _read_date(text: str) -> int:
    try:
        return parse_time(f"{text}T00:00:00Z")
    except MalformedError as e:
        raise UserError(f"{text!r} is not a day.", 'Write it like "2026-03-01"; days are in UTC.') from e


def _write(path: str | None, text: str) -> None:
    if path is None:
        sys.stdout.write(text)
        return
    try:
        # It says who decided what: others on this machine need not read it.
        write_atomically(Path(path), text.encode())
    except OSError as e:
        raise UserError(f"The report cannot be written to {path}: {e.strerror}.") from e
    print(f"The report was written to {path}.")
