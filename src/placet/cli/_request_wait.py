"""Waiting for people, with visible progress: who approved, who is missing, how long is left."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

from placet.adapters.private_file import write_atomically
from placet.adapters.relay_client import (
    RelayClient,
    RelayClientError,
    RelayTimeoutError,
    RelayUnreachableError,
)
from placet.ceremony.publish import Progress, assemble, can_be_met_without
from placet.ceremony.request import say_duration
from placet.cli import EXIT_ALLOW, EXIT_DENY, EXIT_INTERRUPTED, EXIT_UNDECIDED, UserError
from placet.cli._shared import now
from placet.core.bundle import IntentRequest, encode_bundle
from placet.core.encoding import format_time
from placet.core.errors import visible
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.ports.request_store import RequestState

_POLL_SECONDS = 20
_PAUSE_AFTER_FAILURE = 3.0


class Reporter:
    """Writes progress to stderr: one changing line on a terminal, a line per change elsewhere."""

    def __init__(self, expires_at: int) -> None:
        self._started, self._expires_at = time.monotonic(), expires_at
        self._live, self._last = sys.stderr.isatty(), ""

    def say(self, text: str) -> None:
        """Shows where things stand, with elapsed and remaining time."""
        text = visible(text)
        if self._live:
            sys.stderr.write(f"\r\x1b[2K{self._times()}  {text}")
            sys.stderr.flush()
        elif text != self._last:
            sys.stderr.write(f"{self._times()}  {text}\n")
        self._last = text

    def finish(self, text: str) -> None:
        """Ends the changing line and leaves one that stays."""
        sys.stderr.write(f"\r\x1b[2K{text}\n" if self._live else f"{text}\n")

    def _times(self) -> str:
        elapsed = int(time.monotonic() - self._started)
        left = max(0, self._expires_at - now())
        return f"waited {_minutes(elapsed)}, {_minutes(left)} left"


def _minutes(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


def wait_for_quorum(
    relay: RelayClient, request: IntentRequest, *, trust: Trust, output: Path, timeout: int, words: str = ""
) -> int:
    """Waits until enough people approved, then writes the bundle.

    Args:
        output: where the bundle goes.
        timeout: seconds to wait at most; the request itself may expire before.
        words: what the commands that are suggested need besides the ID, such as " --relay URL".

    Returns:
        0 when the bundle is complete; 1 when the request expired, was withdrawn or can no longer be approved;
        3 when time ran out or the relay failed; 130 when the user stopped waiting.

    Raises:
        UserError: the bundle cannot be written.
    """
    expires_at = parse_statement(request.payload).expires_at
    reporter = Reporter(expires_at)
    stays_open = (
        f"The request stays open until {format_time(expires_at)}; to wait again: placet request wait "
        f"{request.id}{words}; to take it back: placet withdraw {request.id}{words}"
    )
    try:
        return _wait(_Waiting(relay, request, trust, output, timeout, expires_at, stays_open), reporter)
    except KeyboardInterrupt:
        reporter.finish(f"Stopped waiting. {stays_open}")
        return EXIT_INTERRUPTED


class _Waiting(NamedTuple):
    relay: RelayClient
    request: IntentRequest
    trust: Trust
    output: Path
    timeout: int
    expires_at: int
    stays_open: str


def _wait(waiting: _Waiting, reporter: Reporter) -> int:
    request, expires_at = waiting.request, waiting.expires_at
    deadline = time.monotonic() + waiting.timeout
    progress = assemble(request, (), trust=waiting.trust, now=now())
    reporter.say(_sentence(progress))
    seen = 0
    while time.monotonic() < deadline:
        patience = max(1, min(_POLL_SECONDS, int(deadline - time.monotonic()), max(1, expires_at - now())))
        try:
            relayed = waiting.relay.wait_for_answers(request.id, seen, timeout=patience)
        except (RelayUnreachableError, RelayTimeoutError) as e:
            reporter.say(f"{e.message} Trying again.")
            time.sleep(min(_PAUSE_AFTER_FAILURE, max(0.0, deadline - time.monotonic())))
            continue
        except RelayClientError as e:
            reporter.finish(f"UNDECIDED: {e.message} {e.hint}".rstrip())
            return EXIT_UNDECIDED
        seen = len(relayed.answers) + relayed.unreadable
        progress = assemble(request, relayed.answers, trust=waiting.trust, now=now())
        if progress.refusal is None:
            return _finish(progress, reporter, waiting.output)
        if denied := _why_never(waiting, progress, relayed.state):
            reporter.finish(f"DENIED: {denied}")
            return EXIT_DENY
        reporter.say(_sentence(progress))
    reporter.finish(
        f"UNDECIDED: not approved within {say_duration(waiting.timeout)}, as --timeout says. "
        f"{_sentence(progress)} {waiting.stays_open}"
    )
    return EXIT_UNDECIDED


def _why_never(waiting: _Waiting, progress: Progress, state: RequestState) -> str:
    """Returns why the request can no longer be approved, or "" while it can."""
    if state is not RequestState.OPEN or now() >= waiting.expires_at:
        closed = "expired" if now() >= waiting.expires_at else state.value
        return f"the request is {closed}. {_sentence(progress)}"
    approved = {approver.person_id for approver in progress.approvers}
    denied = [person for person in progress.denied_by if person not in approved]
    if can_be_met_without(denied, waiting.request, trust=waiting.trust, now=now()):
        return ""
    return f"{' and '.join(denied)} denied it; without them the quorum cannot be met."


def _sentence(progress: Progress) -> str:
    parts = []
    if progress.approvers:
        parts.append("approved by " + ", ".join(sorted({a.person_id for a in progress.approvers})))
    if progress.denied_by:
        parts.append("denied by " + ", ".join(progress.denied_by))
    if progress.dropped:
        parts.append(f"{len(progress.dropped)} answer(s) do not count ({progress.dropped[0].reason})")
    if progress.refusal is not None:
        parts.append(progress.refusal.message)
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _finish(progress: Progress, reporter: Reporter, output: Path) -> int:
    try:
        write_atomically(output, encode_bundle(progress.bundle), mode=0o644)
    except OSError as e:
        raise UserError(f"The bundle cannot be written to {output}: {e.strerror}.") from e
    level = f"{level_name(progress.level)} ({LEVEL_NAMES[progress.level]})" if progress.level else "no level"
    people = ", ".join(sorted({a.person_id for a in progress.approvers}))
    reporter.finish(f"Approved by {people}: {level}. The bundle is {output}.")
    # As in core/verify.py: who is above the level already keeps nobody from the next one.
    holding_back = [a for a in progress.approvers if a.level <= progress.level]
    for missing in dict.fromkeys(m for a in holding_back for m in a.missing):
        reporter.finish(f"  For the next level: {missing}.")
    return EXIT_ALLOW
