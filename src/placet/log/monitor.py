"""The monitor: follows logs, reads what stands in them, and says what is wrong (docs/how-to-monitor.md).

An audit goes in steps, each of them one transaction in the monitor's state:

1. each log from its last verified checkpoint to its newest (`monitor_follow`);
2. what others were shown, against that (`monitor_compare`);
3. the records, against leaves, keys and trust (`monitor_leaves`, `monitor_trust`);
4. uses, against approvals (`monitor_matching`).

Whom to tell is stored with what was found, and told afterwards (`monitor_telling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from placet.adapters.log_calls import LogRefusedError, unavailable
from placet.adapters.sqlite.audit import (
    DONE,
    NEW,
    READ,
    AuditStore,
    StoredCheckpoint,
    StoredFinding,
    StoredLeaf,
)
from placet.core.errors import PlacetError
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.records import MAX_RECORD_BYTES
from placet.core.trust import Trust
from placet.log.monitor_compare import compare_kept, compare_source
from placet.log.monitor_events import APPROVED, DENIED, USED, Event
from placet.log.monitor_findings import (
    Finding,
    FindingName,
    Severity,
    finding,
    is_condition,
)
from placet.log.monitor_follow import Followed, follow
from placet.log.monitor_leaves import judge_leaf
from placet.log.monitor_matching import approvals_of, judge_denial, judge_quorum, judge_unused, judge_use
from placet.log.monitor_source import MAX_NEW_BYTES, LogSource
from placet.log.monitor_telling import Recipient, enqueue_event, enqueue_finding, finding_subject
from placet.log.monitor_trust import TrustHistory

# A use may be queued at its gate while the log is down; an approval counts as unused after that.
_UNUSED_AFTER = 86_400
_UNUSED_LOOKS_BACK = 400 * 86_400
# A log that cannot show records just now may do so soon; one that never does must not keep people from
# hearing what stands in it.
_RECORDS_MAY_TAKE = 3600
_LOGS_MAY_TAKE = 86_400
_CLOCKS_APART = 300


class WatchedLog(NamedTuple):
    """A log by its name in the policy, and where it is read.  `has_records`: the monitor may see records."""

    origin: str
    source: LogSource
    has_records: bool


class Settings(NamedTuple):
    """What an audit goes by.  `now` is in Unix seconds; `trust` is None where this machine has none."""

    policy: LogPolicy
    trust: Trust | None
    snapshot: Path
    recipients: tuple[Recipient, ...]
    now: int
    max_age: int | None = None
    full: bool = False


class Unchecked(NamedTuple):
    """What could not be checked, and why."""

    what: str
    error: PlacetError


class Audited(NamedTuple):
    """What an audit did.  `news` are findings that nobody was told of before, in the order of finding."""

    logs: tuple[Followed, ...]
    news: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]


class Audit:
    """One audit.  Make it, call `run`.

    Args:
        store: the monitor's memory.
        settings: what it goes by.
    """

    def __init__(self, store: AuditStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._trust_history = TrustHistory(settings.snapshot, store)
        self._news: list[Finding] = []
        self._now_so: set[str] = set()
        self._unchecked: list[Unchecked] = []

    def run(
        self,
        logs: Sequence[WatchedLog],
        *,
        against: Sequence[LogSource] = (),
        others: Iterable[StoredCheckpoint] = (),
    ) -> Audited:
        """Audits.

        Args:
            logs: what is followed.
            against: other addresses of the same logs.
            others: checkpoints that others were shown.
        """
        followed = [found for log in logs if (found := self._follow(log)) is not None]
        self._compare(against, others)
        # A log that forked shows the records of another tree.
        holding = {found.origin for found in followed if found.holds}
        for log in logs:
            if log.origin not in holding or self._fetch_records(log):
                self._read_leaves(log.origin)
        self._match_uses(all_read=len(followed) == len(logs))
        self._judge_the_whole()
        return Audited(tuple(followed), tuple(self._news), tuple(self._unchecked))

    # -- 1. following

    def _follow(self, log: WatchedLog) -> Followed | None:
        settings = self._settings
        try:
            found = follow(
                log.source,
                self._store,
                settings.policy,
                origin=log.origin,
                now=settings.now,
                max_age=settings.max_age,
                full=settings.full,
            )
        except PlacetError as e:
            self._unchecked.append(Unchecked(f"the log {log.origin} at {log.source.name}", e))
            return None
        with self._store.transaction():
            self._keep(found.findings)
        return found

    # -- 2. comparing

    def _compare(self, against: Sequence[LogSource], others: Iterable[StoredCheckpoint]) -> None:
        with self._store.transaction():
            for other in others:
                self._store.keep_checkpoint(other)
        for source in against:
            try:
                other, found = compare_source(source, self._store, self._settings.policy)
            except PlacetError as e:
                self._unchecked.append(Unchecked(f"what {source.name} shows", e))
                continue
            with self._store.transaction():
                self._keep(found)
                # A mirror may be ahead of the log's own address for a moment; it is asked again then.
                log = self._store.followed(other.origin)
                if log is not None and not found and other.tree_size > log.tree_size:
                    self._store.keep_checkpoint(other)
        with self._store.transaction():
            for log in self._store.list_followed():
                self._keep(compare_kept(self._store, log))

    # -- 3. reading

    def _fetch_records(self, log: WatchedLog) -> bool:
        """Fetches the records that are not here; tells whether the leaves can be read now."""
        held = self._store.followed(log.origin)
        if not log.has_records or held is None:
            return True
        start, room = self._store.first_without_record(log.origin, 0), MAX_NEW_BYTES
        try:
            while start is not None and (page := log.source.fetch_records(start)):
                room -= sum(len(item.record) for item in page)
                if room < 0:
                    raise unavailable(f"The records of {log.origin} are too many for one run.")
                # What is larger than any record is none, and its bytes need not be kept to say so.
                records = [
                    (item.leaf_index, item.record if len(item.record) <= MAX_RECORD_BYTES else b"")
                    for item in page
                ]
                with self._store.transaction():
                    self._store.put_records(log.origin, [(i, r) for i, r in records if i < held.tree_size])
                start = self._store.first_without_record(log.origin, records[-1][0] + 1)
        except PlacetError as e:
            self._unchecked.append(Unchecked(f"the records of {log.origin}", e))
            # With a token that is not taken, waiting would keep people from ever hearing of anything.
            return isinstance(e, LogRefusedError) or self._waits_long(log.origin)
        if (missing := self._store.first_without_record(log.origin, 0)) is not None:
            text = f"{log.origin} shows no record for some of its entries; the first is entry {missing}."
            gap = finding(
                FindingName.RECORD_MISSING, "records", text, log_origin=log.origin, leaf_index=missing
            )
            with self._store.transaction():
                self._keep((gap,))
        return True

    def _waits_long(self, origin: str) -> bool:
        waiting = self._store.leaves_in(origin, NEW)
        return bool(waiting) and self._is_older(waiting[0], _RECORDS_MAY_TAKE)

    def _is_older(self, leaf: StoredLeaf, seconds: int) -> bool:
        # A time that is still to come is nobody's reason to wait.
        return not -_CLOCKS_APART <= self._settings.now - Event.from_object(leaf.event).seen_at < seconds

    def _read_leaves(self, origin: str) -> None:
        while leaves := self._store.leaves_in(origin, NEW):
            with self._store.transaction():
                for leaf in leaves:
                    self._read_leaf(leaf)

    def _read_leaf(self, leaf: StoredLeaf) -> None:
        judged = judge_leaf(
            Event.from_object(leaf.event),
            leaf.leaf,
            leaf.record,
            trust=self._settings.trust,
            judge_metadata=self._trust_history.judge,
        )
        event = judged.event
        state = READ if event.kind == USED else DONE
        # A record that is not the leaf's is asked for again: its log may be mended.
        record = None if any(f.name == FindingName.RECORD_MISMATCH for f in judged.findings) else leaf.record
        self._store.put_leaves([leaf._replace(record=record, event=event.to_object())], state=state)
        self._keep(judged.findings)
        if event.kind == DENIED:
            self._keep((judge_denial(event),))
        enqueue_event(event, self._settings.recipients, self._store)

    # -- 4. matching

    def _match_uses(self, *, all_read: bool) -> None:
        for log in self._store.list_followed():
            while leaves := self._store.leaves_in(log.origin, READ):
                if not all_read:
                    # A log that could not be read may hold the approvals of uses in another one, and must not
                    # hide for ever that there are none.
                    leaves = tuple(leaf for leaf in leaves if self._is_older(leaf, _LOGS_MAY_TAKE))
                if not leaves:
                    break
                with self._store.transaction():
                    for leaf in leaves:
                        self._match_use(leaf)
                    self._store.put_leaves(leaves, state=DONE)

    def _match_use(self, leaf: StoredLeaf) -> None:
        use = Event.from_object(leaf.event)
        named = {approval: event for approval in use.approvals if (event := self._find(approval))}
        so_far = self._store.count_uses(use.payload, use.unit, before=leaf)
        self._keep(judge_use(use, named, uses_so_far=so_far))
        holding = approvals_of(use, named)
        if self._settings.trust is not None:
            self._keep(judge_quorum(use, holding, self._settings.trust))

    def _find(self, leaf_hash: str) -> Event | None:
        """Returns what stands under a leaf hash, an approval first, in whichever log."""
        events = [Event.from_object(leaf.event) for leaf in self._store.find_leaves(bytes.fromhex(leaf_hash))]
        return next((event for event in events if event.kind == APPROVED), events[0] if events else None)

    def _judge_the_whole(self) -> None:
        now = self._settings.now
        with self._store.transaction():
            unused = self._store.unused_approvals(now - _UNUSED_LOOKS_BACK, now - _UNUSED_AFTER)
            self._keep([judge_unused(Event.from_object(leaf.event)) for leaf in unused])
            self._keep(self._trust_history.missing())
            if not self._unchecked:
                self._settle_what_ended()

    # -- findings

    def _keep(self, findings: Iterable[Finding]) -> None:
        """Stores findings, and whom to tell of those that are news; to be called in a transaction."""
        now = self._settings.now
        for found in findings:
            self._now_so.add(found.id)
            is_notice = found.severity is Severity.NOTICE
            stored = StoredFinding(
                found.id,
                found.name,
                found.subject,
                found.message,
                found.log_origin,
                found.leaf_index,
                now,
                now,
                now if is_notice else None,
                "nothing is to be done" if is_notice else "",
            )
            if self._store.put_finding(stored, reopens=is_condition(found.name)):
                self._news.append(found)
                for recipient in self._settings.recipients:
                    self._store.forget_message(recipient.key, finding_subject(found.id))
                enqueue_finding(found, self._settings.recipients, self._store)

    def _settle_what_ended(self) -> None:
        for stored in self._store.list_findings():
            if is_condition(stored.name) and stored.id not in self._now_so:
                self._store.settle(stored.id, because="it is no longer so", at=self._settings.now)


def finding_of(stored: StoredFinding) -> Finding:
    """Returns a stored finding as it was found."""
    return Finding(FindingName(stored.name), stored.subject, stored.message, stored.origin, stored.leaf_index)
