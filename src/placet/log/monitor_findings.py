"""What a monitor can find, how bad it is, and what to do about it (docs/how-to-monitor.md).

    alarm    somebody lied, or something happened that nobody allowed; people must act
    warning  somebody must look; it can be innocent
    notice   nothing is wrong; it is told so that nobody learns of it too late

A finding stays open until a person settles it, or, for the few that describe how things stand now,
until it is no longer so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from placet.core.encoding import encode_canonical, sha256_hex
from placet.core.errors import visible


class Severity(StrEnum):
    """How bad a finding is."""

    ALARM = "alarm"
    WARNING = "warning"
    NOTICE = "notice"


SEVERITIES = tuple(Severity)
"""The worst first."""


class FindingName(StrEnum):
    """The closed set of findings; values are stable, documented and safe to match on."""

    # What a log shows
    CHECKPOINT_FORGED = "checkpoint-forged"
    ROLLED_BACK = "rolled-back"
    FORK = "fork"
    SPLIT_VIEW = "split-view"
    LEAF_DROPPED = "leaf-dropped"
    LEAF_REWRITTEN = "leaf-rewritten"
    LEAF_INSERTED = "leaf-inserted"
    ENTRIES_MISMATCH = "entries-mismatch"
    CHECKPOINT_AHEAD = "checkpoint-ahead"
    CHECKPOINT_STALE = "checkpoint-stale"
    NOT_WITNESSED = "not-witnessed"
    COSIGNATURE_REPLAYED = "cosignature-replayed"
    COSIGNATURE_INVALID = "cosignature-invalid"
    WITNESS_TIME_AHEAD = "witness-time-ahead"
    # What stands in it
    LEAF_UNKNOWN = "leaf-unknown"
    RECORD_MISSING = "record-missing"
    RECORD_MISMATCH = "record-mismatch"
    RECORD_FORGED = "record-forged"
    KEY_UNKNOWN = "key-unknown"
    # What people and gates did
    USE_WITHOUT_APPROVAL = "use-without-approval"
    USED_TOO_OFTEN = "used-too-often"
    USED_OUTSIDE_WINDOW = "used-outside-window"
    QUORUM_NOT_LOGGED = "quorum-not-logged"
    BREAK_GLASS = "break-glass"
    NEVER_USED = "approval-never-used"
    DENIED = "denied"
    # Trust
    TRUST_FORGED = "trust-forged"
    TRUST_SPLIT = "trust-split"
    TRUST_ROLLED_BACK = "trust-rolled-back"
    TRUST_NOT_LOGGED = "trust-not-logged"
    TRUST_CHANGED = "trust-changed"


class Finding(NamedTuple):
    """One finding.  `subject` is what it is about: the same name and subject are the same finding."""

    name: FindingName
    subject: str
    message: str
    log_origin: str = ""
    leaf_index: int | None = None

    @property
    def id(self) -> str:
        """A short name that stays the same over runs."""
        return sha256_hex(encode_canonical([self.name, self.log_origin, self.subject]))[:12]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return _TABLE[self.name][0]

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return _TABLE[self.name][1]


def finding(
    name: FindingName, subject: str, message: str, *, log_origin: str = "", leaf_index: int | None = None
) -> Finding:
    """Returns a finding whose text moves no cursor, whatever a record smuggled into it."""
    return Finding(name, subject, visible(message), log_origin, leaf_index)


def quote(text: str) -> str:
    """Returns others' words in quotation marks that they cannot end: what stands in them is never ours."""
    return '"' + visible(text).replace('"', "'") + '"'


def severity_of(name: FindingName) -> Severity:
    """Returns how bad a finding of that name is."""
    return _TABLE[name][0]


def is_condition(name: str) -> bool:
    """Tells whether a finding describes how things stand now, and ends by itself."""
    return name in _CONDITIONS


_CONDITIONS = frozenset(
    {
        *(FindingName.CHECKPOINT_STALE, FindingName.CHECKPOINT_AHEAD, FindingName.NOT_WITNESSED),
        *(FindingName.WITNESS_TIME_AHEAD, FindingName.RECORD_MISSING, FindingName.TRUST_NOT_LOGGED),
    }
)

_TWO_TREES = (
    "Keep the evidence: the log's own signatures prove it. Stop trusting this log, tell the other parties, "
    "and find out who held its key."
)
_FORGED = (
    "Ask the log's operator how it came in; a log takes only what it verified. If the operator cannot say, "
    "treat the log's host as taken over."
)
_LOOK_AT_GATE = (
    "Look at the target itself and at the gate's ledger (`placet ledger show`): it happened there."
)

