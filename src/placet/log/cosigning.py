"""Has a log's checkpoints cosigned: for each new one, all witnesses are asked at once.

Witnesses cosign the same sizes, so that one checkpoint gathers a quorum; one that is slow or down does not
hold up the others, and nothing here ever holds up an append.  What a witness answers is kept only after its
cosignature was verified over this very checkpoint, with a time that can be right.

A witness that saw more leaves than this log has, or another root, says that the log lost data or forked.
That is said aloud (LOG_INCONSISTENT), and that witness is not asked again.  Once half of the witnesses say
so, none is asked: a lone liar among three cannot take the quorum away, and a fork gathers no cosignatures of
witnesses that are behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from placet.core.encoding import format_time
from placet.core.errors import PlacetError, Reason, VerificationError, visible
from placet.core.tlog.checkpoint import Checkpoint, parse_checkpoint
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.note import SignedNote, VerifierKey, encode_note, parse_note
from placet.log.witness_standing import WitnessStatus
from placet.ports.clock import Clock
from placet.ports.log_store import LogStore, NotInLogError
from placet.ports.witness import Witness, WitnessConflictError, WitnessRefusedError, WitnessUnavailableError

log = logging.getLogger("placet.log")

# Witnesses' times become a lower bound of "now" for gates, so a wrong one is not let in.
MAX_CLOCK_DIFFERENCE = 300
# A first answer may correct the size that the proof starts from; another process may have been quicker once.
_MAX_TRIES = 3
_NEXT_IF_INCONSISTENT = (
    "If this log was restored from a backup, leaves are missing: docs/how-to-run-a-log.md says what to do. "
    "If not, ask the witness's operator, and name no witness in the log policy that says what is not so."
)


class Pace(NamedTuple):
    """How often witnesses are asked, in seconds."""

    between_rounds: float = 0.2
    """A busy log has many checkpoints a second; the newest is enough."""
    patience: float = 2.0
    """How long a round waits for its slowest witness; that one's answer counts later all the same."""
    first_pause: float = 1.0
    """After the first failure of a witness; doubled by each that follows."""
    refused_pause: float = 30.0
    """After its first refusal, which a person has to clear."""
    longest_pause: float = 300.0


class AskedWitness(NamedTuple):
    """A witness that is asked; `name` is the log policy's."""

    name: str
    key: VerifierKey
    witness: Witness


class _Standing:
    """What is remembered of one witness."""

    def __init__(self, asked: AskedWitness) -> None:
        self.asked = asked
        self.known = 0
        """The size that it saw last, as far as we know; a wrong guess is corrected by its answer."""
        self.cosigned = 0
        self.signed_at: int | None = None
        self.answered_at: int | None = None
        self.failures = 0
        self.not_before = 0.0
        self.problem: PlacetError | None = None
        self.contradicts = False
        self.is_busy = False


