"""Every refusal has a name (INV-8).

    PlacetError
    ├── MalformedError       the bytes are not the format
    ├── VerificationError    well-formed, but a cryptographic or binding check failed
    ├── PolicyError          verified, but not sufficient for this relying party
    └── IndeterminateError   undecidable: trust data, a clock or a ledger is missing

The core raises nothing else, on any input.  Gates deny on all four; they report
`IndeterminateError` as "undecided" because the user's next step differs: it is
the gate that needs care, not the approval.

Each `Reason` is an anchor in ``docs/reasons.md`` and never changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The closed set of refusals; values are stable, documented and safe to match on."""

    # Encoding and admission (spec/02-admission.md)
    TOO_LARGE = "too-large"
    NOT_UTF8 = "not-utf8"
    NOT_JSON = "not-json"
    TOO_DEEP = "too-deep"
    DUPLICATE_MEMBER = "duplicate-member"
    NUMBER_NOT_ALLOWED = "number-not-allowed"
    MEMBER_NAME = "member-name"
    TEXT_NOT_ALLOWED = "text-not-allowed"
    NOT_NFC = "not-nfc"
    NOT_CANONICAL = "not-canonical"
    WRONG_TYPE = "wrong-type"
    MISSING_MEMBER = "missing-member"
    UNKNOWN_MEMBER = "unknown-member"
    BAD_VALUE = "bad-value"
    BAD_BASE64 = "bad-base64"
    BAD_TIME = "bad-time"
    BAD_DIGEST = "bad-digest"
    DUPLICATE_VALUE = "duplicate-value"
    TOO_MANY = "too-many"
    UNSUPPORTED_TYPE = "unsupported-type"
    # Statement, action, display
    UNKNOWN_ACTION = "unknown-action"
    ACTION_SCHEMA = "action-schema"
    SUBJECT_MISMATCH = "subject-mismatch"
    DISPLAY_INCOMPLETE = "display-incomplete"
    DISPLAY_MISMATCH = "display-mismatch"
    DISPLAY_TOO_LONG = "display-too-long"
    TEMPLATE_STALE = "template-stale"
    # Keys and signatures
    BAD_KEY = "bad-key"
    BAD_SSHSIG = "bad-sshsig"
    KEY_MISMATCH = "key-mismatch"
    NAMESPACE_MISMATCH = "namespace-mismatch"
    SIGNATURE_KIND = "signature-kind"
    SIGNATURE_INVALID = "signature-invalid"
    UNKNOWN_KEY = "unknown-key"
    CREDENTIAL_NOT_VALID = "credential-not-valid"
    CLIENT_DATA = "client-data"
    CHALLENGE_MISMATCH = "challenge-mismatch"
    ORIGIN_NOT_ALLOWED = "origin-not-allowed"
    CROSS_ORIGIN = "cross-origin"
    USER_PRESENCE_MISSING = "user-presence-missing"
    USER_VERIFICATION_MISSING = "user-verification-missing"
    BACKUP_NOT_ALLOWED = "backup-not-allowed"
    FLAGS_INVALID = "flags-invalid"
    ATTESTATION_INVALID = "attestation-invalid"
    MODEL_NOT_ALLOWED = "model-not-allowed"
    # Reports and evidence
    REPORT_INVALID = "report-invalid"
    REPORT_ORPHAN = "report-orphan"
    TERMINAL_UNKNOWN = "terminal-unknown"
    DECIDED_OUTSIDE_WINDOW = "decided-outside-window"
    EVIDENCE_MISMATCH = "evidence-mismatch"
    EVIDENCE_REQUIRED = "evidence-required"
    EVIDENCE_NOT_VERIFIED = "evidence-not-verified"
    REQUEST_PROOF_INVALID = "request-proof-invalid"
    # What other frameworks' evidence lacks
    EVIDENCE_INVALID = "evidence-invalid"
    EVIDENCE_NOT_LOGGED = "evidence-not-logged"
    EVIDENCE_TIME = "evidence-time"
    EVIDENCE_UNSUPPORTED = "evidence-unsupported"
    EVIDENCE_SIGNER = "evidence-signer"
    EVIDENCE_SUBJECT = "evidence-subject"
    EVIDENCE_BUILDER = "evidence-builder"
    EVIDENCE_BUILD_TYPE = "evidence-build-type"
    EVIDENCE_SOURCE = "evidence-source"
    EVIDENCE_PARAMETERS = "evidence-parameters"
    EVIDENCE_LEVEL = "evidence-level"
    EVIDENCE_STALE = "evidence-stale"
    EVIDENCE_RESOURCE = "evidence-resource"
    EVIDENCE_LAYOUT = "evidence-layout"
    # Decision
    DECISION_IS_DENY = "decision-is-deny"
    WRONG_AUDIENCE = "wrong-audience"
    UNKNOWN_GATE = "unknown-gate"
    ISSUED_IN_FUTURE = "issued-in-future"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    WINDOW_TOO_LONG = "window-too-long"
    ACTION_MISMATCH = "action-mismatch"
    TARGET_MISMATCH = "target-mismatch"
    PARAMETERS_MISMATCH = "parameters-mismatch"
    ARTIFACT_MISMATCH = "artifact-mismatch"
    NO_MATCHING_RULE = "no-matching-rule"
    POLICY_STALE = "policy-stale"
    QUORUM_NOT_MET = "quorum-not-met"
    LEVEL_TOO_LOW = "level-too-low"
    LEVEL_NEEDS_LOG = "level-needs-log"
    TERMINALS_NOT_DISTINCT = "terminals-not-distinct"
    # The log
    LOG_PROOF_INVALID = "log-proof-invalid"
    LOG_INCONSISTENT = "log-inconsistent"
    LOG_UNKNOWN = "log-unknown"
    LOG_NOT_WITNESSED = "log-not-witnessed"
    LOG_REFUSED = "log-refused"
    LOG_UNAVAILABLE = "log-unavailable"
    LOG_DAMAGED = "log-damaged"
    WITNESS_REFUSED = "witness-refused"
    # Trust
    BAD_POLICY = "bad-policy"
    BAD_TRUST = "bad-trust"
    TRUST_EXPIRED = "trust-expired"
    TRUST_NEWER = "trust-newer"
    TRUST_UNAVAILABLE = "trust-unavailable"
    TIME_UNPROVEN = "time-unproven"
    # Use
    ALREADY_USED = "already-used"
    ISSUED_BEFORE_LEDGER = "issued-before-ledger"
    COUNTER_WENT_BACK = "counter-went-back"
    LEDGER_UNAVAILABLE = "ledger-unavailable"
    LEDGER_RESTORED = "ledger-restored"
    EXECUTION_MISMATCH = "execution-mismatch"
    SIGNING_UNAVAILABLE = "signing-unavailable"
    SIGNING_UNFINISHED = "signing-unfinished"
    # Asking a relay
    RELAY_UNAVAILABLE = "relay-unavailable"
    RELAY_REFUSED = "relay-refused"
    RELAY_NONSENSE = "relay-nonsense"
    RELAY_LIED = "relay-lied"
    REQUEST_WITHDRAWN = "request-withdrawn"
    APPROVAL_PENDING = "approval-pending"


