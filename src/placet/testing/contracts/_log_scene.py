"""What the contract of log stores is played with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.core.errors import PlacetError, Reason
from placet.core.tlog.checkpoint import Checkpoint, verify_checkpoint
from placet.core.tlog.merkle import EMPTY_ROOT, hash_leaf, hash_node
from placet.core.tlog.note import ED25519, NoteSigner
from placet.ports.log_store import MAX_APPENDED, LogEntry, LogStore

NOW = 1_800_000_000
Open = Callable[[], AbstractAsyncContextManager[LogStore]]


def signer(name: str, algorithm: int = ED25519) -> NoteSigner:
    """Makes a key that is the same for the same name."""
    return NoteSigner(name, algorithm, Ed25519PrivateKey.from_private_bytes(hash_leaf(name.encode())))


SIGNER = signer("log.example/placet")


def entry(name: object, record: bytes | None = None) -> LogEntry:
    """Makes an entry with a leaf of its own."""
    return LogEntry(f"leaf {name}".encode(), f"record {name}".encode() if record is None else record)


def entries(start: int, end: int) -> list[LogEntry]:
    """Makes the entries with these numbers."""
    return [entry(number) for number in range(start, end)]


async def verified(log: LogStore) -> Checkpoint:
    """Returns the newest checkpoint, if it holds."""
    return verify_checkpoint(await log.checkpoint(), SIGNER.verifier_key)


async def refused(call: Awaitable[object]) -> Reason:
    """Returns why a call was refused."""
    with pytest.raises(PlacetError) as refusal:
        await call
    return refusal.value.reason


async def fill(log: LogStore, size: int) -> None:
    """Appends numbered entries until the log has that size."""
    have = (await verified(log)).tree_size
    while have < size:
        step = min(size - have, MAX_APPENDED)
        await log.append(entries(have, have + step))
        have += step


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Returns the root hash as RFC 6962 section 2.1 defines it, and not as it is computed elsewhere."""
    if len(leaf_hashes) < 2:
        return leaf_hashes[0] if leaf_hashes else EMPTY_ROOT
    middle = 1 << (len(leaf_hashes) - 1).bit_length() - 1
    return hash_node(root_of(leaf_hashes[:middle]), root_of(leaf_hashes[middle:]))
