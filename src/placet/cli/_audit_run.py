"""One run of ``placet audit``, as cron or a timer starts it: follow, judge, tell, say how it went."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.log_client import LogClient
from placet.adapters.paths import snapshot_path
from placet.adapters.sqlite.audit import StoredCheckpoint, StoredFinding
from placet.cli import EXIT_ALLOW, EXIT_DENY, EXIT_UNDECIDED, UserError
from placet.cli._audit_findings import describe, open_store, stored_to_object
from placet.cli._shared import load_trust, now, parse_duration, read_file, setting
from placet.cli.verify import GREEN, print_json, verdict_line
from placet.core.bundle import MAX_BUNDLE_BYTES
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PlacetError, Reason, visible
from placet.core.tlog.log_policy import MAX_POLICY_BYTES, LogPolicy, parse_log_policy
from placet.core.trust import Trust
from placet.log.monitor import Audit, Audited, Settings, Unchecked, WatchedLog, finding_of
from placet.log.monitor_compare import read_others
from placet.log.monitor_findings import SEVERITIES, Severity
from placet.log.monitor_follow import Followed
from placet.log.monitor_report import finding_to_object
from placet.log.monitor_source import FolderLog, LogSource, ServedLog
from placet.log.monitor_telling import (
    MAX_TELL_BYTES,
    Recipient,
    TellingError,
    Told,
    parse_recipients,
    tell,
)

if TYPE_CHECKING:
    from placet.ports.notifier import Notifier

_RED, _YELLOW = "\x1b[31;1m", "\x1b[33;1m"
_MAX_TOKEN_BYTES = 4096
_NOBODY = Told(0, ())


def run_audit(args: argparse.Namespace, folder: Path) -> int:
    """Runs an audit; returns its exit code."""
    snapshot = Path(setting(args.trust, "trust") or snapshot_path())
    trust = _load_trust(args, snapshot)
    policy = _load_policy(args, trust)
    settings = Settings(
        policy=policy,
        trust=trust,
        snapshot=snapshot,
        recipients=_load_recipients(args.notify),
        now=now(),
        max_age=None if args.max_age is None else parse_duration(args.max_age),
        full=args.full,
    )
    logs = _choose_logs(args, policy)
    against = [_open_source(where, args, token=None) for where in args.against]
    others = [found for path in (*args.checkpoint, *args.bundle) for found in _read_others(path, policy)]
    notifier = _make_notifier(args.notify, settings.recipients)
    with open_store(folder, must_exist=False) as store:
        audited = _judge_trust(Audit(store, settings).run(logs, against=against, others=others), settings)
        told = _NOBODY if notifier is None else tell(settings.recipients, store, notifier)
        still_open = store.list_findings()
    code = _exit_code(audited, told, still_open, Severity(args.fail_on))
    if args.json:
        print_json(_to_object(audited, told, still_open, code))
    elif code != EXIT_ALLOW or not args.quiet:
        _print(audited, told, still_open, code, has_trust=trust is not None)
        _print_unread(logs)
    return code


# -- what it goes by


def _load_trust(args: argparse.Namespace, snapshot: Path) -> Trust | None:
    try:
        return load_trust(snapshot)
    except IndeterminateError:
        # Whoever has no trust root can still follow a log, and hear of forks and of uses without approval.
        if args.log_policy is None or args.trust is not None:
            raise
        return None


def _load_policy(args: argparse.Namespace, trust: Trust | None) -> LogPolicy:
    if args.log_policy is not None:
        data = read_file(args.log_policy, "log policy", MAX_POLICY_BYTES)
        try:
            policy = parse_log_policy(data)
        except PlacetError as e:
            raise UserError(f"The log policy {args.log_policy} cannot be used: {e}", e.hint) from e
    elif trust is not None and trust.log_policy is not None:
        policy = trust.log_policy
    else:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            "The trust root names no log, so there is nothing to follow.",
            hint="An administrator pins one: placet trust set-file log-policy FILE. "
            "Or name one with --log-policy.",
        )
    if not policy.logs:
        raise UserError("The log policy names no log.", "Add a line: log KEY URL")
    return policy


def _choose_logs(args: argparse.Namespace, policy: LogPolicy) -> list[WatchedLog]:
    """Returns the logs to follow: as given, or all of the policy that have an address."""
    known = {log.key.name: log.url for log in policy.logs}
    chosen = {origin: url for origin, url in known.items() if url}
    if args.log:
        chosen = dict(_split_log(text, known) for text in args.log)
    # A token is for one log: another's operator must not get it.
    tokens = dict(_split_log(text, chosen) for text in args.token_file)
    if not chosen:
        raise UserError("The log policy has no address of a log.", "Name it with --log URL or FOLDER.")
    found = []
    for origin, where in chosen.items():
        token = _read_token(tokens.get(origin))
        source = _open_source(where, args, token=token)
        found.append(WatchedLog(origin, source, token is not None and isinstance(source, ServedLog)))
    return found


def _split_log(text: str, known: dict[str, str]) -> tuple[str, str]:
    origin, equals, where = text.partition("=")
    if equals and origin in known:
        return origin, where
    if len(known) == 1:
        return next(iter(known)), text
    listed = ", ".join(sorted(known)) or "none"
    raise UserError(
        f"Which log is {visible(text)} for? There are: {listed}.", f"Write it ORIGIN={visible(text)}"
    )


def _open_source(where: str, args: argparse.Namespace, *, token: str | None) -> LogSource:
    if where.startswith(("http://", "https://")):
        if importlib.util.find_spec("httpx") is None:
            raise UserError(
                "Reading a log at an address needs httpx.", "Install it: pip install 'placet[client]'"
            )
        try:
            ca_file = args.ca_file or setting(None, "log_ca_file")
            return ServedLog(LogClient(where, ca_file=ca_file), token)
        except PlacetError as e:
            raise UserError(e.message, e.hint) from e
    folder = Path(where)
    if not folder.is_dir():
        raise UserError(
            f"{visible(where)} is neither an address nor a folder.", "Give https://… or a folder."
        )
    return FolderLog(folder)


def _read_token(path: str | None) -> str | None:
    if path is None:
        return None
    text = read_file(path, "token file", _MAX_TOKEN_BYTES).decode("ascii", errors="replace").strip()
    if not text.isascii() or not text.isprintable() or not text or " " in text:
        raise UserError(f"The token file {path} does not hold one line of printable characters.")
    return text


def _read_others(path: str, policy: LogPolicy) -> tuple[StoredCheckpoint, ...]:
    try:
        found = read_others(path, read_file(path, "file", MAX_BUNDLE_BYTES), policy)
    except PlacetError as e:
        raise UserError(
            f"{path} says nothing about a log of the policy: {e}",
            "Give a checkpoint, a log proof, or an approval bundle with log proofs.",
        ) from e
    if not found:
        raise UserError(f"{path} holds no log proof.", "`placet log attach` adds one.")
    return found


def _load_recipients(path: str | None) -> tuple[Recipient, ...]:
    if path is None:
        return ()
    try:
        return parse_recipients(read_file(path, "notify file", MAX_TELL_BYTES))
    except TellingError as e:
        raise UserError(
            f"The notify file {path} cannot be used: {e}.", "docs/how-to-monitor.md shows what stands in it."
        ) from e


def _make_notifier(path: str | None, recipients: Sequence[Recipient]) -> Notifier | None:
    if path is None:
        return None
    try:
        from placet.adapters.notify import AppriseNotifier, Group, NotifyConfigError
    except ModuleNotFoundError as e:
        if e.name != "apprise":
            raise
        raise UserError("Telling people needs apprise.", "Install it: pip install 'placet[notify]'") from e
    try:
        return AppriseNotifier([Group(one.key, (), (), (one.url,)) for one in recipients])
    except NotifyConfigError as e:
        raise UserError(
            f"The notify file {path} cannot be used: {e}.", "See apprise's list of services."
        ) from e


# -- how it went


def _judge_trust(audited: Audited, settings: Settings) -> Audited:
    """Adds that the trust is too old to know everybody, where it is."""
    trust = settings.trust
    if trust is None or settings.now < trust.expires_at:
        return audited
    expired = IndeterminateError(
        Reason.TRUST_EXPIRED,
        f"This machine's trust snapshot expired at {format_time(trust.expires_at)}; who was enrolled or "
        "revoked since is not known here.",
        hint="Run `placet trust refresh` before each audit.",
    )
    return audited._replace(
        unchecked=(*audited.unchecked, Unchecked("the people and gates of today", expired))
    )


def _exit_code(audited: Audited, told: Told, still_open: Sequence[StoredFinding], fail_on: Severity) -> int:
    worst = SEVERITIES.index(fail_on)
    if any(SEVERITIES.index(finding_of(item).severity) <= worst for item in still_open):
        return EXIT_DENY
    return EXIT_UNDECIDED if audited.unchecked or told.failures else EXIT_ALLOW


def _to_object(
    audited: Audited, told: Told, still_open: Sequence[StoredFinding], code: int
) -> dict[str, object]:
    return {
        "result": {EXIT_ALLOW: "well", EXIT_DENY: "findings", EXIT_UNDECIDED: "unchecked"}[code],
        "logs": [_log_to_object(log) for log in audited.logs],
        "new": [finding_to_object(found) for found in audited.news],
        "open": [stored_to_object(item) for item in still_open],
        "unchecked": [
            {"what": item.what, "reason": str(item.error.reason), "message": str(item.error)}
            for item in audited.unchecked
        ],
        "told": {"sent": told.sent, "failures": list(told.failures)},
    }


def _log_to_object(log: Followed) -> dict[str, object]:
    return {
        "origin": log.origin,
        "treeSize": str(log.tree_size),
        "rootHash": log.root_hash.hex(),
        "newEntries": log.new_entries,
        "holds": log.holds,
        "witnessedAt": None if log.witnessed_at is None else format_time(log.witnessed_at),
    }


def _print(
    audited: Audited, told: Told, still_open: Sequence[StoredFinding], code: int, *, has_trust: bool
) -> None:
    entries = sum(log.new_entries for log in audited.logs)
    news = f"{entries} new {'entry' if entries == 1 else 'entries'} checked"
    match code:
        case 0:
            print(verdict_line("ALL WELL", GREEN, f"{news}; nothing needs you."))
        case 1:
            count = len(still_open)
            what = "1 finding is open" if count == 1 else f"{count} findings are open"
            print(verdict_line("FOUND", _RED, f"{what}; {news}."))
        case _:
            print(verdict_line("UNCHECKED", _YELLOW, f"not everything could be checked; {news}."))
    for log in audited.logs:
        seen = (
            f"seen by its witnesses {format_time(log.witnessed_at)}" if log.witnessed_at else "not witnessed"
        )
        print(f"  Log       {log.origin}, {log.tree_size} entries, {seen}")
    for item in audited.unchecked:
        print(visible(f"  Unchecked {item.what}: {item.error} ({item.error.reason})"))
        if item.error.hint:
            print(visible(f"            Next: {item.error.hint}"))
    _print_findings(audited, still_open)
    if told.sent:
        print(f"  Told      {told.sent} {'message' if told.sent == 1 else 'messages'} sent")
    for why in told.failures:
        print(visible(f"  Not told  {why} It is tried again by the next audit."))
    if not has_trust:
        print("  Note      without a trust root no signature of a person or gate was verified")


def _print_unread(logs: Sequence[WatchedLog]) -> None:
    for log in logs:
        if not log.has_records:
            served = isinstance(log.source, ServedLog)
            why = "without a monitor's token (--token-file)" if served else "in a folder of tiles"
            print(f"  Note      no records of {visible(log.origin)} {why}: who decided what was not checked")


def _print_findings(audited: Audited, still_open: Sequence[StoredFinding]) -> None:
    ordered = sorted(still_open, key=lambda item: SEVERITIES.index(finding_of(item).severity))
    for item in ordered:
        for line in describe(finding_of(item)):
            print(line)
    shown = {item.id for item in still_open}
    for found in audited.news:
        if found.id not in shown:
            print(f"  {found.severity.capitalize():<9} {found.message}")
    if still_open:
        print('  When you have looked into one: placet audit settle ID --because "what it was"')
