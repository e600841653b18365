"""Deciding about a request, on a terminal: verify, render, sign, report.

A `Review` holds the very bytes that were verified and rendered.  The challenge comes from
these bytes and from nowhere else, so what is shown is what is signed (invariant 1).
"""

from __future__ import annotations

from typing import NamedTuple

from placet.core.actions import ActionDefinition
from placet.core.bundle import Answer, IntentRequest
from placet.core.display import View, denial_text, render_text, render_view
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from placet.core.encoding import KeyId, encode_canonical, format_time, sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PolicyError, Reason, VerificationError
from placet.core.evidence.facts import EvidenceFact, MetEvidence
from placet.core.evidence.requester import PROOF_MEDIA_TYPE, verify_requester
from placet.core.people import Credential, Person
from placet.core.policy import Rule
from placet.core.report import EvidenceResult, Report, encode_report
from placet.core.rules import applicable_rules, check_evidence
from placet.core.signature import SignatureFacts, verify_sshsig
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_REPORT, key_id, parse_sshsig, signed_data
from placet.core.statement import IntentStatement, check_action, parse_statement
from placet.core.trust import Trust
from placet.core.verify import current_definition
from placet.ports.evidence_verifier import NO_EVIDENCE, EvidenceVerifier
from placet.ports.terminal_identity import TerminalIdentity


class Review(NamedTuple):
    """A verified request, rendered in full; `requester` is a person's ID, or None where unverified.

    `facts` are what was verified of the evidence, `met` those that a rule requires.
    """

    request: IntentRequest
    statement: IntentStatement
    definition: ActionDefinition
    view: View
    rules: tuple[Rule, ...]
    requester: str | None
    evidence: tuple[EvidenceResult, ...]
    facts: tuple[EvidenceFact, ...]
    met: tuple[MetEvidence, ...] = ()


def check_trust_current(trust: Trust, now: int) -> None:
    """Checks that this terminal's trust snapshot has not expired.

    Raises:
        IndeterminateError: TRUST_EXPIRED.
    """
    if now >= trust.expires_at:
        raise IndeterminateError(
            Reason.TRUST_EXPIRED,
            f"This terminal's trust snapshot expired at {format_time(trust.expires_at)}.",
            hint="Run `placet trust refresh` on this terminal.",
        )


def prepare(
    request: IntentRequest,
    *,
    trust: Trust,
    now: int,
    evidence: EvidenceVerifier = NO_EVIDENCE,
) -> Review:
    """Verifies a request as the gate would, and renders every leaf of it.

    Raises:
        MalformedError, VerificationError, PolicyError: the request must not be shown for signing.
        IndeterminateError: TRUST_EXPIRED, EVIDENCE_NOT_VERIFIED.
    """
    check_trust_current(trust, now)
    statement = parse_statement(request.payload)
    if statement.decision != "approve":
        raise PolicyError(Reason.DECISION_IS_DENY, "A request asks for an approval; this one is a denial.")
    definition = current_definition(statement, trust)
    check_action(statement, definition)
    view = render_view(statement, definition)
    if now < statement.issued_at:
        raise PolicyError(
            Reason.ISSUED_IN_FUTURE,
            f"The request was issued at {format_time(statement.issued_at)}; it is {format_time(now)} here.",
            hint="Check the clocks of this terminal and of the requester.",
        )
    if now >= statement.expires_at:
        raise PolicyError(Reason.EXPIRED, f"The request expired at {format_time(statement.expires_at)}.")
    _check_gate(statement, trust)
    facts = evidence.verify(statement, request.evidence, trust=trust)
    rules = applicable_rules(statement, trust)
    # Nobody is asked to sign what the gate would refuse whatever they decide.
    met = [
        m
        for rule in rules
        for m in check_evidence(rule.evidence, statement, facts, at=now, who=f"The rule for {rule.target}")
    ]
    return Review(
        request=request,
        statement=statement,
        definition=definition,
        view=view,
        rules=rules,
        requester=verify_requester(statement, request.evidence, trust=trust, at=now, facts=facts),
        evidence=_evidence_results(request, statement, facts),
        facts=facts,
        met=tuple(met),
    )


def _check_gate(statement: IntentStatement, trust: Trust) -> None:
    gate = statement.audience.removeprefix("gate:")
    if gate not in trust.gates:
        raise PolicyError(Reason.UNKNOWN_GATE, f"The trust root knows no gate named {gate!r}.")


def _evidence_results(
    request: IntentRequest, statement: IntentStatement, facts: tuple[EvidenceFact, ...]
) -> tuple[EvidenceResult, ...]:
    """Says of each piece of evidence what this terminal found.

    The requester's proof has been verified when this is called.  Of kinds without a verifier the
    terminal says honestly that it did not check them.
    """
    verified = {fact.digest for fact in facts}
    named = {reference.digest: reference.media_type for reference in statement.evidence}
    for carried in request.evidence:
        if named.get(carried.digest) != carried.media_type:
            raise VerificationError(
                Reason.EVIDENCE_MISMATCH, "The request carries evidence that its statement does not name."
            )
    return tuple(
        EvidenceResult(
            r.digest,
            "verified" if r.media_type == PROOF_MEDIA_TYPE or r.digest in verified else "not-checked",
        )
        for r in statement.evidence
    )