_TABLE: dict[FindingName, tuple[Severity, str]] = {
    FindingName.CHECKPOINT_FORGED: (
        Severity.ALARM,
        "Check the log's address, and the network to it. If the log has a new key, an administrator puts it "
        "into the trust root's log-policy.",
    ),
    FindingName.ROLLED_BACK: (
        Severity.ALARM,
        "Ask the operator whether the log was restored from a backup, or a stale cache answers for it. "
        "Until then, take it that entries were taken away.",
    ),
    FindingName.FORK: (Severity.ALARM, _TWO_TREES),
    FindingName.SPLIT_VIEW: (Severity.ALARM, _TWO_TREES),
    FindingName.LEAF_DROPPED: (Severity.ALARM, _TWO_TREES),
    FindingName.LEAF_REWRITTEN: (Severity.ALARM, _TWO_TREES),
    FindingName.LEAF_INSERTED: (Severity.ALARM, _TWO_TREES),
    FindingName.ENTRIES_MISMATCH: (
        Severity.ALARM,
        "Fetch again without caches in between. If it stays so, the log hides what it signed: tell its "
        "operator and the other parties.",
    ),
    FindingName.CHECKPOINT_AHEAD: (
        Severity.WARNING,
        "Run the audit again in some minutes. If it stays so, this log shows you less than others.",
    ),
    FindingName.CHECKPOINT_STALE: (
        Severity.WARNING,
        "Look whether the log and its witnesses run. If they do, somebody shows you an old state.",
    ),
    FindingName.NOT_WITNESSED: (
        Severity.WARNING,
        "Look whether the witnesses run and the log reaches them. Without them, a split view is found by "
        "comparing only (`placet audit --against`).",
    ),
    FindingName.COSIGNATURE_REPLAYED: (
        Severity.ALARM,
        "Somebody copied a witness's signature under another tree. Treat the log's host as taken over.",
    ),
    FindingName.COSIGNATURE_INVALID: (
        Severity.WARNING,
        "Ask the witness's operator whether its key changed; then an administrator updates the log-policy.",
    ),
    FindingName.WITNESS_TIME_AHEAD: (
        Severity.WARNING,
        "Correct the clock of this machine, or have the witness's operator correct theirs.",
    ),
    FindingName.LEAF_UNKNOWN: (
        Severity.WARNING,
        "Update placet where a newer version writes to this log; otherwise ask the log's operator.",
    ),
    FindingName.RECORD_MISSING: (
        Severity.WARNING,
        "Ask the log's operator for the record: without it, nobody can say what the entry stands for.",
    ),
    FindingName.RECORD_MISMATCH: (Severity.ALARM, _FORGED),
    FindingName.RECORD_FORGED: (Severity.ALARM, _FORGED),
    FindingName.KEY_UNKNOWN: (
        Severity.WARNING,
        "Find out whose key it was: `placet trust history` says who left. If nobody's, treat the log's host "
        "as taken over.",
    ),
    FindingName.USE_WITHOUT_APPROVAL: (Severity.ALARM, _LOOK_AT_GATE),
    FindingName.USED_TOO_OFTEN: (
        Severity.ALARM,
        "The gate's ledger should have refused this: look whether it was restored or copied "
        "(`placet ledger reborn`), and at the target.",
    ),
    FindingName.USED_OUTSIDE_WINDOW: (Severity.ALARM, f"Check the gate's clock. {_LOOK_AT_GATE}"),
    FindingName.QUORUM_NOT_LOGGED: (
        Severity.WARNING,
        "Verify the bundle itself (`placet verify --audit`); rules and people may have changed since.",
    ),
    FindingName.BREAK_GLASS: (
        Severity.WARNING,
        "Talk to the people who approved: what was the emergency, and is it over? Then settle this finding.",
    ),
    FindingName.NEVER_USED: (Severity.NOTICE, "Nothing must be done. The approval has expired."),
    FindingName.DENIED: (Severity.NOTICE, "Ask the person why, if you do not know."),
    FindingName.TRUST_FORGED: (
        Severity.ALARM,
        "Compare with `placet trust show` on a machine that you trust, and tell the administrators.",
    ),
    FindingName.TRUST_SPLIT: (
        Severity.ALARM,
        "Two files of one version are both signed: tell all administrators; some of their keys are in wrong "
        "hands.",
    ),
    FindingName.TRUST_ROLLED_BACK: (
        Severity.WARNING,
        "Ask the administrators why an older version was logged after a newer one.",
    ),
    FindingName.TRUST_NOT_LOGGED: (
        Severity.WARNING,
        "Ask the administrators to log what they published; a change that nobody logged is a change that "
        "nobody was told of.",
    ),
    FindingName.TRUST_CHANGED: (
        Severity.NOTICE,
        "See what changed: `placet trust status`. If you did not expect it, ask an administrator.",
    ),
}
