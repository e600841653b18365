"""Requests from a relay, fetched in the background; answers through an outbox on disk."""

from __future__ import annotations

import threading
from pathlib import Path

from placet.adapters.private_file import write_atomically
from placet.adapters.relay_client import RelayClient, RelayClientError, RelayedSummary, RelayRefusedError
from placet.core.bundle import MAX_ANSWER_BYTES, Answer, IntentRequest, encode_answer, parse_answer
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PlacetError
from placet.core.trust import Trust
from placet.ports.request_store import RequestState
from placet.terminal.sources import Delivery, Pending, Trouble

POLL_SECONDS = 2
# How long a person looks at "sending" before the answer goes to the background.
_DELIVER_SECONDS = 4.0
# A relay that is flooded, or hostile, must not fill this machine's memory.
MAX_OPEN = 200
MAX_OPEN_BYTES = 64 * 1024 * 1024
_LATER = frozenset({408, 425, 429})


class RelaySource:
    """Satisfies `placet.terminal.sources.Source` with a relay."""

    def __init__(self, url: str, outbox: Path) -> None:
        """Names the relay; `outbox` is the folder of answers that are still to be sent.

        Raises:
            RelayClientError: `url` is not the address of a relay.
        """
        self._url, self._outbox = url, outbox
        RelayClient(url).close()
        self._lock = threading.Lock()
        self._pending: dict[Digest, tuple[int, Pending]] = {}
        self._trouble: Trouble | None = Trouble("The relay has not been asked yet.", "")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="placet-relay", daemon=True)

    @property
    def name(self) -> str:
        """Where requests come from, in words."""
        return f"the relay at {self._url}"

    def destination(self, request: IntentRequest) -> str:
        """Where the answers to a request go, in words."""
        return f"the relay at {self._url}"

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
            return {request_id: pending for request_id, (_, pending) in self._pending.items()}

    def troubles(self) -> tuple[Trouble, ...]:
        """Returns why the relay cannot be asked, if so."""
        with self._lock:
            return () if self._trouble is None else (self._trouble,)

    def unsent(self) -> int:
        """Returns how many answers lie in the outbox."""
        return len(self._letters())

    def deliver(self, request: IntentRequest, answer: Answer, *, trust: Trust, now: int) -> Delivery:
        """Keeps the answer, then sends it; where that fails, the background tries again.

        Raises:
            OSError: it could not be kept.
        """
        letter = self._outbox / f"{request.id}.{sha256_hex(encode_answer(answer))}.answer.json"
        self._outbox.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(letter, encode_answer(answer))
        try:
            with RelayClient(self._url, timeout=_DELIVER_SECONDS, sleep=lambda _: None) as client:
                client.answer(request.id, answer)
        except RelayRefusedError as e:
            if e.status < 500 and e.status not in _LATER:
                letter.unlink(missing_ok=True)
                return Delivery("refused", f"{e.message} The decision stays in this terminal's history.")
            return self._kept(e)
        except RelayClientError as e:
            return self._kept(e)
        letter.unlink(missing_ok=True)
        self._remember(request, answer)
        return Delivery("sent", f"Sent to {self.name}.")

    def _kept(self, error: RelayClientError) -> Delivery:
        with self._lock:
            self._trouble = Trouble(error.message, error.hint)
        return Delivery(
            "kept",
            "Signed and kept on this terminal; it is sent as soon as the relay answers. Sign no second time.",
        )

    def _remember(self, request: IntentRequest, answer: Answer) -> None:
        """Shows the answer at once; the count stays, so the next look at the relay fetches it again."""
        with self._lock:
            if request.id in self._pending:
                count, pending = self._pending[request.id]
                self._pending[request.id] = (count, pending._replace(answers=(*pending.answers, answer)))

    def _run(self) -> None:
        with RelayClient(self._url, timeout=_DELIVER_SECONDS, sleep=self._stop.wait) as client:  # type: ignore[arg-type]
            while not self._stop.is_set():
                try:
                    self._empty_outbox(client)
                    trouble = self._look(client)
                except RelayClientError as e:
                    trouble = Trouble(e.message, e.hint)
                with self._lock:
                    self._trouble = trouble
                self._stop.wait(POLL_SECONDS)

    def _look(self, client: RelayClient) -> Trouble | None:
        """Fetches what is new, and forgets what is no longer open."""
        listed: list[RelayedSummary] = []
        cursor: str | None = None
        more = True
        while more and len(listed) <= MAX_OPEN:
            page = client.list_requests(after=cursor)
            listed += [summary for summary in page.requests if summary.state is RequestState.OPEN]
            cursor, more = page.next, page.next is not None
        with self._lock:
            known = dict(self._pending)
        found: dict[Digest, tuple[int, Pending]] = {}
        size = 0
        for summary in listed[:MAX_OPEN]:
            entry = known.get(summary.id)
            if entry is None or entry[0] != summary.answer_count:
                entry = self._fetch(client, summary)
            size += _size(entry[1])
            if size > MAX_OPEN_BYTES:
                break
            found[summary.id] = entry
            # Shown one by one: the first request must not wait for the hundredth.
            with self._lock:
                self._pending[summary.id] = entry
        with self._lock:
            self._pending = found
        if len(found) < len(listed):
            return Trouble(
                f"The relay has more than {len(found)} open requests; only the oldest are shown.",
                "Ask its operator who floods it. Nothing is approved without your key.",
            )
        return None

    def _fetch(self, client: RelayClient, summary: RelayedSummary) -> tuple[int, Pending]:
        relayed = client.fetch(summary.id)
        return summary.answer_count, Pending(relayed.request, relayed.answers)

    def _letters(self) -> list[Path]:
        return sorted(self._outbox.glob("*.answer.json")) if self._outbox.is_dir() else []

    def _empty_outbox(self, client: RelayClient) -> None:
        for letter in self._letters():
            request_id = Digest(letter.name.partition(".")[0])
            try:
                data = letter.read_bytes()
                client.answer(request_id, parse_answer(data[: MAX_ANSWER_BYTES + 1]))
            except FileNotFoundError:
                continue
            except RelayRefusedError as e:
                if e.status >= 500 or e.status in _LATER:
                    raise
            except (PlacetError, OSError):
                # Not ours, or damaged: moved aside, where an operator can look at it.
                letter.rename(letter.with_suffix(".unusable"))
                continue
            letter.unlink(missing_ok=True)


def _size(pending: Pending) -> int:
    evidence = sum(len(e.content) for e in pending.request.evidence)
    answers = sum(len(encode_answer(answer)) for answer in pending.answers)
    return len(pending.request.payload) + evidence + answers
