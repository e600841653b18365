"""Telling the log of this gate's uses: trust, use key and log client put together (spec/15-use.md)."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli._shared import setting
from placet.core.bundle import parse_bundle
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PlacetError, Reason, visible
from placet.core.gates import Gate
from placet.core.trust import Trust
from placet.ports.use_ledger import Backlog, UseLedger

if TYPE_CHECKING:
    from placet.adapters.use_key import UseKey
    from placet.gates.use_log import LogAccess, UseLog
    from placet.ports.log_appender import LogAppender

# An act waits for the log, so a restart of it is waited out; what is handed in after the act is not.
_PATIENT_SECONDS = 10.0
_HASTY_SECONDS = 3.0


def open_use_log(trust: Trust, gate: Gate, bundle: bytes) -> UseLog | None:
    """Makes ready whatever tells the log of the uses of one approval; asks the log nothing yet.

    Returns:
        None where the trust root names no log, or not where it is.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE: this gate has no use key that a log would believe.
        MalformedError: the bundle, or the key, is none.
    """
    if not names_log(trust):
        return None
    from placet.gates.use_log import UseLog

    signer = _load_key(gate)
    return UseLog(gate=gate.id, trust=trust, bundle=parse_bundle(bundle), signer=signer, open_log=open_log)


def check_use_key(trust: Trust, gate: Gate) -> None:
    """Checks that this gate could log a use, as far as that can be known without one.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE.
        MalformedError: BAD_KEY.
    """
    if names_log(trust):
        from placet.gates.use_log import check_signer

        check_signer(_load_key(gate), trust, gate.id)


def names_log(trust: Trust) -> bool:
    """Tells whether the trust root names a log, and where it is: then uses are logged."""
    return trust.log_policy is not None and any(log.url for log in trust.log_policy.logs)


def log_access(trust: Trust) -> LogAccess | None:
    """Returns which logs count and how they are reached; None where the trust root names none."""
    if trust.log_policy is None or not names_log(trust):
        return None
    from placet.gates.use_log import LogAccess

    return LogAccess(trust.log_policy, open_log)


def choose_use_key(path: Path | None = None) -> Path:
    """Returns where this gate keeps its use key: flag over environment over file over the default."""
    from placet.adapters.use_key import use_key_path

    chosen = setting(None if path is None else str(path), "use_key")
    return Path(chosen) if chosen else use_key_path()


def _load_key(gate: Gate) -> UseKey:
    from placet.adapters.use_key import UseKey

    try:
        return UseKey.load(choose_use_key())
    except IndeterminateError as error:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"The trust root names a log, so this gate signs each use, and it cannot: {error.message}",
            hint="Nothing was used. Make a key with `placet ledger use-key`; an administrator enters it with "
            f"`placet trust set-gate {gate.id} --use-key FILE.pub`.",
        ) from error


def open_log(url: str, *, patient: bool) -> LogAppender:
    """Opens the log at an address; satisfies `placet.ports.log_appender.LogOpener`."""
    from placet.adapters.log_client import LogClient

    ca_file, token = setting(None, "log_ca_file"), os.environ.get("PLACET_LOG_TOKEN") or None
    if patient:
        return LogClient(url, seconds=_PATIENT_SECONDS, ca_file=ca_file, token=token)
    return LogClient(url, seconds=_HASTY_SECONDS, ca_file=ca_file, token=token, tries=1)


def warn_unlogged(ledger: UseLedger, log: UseLog | None) -> None:
    """Says on standard error what the log does not hold yet, after a gate has acted or refused."""
    if log is None:
        return
    trouble = None if log.flushed is None else log.flushed.trouble
    with suppress(PlacetError, OSError):
        if (backlog := ledger.count_unlogged()).uses:
            why = f" {trouble}" if trouble is not None else ""
            line = f"{describe_backlog(backlog)}.{why} `placet ledger flush` hands in what waits."
            print(visible(line), file=sys.stderr, flush=True)


def describe_backlog(backlog: Backlog) -> str:
    """Returns how much waits, for people."""
    if not backlog.uses or backlog.since is None:
        return "No use waits for the log"
    uses = "1 use waits" if backlog.uses == 1 else f"{backlog.uses} uses wait"
    return f"{uses} for the log, since {format_time(backlog.since)}"
