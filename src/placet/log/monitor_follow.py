"""Following one log: from its last verified checkpoint to its newest, with every entry in between.

The root hash is rebuilt from the entries themselves, on top of what was verified before.  So a log cannot
drop, rewrite or insert an entry, nor show another tree, without a name for it here.  What does not fit
is never taken over: the state stays at the last checkpoint that held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from placet.adapters.sqlite.audit import NEW, AuditStore, FollowedLog, StoredLeaf
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.merkle import EMPTY_ROOT, CompactRange, extend, hash_leaf
from placet.core.tlog.tiles import TILE_WIDTH, parse_tile, tile_path
from placet.log.monitor_checkpoint import CheckedCheckpoint, check_checkpoint
from placet.log.monitor_evidence import keep_evidence
from placet.log.monitor_findings import Finding, FindingName, finding, quote
from placet.log.monitor_leaves import read_leaf
from placet.log.monitor_source import EntriesError, LogSource, check_growth, fetch_entries
from placet.log.monitor_tree import name_differences, root_of


class Followed(NamedTuple):
    """How following a log went.  `holds` is False where its newest state does not continue the last one."""

    origin: str
    tree_size: int
    root_hash: bytes
    witnessed_at: int | None
    new_entries: int
    holds: bool
    findings: tuple[Finding, ...]


class _OtherTree(Exception):
    """The entries do not lead to the root hash that the log signed."""


def follow(
    source: LogSource,
    store: AuditStore,
    policy: LogPolicy,
    *,
    origin: str,
    now: int,
    max_age: int | None,
    full: bool = False,
) -> Followed:
    """Follows a log; what was verified is stored when this returns.

    Args:
        source: where it is read.
        store: what is known of it.
        policy: which logs and witnesses count.
        origin: the log's name in the policy.
        now: Unix seconds.
        max_age: how old the witnesses' word may be, in seconds; None asks for no age.
        full: read all entries again, and not only the new ones.

    Raises:
        PlacetError: LOG_UNAVAILABLE, LOG_REFUSED: the log could not be read; nothing is known.
    """
    last = store.followed(origin) or FollowedLog(origin, 0, EMPTY_ROOT, (), b"", 0, 0)
    data = source.fetch_checkpoint()
    try:
        checked = check_checkpoint(
            data, policy, origin=origin, now=now, max_age=max_age, seen=store.cosignature_seen
        )
    except PlacetError as e:
        return Followed(
            origin, last.tree_size, last.root, None, 0, False, (_forged(source, origin, data, e),)
        )
    check_growth(origin, last.tree_size, checked.checkpoint.tree_size)
    wrong = _judge(source, store, last, checked, now, full=full)
    if wrong:
        keep_evidence(store.path.parent, origin, last.checkpoint, data)
    held = store.followed(origin) or last
    return Followed(
        origin=origin,
        tree_size=held.tree_size,
        root_hash=held.root,
        witnessed_at=checked.witnessed_at,
        new_entries=held.tree_size - last.tree_size,
        holds=not wrong,
        findings=(*checked.findings, *wrong),
    )


def _forged(source: LogSource, origin: str, data: bytes, error: PlacetError) -> Finding:
    text = (
        f"What {source.name} shows as the newest state of {origin} is not signed by it: {quote(str(error))}"
    )
    return finding(FindingName.CHECKPOINT_FORGED, sha256_hex(data), text, log_origin=origin)


def _judge(
    source: LogSource,
    store: AuditStore,
    last: FollowedLog,
    checked: CheckedCheckpoint,
    now: int,
    *,
    full: bool,
) -> tuple[Finding, ...]:
    new = checked.checkpoint
    if new.tree_size < last.tree_size:
        text = (
            f"{new.log_origin} shows a state of size {new.tree_size}; it showed one of size "
            f"{last.tree_size} before."
        )
        subject = f"{new.tree_size}:{new.root_hash.hex()}"
        rolled = finding(FindingName.ROLLED_BACK, subject, text, log_origin=new.log_origin)
        if root_of(store.leaf_hashes(last.origin, new.tree_size)) == new.root_hash:
            return (rolled,)
        return (rolled, *explain(source, store, checked, FindingName.FORK))
    if full and (wrong := _reread(source, store, last)):
        return wrong
    try:
        _grow(source, store, last, checked, now)
    except (_OtherTree, EntriesError):
        return explain(source, store, checked, FindingName.FORK)
    return ()


def _grow(
    source: LogSource, store: AuditStore, last: FollowedLog, checked: CheckedCheckpoint, now: int
) -> None:
    """Takes over the new entries, if they lead to the signed root: all of it in one transaction."""
    new = checked.checkpoint
    seen_at = checked.witnessed_at or now
    compact = CompactRange(last.tree_size, last.nodes)
    with store.transaction():
        for entries in fetch_entries(source, last.tree_size, new.tree_size):
            hashes = [hash_leaf(entry) for entry in entries]
            events = [
                read_leaf(entry, origin=last.origin, leaf_index=compact.size + i, seen_at=seen_at)
                for i, entry in enumerate(entries)
            ]
            leaves = (
                StoredLeaf(last.origin, event.leaf_index, leaf_hash, entry, None, event.to_object())
                for event, leaf_hash, entry in zip(events, hashes, entries, strict=True)
            )
            store.put_leaves(leaves, state=NEW)
            compact, _ = extend(compact, hashes)
        if compact.root() != new.root_hash:
            raise _OtherTree
        # The same state may come with more cosignatures than before; one without any replaces none.
        if new.tree_size > last.tree_size or checked.cosignatures or not last.checkpoint:
            store.keep_followed(
                FollowedLog(
                    last.origin,
                    new.tree_size,
                    new.root_hash,
                    compact.hashes,
                    checked.data,
                    checked.witnessed_at or 0,
                    now,
                )
            )
        for cosignature in checked.cosignatures:
            store.keep_cosignature(cosignature.signature, cosignature.witness, last.origin, new.tree_size)


def _reread(source: LogSource, store: AuditStore, last: FollowedLog) -> tuple[Finding, ...]:
    """Reads the old entries again: what a log shows to others today must be what it showed us then."""
    ours = list(store.leaf_hashes(last.origin, last.tree_size))
    try:
        theirs = _fetch_hashes(source, last.tree_size)
    except EntriesError as e:
        return (_mismatch(last.origin, last.tree_size, str(e)),)
    if ours == theirs:
        return ()
    text = f"{source.name} shows other entries today than those that {last.origin} signed before."
    general = _mismatch(last.origin, last.tree_size, text)
    return (general, *name_differences(ours, theirs, log_origin=last.origin, who=source.name))


def explain(
    source: LogSource, store: AuditStore, checked: CheckedCheckpoint, name: FindingName
) -> tuple[Finding, ...]:
    """Says how a state that a log signed differs from what the monitor verified.

    Args:
        source: who shows that state.
        store: what the monitor verified.
        checked: the state.
        name: FORK or SPLIT_VIEW: what two trees of one log are called here.

    Raises:
        PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
    """
    new = checked.checkpoint
    origin = new.log_origin
    held = store.followed(origin)
    size = held.tree_size if held else 0
    ours = list(store.leaf_hashes(origin, min(size, new.tree_size)))
    text = (
        f"{origin} signed two trees: the one of size {new.tree_size} that {source.name} shows does not "
        f"continue the one of size {size} that this monitor verified."
    )
    fork = finding(name, f"{new.tree_size}:{new.root_hash.hex()}", text, log_origin=origin)
    # Up to what was verified, the two signatures prove it; whoever holds the entries back hides only which.
    proven = (fork,) if new.tree_size <= size else ()
    try:
        theirs = _fetch_hashes(source, new.tree_size)
    except EntriesError as e:
        return (*proven, _mismatch(origin, new.tree_size, str(e)))
    except PlacetError:
        if not proven:
            raise
        return proven
    if root_of(theirs) != new.root_hash:
        return (*proven, *_explain_entries(source, origin, theirs, new.tree_size, new.root_hash))
    return (fork, *name_differences(ours, theirs, log_origin=origin, who=source.name))


def _explain_entries(
    source: LogSource, origin: str, entries: list[bytes], size: int, root: bytes
) -> tuple[Finding, ...]:
    """Says which entries are not those of the signed tree, where the log's own tiles tell."""
    text = f"The entries that {source.name} shows are not those of the tree of size {size} that it signed."
    try:
        signed = list(_fetch_leaf_tiles(source, size))
    except PlacetError:
        signed = []
    if root_of(signed) == root:
        wrong = [i for i, (a, b) in enumerate(zip(signed, entries, strict=True)) if a != b]
        text = f"{text} The first is entry {wrong[0]}, of {len(wrong)}."
    else:
        text = f"{text} Nor do its tiles lead to it."
    return (_mismatch(origin, size, text),)


def _mismatch(origin: str, size: int, text: str) -> Finding:
    return finding(FindingName.ENTRIES_MISMATCH, str(size), text, log_origin=origin)


def _fetch_hashes(source: LogSource, size: int) -> list[bytes]:
    return [hash_leaf(entry) for entries in fetch_entries(source, 0, size) for entry in entries]


def _fetch_leaf_tiles(source: LogSource, size: int) -> Iterator[bytes]:
    for index in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        yield from parse_tile(source.fetch_tile(tile_path(0, index, width)), width)
