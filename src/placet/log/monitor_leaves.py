"""What stands in a log: leaves as they are, and records held against leaf, keys and trust.  Pure.

A record is verified by the trust of today.  A key that went since is a warning and no alarm: what it signed
while it was enrolled stays right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from placet.core.approvals import verify_approvals
from placet.core.bundle import IntentBundle, parse_answer
from placet.core.encoding import KeyId
from placet.core.errors import PlacetError, Reason, VerificationError
from placet.core.report import Report, parse_report
from placet.core.statement import IntentStatement, parse_statement
from placet.core.tlog.leaf import DecisionLeaf, TrustLeaf, UseLeaf, encode_leaf, parse_leaf
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.records import leaf_of_record, parse_trust_record, parse_use_record, verify_use
from placet.core.trust import Trust
from placet.log.monitor_events import TRUST, UNKNOWN, USED, Event
from placet.log.monitor_findings import Finding, FindingName, finding, quote

# Not enrolled today; whether the key ever was, today's trust cannot say.
_GONE = frozenset({Reason.UNKNOWN_KEY, Reason.TERMINAL_UNKNOWN, Reason.CREDENTIAL_NOT_VALID})


class JudgedMetadata(NamedTuple):
    """A file of the trust root that a log holds: which it is, whether it is signed, and what is wrong."""

    role: str
    version: int
    verified: bool
    findings: tuple[tuple[FindingName, str], ...]


JudgeMetadata = Callable[[bytes], JudgedMetadata]


class JudgedLeaf(NamedTuple):
    """An entry with what was found in it."""

    event: Event
    findings: tuple[Finding, ...]


def read_leaf(entry: bytes, *, origin: str, leaf_index: int, seen_at: int) -> Event:
    """Reads an entry of a log; one that is no leaf of ours is of an unknown kind.

    Args:
        entry: the bytes.
        origin: the log's name.
        leaf_index: where it stands.
        seen_at: by when it was in the log, in Unix seconds.
    """
    event = Event(origin, leaf_index, hash_leaf(entry).hex(), UNKNOWN, seen_at=seen_at)
    try:
        leaf = parse_leaf(entry)
    except PlacetError:
        return event
    match leaf:
        case DecisionLeaf():
            return event._replace(kind=leaf.kind, payload=leaf.payload_digest, keyids=(leaf.keyid,))
        case UseLeaf():
            event = event._replace(kind=USED, payload=leaf.payload_digest, keyids=(leaf.keyid,))
            return event._replace(approvals=leaf.approvals)
        case TrustLeaf():
            return event._replace(kind=TRUST, payload=leaf.payload_digest, keyids=leaf.keyids)


def judge_leaf(
    event: Event, entry: bytes, record: bytes | None, *, trust: Trust | None, judge_metadata: JudgeMetadata
) -> JudgedLeaf:
    """Holds an entry against its record, and the record against the trust.

    Args:
        event: what `read_leaf` read of it.
        entry: the bytes in the log.
        record: what the log says the leaf was made from; None where the monitor has none.
        trust: this machine's; None where there is none, and nothing can be verified.
        judge_metadata: judges a file of the trust root.
    """
    event = _with_person(event, trust)
    if event.kind == UNKNOWN:
        text = f"What stands in {event.name} is of a kind that this version of placet does not know."
        return JudgedLeaf(event, (_about(event, FindingName.LEAF_UNKNOWN, text),))
    if record is None:
        return JudgedLeaf(event, ())
    try:
        if encode_leaf(leaf_of_record(record)) != entry:
            raise VerificationError(Reason.LOG_INCONSISTENT, "It has another leaf.")
    except PlacetError as e:
        text = (
            f"The record that the log shows for {event.name} is not what its leaf stands for: {quote(str(e))}"
        )
        return JudgedLeaf(event, (_about(event, FindingName.RECORD_MISMATCH, text),))
    if event.kind == TRUST:
        return _judge_trust(event, record, judge_metadata)
    if event.kind == USED:
        return _judge_use(event, record, trust)
    return _judge_decision(event, record, trust)


def _with_person(event: Event, trust: Trust | None) -> Event:
    """Names whose key it is: who holds it should hear of it, whether or not the record holds."""
    if trust is None or event.kind == USED or len(event.keyids) != 1:
        return event
    found = trust.credentials.get(KeyId(event.keyids[0]))
    return event if found is None else event._replace(person=found[0].id, groups=found[0].groups)


def _judge_decision(event: Event, record: bytes, trust: Trust | None) -> JudgedLeaf:
    answer = parse_answer(record)
    statement = parse_statement(answer.envelope.payload)
    event = _with_statement(event, statement)
    try:
        report = parse_report(answer.report.payload)
    except PlacetError as e:
        # The leaf has a digest of it only, so a hostile log can have any bytes there.
        text = f"The decision in {event.name} has no terminal's report: {quote(str(e))}"
        return JudgedLeaf(event, (_about(event, FindingName.RECORD_FORGED, text),))
    event = event._replace(
        at=report.decided_at, terminal=report.terminal_id, seconds_on_screen=report.seconds_on_screen
    )
    if trust is None:
        return JudgedLeaf(event, ())
    bundle = IntentBundle(answer.envelope, (answer.report,), (), report.trust_versions)
    try:
        counted, ignored = verify_approvals(bundle, statement, trust=trust, at=report.decided_at)
        for one in ignored:
            raise one.error
    except PlacetError as e:
        return JudgedLeaf(event, (_not_verified(event, e, report),))
    (approver,) = counted
    return JudgedLeaf(event._replace(verified=True, person=approver.person_id, groups=approver.groups), ())


def _with_statement(event: Event, statement: IntentStatement) -> Event:
    return event._replace(
        # What was denied; that it was is the event's kind.
        text=statement.text.removeprefix("Deny: "),
        action=statement.action_type,
        target=statement.target,
        gate=statement.audience.removeprefix("gate:"),
        max_uses=statement.max_uses,
        not_before=statement.not_before,
        expires_at=statement.expires_at,
    )


def _not_verified(event: Event, error: PlacetError, report: Report) -> Finding:
    name = FindingName.KEY_UNKNOWN if error.reason in _GONE else FindingName.RECORD_FORGED
    text = (
        f"The decision in {event.name}, said to be of terminal {quote(report.terminal_id)}, does not hold: "
        f"{quote(str(error))}"
    )
    return _about(event, name, text)


def _judge_use(event: Event, record: bytes, trust: Trust | None) -> JudgedLeaf:
    parsed = parse_use_record(record)
    use = parsed.use
    event = event._replace(at=use.used_at, gate=use.gate, unit=use.unit)
    if trust is None:
        return JudgedLeaf(event, ())
    gate = trust.gates.get(use.gate)
    try:
        verify_use(parsed, gate.use_keys if gate else ())
    except PlacetError as e:
        name = FindingName.KEY_UNKNOWN if e.reason in _GONE else FindingName.RECORD_FORGED
        said = f"said to be at gate {quote(use.gate)}"
        text = f"The use in {event.name}, {said}, is not that gate's: {quote(str(e))}"
        return JudgedLeaf(event, (_about(event, name, text),))
    return JudgedLeaf(event._replace(verified=True), ())


def _judge_trust(event: Event, record: bytes, judge_metadata: JudgeMetadata) -> JudgedLeaf:
    try:
        judged = judge_metadata(parse_trust_record(record))
    except PlacetError as e:
        text = f"The trust change in {event.name} is no TUF metadata: {quote(str(e))}"
        return JudgedLeaf(event, (_about(event, FindingName.TRUST_FORGED, text),))
    event = event._replace(role=judged.role, version=judged.version, verified=judged.verified)
    found = tuple(_about(event, name, f"{text} ({event.name}).") for name, text in judged.findings)
    return JudgedLeaf(event, found)


def _about(event: Event, name: FindingName, text: str) -> Finding:
    return finding(name, event.leaf_hash, text, log_origin=event.log_origin, leaf_index=event.leaf_index)