def deny(review: Review) -> Review:
    """Returns the review of the denial of the same request: other bytes, signed the same way."""
    predicate = review.statement.value["predicate"]
    text = denial_text(render_text(review.statement.value, review.definition))
    changed = {**predicate, "decision": "deny", "display": {**predicate["display"], "text": text}}
    statement = parse_statement(encode_canonical({**review.statement.value, "predicate": changed}))
    return review._replace(statement=statement, view=render_view(statement, review.definition))


def message(review: Review) -> bytes:
    """Returns the DSSE PAE of the reviewed bytes: what ``ssh-keygen -Y sign`` signs."""
    return pae(PAYLOAD_TYPE, review.statement.payload)


def challenge(review: Review) -> bytes:
    """Returns the WebAuthn challenge for the reviewed bytes."""
    return signed_data(NAMESPACE_INTENT, message(review))


def make_answer(
    review: Review,
    *,
    sshsig: bytes,
    trust: Trust,
    terminal: TerminalIdentity,
    decided_at: int,
    seconds_on_screen: int,
    renderer: str,
    changes: str,
) -> tuple[Answer, Person, SignatureFacts]:
    """Checks a fresh signature as the gate will, and adds the terminal's report.

    Args:
        sshsig: the authenticator's signature over `message`.
        decided_at: Unix seconds.
        changes: what changed since this target's last approved state, in words.

    Raises:
        MalformedError, VerificationError, PolicyError: the signature would not count; nothing is sent.
    """
    keyid = key_id(parse_sshsig(sshsig).public_key)
    found = trust.credentials.get(keyid)
    if found is None:
        raise PolicyError(
            Reason.UNKNOWN_KEY,
            "This key belongs to nobody in the trust root, so the signature would not count.",
            hint="Have the key enrolled (`placet trust enroll`), then refresh trust here.",
        )
    person, credential = found
    facts = _check_signature(sshsig, review, credential, trust, terminal)
    report = Report(
        terminal_id=terminal.terminal_id,
        payload_digest=review.statement.payload_digest,
        signature_keyid=keyid,
        signature_digest=sha256_hex(sshsig),
        decided_at=decided_at,
        seconds_on_screen=seconds_on_screen,
        renderer=renderer,
        changes=changes,
        evidence=review.evidence,
        trust_versions=trust.versions,
    )
    payload = encode_report(report)
    blob = terminal.sign(NAMESPACE_REPORT, pae(PAYLOAD_TYPE, payload))
    answer = Answer(
        _signed(review.statement.payload, keyid, sshsig), _signed(payload, key_id(terminal.wire), blob)
    )
    return answer, person, facts


def _signed(payload: bytes, keyid: KeyId, blob: bytes) -> Envelope:
    return Envelope(payload, PAYLOAD_TYPE, (Signature(keyid, blob),))


def _check_signature(
    sshsig: bytes, review: Review, credential: Credential, trust: Trust, terminal: TerminalIdentity
) -> SignatureFacts:
    enrolled = trust.terminals.get(key_id(terminal.wire))
    if enrolled is None or enrolled.id != terminal.terminal_id:
        raise PolicyError(
            Reason.TERMINAL_UNKNOWN,
            f"This terminal ({terminal.terminal_id}) is not enrolled, so its report would not count.",
            hint="An administrator enrols it with `placet trust add-terminal`; then refresh trust here.",
        )
    return verify_sshsig(
        sshsig,
        message=message(review),
        namespace=NAMESPACE_INTENT,
        key=credential.public_key,
        kind=credential.kind,
        origins=enrolled.origins,
        require_uv=credential.uv,
        allow_backup=credential.backup == "allow",
    )


def check_same_request(answer: Answer, request: IntentRequest) -> str:
    """Checks that an answer is about this request, and returns its decision.

    Raises:
        MalformedError: the answer's statement is malformed.
        VerificationError: SUBJECT_MISMATCH where it differs in more than decision and summary.
    """
    if answer.envelope.payload == request.payload:
        return "approve"
    try:
        denied = parse_statement(answer.envelope.payload)
    except MalformedError as e:
        raise VerificationError(Reason.SUBJECT_MISMATCH, "The answer is about something else.") from e
    asked = parse_statement(request.payload).value
    said = denied.value["predicate"]
    as_asked = {
        **said,
        "decision": asked["predicate"]["decision"],
        "display": {**said["display"], "text": asked["predicate"]["display"]["text"]},
    }
    if denied.decision != "deny" or {**denied.value, "predicate": as_asked} != asked:
        raise VerificationError(Reason.SUBJECT_MISMATCH, "The answer is about another request.")
    return "deny"
