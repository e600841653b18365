"""The signing gate: signs exactly what was approved, after the approval is used up, and says so.

The steps, each a function below, always in this order:

1. `prepare_signing` compares the artifacts at hand, and the statement, with what the approval says;
2. the caller's verifier judges the approval for these very digests, and the ledger whether it can be used:
   nobody signs in for nothing;
3. `open_signer` gets an identity certified; it must be the approved one, where the approval names one;
4. the verifier judges again, since signing in took its time;
5. `consume_uses` consumes the use durably, and has the log hold it where a rule wants that (USE-12);
6. `sign_piece` signs, and signs a second statement that names the approval;
7. the caller keeps the signatures, then `record_outcomes` records that it ended well.

A crash before 5 loses nothing.  A crash after 5 leaves the use consumed with an unknown outcome, shown to
people and never retried: a log may hold a signature that nobody has (A8).  The same holds where Sigstore
fails after 5: how far it came is not known.

Leaves out: which bundle, trust and gate (the verifier brings them), and how Sigstore is spoken to (the
signer does).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from placet.core.encoding import Digest
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.verify import VerifiedApproval
from placet.documents.signing import IntentReference, build_reference
from placet.gates.signing_plan import (
    Piece,
    SigningPlan,
    check_signer,
    mismatch,
    plan_signing,
    prepare_signing,
)
from placet.gates.uses import consume_all, describe_use, judge_after_wait, record_outcomes
from placet.ports.artifact_signer import ArtifactSigner, SignerIdentity
from placet.ports.clock import Clock
from placet.ports.use_ledger import Consumption, Use, UseLedger

if TYPE_CHECKING:
    from placet.gates.use_log import UseLog

_SIGNED = 0


class Step(StrEnum):
    """The steps of signing, told to the observer as each is completed."""

    PREPARED = "prepared"
    VERIFIED = "verified"
    SIGNED_IN = "signed-in"
    CONSUMED = "consumed"
    SIGNED = "signed"
    KEPT = "kept"
    RECORDED = "recorded"


class SignedPiece(NamedTuple):
    """A piece with its Sigstore bundles: the signature, and the statement that names the approval."""

    piece: Piece
    bundle: bytes
    reference: bytes


class SigningResult(NamedTuple):
    """What happened.

    Args:
        signed: the pieces that were signed now.
        repeated: the pieces that were signed for the same event before; nothing was signed for them now.
        signer: whom the signatures are by; None where all were repeated.
        unrecorded: why an outcome could not be recorded; that use stays consumed with an unknown outcome.
    """

    signed: tuple[SignedPiece, ...]
    repeated: tuple[Piece, ...]
    approval: VerifiedApproval
    signer: SignerIdentity | None
    unrecorded: PlacetError | None


class SigningGate(NamedTuple):
    """What a gate brings to signing.

    Args:
        verify: verifies the approval for these digests (``sha256:…``) at this time, or raises.
        open_signer: gets an identity certified; called only when the approval holds.
        log: hears of the uses; None where the trust root names no log.
        reference: how the approval is named in the second statement.
        attester: the gate's URI.
        keep: keeps signatures where whoever asked finds them; called before the outcome is recorded.
        observe: is told each completed step.
    """

    verify: Callable[[frozenset[str], int], VerifiedApproval]
    open_signer: Callable[[], ArtifactSigner]
    ledger: UseLedger
    log: UseLog | None
    clock: Clock
    reference: IntentReference
    attester: str
    keep: Callable[[SignedPiece], None]
    observe: Callable[[Step], None] = lambda step: None


def sign_approved(
    plan: SigningPlan,
    gate: SigningGate,
    *,
    digests: frozenset[Digest],
    statement: bytes | None = None,
    event_id: str | None = None,
) -> SigningResult:
    """Prepares, verifies, signs in, consumes, signs, keeps and records.

    Args:
        plan: from `plan_signing`; not trusted until `gate.verify` has judged it.
        digests: of the artifacts at hand.
        statement: the statement to sign, where the approval is for one.
        event_id: the native event's ID, if its system may deliver it twice.

    Raises:
        PlacetError: placet refuses, or cannot decide; nothing was signed for pieces that were not kept.
        SigningUnavailableError: there is no identity to sign with; nothing was used.
        SigningUnfinishedError: a use is consumed, and its outcome is not known.
    """
    pieces = prepare_signing(plan, digests, statement)
    gate.observe(Step.PREPARED)
    approval = _verify(plan, gate, digests)
    for piece in pieces:
        for use in _describe_uses(piece, approval, gate.clock.now(), event_id):
            gate.ledger.check_available(use)
    if gate.log is not None:
        gate.log.check_ready()
    gate.observe(Step.VERIFIED)
    signer = gate.open_signer()
    check_signer(plan, signer.signer)
    gate.observe(Step.SIGNED_IN)
    signed: list[SignedPiece] = []
    repeated: list[Piece] = []
    unrecorded: PlacetError | None = None
    for piece in pieces:
        approval = _verify(plan, gate, digests)
        consumptions = consume_uses(piece, approval, gate, event_id)
        if consumptions[0].repeated:
            repeated.append(piece)
            continue
        judge = partial(_verify, plan, gate, digests)
        judge_after_wait(judge, consumptions, gate.ledger, gate.clock.now(), log=gate.log)
        gate.observe(Step.CONSUMED)
        done = sign_piece(piece, signer, gate)
        gate.observe(Step.SIGNED)
        gate.keep(done)
        gate.observe(Step.KEPT)
        said = record_outcomes(gate.ledger, consumptions, _SIGNED, gate.clock.now(), log=gate.log)
        unrecorded = said or unrecorded
        gate.observe(Step.RECORDED)
        signed.append(done)
    return SigningResult(
        tuple(signed), tuple(repeated), approval, signer.signer if signed else None, unrecorded
    )


def _verify(plan: SigningPlan, gate: SigningGate, digests: frozenset[Digest]) -> VerifiedApproval:
    approval = gate.verify(frozenset(f"sha256:{digest}" for digest in digests), gate.clock.now())
    if plan_signing(approval.statement) != plan:
        raise mismatch("What was verified is not what was prepared for signing.")
    return approval


def consume_uses(
    piece: Piece, approval: VerifiedApproval, gate: SigningGate, event_id: str | None
) -> tuple[Consumption, ...]:
    """Consumes one use of each artifact of a piece, durably.

    Raises:
        PolicyError: ALREADY_USED, ISSUED_BEFORE_LEDGER, COUNTER_WENT_BACK.
        IndeterminateError: the ledger cannot answer; LOG_UNAVAILABLE.
    """
    uses = _describe_uses(piece, approval, gate.clock.now(), event_id)
    consumptions = consume_all(uses, gate.ledger, log=gate.log)
    if len({consumption.repeated for consumption in consumptions}) > 1:
        raise PolicyError(
            Reason.ALREADY_USED,
            "This event was delivered before for some of these artifacts, and its outcome is not known.",
            hint="`placet ledger show --unknown` lists it. Then request a new approval.",
        )
    return consumptions


def _describe_uses(
    piece: Piece, approval: VerifiedApproval, now: int, event_id: str | None
) -> tuple[Use, ...]:
    # One event may ask for several artifacts, and each is a use of its own.
    return tuple(
        describe_use(
            approval,
            now,
            None if event_id is None else f"{event_id}#{artifact.digest}",
            f"sha256:{artifact.digest}",
        )
        for artifact in piece.artifacts
    )


def sign_piece(piece: Piece, signer: ArtifactSigner, gate: SigningGate) -> SignedPiece:
    """Signs a piece, and then the statement that names the approval.

    Raises:
        SigningUnfinishedError: no whole pair of signatures came of it; the use stays consumed.
    """
    if piece.statement is None:
        bundle = signer.sign_digest(piece.artifacts[0].digest)
    else:
        bundle = signer.sign_statement(piece.statement)
    statement = build_reference(piece.artifacts, gate.reference, attester=gate.attester)
    return SignedPiece(piece, bundle, signer.sign_statement(statement))
