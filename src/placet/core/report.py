"""The terminal's report: what the terminal says about one signature (spec/11-report.md).

Made after the signature, by the terminal's own key, about the very signature bytes.  A
report is necessary for higher levels and never sufficient: the gate checks everything
that it can check itself.
"""

from __future__ import annotations

from typing import NamedTuple

from placet.core.admission import admit
from placet.core.decode import (
    Object,
    read_ascii,
    read_choice,
    read_decimal,
    read_key_id,
    read_list,
    read_object,
    read_sha256,
    read_string,
    read_time,
)
from placet.core.dsse import PAYLOAD_TYPE, Envelope, pae
from placet.core.encoding import Digest, KeyId, encode_canonical, format_time
from placet.core.errors import PolicyError, Reason, VerificationError
from placet.core.people import Terminal
from placet.core.signature import verify_terminal_signature
from placet.core.sshsig import NAMESPACE_REPORT
from placet.core.statement import MAX_EVIDENCE, STATEMENT_TYPE
from placet.core.trust import Trust, read_versions

PREDICATE_TYPE = "https://placet.dev/terminal-report/v1"
SUBJECT_NAME = "intent"
_STATEMENT = frozenset({"_type", "subject", "predicateType", "predicate"})
_SUBJECT = frozenset({"name", "digest"})
_PREDICATE = frozenset(
    {"terminal", "signature", "decidedAt", "secondsOnScreen", "renderer", "changes", "evidence", "trust"}
)
_SIGNATURE = frozenset({"keyid", "digest"})
_TRUST = frozenset({"versions"})
_EVIDENCE = frozenset({"digest", "result"})
RESULTS = ("verified", "not-verified", "not-checked")
MAX_SECONDS_ON_SCREEN = 10**7


class EvidenceResult(NamedTuple):
    """What the terminal found when it checked one piece of evidence."""

    digest: Digest
    result: str


class Report(NamedTuple):
    """A parsed report.  `decided_at` is in Unix seconds."""

    terminal_id: str
    payload_digest: Digest
    signature_keyid: KeyId
    signature_digest: Digest
    decided_at: int
    seconds_on_screen: int
    renderer: str
    changes: str
    evidence: tuple[EvidenceResult, ...]
    trust_versions: dict[str, int]


def parse_report(payload: bytes) -> Report:
    """Parses a report's payload (RPT-01).

    Raises:
        MalformedError: the bytes fail the admission profile or the report's shape.
    """
    top = read_object(admit(payload, what="terminal report"), "", _STATEMENT)
    read_choice(top["_type"], "/_type", (STATEMENT_TYPE,))
    read_choice(top["predicateType"], "/predicateType", (PREDICATE_TYPE,))
    (subject,) = read_list(top["subject"], "/subject", max_items=1, min_items=1)
    members = read_object(subject, "/subject/0", _SUBJECT)
    read_choice(members["name"], "/subject/0/name", (SUBJECT_NAME,))
    predicate = read_object(top["predicate"], "/predicate", _PREDICATE)
    signature = read_object(predicate["signature"], "/predicate/signature", _SIGNATURE)
    trust = read_object(predicate["trust"], "/predicate/trust", _TRUST)
    seconds = predicate["secondsOnScreen"]
    return Report(
        terminal_id=read_ascii(predicate["terminal"], "/predicate/terminal", max_length=80),
        payload_digest=read_sha256(members["digest"], "/subject/0/digest"),
        signature_keyid=read_key_id(signature["keyid"], "/predicate/signature/keyid"),
        signature_digest=read_sha256(signature["digest"], "/predicate/signature/digest"),
        decided_at=read_time(predicate["decidedAt"], "/predicate/decidedAt"),
        seconds_on_screen=read_decimal(
            seconds, "/predicate/secondsOnScreen", minimum=0, maximum=MAX_SECONDS_ON_SCREEN
        ),
        renderer=read_ascii(predicate["renderer"], "/predicate/renderer", max_length=80),
        changes=read_string(predicate["changes"], "/predicate/changes"),
        evidence=_read_results(predicate["evidence"]),
        trust_versions=read_versions(trust["versions"], "/predicate/trust/versions"),
    )


def _read_results(value: object) -> tuple[EvidenceResult, ...]:
    results = []
    for i, item in enumerate(read_list(value, "/predicate/evidence", max_items=MAX_EVIDENCE)):
        at = f"/predicate/evidence/{i}"
        members = read_object(item, at, _EVIDENCE)
        result = read_choice(members["result"], f"{at}/result", RESULTS)
        results.append(EvidenceResult(read_sha256(members["digest"], f"{at}/digest"), result))
    return tuple(results)


def encode_report(report: Report) -> bytes:
    """Encodes a report's payload; the inverse of `parse_report`."""
    predicate: Object = {
        "terminal": report.terminal_id,
        "signature": {"keyid": report.signature_keyid, "digest": {"sha256": report.signature_digest}},
        "decidedAt": format_time(report.decided_at),
        "secondsOnScreen": str(report.seconds_on_screen),
        "renderer": report.renderer,
        "changes": report.changes,
        "evidence": [{"digest": {"sha256": e.digest}, "result": e.result} for e in report.evidence],
        "trust": {"versions": report.trust_versions},
    }
    return encode_canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": SUBJECT_NAME, "digest": {"sha256": report.payload_digest}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def verify_report(
    envelope: Envelope, *, trust: Trust, payload_digest: Digest, parsed: Report | None = None
) -> tuple[Report, Terminal]:
    """Verifies that a currently enrolled terminal made this report about this intent.

    Args:
        parsed: what `parse_report` said of the envelope's payload, where the caller asked it already.

    Raises:
        MalformedError: the report is malformed.
        PolicyError: TERMINAL_UNKNOWN.
        VerificationError: REPORT_INVALID.
    """
    report = parsed or parse_report(envelope.payload)
    if len(envelope.signatures) != 1:
        raise VerificationError(Reason.REPORT_INVALID, "A report has exactly one signature.")
    (signature,) = envelope.signatures
    terminal = trust.terminals.get(signature.keyid)
    if terminal is None or terminal.id != report.terminal_id:  # RPT-03
        raise PolicyError(
            Reason.TERMINAL_UNKNOWN,
            f"The report of terminal {report.terminal_id!r} is not signed by a terminal enrolled today.",
            hint="Enrol the terminal with `placet trust add-terminal`, or approve on one that is.",
        )
    verify_terminal_signature(  # RPT-02
        signature.sig,
        message=pae(PAYLOAD_TYPE, envelope.payload),
        namespace=NAMESPACE_REPORT,
        key=terminal.public_key,
    )
    if report.payload_digest != payload_digest:  # RPT-04
        raise VerificationError(Reason.REPORT_INVALID, "The report is about another statement.")
    return report, terminal
