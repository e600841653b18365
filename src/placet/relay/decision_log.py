"""The log, as the relay needs it: each decision that it carries becomes a leaf, and its proof goes along.

With the relay's own store, the log is embedded: answer, leaf and signed checkpoint become durable in one
transaction.  An external log is asked first: an answer is stored once its leaf is logged, and where the
log cannot be reached the answer is refused, so that the terminal's outbox tries again.

What does not even verify under its own key is carried and not logged, where the relay has no snapshot: the
relay cannot know what it is for, and no garbage gets into the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from placet.adapters.log_calls import LogRefusedError, LogUnavailableError
from placet.adapters.log_client import AsyncLogClient
from placet.ceremony.log_records import verify_decision
from placet.core.bundle import parse_answer
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PlacetError
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.leaf import encode_leaf, leaf_hash
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import parse_proof
from placet.core.tlog.records import leaf_of_record
from placet.ports.log_store import LogEntry
from placet.relay._shape import ShapedAnswer
from placet.relay.errors import RelayError

log = logging.getLogger("placet.relay")

# Refusals of a log that are about the relay and not about the answer: only its operator can do something.
_ABOUT_US = frozenset({"unknown-caller", "unknown-path"})
# Answers are worth more than their proofs: `placet log attach` adds those later.
PATIENCE_SECONDS = 2.0
# Proofs of the answers that are being waited for.  Each has one to four kilobytes.
_MAX_KEPT = 2048


class DecisionLog(Protocol):
    """Logs decisions and proves them.

    Attributes:
        is_outside: whether `prepare` logs by itself, rather than the store's own transaction.
    """

    @property
    def is_outside(self) -> bool:
        """See there."""
        ...

    async def prepare(self, shaped: ShapedAnswer, *, is_verified: bool, now: int) -> LogEntry | None:
        """Returns what the store must append together with the answer, or None.

        Args:
            shaped: the answer.
            is_verified: whether an enrolled key is known to have signed it.
            now: Unix seconds.

        Raises:
            RelayError: the log does not take it, or cannot be reached.
        """
        ...

    async def prove(self, container: bytes) -> str | None:
        """Returns the best proof that there is for an answer, or None."""
        ...


class _Kept(NamedTuple):
    leaf_hash: bytes | None
    """None where the answer is no record that a log takes."""
    proof: str | None = None
    """One that cannot become better."""


class _Proofs:
    """What is known of answers' leaves and proofs, the latest of them."""

    def __init__(self, fetch: Callable[[bytes], Awaitable[str | None]], cosignatures: int) -> None:
        self._fetch = fetch
        self._cosignatures = cosignatures
        self._kept: OrderedDict[Digest, _Kept] = OrderedDict()

    async def prove(self, container: bytes) -> str | None:
        digest = sha256_hex(container)
        kept = self._kept.get(digest) or _Kept(_leaf_hash_of(container))
        proof = kept.proof
        if proof is None and kept.leaf_hash is not None:
            proof = await self._fetch(kept.leaf_hash)
            if proof is not None and _cosignatures_of(proof) >= self._cosignatures:
                kept = kept._replace(proof=proof)
        self._kept[digest] = kept
        self._kept.move_to_end(digest)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return proof


class EmbeddedLog:
    """The log in the relay's own store.

    Args:
        prove_now: returns the best proof of a leaf, or None where it is not in the log.
        cosignatures: how many make a proof as good as it gets.
    """

    is_outside = False

    def __init__(self, prove_now: Callable[[bytes], Awaitable[str | None]], *, cosignatures: int) -> None:
        self._proofs = _Proofs(prove_now, cosignatures)

    async def prepare(self, shaped: ShapedAnswer, *, is_verified: bool, now: int) -> LogEntry | None:
        """See `DecisionLog.prepare`; raises nothing."""
        return _entry_of(shaped, is_verified=is_verified, now=now)

    async def prove(self, container: bytes) -> str | None:
        """See `DecisionLog.prove`."""
        return await _unless_trouble(self._proofs, container)


class ExternalLog:
    """A log elsewhere.

    Args:
        client: asks it.
        cosignatures: how many make a proof as good as it gets.
        patience: how many seconds answers wait for their proofs.
    """

    is_outside = True

    def __init__(
        self, client: AsyncLogClient, *, cosignatures: int, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._client = client
        self._patience = patience
        self._proofs = _Proofs(self._fetch, cosignatures)

    async def prepare(self, shaped: ShapedAnswer, *, is_verified: bool, now: int) -> LogEntry | None:
        """See `DecisionLog.prepare`."""
        entry = _entry_of(shaped, is_verified=is_verified, now=now)
        if entry is None:
            return None
        try:
            logged = await self._client.append(entry.record)
        except LogUnavailableError as e:
            raise _unusable(e) from e
        except LogRefusedError as e:
            if e.log_reason in _ABOUT_US:
                raise _unusable(e) from e
            raise RelayError(
                "answer-not-logged",
                "The relay's log does not take this decision, so the relay does not carry it.",
                hint=f"{e.message} The relay's operator can refresh the log's trust.",
            ) from e
        if logged.leaf_hash != leaf_hash(leaf_of_record(entry.record)):
            log.error("the log %s acknowledged another leaf than it was sent", self._client.url)
            raise RelayError("log-unavailable", "The relay's log acknowledged something else.")
        return None

    async def prove(self, container: bytes) -> str | None:
        """See `DecisionLog.prove`."""
        return await _unless_trouble(self._proofs, container)

    async def _fetch(self, leaf: bytes) -> str | None:
        try:
            async with asyncio.timeout(self._patience):
                return await self._client.fetch_proof(leaf)
        except LogRefusedError:
            return None
        except TimeoutError:
            log.error("the log %s does not answer; answers go out without its proofs", self._client.url)
            return None


def _unusable(error: PlacetError) -> RelayError:
    """Returns what a terminal is told while the log is of no use; the operator is told why."""
    log.error("the log cannot be used: %s %s", error, error.hint)
    return RelayError(
        "log-unavailable",
        "The relay's log cannot be used just now; nothing was stored.",
        hint="Try again in a moment: nothing is stored or logged twice.",
    )


async def _unless_trouble(proofs: _Proofs, container: bytes) -> str | None:
    """Returns a proof; a log that is in trouble must not keep answers from whoever waits for them."""
    try:
        return await proofs.prove(container)
    except PlacetError as e:
        log.error("the log cannot prove: %s %s", e, e.hint)
        return None


def _entry_of(shaped: ShapedAnswer, *, is_verified: bool, now: int) -> LogEntry | None:
    container = shaped.answer.container
    try:
        if not is_verified:
            verify_decision(parse_answer(container), shaped.statement, trust=None, now=now)
        return LogEntry(encode_leaf(leaf_of_record(container)), container)
    except PlacetError:
        return None


def _leaf_hash_of(container: bytes) -> bytes | None:
    try:
        return leaf_hash(leaf_of_record(container))
    except PlacetError:
        return None


def _cosignatures_of(proof: str) -> int:
    note = parse_note(parse_proof(proof).checkpoint)
    origin = parse_checkpoint(note.text).log_origin
    return sum(signature.name != origin for signature in note.signatures)
