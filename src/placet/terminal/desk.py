"""One desk: what the person at this terminal can do, and nothing else.

    open    verifies a request and renders it; the rendered bytes stay here under a random view id
    begin   checks that every row was shown; computes the challenge from those very bytes
    finish  checks the key's signature as the gate will, adds the report, keeps and sends the answer
    links   keeps an approval that takes a second touch, for its in-toto link, until that or without it

The page never names bytes to be signed.  It names a view, and the desk knows what that view showed.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from placet.adapters.evidence import EvidenceVerifiers
from placet.ceremony.decide import Review, challenge, check_trust_current, deny, make_answer, prepare
from placet.ceremony.publish import Progress, assemble
from placet.ceremony.second_touch import asked_link
from placet.core.bundle import Answer
from placet.core.encoding import Digest, b64url_encode
from placet.core.errors import PlacetError
from placet.core.people import Credential, Terminal
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.trust import Trust
from placet.ports.clock import Clock
from placet.ports.terminal_identity import TerminalIdentity
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.history import Decision, History
from placet.terminal.readiness import check_origin, check_terminal
from placet.terminal.screen import build_screen, describe_changes
from placet.terminal.screen_parts import Screen
from placet.terminal.second_touch import Approval, LinkAsked, Outcome, SecondTouches
from placet.terminal.sources import Pending, Source
from placet.terminal.touch import NOT_COUNTED, TOUCH_SECONDS, Assertion, DeskError, Touch, pack_assertion
from placet.terminal.trust_file import TrustFile

RENDERER = "placet-terminal/1"
# Open tabs of one person; the oldest view is forgotten first.
MAX_VIEWS = 64
NOTHING_LEFT = (
    "Nothing is left to sign on this terminal; the history shows the records. What the relay has not taken "
    "yet, `placet terminal` sends."
)


class OpenView(NamedTuple):
    """A rendered request: the view id under which it may be decided, and what is shown."""

    view_id: str
    review: Review
    screen: Screen


class Waiting(NamedTuple):
    """A request in the inbox; `refusal` is why it cannot be decided, `review` is None then.

    `done` says that it waits for nobody here: enough people have approved, or each person whose key is
    known here has decided.
    """

    request_id: Digest
    review: Review | None
    progress: Progress | None
    refusal: PlacetError | None
    put_aside: bool
    decided_here: tuple[str, ...]
    done: bool


class _View(NamedTuple):
    review: Review
    opened_at: float
    begun: frozenset[str] = frozenset()
    """The decisions for which everything was shown and the key was asked."""


class Desk:
    """The terminal's desk.  Its methods may be called from several threads."""

    def __init__(
        self,
        *,
        source: Source,
        trust_file: TrustFile,
        identity: TerminalIdentity,
        credentials: CredentialStore,
        history: History,
        clock: Clock,
        web_origin: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.history, self.identity, self.web_origin = source, history, identity, web_origin
        self._trust_file, self._credentials, self._clock, self._monotonic = (
            trust_file,
            credentials,
            clock,
            monotonic,
        )
        self._evidence = EvidenceVerifiers(trust_file.path)
        self._lock = threading.Lock()
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._put_aside: set[Digest] = set()
        self.links = SecondTouches(self._keep, clock=clock, web_origin=web_origin)

    def close(self) -> None:
        """Sends what waits for a second touch, as it is: nobody can touch any more."""
        self.links.close()

    def now(self) -> int:
        """Returns the terminal's Unix time."""
        return self._clock.now()

    def check_ready(self) -> tuple[Trust, Terminal]:
        """Checks that a decision made here could count.

        Raises:
            IndeterminateError: no trust snapshot, or an expired one.
            PolicyError: TERMINAL_UNKNOWN, ORIGIN_NOT_ALLOWED.
        """
        trust = self._trust_file.load()
        check_trust_current(trust, self.now())
        terminal = check_terminal(trust, self.identity)
        check_origin(terminal, self.web_origin)
        return trust, terminal

    def waiting(self) -> list[Waiting]:
        """Returns the inbox: what can be decided first, by time left; then what is done, then what cannot."""
        trust, now = self._trust_file.load(), self.now()
        pending = self.source.pending()
        listed = [self._waiting(request_id, item, trust, now) for request_id, item in pending.items()]
        return sorted(
            listed,
            key=lambda w: (
                w.review is None,
                w.done,
                w.put_aside,
                w.review.statement.expires_at if w.review else 0,
                w.request_id,
            ),
        )

    def _waiting(self, request_id: Digest, pending: Pending, trust: Trust, now: int) -> Waiting:
        made = [d for d in self.history.decisions() if d.request_id == request_id]
        here = tuple(f"{d.person} {'approved' if d.decision == 'approve' else 'denied'} here" for d in made)
        aside = request_id in self._put_aside
        try:
            review = prepare(pending.request, trust=trust, now=now, evidence=self._evidence)
            progress = assemble(
                pending.request, pending.answers, trust=trust, now=now, evidence=self._evidence
            )
        except PlacetError as e:
            return Waiting(request_id, None, None, e, aside, here, done=False)
        asked = {person.id for person, _, _ in self._credentials.usable(trust, now)}
        left = asked - {d.person for d in made}
        done = progress.refusal is None or (bool(made) and not left)
        return Waiting(request_id, review, progress, None, aside, here, done)

    def open(self, request_id: str) -> OpenView:
        """Verifies and renders a request, and keeps what was rendered.

        Raises:
            DeskError: it is not there any more.
            PlacetError: it must not be shown for signing.
        """
        trust, _ = self.check_ready()
        now, pending = self.now(), self._find(request_id)
        review = prepare(pending.request, trust=trust, now=now, evidence=self._evidence)
        progress = assemble(pending.request, pending.answers, trust=trust, now=now, evidence=self._evidence)
        screen = build_screen(review, progress, self._last(review), now)
        view_id = secrets.token_urlsafe(16)
        with self._lock:
            self._views[view_id] = _View(review, self._monotonic())
            while len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        return OpenView(view_id, review, screen)

    def begin(self, view_id: str, decision: str, seen: Collection[int]) -> Touch:
        """Returns what the key is to sign, once every row was shown.

        Args:
            seen: the indexes of the rows that were in front of the person.

        Raises:
            DeskError: the view is gone, not everything was shown, or no key here may decide.
            PlacetError: the request is no longer one that may be decided.
        """
        view = self._view(view_id)
        trust, now = self.check_ready()[0], self.now()
        review = self._again(view, decision, trust, now)
        left = set(range(len(view.review.view.rows))) - set(seen)
        if left:
            raise DeskError(
                "not-all-shown",
                f"{len(left)} of {len(view.review.view.rows)} rows of this request were not shown yet.",
                "Scroll through the request to its end; then decide.",
            )
        with self._lock:
            if view_id in self._views:
                self._views[view_id] = view._replace(begun=view.begun | {decision})
        asked_link(review)  # Refused now, not after the first of two touches.
        return Touch(
            challenge=b64url_encode(challenge(review)),
            rp_id=trust.deployment.rp_id,
            credentials=self._allowed(review, trust, now),
            timeout_seconds=max(1, min(TOUCH_SECONDS, review.statement.expires_at - now)),
            text=review.view.text,
        )

    def finish(self, view_id: str, decision: str, assertion: Assertion) -> Outcome | LinkAsked:
        """Checks the key's signature, adds the report, keeps the decision and sends it.

        Returns:
            What became of it; or, where a layout asks for an in-toto link, the link that is to be shown next.
            The approval then waits in `links`, for the second touch or without it.

        Raises:
            DeskError: the view is gone, the key is not one of this terminal's, or its signature would not
                count.
            PlacetError: the request is no longer one that may be decided.
            OSError: the decision could not be kept.
        """
        view = self._view(view_id)
        if decision not in view.begun:
            # The challenge can be computed by anybody; what cannot be skipped is that everything was shown.
            raise DeskError(
                "not-begun", "The key was not asked for this decision here.", "Decide again on the page."
            )
        trust, now = self.check_ready()[0], self.now()
        review = self._again(view, decision, trust, now)
        link = asked_link(review)
        credential, known = self._find_key(assertion, trust)
        made = self._decide(view, review, assertion, credential, trust)
        with self._lock:
            # Closed before anything is kept: of two posts of one touch, one counts.
            if self._views.pop(view_id, None) is None:
                raise _view_gone()
        if link is not None:
            wire = credential.public_key.wire
            return self.links.hold(
                view_id, Approval(made, review, link, trust, known.credential_id, known.transports, wire)
            )
        try:
            return self._keep(made, review, trust)
        except (PlacetError, OSError):
            with self._lock:
                self._views[view_id] = view
            raise

    def _decide(
        self, view: _View, review: Review, assertion: Assertion, credential: Credential, trust: Trust
    ) -> Decision:
        now = self.now()
        try:
            sshsig = pack_assertion(
                assertion,
                key_wire=credential.public_key.wire,
                namespace=NAMESPACE_INTENT,
                web_origin=self.web_origin,
            )
            answer, person, facts = make_answer(
                review,
                sshsig=sshsig,
                trust=trust,
                terminal=self.identity,
                decided_at=now,
                seconds_on_screen=int(self._monotonic() - view.opened_at),
                renderer=RENDERER,
                changes=describe_changes(self._last(review), review.statement),
            )
        except PlacetError as e:
            hint = (
                e.hint or "Decide again. If it stays so, use another enrolled key and tell an administrator."
            )
            raise DeskError(e.reason, str(e), hint, meaning=NOT_COUNTED) from e
        return Decision(
            decided_at=now,
            decision=review.statement.decision,
            person=person.id,
            keyid=facts.keyid,
            request_id=review.request.id,
            destination=self.source.destination(review.request),
            answer=answer,
        )

    def _keep(self, made: Decision, review: Review, trust: Trust) -> Outcome:
        now = self.now()
        answers: tuple[Answer, ...] = (*self._find(review.request.id).answers, made.answer)
        delivery = self.source.deliver(review.request, made.answer, trust=trust, now=now)
        try:
            self.history.append(made)
        except OSError as e:
            # The decision is made and on its way; that the history lacks it must not read as a failure of it.
            told = f"{delivery.text} This terminal's history could not be written: {e.strerror}."
            delivery = delivery._replace(text=told)
        progress = assemble(review.request, answers, trust=trust, now=now, evidence=self._evidence)
        return Outcome(made, delivery, progress, asked_link(review) is not None)

    def put_aside(self, request_id: str) -> None:
        """Moves a request to the end of the inbox; nothing is signed and nobody is told."""
        self._put_aside.add(self._find(request_id).request.id)

    def _find(self, request_id: str) -> Pending:
        pending = self.source.pending().get(Digest(request_id))
        if pending is None:
            raise DeskError(
                "request-gone",
                "This request is not waiting any more: it was withdrawn, it expired, or the relay or file "
                "that it came from has it no more.",
                "Go back to the inbox.",
            )
        return pending

    def _view(self, view_id: str) -> _View:
        with self._lock:
            view = self._views.get(view_id)
        if view is None:
            raise _view_gone()
        return view

    def _again(self, view: _View, decision: str, trust: Trust, now: int) -> Review:
        """Verifies the viewed bytes once more: trust, clock and request may have changed since."""
        self._find(view.review.request.id)
        review = prepare(view.review.request, trust=trust, now=now, evidence=self._evidence)
        if review.view != view.review.view:
            raise _view_gone()
        return deny(review) if decision == "deny" else review

    def _last(self, review: Review) -> Any:
        return self.history.last_approval(review.statement, review.request.id)

    def _allowed(self, review: Review, trust: Trust, now: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Returns the credential IDs that may answer: those of enrolled people who have not done so here."""
        usable = self._credentials.usable(trust, now)
        if not usable:
            raise DeskError(
                "no-key-here",
                "No enrolled person's key is known to this terminal.",
                "Enrol one with `placet terminal enroll PERSON`, or decide with `placet approve`.",
            )
        done = self.history.deciders(review.statement.payload)
        allowed = tuple(
            (known.credential_id, known.transports) for _, c, known in usable if c.keyid not in done
        )
        if not allowed:
            raise DeskError(
                "already-decided",
                "Every person whose key this terminal knows has already made this very decision here.",
                NOTHING_LEFT,
            )
        return allowed

    def _find_key(self, assertion: Assertion, trust: Trust) -> tuple[Credential, KnownCredential]:
        for _, credential, known in self._credentials.usable(trust, self.now()):
            if known.credential_id == assertion.credential_id:
                return credential, known
        raise DeskError(
            "unknown-credential",
            "The key that answered belongs to nobody who is enrolled on this terminal.",
            "Use the key that was enrolled here.",
            meaning=NOT_COUNTED,
        )


def _view_gone() -> DeskError:
    return DeskError(
        "view-gone",
        "This view of the request is no longer open: it was decided, it changed, or the terminal restarted.",
        "Open the request again from the inbox and read it again.",
    )
