"""Waiting for an approval: what each look at the relay means, by this machine's own trust and clock.

No I/O here.  A transport looks, and asks `ApprovalWait.judge` what was seen.  Approvals that counted once
are kept, so a relay that shows each of them only once withholds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from placet.ceremony.publish import Progress, assemble, can_be_met_without, split_bundle
from placet.ceremony.request import say_duration
from placet.client._errors import RelayClientError, RelayLiedError
from placet.client._replies import RelayedRequest
from placet.core.bundle import Answer, IntentRequest, LogProof, encode_bundle
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.ports.evidence_verifier import EvidenceVerifier
from placet.ports.request_store import RequestState

# Long enough to be rare, short enough that a connection which died silently is noticed.
_LOOK_SECONDS = 20
# How long an approval that is good without the log is held back until the log's proof of it is there.
_LOG_SECONDS = 10
# A relay that answers at once where it should wait must not make us ask in a busy loop.
MIN_SECONDS_BETWEEN_LOOKS = 0.5
PAUSE_AFTER_FAILURE = 3.0
# On top of what the relay was asked to wait, where the caller's own time runs out.
_GRACE_SECONDS = 2.0


class Standing(NamedTuple):
    """How a request stands; `trouble` is why the relay could not be asked just now, or None."""

    progress: Progress
    trouble: RelayClientError | None

    @property
    def text(self) -> str:
        """One sentence for a person."""
        if self.trouble is not None:
            asked = math.ceil(self.trouble.retry_after)
            in_time = f" in {asked} s, as the relay asks" if asked > PAUSE_AFTER_FAILURE else ""
            return f"{self.trouble.message} Trying again{in_time}."
        return describe_progress(self.progress)


OnStanding = Callable[[Standing], None]


def tell_news(on_standing: OnStanding | None) -> OnStanding:
    """Returns a caller of `on_standing` that leaves out what was said last: an answer need not change it."""
    said = ""

    def tell(standing: Standing) -> None:
        nonlocal said
        if on_standing is not None and standing.text != said:
            said = standing.text
            on_standing(standing)

    return tell


class Approved(NamedTuple):
    """A request that enough people approved, as this machine's own trust sees it.

    The gate decides: it verifies `bundle` against what it is about to do.
    """

    bundle: bytes
    """The contents of an ``*.intent.json`` file."""
    progress: Progress


class ApprovalWait:
    """Waits for the approval of one request.

    Args:
        request: what was submitted.
        trust: this machine's own.
        evidence: verifies what the request carries, such as the token that says who asks.
        timeout: seconds to wait at most.
        now: Unix seconds.

    Attributes:
        progress: how far the request has come.
        seen: how many answers the last look showed, unreadable ones too.

    Raises:
        MalformedError, VerificationError, PolicyError: the request could never be approved.
    """

    def __init__(
        self, request: IntentRequest, *, trust: Trust, evidence: EvidenceVerifier, timeout: float, now: int
    ) -> None:
        self._request, self._trust, self._evidence, self._timeout = request, trust, evidence, timeout
        self._expires_at = parse_statement(request.payload).expires_at
        self._good_since: int | None = None
        self.progress = self._assemble((), (), now)
        self.seen = 0

    def patience(self, left: float, now: int) -> int:
        """Returns how long the relay is asked to wait, where `left` seconds are left."""
        if self._awaits_log:
            # The relay wakes nobody when a witness answers; that takes a moment, not minutes.
            return 1
        return max(1, min(_LOOK_SECONDS, int(left), self._expires_at - now))

    def at_most(self, left: float, seconds: float) -> float:
        """Returns how long one look may take, where one call may take `seconds`."""
        return min(seconds, left + _GRACE_SECONDS)

    def judge(self, relayed: RelayedRequest, now: int) -> Approved | None:
        """Returns the approval, or None while there is none yet.

        Raises:
            PolicyError: DECISION_IS_DENY, EXPIRED, REQUEST_WITHDRAWN: it cannot be approved any more.
            IndeterminateError: RELAY_LIED where the relay closed it before its time.
        """
        self.seen = len(relayed.answers) + relayed.unreadable
        known = split_bundle(self.progress.bundle)
        # What held before stays where the relay now shows something that does not.
        proofs = (*self.progress.bundle.log, *relayed.proofs)
        self.progress = self._assemble((*known, *relayed.answers), proofs, now)
        if self.progress.refusal is None and not self._holds_back(now):
            return Approved(encode_bundle(self.progress.bundle), self.progress)
        self._check_open(relayed.state, now)
        approved = {approver.person_id for approver in self.progress.approvers}
        denied = [person for person in self.progress.denied_by if person not in approved]
        if not can_be_met_without(denied, self._request, trust=self._trust, now=now, evidence=self._evidence):
            raise PolicyError(
                Reason.DECISION_IS_DENY,
                f"{' and '.join(denied)} denied it; without them the quorum cannot be met.",
                hint="Talk to whoever denied before asking again.",
            )
        return None

    @property
    def _awaits_log(self) -> bool:
        """Whether people have done their part, and what is missing is the log's proof of it."""
        refusal = self.progress.refusal
        enough = refusal is None or refusal.reason is Reason.LEVEL_TOO_LOW
        return enough and bool(self.progress.approvers and self.progress.unlogged)

    def _holds_back(self, now: int) -> bool:
        """Tells whether a good approval waits a little for the log's proof, which audits need."""
        if self._good_since is None:
            self._good_since = now
        soon = min(self._good_since + _LOG_SECONDS, self._expires_at - 1)
        return bool(self.progress.unlogged) and now < soon

    def _assemble(self, answers: tuple[Answer, ...], proofs: tuple[LogProof, ...], now: int) -> Progress:
        return assemble(
            self._request,
            answers,
            trust=self._trust,
            now=now,
            evidence=self._evidence,
            proofs=proofs,
        )

    def _check_open(self, state: RequestState, now: int) -> None:
        so_far = describe_progress(self.progress)
        if now >= self._expires_at:
            raise PolicyError(
                Reason.EXPIRED,
                f"The request is expired. {so_far}",
                hint="Ask again, with more time for people.",
            )
        if state is RequestState.WITHDRAWN:
            raise PolicyError(
                Reason.REQUEST_WITHDRAWN,
                f"The relay says that the request is withdrawn. {so_far}",
                hint="Ask again. If nobody of yours withdrew it, tell the relay's operator, or carry files.",
            )
        if state is RequestState.EXPIRED:
            raise RelayLiedError(
                Reason.RELAY_LIED,
                "The relay says that the request is expired, and by the clock here it is valid until "
                f"{format_time(self._expires_at)}. {so_far}",
                hint="One of the two clocks is wrong, or the relay withholds. Compare them, then ask again.",
            )

    def out_of_time(self) -> IndeterminateError:
        """Returns the error for a wait that took as long as it may."""
        return IndeterminateError(
            Reason.APPROVAL_PENDING,
            f"Not approved within {say_duration(int(self._timeout))}. {describe_progress(self.progress)}",
            hint=f"The request stays open until {format_time(self._expires_at)}; wait again, or withdraw it.",
        )


def describe_progress(progress: Progress) -> str:
    """Returns who approved, who denied, what does not count and what is missing, as one sentence."""
    parts = []
    if progress.approvers:
        parts.append("approved by " + ", ".join(sorted({a.person_id for a in progress.approvers})))
    if progress.denied_by:
        parts.append("denied by " + ", ".join(progress.denied_by))
    if progress.dropped:
        first = progress.dropped[0]
        many = "1 answer does" if len(progress.dropped) == 1 else f"{len(progress.dropped)} answers do"
        parts.append(f"{many} not count ({first.reason}: {first.message.rstrip('.')})")
    if progress.without_link:
        parts.append("without the in-toto link of " + ", ".join(progress.without_link))
    if progress.refusal is not None:
        parts.append(progress.refusal.message)
    elif progress.unlogged:
        parts.append("waiting for the log's proof of " + ", ".join(progress.unlogged))
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]
