"""A gate that is a functionary of an in-toto layout: it writes its link for what was approved, once.

The steps, always in this order:

1. the caller's verifier judges the approval against the artifacts that are here;
2. `consume_uses` consumes the uses durably, and has the log hold them where a rule wants that (USE-12);
3. the link is signed, and written whole or not at all;
4. `record_outcomes` records how it ended.

A crash before 2 loses nothing.  A crash after 2 leaves the uses consumed with an unknown outcome, shown to
people and never retried: a link that may be out in the world must not be made twice (A8).

The link names the artifacts as materials and, unchanged, as products, so that later steps can match them; and
the material ``intent://action``, as the links of the people do.  Leaves out: which bundle, trust and key.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from placet.ceremony.link import action_digest, artifacts_of
from placet.core.encoding import encode_canonical
from placet.core.errors import PlacetError
from placet.core.levels import level_name
from placet.core.verify import VerifiedApproval
from placet.documents.approve_step import ACTION_MATERIAL
from placet.gates.uses import check_uses, consume_uses, judge_after_wait, record_outcomes
from placet.ports.clock import Clock
from placet.ports.use_ledger import UseLedger

if TYPE_CHECKING:
    from placet.gates.use_log import UseLog

__all__ = ["GateLink", "Step", "gate_link_payload", "rehearse_gate_link", "write_gate_link"]

# Recorded where a link could not be written, as the exit code of a command that failed.
_WRITTEN, _NOT_WRITTEN = 0, 1

Verifier = Callable[[int], VerifiedApproval]
Writer = Callable[[bytes], None]


class Step(StrEnum):
    """The steps, told to the observer as each is completed."""

    VERIFIED = "verified"
    CONSUMED = "consumed"
    WRITTEN = "written"
    RECORDED = "recorded"


class GateLink(NamedTuple):
    """What happened.  `unrecorded` is why the outcome could not be recorded, or None."""

    approval: VerifiedApproval
    unrecorded: PlacetError | None


def _observe_nothing(_step: Step) -> None:
    pass


def write_gate_link(
    step: str,
    *,
    verify: Verifier,
    write: Writer,
    ledger: UseLedger,
    log: UseLog | None,
    clock: Clock,
    observe: Callable[[Step], None] = _observe_nothing,
) -> GateLink:
    """Verifies, consumes, writes and records.

    Args:
        step: the layout's step of which this gate is a functionary.
        verify: verifies the approval of the artifacts that are here, at the given time, or raises.
        write: signs a link's bytes and writes it, durably and whole, or raises.
        log: hears of the uses; None where the trust root names no log.
        clock: the gate's time.
        observe: is told each completed step.

    Raises:
        PlacetError: placet refuses, or cannot decide; nothing was written.
        OSError: the link could not be written; its uses are consumed, with that outcome.
    """
    now = clock.now()
    approval = verify(now)
    payload = gate_link_payload(approval, step)
    observe(Step.VERIFIED)
    consumptions = consume_uses(approval, ledger, now, log=log)
    now = clock.now()
    judge_after_wait(lambda: verify(now), consumptions, ledger, now, log=log)
    observe(Step.CONSUMED)
    try:
        write(payload)
    except Exception:
        record_outcomes(ledger, consumptions, _NOT_WRITTEN, clock.now(), log=log)
        raise
    observe(Step.WRITTEN)
    unrecorded = record_outcomes(ledger, consumptions, _WRITTEN, clock.now(), log=log)
    observe(Step.RECORDED)
    return GateLink(approval, unrecorded)


def rehearse_gate_link(
    step: str, *, verify: Verifier, ledger: UseLedger, log: UseLog | None, clock: Clock
) -> VerifiedApproval:
    """Does everything that `write_gate_link` does before it consumes the uses, and consumes nothing.

    Raises:
        PlacetError: `write_gate_link` would have refused.
    """
    now = clock.now()
    approval = verify(now)
    gate_link_payload(approval, step)
    check_uses(approval, ledger, now, log=log)
    return approval


def gate_link_payload(approval: VerifiedApproval, step: str) -> bytes:
    """Returns the bytes of the link that says: this was approved, and I checked it.

    Raises:
        MalformedError: SUBJECT_MISMATCH: an artifact bears the name that stands for the action.
    """
    statement = approval.statement
    # Where each artifact is a use of its own, those that were not used are not in the link.
    used = {
        s.name
        for s in statement.subjects
        if approval.use_units == ("action",) or s.digest in approval.use_units
    }
    artifacts = {name: digests for name, digests in artifacts_of(statement).items() if name in used}
    return encode_canonical(
        {
            "_type": "link",
            "name": step,
            "materials": artifacts | {ACTION_MATERIAL: {"sha256": action_digest(statement)}},
            "products": artifacts,
            "byproducts": {
                "intent": {"sha256": approval.payload_digest},
                "intentLevel": level_name(approval.level),
            },
            "environment": {},
            "command": [],
        }
    )
