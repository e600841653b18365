"""Approvals that wait for the second touch, the one that signs the in-toto link.

The first touch made the approval, and nothing here takes it back: it goes out with the link, or without it
when the person says so, when the page is closed, or when nobody has touched for a while.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from typing import NamedTuple

from placet.ceremony.decide import Review
from placet.ceremony.link import STEP
from placet.ceremony.publish import Progress
from placet.ceremony.second_touch import LinkView, add_link, link_challenge
from placet.core.encoding import b64url_encode
from placet.core.errors import PlacetError
from placet.core.sshsig import NAMESPACE_LINK
from placet.core.trust import Trust
from placet.ports.clock import Clock
from placet.terminal.history import Decision
from placet.terminal.link_screen import link_section
from placet.terminal.screen_parts import Section
from placet.terminal.sources import Delivery
from placet.terminal.touch import TOUCH_SECONDS, Assertion, DeskError, Touch, pack_assertion

# As long as finding the key again may take; then the approval goes out as it is.
PATIENCE_SECONDS = 300
# Before the request expires, an approval must have reached whoever waits for it.
_MARGIN_SECONDS = 15
_RETRY_SECONDS = 5.0
STANDS = "Your approval is signed and counts. Only the in-toto link is not signed."


class Outcome(NamedTuple):
    """A decision that was made.  `link_asked` says that a layout asks for its in-toto link."""

    decision: Decision
    delivery: Delivery
    progress: Progress
    link_asked: bool = False


class Approval(NamedTuple):
    """An approval that was made and not sent yet, under the trust by which it was judged.

    `credential_id` and `transports` name its key to a browser, `key_wire` is the key.
    """

    made: Decision
    review: Review
    link: LinkView
    trust: Trust
    credential_id: str
    transports: tuple[str, ...]
    key_wire: bytes


class LinkAsked(NamedTuple):
    """What is shown between the two touches: the link in full, and how long it is waited for."""

    view_id: str
    made: Decision
    section: Section
    seconds_left: int


class _Held(NamedTuple):
    approval: Approval
    timer: threading.Timer
    begun: bool = False


class SecondTouches:
    """Keeps approvals between the two touches.  Its methods may be called from several threads."""

    def __init__(
        self,
        send: Callable[[Decision, Review, Trust], Outcome],
        *,
        clock: Clock,
        web_origin: str,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Takes what sends a decision.

        Args:
            patience_seconds: how long an approval waits for its link at most.
        """
        self._send, self._clock, self._web_origin = send, clock, web_origin
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def hold(self, view_id: str, approval: Approval) -> LinkAsked:
        """Keeps an approval, and returns the link that goes with it."""
        left = approval.review.statement.expires_at - self._clock.now() - _MARGIN_SECONDS
        patience = max(0.0, min(self._patience, left))
        self._put(view_id, approval, patience)
        return LinkAsked(view_id, approval.made, link_section(approval.link), int(patience))

    def begin(self, view_id: str, seen: Collection[int]) -> Touch:
        """Returns what the key is to sign, once every line of the link was shown.

        Raises:
            DeskError: the approval is sent already, or not everything was shown.
        """
        with self._lock:
            held = self._find(view_id)
            rows = len(held.approval.link.rows)
            left = set(range(rows)) - set(seen)
            if left:
                raise DeskError(
                    "not-all-shown",
                    f"{len(left)} of {rows} lines of the link were not shown yet.",
                    "Scroll through the link to its end; then sign.",
                    meaning=STANDS,
                )
            self._held[view_id] = held._replace(begun=True)
        approval = held.approval
        return Touch(
            challenge=b64url_encode(link_challenge(approval.link)),
            rp_id=approval.trust.deployment.rp_id,
            credentials=((approval.credential_id, approval.transports),),
            timeout_seconds=TOUCH_SECONDS,
            text=f"the in-toto link of the step {STEP}",
        )

    def finish(self, view_id: str, assertion: Assertion) -> Outcome:
        """Checks the key's signature over the link, and sends the approval with it.

        Raises:
            DeskError: the approval is sent already, the link was not asked for, or its signature would not
                count; the approval then still waits.
            PlacetError, OSError: the decision could not be kept; it still waits.
        """
        with self._lock:
            held = self._find(view_id)
        if not held.begun:
            # The challenge can be computed by anybody; what cannot be skipped is that everything was shown.
            raise DeskError("not-begun", "The key was not asked for this link here.", _AGAIN, meaning=STANDS)
        linked = held.approval._replace(made=self._sign(held.approval, assertion))
        return self._release(view_id, linked)

    def skip(self, view_id: str) -> Outcome:
        """Sends the approval without its link.

        Raises:
            DeskError: it is sent already.
            PlacetError, OSError: the decision could not be kept; it still waits.
        """
        with self._lock:
            approval = self._find(view_id).approval
        return self._release(view_id, approval)

    def close(self) -> None:
        """Sends whatever still waits: the page goes away."""
        with self._lock:
            waiting = list(self._held)
        for view_id in waiting:
            self._give_up(view_id)

    def _sign(self, approval: Approval, assertion: Assertion) -> Decision:
        try:
            if assertion.credential_id != approval.credential_id:
                raise DeskError(
                    "unknown-credential",
                    "Another key answered than the one that approved.",
                    "Touch the key with which you approved.",
                    meaning=STANDS,
                )
            sshsig = pack_assertion(
                assertion, key_wire=approval.key_wire, namespace=NAMESPACE_LINK, web_origin=self._web_origin
            )
            answer = add_link(
                approval.made.answer,
                approval.link,
                sshsig=sshsig,
                statement=approval.review.statement,
                trust=approval.trust,
                now=self._clock.now(),
            )
        except PlacetError as e:
            raise DeskError(e.reason, str(e), e.hint or _AGAIN, meaning=STANDS) from e
        return approval.made._replace(answer=answer)

    def _put(self, view_id: str, approval: Approval, patience: float) -> None:
        timer = threading.Timer(patience, self._give_up, (view_id,))
        timer.daemon = True
        with self._lock:
            self._held[view_id] = _Held(approval, timer)
        timer.start()

    def _find(self, view_id: str) -> _Held:
        held = self._held.get(view_id)
        if held is None:
            raise DeskError(
                "view-gone",
                "This approval does not wait for a link any more: it was sent.",
                "Look at the history.",
                meaning="Your approval was sent; the history says whether with its link.",
            )
        return held

    def _release(self, view_id: str, approval: Approval) -> Outcome:
        with self._lock:
            # Taken out before anything is sent: of two who release it, one sends it.
            held = self._find(view_id)
            del self._held[view_id]
        held.timer.cancel()
        try:
            return self._send(approval.made, approval.review, approval.trust)
        except (PlacetError, OSError):
            # Without what was just added: whoever comes next decides about the link anew.
            if self._clock.now() < approval.review.statement.expires_at:
                self._put(view_id, held.approval, _RETRY_SECONDS)
            raise

    def _give_up(self, view_id: str) -> None:
        """Sends an approval whose link nobody signed; where that fails it waits, and is tried again."""
        with contextlib.suppress(DeskError, PlacetError, OSError):
            self.skip(view_id)


_AGAIN = "Touch your key once more, or send the approval without the link."
