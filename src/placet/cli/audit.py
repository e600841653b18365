"""``placet audit``: follow the log, hold what was done against what was allowed, tell people, report."""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

from placet.adapters.paths import state_dir
from placet.cli import UndecidedError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = (
        "Follow the logs of approvals from their last verified state, check everything that stands in them,\n"
        "and tell people."
    )
    parser.epilog = (
        "exit codes: 0 all is well, 1 something was found, 2 wrong usage, 3 it could not be checked"
    )
    _add_state(parser, default=None)
    _add_options(parser)
    commands = parser.add_subparsers(dest="audit_command", metavar="COMMAND")
    findings = commands.add_parser(
        "findings", help="list what was found and is open, and what to do about it"
    )
    findings.add_argument("--all", action="store_true", help="those that are settled, too")
    findings.add_argument("--json", action="store_true", help="for programs")
    settle = commands.add_parser("settle", help="say that somebody has looked into a finding")
    settle.add_argument("finding", nargs="+", metavar="FINDING", help="its ID")
    settle.add_argument("--because", required=True, metavar="TEXT", help="what it was; reports show it")
    report = commands.add_parser("report", help="write what happened in a period, for people")
    report.add_argument("--from", dest="since", metavar="DATE", help="first day (default: 30 days ago)")
    report.add_argument("--to", dest="until", metavar="DATE", help="last day (default: today)")
    report.add_argument("-o", "--output", metavar="FILE", help="write it there, not to standard output")
    report.add_argument("--trust", metavar="FILE", help="the trust snapshot, for the deployment's name")
    form = report.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="for programs")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="for spreadsheets")
    report.set_defaults(form="html")
    for command in (findings, settle, report):
        _add_state(command, default=argparse.SUPPRESS)


def _add_state(parser: argparse.ArgumentParser, *, default: object) -> None:
    where = "$XDG_STATE_HOME/placet/audit"
    parser.add_argument(
        "--state", metavar="FOLDER", default=default, help=f"what the monitor remembers (default: {where})"
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log",
        action="append",
        metavar="WHERE",
        help="the log's address, or a folder with its tiles; ORIGIN=WHERE where the policy names several "
        "(default: as the log policy says)",
    )
    parser.add_argument(
        "--token-file",
        action="append",
        default=[],
        metavar="FILE",
        help="the monitor's token, to see records; ORIGIN=FILE where several logs are followed",
    )
    parser.add_argument("--ca-file", metavar="FILE", help="your own certificate authorities")
    parser.add_argument("--trust", metavar="FILE", help="the trust snapshot (default: this machine's)")
    parser.add_argument(
        "--log-policy", metavar="FILE", help="which logs and witnesses count (default: the trust root's)"
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="WHERE",
        help="another address of a log, or a folder, to compare with; repeat for several",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that others were shown",
    )
    parser.add_argument(
        "--bundle", action="append", default=[], metavar="FILE", help="an approval with log proofs, likewise"
    )
    parser.add_argument(
        "--max-age", metavar="TIME", help='how old the newest witnessed state may be, such as "1d"'
    )
    parser.add_argument("--full", action="store_true", help="read all entries again, not only new ones")
    parser.add_argument("--notify", metavar="FILE", help="whom to tell (docs/how-to-monitor.md)")
    parser.add_argument(
        "--fail-on",
        choices=["alarm", "warning"],
        default="warning",
        help="exit with 1 for open findings of this severity and worse (default: warning)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing where all is well")
    parser.add_argument("--json", action="store_true", help="for programs")


def state_folder(args: argparse.Namespace) -> Path:
    """Returns the folder of what the monitor remembers."""
    return Path(args.state) if args.state else state_dir() / "audit"


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.sqlite.audit import AuditStateError

    try:
        match args.audit_command:
            case None:
                from placet.cli._audit_run import run_audit

                return run_audit(args, state_folder(args))
            case "report":
                from placet.cli._audit_report import run_report

                return run_report(args, state_folder(args))
            case _:
                from placet.cli._audit_findings import run_findings, run_settle

                chosen = run_settle if args.audit_command == "settle" else run_findings
                return chosen(args, state_folder(args))
    except AuditStateError as e:
        raise UndecidedError(str(e), e.hint) from e
    except sqlite3.Error as e:
        raise UndecidedError(f"The monitor's state failed: {e}.", "Check the disk, then try again.") from e