def visible(text: str) -> str:
    """Returns `text` fit for a terminal: nothing that a hostile file smuggled in moves a cursor (INV-2)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)


class PlacetError(Exception):
    """A named refusal.

    Args:
        reason: what was refused, from the closed set.
        message: one sentence for a person.
        path: JSON pointer of the offending member, or "".
        expected: what would have been accepted, where safe to show.
        actual: what was found, where safe to show.
        hint: what the user can do next, as a sentence, or "".
        causes: refusals that together led to this one (failing signatures under an unmet quorum).
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        path: str = "",
        expected: object = None,
        actual: object = None,
        hint: str = "",
        causes: tuple[PlacetError, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = visible(message)
        self.path = visible(path)
        self.expected = expected
        self.actual = actual
        self.hint = hint
        self.causes = causes

    def __str__(self) -> str:
        where = f" (at {self.path})" if self.path else ""
        return f"{self.message}{where}"


class MalformedError(PlacetError):
    """The bytes are not the format."""


class VerificationError(PlacetError):
    """The bytes are well-formed, but a cryptographic or binding check failed."""


class PolicyError(PlacetError):
    """Everything verified, but it is not sufficient for this relying party."""


class IndeterminateError(PlacetError):
    """No decision is possible with what is at hand.  Gates deny, and say so differently."""
