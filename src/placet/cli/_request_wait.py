"""Waiting for people, with visible progress: who approved, who is missing, how long is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from placet.adapters.private_file import write_atomically
from placet.cli import EXIT_ALLOW, EXIT_DENY, EXIT_INTERRUPTED, EXIT_UNDECIDED, UserError
from placet.cli._shared import now, setting
from placet.client import Approved, RelayClient
from placet.core.bundle import IntentRequest
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PlacetError, Reason, visible
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.ports.evidence_verifier import EvidenceVerifier


class Reporter:
    """Writes progress to stderr: one changing line on a terminal, a line per change elsewhere."""

    def __init__(self, expires_at: int) -> None:
        self._started, self._expires_at = time.monotonic(), expires_at
        self._live, self._last = sys.stderr.isatty(), ""
        self._lock, self._finished = threading.Lock(), threading.Event()
        if self._live:
            threading.Thread(target=self._keep_time, daemon=True).start()

    def say(self, text: str) -> None:
        """Shows where things stand, with elapsed and remaining time."""
        text = visible(text)
        with self._lock:
            if not self._live and text != self._last:
                sys.stderr.write(f"{self._times()}  {text}\n")
            self._last = text
            if self._live:
                self._show()

    def finish(self, text: str) -> None:
        """Ends the changing line and leaves one that stays."""
        self._finished.set()
        with self._lock:
            sys.stderr.write(f"\r\x1b[2K{text}\n" if self._live else f"{text}\n")

    def _show(self) -> None:
        sys.stderr.write(f"\r\x1b[2K{self._times()}  {self._last}")
        sys.stderr.flush()

    def _keep_time(self) -> None:
        """Lets the clock run on a terminal while there is no news."""
        while not self._finished.wait(1):
            with self._lock:
                if self._last and not self._finished.is_set():
                    self._show()

    def _times(self) -> str:
        elapsed = int(time.monotonic() - self._started)
        left = max(0, self._expires_at - now())
        return f"waited {_minutes(elapsed)}, {_minutes(left)} left"


def _minutes(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


def wait_for_quorum(
    relay: RelayClient,
    request: IntentRequest,
    *,
    trust: Trust,
    evidence: EvidenceVerifier,
    output: Path,
    timeout: int,
    words: str = "",
    complete: Callable[[bytes], bytes] | None = None,
) -> int:
    """Waits until enough people approved, then writes the bundle.

    Args:
        evidence: verifies what the request carries.
        output: where the bundle goes.
        timeout: seconds to wait at most; the request itself may expire before.
        words: what the commands that are suggested need besides the ID, such as " --relay URL".
        complete: adds to the bundle before it is written; see `add_trust`.

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
        approved = relay.wait_for_bundle(
            request,
            trust=trust,
            evidence=evidence,
            timeout=timeout,
            on_standing=lambda standing: reporter.say(standing.text),
        )
    except KeyboardInterrupt:
        reporter.finish(f"Stopped waiting. {stays_open}")
        return EXIT_INTERRUPTED
    except PlacetError as e:
        return _give_up(e, reporter, stays_open)
    return _finish(approved, complete(approved.bundle) if complete else approved.bundle, reporter, output)


def _give_up(error: PlacetError, reporter: Reporter, stays_open: str) -> int:
    undecided = isinstance(error, IndeterminateError)
    reporter.finish(f"{'UNDECIDED' if undecided else 'DENIED'}: {visible(str(error))} [{error.reason}]")
    if undecided and error.reason is not Reason.RELAY_REFUSED:
        # What a relay did ends the waiting and not the request; only what people or the clock did ends that.
        reporter.finish(f"  Whether people approve is not known yet. {stays_open}")
    hint = "--timeout says how long is waited." if error.reason is Reason.APPROVAL_PENDING else error.hint
    if hint:
        reporter.finish(f"  {visible(hint)}")
    return EXIT_UNDECIDED if undecided else EXIT_DENY


def add_trust(bundle: bytes, *, snapshot: Path) -> bytes:
    """Returns the bundle with the trust of its time; as it is, and says so, where that is not to be had.

    The approval is good either way: whoever waited for it must not lose it to an archive's needs.
    """
    try:
        from placet.adapters.tuf.audit import attach_trust
        from placet.cli.trust.gate import read_source

        source = setting(None, "trust_source") or read_source(snapshot)
        attached = attach_trust(bundle, snapshot=snapshot, source=source, root_sha256=None)
    except (PlacetError, ModuleNotFoundError) as e:
        print(
            f"\nNote: the bundle does not carry the trust of its time: {visible(str(e))}\n"
            "  Add it later: placet trust attach BUNDLE -o FILE --from WHERE",
            file=sys.stderr,
        )
        return bundle
    print("\nThe bundle names all people of the deployment: keep it with your archives.", file=sys.stderr)
    return attached


def _finish(approved: Approved, bundle: bytes, reporter: Reporter, output: Path) -> int:
    progress = approved.progress
    try:
        # Who may read a bundle may not always read the list of people.
        write_atomically(output, bundle, mode=0o644 if bundle == approved.bundle else 0o600)
    except OSError as e:
        raise UserError(f"The bundle cannot be written to {output}: {e.strerror}.") from e
    level = f"{level_name(progress.level)} ({LEVEL_NAMES[progress.level]})" if progress.level else "no level"
    people = ", ".join(sorted({a.person_id for a in progress.approvers}))
    reporter.finish(f"Approved by {people}: {level}. The bundle is {output}.")
    if progress.without_link:
        people = ", ".join(progress.without_link)
        reporter.finish(f"  Without the in-toto link that a layout asks for: {people}.")
    # As in core/verify.py: who is above the level already keeps nobody from the next one.
    holding_back = [a for a in progress.approvers if a.level <= progress.level]
    for missing in dict.fromkeys(m for a in holding_back for m in a.missing):
        reporter.finish(f"  For the next level: {missing}.")
    return EXIT_ALLOW
