"""Requests from a relay, fetched in the background; answers through an outbox on disk.

The relay is a courier and may be hostile.  Each request is held against its ID by the client; here one that
cannot be read never hides the others, and there are bounds on how many there may be, how large they may be
together, and how long a listing may go on.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from placet.client import (
    RelayClient,
    RelayClientError,
    RelayedSummary,
    RelayLiedError,
    RelayNonsenseError,
    RelayRefusedError,
    RequestState,
)
from placet.core.bundle import Answer, IntentRequest, encode_answer
from placet.core.encoding import Digest
from placet.core.errors import PlacetError
from placet.core.trust import Trust
from placet.terminal.outbox import Outbox
from placet.terminal.sources import Delivery, Pending, Trouble

POLL_SECONDS = 2
# How long a person looks at "sending" before the answer goes to the background.
_DELIVER_SECONDS = 4.0
# A relay that is flooded, or hostile, must not fill this machine's memory.
MAX_OPEN = 200
MAX_OPEN_BYTES = 64 * 1024 * 1024
_CLOSED = "request-not-open"
_KEPT_HERE = "Your decision is signed and kept on this terminal; nobody else has it."
# What may be wrong with one request or one page, without the relay being out of reach.
_ABOUT_ONE = (RelayLiedError, RelayNonsenseError, RelayRefusedError)


class _Stopped(Exception):
    """The terminal stops; whatever waits to be tried again is not."""


class _Known(NamedTuple):
    """A fetched request, and how many answers the listing named when it was fetched."""

    answer_count: int
    pending: Pending


class RelaySource:
    """Satisfies `placet.terminal.sources.Source` with a relay."""

    def __init__(
        self,
        url: str,
        outbox: Path,
        *,
        token: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Names the relay.

        Args:
            url: the relay's address.
            outbox: the folder of answers that are still to be sent.
            token: by which the relay knows this terminal, for its quotas.
            ca_file: the authority of the relay's certificate, where it is your own.

        Raises:
            MalformedError: BAD_VALUE where one of them cannot be used.
        """
        self._url, self._token, self._ca_file, self._outbox = url, token, ca_file, Outbox(outbox)
        with self._connect() as client:
            self._shown = client.address
        self._lock = threading.Lock()
        self._known: dict[Digest, _Known] = {}
        # Acknowledged, and not yet seen in what the relay hands out.
        self._unconfirmed: dict[Digest, Answer] = {}
        self._sending: set[Path] = set()
        self._troubles: tuple[Trouble, ...] = (Trouble("The relay has not been asked yet.", ""),)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="placet-relay", daemon=True)

    @property
    def name(self) -> str:
        """Where requests come from, in words."""
        return f"the relay at {self._shown}"

    def destination(self, request: IntentRequest) -> str:
        """Where the answers to a request go, in words."""
        return self.name

    def start(self) -> None:
        """Begins to fetch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the background thread; what is not sent stays in the outbox."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def pending(self) -> dict[Digest, Pending]:
        """Returns what the last look at the relay found."""
        with self._lock:
            return {request_id: known.pending for request_id, known in self._known.items()}

    def troubles(self) -> tuple[Trouble, ...]:
        """Returns why the relay cannot be asked, if so, and which decisions it would not take."""
        with self._lock:
            troubles = self._troubles
        refused = self._outbox.refused(int(time.time()))
        return troubles + tuple(
            Trouble(f'Not sent: "{r.text}". {r.message}', r.hint, _KEPT_HERE) for r in refused
        )

    def unsent(self) -> int:
        """Returns how many answers lie in the outbox."""
        return len(self._outbox.letters())

    def deliver(self, request: IntentRequest, answer: Answer, *, trust: Trust, now: int) -> Delivery:
        """Keeps the answer, then sends it; where that fails, the background tries again.

        Raises:
            OSError: it could not be kept.
        """
        letter = self._outbox.letter(request.id, answer)
        with self._lock:
            # The background must not send it at the same moment, and tell of the same refusal again.
            self._sending.add(letter)
        try:
            self._outbox.keep(letter, answer)
            return self._send(letter, request, answer)
        finally:
            with self._lock:
                self._sending.discard(letter)

    def _send(self, letter: Path, request: IntentRequest, answer: Answer) -> Delivery:
        try:
            with self._connect() as client:
                client.answer(request.id, answer)
        except RelayRefusedError as e:
            if e.relay_reason == _CLOSED:
                self._outbox.done(letter)
            else:
                self._outbox.refuse(letter, e.message, e.hint)
            return Delivery("refused", f"{e.message} {_KEPT_HERE} {e.hint}")
        except RelayClientError as e:
            with self._lock:
                self._troubles = (Trouble(e.message, e.hint),)
            return Delivery(
                "kept",
                # The relay may answer well, and its log not: the person is told which it is.
                "Signed and kept on this terminal; it is sent as soon as the relay takes it. "
                f"Sign no second time. {e.message}",
            )
        self._outbox.done(letter)
        self._remember(request, answer)
        return Delivery("sent", f"Sent to {self.name}.")

    def _connect(self) -> RelayClient:
        return RelayClient(
            self._url,
            token=self._token,
            verify=self._ca_file,
            timeout=_DELIVER_SECONDS,
            sleep=self._pause,
        )

    def _pause(self, seconds: float) -> None:
        # A person who decides waits for no second try; the background does, and stops when it is told to.
        if threading.current_thread() is self._thread and self._stop.wait(seconds):
            raise _Stopped

    def _remember(self, request: IntentRequest, answer: Answer) -> None:
        """Shows the answer at once; the next look at the relay fetches the request again."""
        with self._lock:
            self._unconfirmed[request.id] = answer
            if known := self._known.get(request.id):
                pending = known.pending._replace(answers=(*known.pending.answers, answer))
                self._known[request.id] = known._replace(pending=pending)

    def _run(self) -> None:
        with self._connect() as client:
            while not self._stop.is_set():
                try:
                    troubles = (*self._empty_outbox(client), *self._look(client))
                except RelayClientError as e:
                    troubles = (Trouble(e.message, e.hint),)
                except _Stopped:
                    return
                with self._lock:
                    self._troubles = troubles
                self._stop.wait(POLL_SECONDS)

    def _look(self, client: RelayClient) -> list[Trouble]:
        """Fetches what is new, and forgets what is no longer open; returns what is wrong."""
        listed, troubles = self._list(client)
        with self._lock:
            before = dict(self._known)
        found: dict[Digest, _Known] = {}
        failed: list[RelayClientError] = []
        size = 0
        for summary in listed:
            if self._stop.is_set():
                raise _Stopped
            known = before.get(summary.id)
            try:
                if (
                    known is None
                    or known.answer_count != summary.answer_count
                    or summary.id in self._unconfirmed
                ):
                    known = self._fetch(client, summary, troubles)
            except _ABOUT_ONE as e:
                failed.append(e)
            if known is None:
                continue
            size += _size(known.pending)
            if size > MAX_OPEN_BYTES:
                troubles.append(_too_many(len(found)))
                break
            found[summary.id] = known
            # Shown one by one: the first request must not wait for the hundredth.
            with self._lock:
                self._known[summary.id] = known
        with self._lock:
            self._known = found
            self._unconfirmed = {i: answer for i, answer in self._unconfirmed.items() if i in found}
        if failed:
            what = f"{len(failed)} of the relay's requests cannot be read. {failed[0].message}"
            troubles.append(Trouble(what, failed[0].hint))
        return troubles

    def _list(self, client: RelayClient) -> tuple[list[RelayedSummary], list[Trouble]]:
        listed: list[RelayedSummary] = []
        try:
            for count, summary in enumerate(client.list()):
                if count >= MAX_OPEN:
                    return listed, [_too_many(len(listed))]
                if summary.state is RequestState.OPEN:
                    listed.append(summary)
        except (RelayLiedError, RelayNonsenseError) as e:
            # What it has shown so far is as good as ever: each request is judged by itself.
            return listed, [Trouble(e.message, e.hint)]
        return listed, []

    def _fetch(self, client: RelayClient, summary: RelayedSummary, troubles: list[Trouble]) -> _Known:
        with self._lock:
            # Asked before the request is fetched: what is sent meanwhile need not be in it.
            sent = self._unconfirmed.get(summary.id)
        relayed = client.fetch(summary.id)
        if sent is not None and sent in relayed.answers:
            with self._lock:
                self._unconfirmed.pop(summary.id, None)
        elif sent is not None:
            troubles.append(_withheld(self._shown, summary.id))
        return _Known(summary.answer_count, Pending(relayed.request, relayed.answers))

    def _empty_outbox(self, client: RelayClient) -> list[Trouble]:
        """Sends what is kept; returns what is wrong."""
        troubles = []
        for letter in self._outbox.letters():
            with self._lock:
                if letter in self._sending:
                    continue
            try:
                request_id, answer = self._outbox.read(letter)
            except FileNotFoundError:
                continue
            except (PlacetError, OSError):
                self._outbox.set_aside(letter)
                continue
            try:
                client.answer(request_id, answer)
            except RelayRefusedError as e:
                # Nobody looks at this moment, so what became of it must be there to be seen later.
                self._outbox.refuse(letter, e.message, e.hint)
            except (RelayLiedError, RelayNonsenseError) as e:
                # Kept and tried again; what the relay says of one letter must not hide the requests.
                troubles.append(Trouble(e.message, e.hint, _KEPT_HERE))
            else:
                self._outbox.done(letter)
                with self._lock:
                    self._unconfirmed[request_id] = answer
        return troubles


def _withheld(relay: str, request_id: Digest) -> Trouble:
    return Trouble(
        f"The relay at {relay} acknowledged a decision of this terminal, and does not hand it out. "
        f"The requester may never get it (request {request_id[:16]}).",
        "Tell the relay's operator. If the requester still waits, have them ask again, by another relay "
        "or with a file.",
    )


def _too_many(shown: int) -> Trouble:
    return Trouble(
        f"The relay has more than {shown} open requests; only the oldest are shown.",
        "Ask its operator who floods it. Nothing is approved without your key.",
    )


def _size(pending: Pending) -> int:
    evidence = sum(len(e.content) for e in pending.request.evidence)
    answers = sum(len(encode_answer(answer)) for answer in pending.answers)
    return len(pending.request.payload) + evidence + answers