class Cosigning:
    """Keeps one log cosigned; run it beside the log's server.

    Args:
        store: the log.
        witnesses: whom to ask; closed by `close`.
        clock: tells the time of day.
        pace: how often.
        monotonic: measures pauses.
    """

    def __init__(
        self,
        store: LogStore,
        witnesses: Sequence[AskedWitness],
        clock: Clock,
        *,
        pace: Pace = Pace(),  # noqa: B008 (immutable)
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pace = pace
        self._monotonic = monotonic
        self._standings = [_Standing(asked) for asked in witnesses]
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Asks witnesses until it is cancelled, or until they say that the log is not one history."""
        try:
            while self._standings and not self._is_refuted():
                try:
                    await self._go_round()
                except PlacetError as e:
                    self._note_own_trouble(e)
                    await asyncio.sleep(self._pace.first_pause)
                else:
                    await asyncio.sleep(self._pace.between_rounds)
            # Those that were asked last may still answer.
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Lets go of the connections to the witnesses."""
        await asyncio.gather(*(standing.asked.witness.close() for standing in self._standings))

    def statuses(self) -> tuple[WitnessStatus, ...]:
        """Returns how it stands with each witness."""
        return tuple(
            WitnessStatus(
                name=it.asked.name,
                address=it.asked.witness.address,
                tree_size=it.cosigned,
                signed_at=it.signed_at,
                answered_at=it.answered_at,
                failures=it.failures,
                problem=it.problem,
            )
            for it in self._standings
        )

    def check_consistent(self) -> None:
        """Makes sure that no witness says that this log is not one history.

        Raises:
            VerificationError: LOG_INCONSISTENT.
        """
        for standing in self._standings:
            if standing.contradicts and standing.problem is not None:
                raise standing.problem

    def _is_refuted(self) -> bool:
        contradicting = sum(standing.contradicts for standing in self._standings)
        return 2 * contradicting >= len(self._standings)

    async def _go_round(self) -> None:
        """Asks whoever is behind and may be asked; with nobody to ask, waits for a reason to."""
        note = parse_note(await self._store.checkpoint())
        checkpoint = parse_checkpoint(note.text)
        behind = [it for it in self._standings if it.cosigned < checkpoint.tree_size and not it.contradicts]
        now = self._monotonic()
        due = [it for it in behind if not it.is_busy and it.not_before <= now]
        if due:
            tasks = [asyncio.ensure_future(self._ask(it, note, checkpoint)) for it in due]
            self._tasks.update(tasks)
            for task in tasks:
                task.add_done_callback(self._tasks.discard)
            await asyncio.wait(tasks, timeout=self._pace.patience)
            return
        pauses = [self._pace.between_rounds if it.is_busy else it.not_before - now for it in behind]
        await self._store.wait_beyond(checkpoint.tree_size, min([self._pace.longest_pause, *pauses]))

    async def _ask(self, standing: _Standing, note: SignedNote, checkpoint: Checkpoint) -> None:
        standing.is_busy = True
        try:
            for _ in range(_MAX_TRIES):
                if await self._try(standing, note, checkpoint):
                    return
            raise _unusable(standing, "names another size each time that it is asked")
        except VerificationError as e:
            self._note_contradiction(standing, e)
        except (WitnessUnavailableError, WitnessRefusedError) as e:
            self._note_failure(standing, e)
        except PlacetError as e:
            self._note_own_trouble(e)
            standing.not_before = self._monotonic() + self._pace.first_pause
        except NotInLogError:
            # It took longer than the store remembers checkpoints; the next one is asked for anew.
            return
        except Exception as e:  # whatever it is, the other witnesses are asked all the same
            log.exception("a bug of placet stopped a call to the witness %s", standing.asked.name)
            self._note_failure(standing, _unusable(standing, f"could not be asked ({type(e).__name__})"))
        finally:
            standing.is_busy = False

    async def _try(self, standing: _Standing, note: SignedNote, checkpoint: Checkpoint) -> bool:
        """Asks once; returns whether that settled it, and otherwise knows better what to ask."""
        old, size = standing.known, checkpoint.tree_size
        proof = await self._store.prove_consistency(old, size) if old else ()
        try:
            signatures = await standing.asked.witness.add_checkpoint(old, proof, encode_note(note))
        except WitnessConflictError as e:
            return await self._learn(standing, e.tree_size, size)
        except WitnessRefusedError as e:
            if e.denies_consistency:
                raise _contradiction(standing, f"refuses the proof from size {old} to size {size}") from e
            raise
        standing.signed_at = self._verify(standing, note._replace(signatures=signatures))
        found = note._replace(signatures=signatures).signature_by(standing.asked.key)
        if found is not None:
            await self._store.keep_cosignatures(size, (found,))
        self._note_success(standing, size)
        return True

    async def _learn(self, standing: _Standing, claimed: int, size: int) -> bool:
        """Judges the size that a witness says it saw; returns whether there is nothing more to ask."""
        if claimed == standing.known:
            if claimed == size:
                raise _contradiction(standing, f"cosigned another root hash at size {size}")
            raise _unusable(standing, "contradicts itself: the proof started from the size that it names")
        if claimed < standing.cosigned:
            # Whatever it signs now, it may have signed otherwise before: two histories, by one witness.
            raise _unusable(standing, f"cosigned size {standing.cosigned} and has forgotten it")
        if claimed > size:
            # Another process of ours may have shown it a newer checkpoint.
            newest = parse_checkpoint(parse_note(await self._store.checkpoint()).text).tree_size
            if claimed > newest:
                raise _contradiction(standing, f"cosigned size {claimed}, and this log has {newest} leaves")
        standing.known = claimed
        return claimed > size

    def _verify(self, standing: _Standing, note: SignedNote) -> int:
        try:
            signed_at = verify_cosignature(note, standing.asked.key)
        except VerificationError as e:
            raise _unusable(standing, f"answers without a cosignature of its own: {e.message}") from e
        now = self._clock.now()
        if abs(signed_at - now) > MAX_CLOCK_DIFFERENCE:
            raise _unusable(
                standing,
                f"signs the time {format_time(signed_at)}, and this machine's clock shows {format_time(now)}",
            )
        return signed_at

    def _note_success(self, standing: _Standing, size: int) -> None:
        if standing.problem is not None:
            log.warning("the witness %s cosigns again", visible(standing.asked.name))
        standing.known = standing.cosigned = size
        standing.answered_at = self._clock.now()
        standing.failures, standing.problem, standing.not_before = 0, None, 0.0

    def _note_own_trouble(self, error: PlacetError) -> None:
        log.warning("the log cannot be read to have it cosigned: %s %s", error, error.hint)

    def _note_failure(self, standing: _Standing, error: PlacetError) -> None:
        if standing.problem is None:
            log.warning(
                "the witness %s does not cosign: %s %s", visible(standing.asked.name), error, error.hint
            )
        pace = self._pace
        first = pace.refused_pause if isinstance(error, WitnessRefusedError) else pace.first_pause
        pause = min(pace.longest_pause, first * 2 ** min(standing.failures, 16))
        standing.failures += 1
        standing.problem = error
        standing.not_before = self._monotonic() + pause

    def _note_contradiction(self, standing: _Standing, error: VerificationError) -> None:
        log.error("%s %s", error, error.hint)
        standing.problem, standing.contradicts = error, True
        if self._is_refuted():
            log.error("no witness is asked any more, until this log is started again")


def _contradiction(standing: _Standing, what: str) -> VerificationError:
    return VerificationError(
        Reason.LOG_INCONSISTENT,
        f"This log is not one history: its witness {standing.asked.name} {what}.",
        hint=_NEXT_IF_INCONSISTENT,
    )


def _unusable(standing: _Standing, what: str) -> WitnessUnavailableError:
    return WitnessUnavailableError(
        Reason.LOG_UNAVAILABLE,
        f"The witness {standing.asked.name} {what}.",
        hint="Ask its operator; other witnesses are asked all the same.",
    )
