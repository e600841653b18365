"""What may be logged: the log verifies a record before it appends it, so no garbage gets in.

With a trust snapshot, a decision must be by an enrolled key and reported by an enrolled terminal, a use by
one of its gate's use keys, and trust changes are verified by the chain that the log knows
(`placet.adapters.tuf.logged_changes`).  Without one, only decisions are taken, whose signature must hold
under the key that it names itself.

This decides nothing about anybody's approval: gates verify everything again with their own snapshots.  A log
that takes what it should not costs room and attention; one that refuses what it should take is seen, because
the proof is missing.
"""

from __future__ import annotations

from collections.abc import Callable

from placet.ceremony.second_touch import check_link
from placet.core.approvals import verify_approvals
from placet.core.bundle import Answer, IntentBundle, parse_answer
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.encoding import KeyId, sha256_hex
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.report import parse_report
from placet.core.signature import verify_sshsig
from placet.core.sshsig import NAMESPACE_INTENT, parse_public_key, parse_sshsig
from placet.core.statement import IntentStatement, parse_statement
from placet.core.tlog.leaf import DecisionLeaf, TrustLeaf, UseLeaf, encode_leaf
from placet.core.tlog.records import leaf_of_record, parse_trust_record
from placet.core.tlog.uses import verify_use_record
from placet.core.trust import Trust
from placet.ports.log_store import MAX_RECORD_BYTES, LogEntry

VerifyChange = Callable[[bytes], object]
"""Verifies TUF metadata by the chain that is known, and raises a `PlacetError` where it does not hold."""


def verify_record(record: bytes, *, trust: Trust | None, verify_change: VerifyChange, now: int) -> LogEntry:
    """Verifies what somebody hands in, and returns the entry to append.

    Args:
        record: a decision, a use or a trust change, in its canonical form.
        trust: the log's snapshot; None where it has none.
        verify_change: verifies trust changes.
        now: Unix seconds.

    Raises:
        MalformedError: it is no record, or too large.
        VerificationError, PolicyError: it does not hold, or nobody who is enrolled signed it.
    """
    if len(record) > MAX_RECORD_BYTES:
        raise MalformedError(
            Reason.TOO_LARGE, f"A record has at most {MAX_RECORD_BYTES} bytes.", actual=len(record)
        )
    leaf = leaf_of_record(record)
    match leaf:
        case DecisionLeaf():
            answer = parse_answer(record)
            verify_decision(answer, parse_statement(answer.envelope.payload), trust=trust, now=now)
        case UseLeaf():
            verify_use_record(record, _need_trust(trust))
        case TrustLeaf():
            _need_trust(trust)
            verify_change(parse_trust_record(record))
    return LogEntry(encode_leaf(leaf), record)


def _need_trust(trust: Trust | None) -> Trust:
    """Returns the trust by which a log tells a gate's use, or an administrator's change, from a stranger's.

    Raises:
        PolicyError: LOG_REFUSED without one: whoever came first could say who gates and administrators are.
    """
    if trust is None:
        raise PolicyError(
            Reason.LOG_REFUSED,
            "This log follows no trust root, so it takes decisions only: it cannot tell whose use, or whose "
            "change of trust, this is.",
            hint="Its operator runs `placet trust refresh` there, and starts it with --trust-snapshot FILE.",
        )
    return trust


def verify_decision(answer: Answer, statement: IntentStatement, *, trust: Trust | None, now: int) -> KeyId:
    """Verifies one person's decision; returns the key.

    Args:
        answer: as it travels.
        statement: what its envelope carries, parsed.
        trust: whose keys and terminals count; None where nobody said, so that the signature must hold under
            the key that it names itself.
        now: Unix seconds.

    Raises:
        MalformedError, VerificationError, PolicyError: it does not hold, or nobody who is enrolled made it.
    """
    report = parse_report(answer.report.payload)
    if trust is None:
        return _verify_alone(answer, statement)
    bundle = IntentBundle(
        envelope=answer.envelope, reports=(answer.report,), evidence=(), trust_versions=report.trust_versions
    )
    # Whose clock is right is the gate's business; here a decision is never made in the future.
    at = max(now, report.decided_at)
    counted, ignored = verify_approvals(bundle, statement, trust=trust, at=at)
    for one in ignored:
        raise one.error
    # A link rides along for others; here it must be the one of this statement, by the same key, or none.
    if answer.link is not None:
        check_link(answer, statement, trust=trust, at=at)
    return counted[0].keyid


def _verify_alone(answer: Answer, statement: IntentStatement) -> KeyId:
    """Verifies a decision by the key in its own signature: that somebody signed, and nothing about whom."""
    (signature,) = answer.envelope.signatures
    sshsig = parse_sshsig(signature.sig)
    key = parse_public_key(sshsig.public_key)
    origins = () if sshsig.web_origin is None else (sshsig.web_origin,)
    verify_sshsig(
        signature.sig,
        message=pae(PAYLOAD_TYPE, statement.payload),
        namespace=NAMESPACE_INTENT,
        key=key,
        kind="sk" if sshsig.web_origin is None else "webauthn",
        origins=origins,
        require_uv=False,
        allow_backup=True,
    )
    report = parse_report(answer.report.payload)
    about = (report.payload_digest, report.signature_digest)
    if about != (statement.payload_digest, sha256_hex(signature.sig)) or key.keyid != signature.keyid:
        raise VerificationError(
            Reason.REPORT_ORPHAN, "The report is about another decision than the one that it came with."
        )
    return key.keyid
