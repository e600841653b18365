"""What others were shown, held against what this monitor verified: a log that shows two trees is found out.

Others' checkpoints come from another address of the log, from files, and from the proofs in bundles.  Each
is signed by the log, so two that contradict each other prove by themselves that it lied.
"""

from __future__ import annotations

from placet.adapters.sqlite.audit import AuditStore, FollowedLog, StoredCheckpoint
from placet.core.bundle import parse_bundle
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.merkle import CompactRange, hash_leaf
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import parse_proof
from placet.log.monitor_checkpoint import CheckedCheckpoint, check_signed
from placet.log.monitor_evidence import keep_evidence
from placet.log.monitor_findings import Finding, FindingName, finding
from placet.log.monitor_follow import explain
from placet.log.monitor_source import EntriesError, LogSource, check_growth, fetch_entries
from placet.log.monitor_tree import grow, root_of


def read_others(name: str, data: bytes, policy: LogPolicy) -> tuple[StoredCheckpoint, ...]:
    """Returns the checkpoints in a file: a checkpoint, a log proof, or an intent bundle with proofs.

    Args:
        name: where they come from, for people.
        data: the file's bytes.
        policy: which logs count; those of other logs are left out of a bundle.

    Raises:
        PlacetError: the file is none of these, or its checkpoint is not signed by a log of the policy.
    """
    if data.lstrip().startswith(b"{"):
        notes = [parse_proof(proof.proof).checkpoint for proof in parse_bundle(data).log]
        origins = {log.key.name for log in policy.logs}
        return tuple(
            _stored(name, note, policy)
            for note in dict.fromkeys(notes)
            if parse_checkpoint(parse_note(note).text).log_origin in origins
        )
    if data.startswith(b"c2sp.org/tlog-proof@"):
        data = parse_proof(data).checkpoint
    return (_stored(name, data, policy),)


def _stored(name: str, note: bytes, policy: LogPolicy) -> StoredCheckpoint:
    _, found = check_signed(note, policy)
    return StoredCheckpoint(found.log_origin, found.tree_size, found.root_hash, name, note)


def compare_kept(store: AuditStore, log: FollowedLog) -> tuple[Finding, ...]:
    """Compares the checkpoints of others that the monitor's tree has reached; the rest wait.

    To be called in a transaction.
    """
    found = []
    for other in store.list_checkpoints(log.origin):
        if other.tree_size > log.tree_size:
            text = (
                f"{other.source} has a state of size {other.tree_size} of {log.origin}; the log shows this "
                f"monitor {log.tree_size} entries."
            )
            subject = f"{other.tree_size}:{other.root.hex()}"
            found.append(finding(FindingName.CHECKPOINT_AHEAD, subject, text, log_origin=log.origin))
            continue
        store.drop_checkpoint(other)
        if root_of(store.leaf_hashes(log.origin, other.tree_size)) != other.root:
            keep_evidence(store.path.parent, log.origin, log.checkpoint, other.checkpoint)
            found.append(_split(log, other))
    return tuple(found)


def _split(log: FollowedLog, other: StoredCheckpoint) -> Finding:
    text = (
        f"{log.origin} signed two trees: the state of size {other.tree_size} that {other.source} has is not "
        f"part of the one of size {log.tree_size} that it showed this monitor."
    )
    subject = f"{other.tree_size}:{other.root.hex()}"
    return finding(FindingName.SPLIT_VIEW, subject, text, log_origin=log.origin)


def compare_source(
    source: LogSource, store: AuditStore, policy: LogPolicy
) -> tuple[StoredCheckpoint, tuple[Finding, ...]]:
    """Compares what another address of a log shows, down to the entries where it differs.

    Returns:
        Its newest checkpoint, and what was found.

    Raises:
        PlacetError: it cannot be read, or what it shows is not signed by a log of the policy.
    """
    data = source.fetch_checkpoint()
    _, new = check_signed(data, policy)
    other = StoredCheckpoint(new.log_origin, new.tree_size, new.root_hash, source.name, data)
    log = store.followed(new.log_origin)
    check_growth(new.log_origin, log.tree_size if log else 0, new.tree_size)
    if log is None or _continues(source, store, log, other):
        return other, ()
    keep_evidence(store.path.parent, log.origin, log.checkpoint, data)
    checked = CheckedCheckpoint(data, new, (), None, None, ())
    found = explain(source, store, checked, FindingName.SPLIT_VIEW)
    return other, found or (_split(log, other),)


def _continues(source: LogSource, store: AuditStore, log: FollowedLog, other: StoredCheckpoint) -> bool:
    if other.tree_size <= log.tree_size:
        return root_of(store.leaf_hashes(log.origin, other.tree_size)) == other.root
    try:
        more = fetch_entries(source, log.tree_size, other.tree_size)
        grown = grow(
            CompactRange(log.tree_size, log.nodes), (hash_leaf(entry) for part in more for entry in part)
        )
    except EntriesError:
        return False
    return grown.root() == other.root
