"""Building a request that is asked for now: with a name and a nonce that were never there before."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from placet.ceremony.request import Ask, build_request
from placet.core.bundle import IntentRequest
from placet.core.decode import Object
from placet.core.evidence.facts import Evidence
from placet.core.trust import Trust

_NONCE_BYTES = 32


def new_request(
    *,
    action: str,
    target: str,
    parameters: Object,
    trust: Trust,
    gate: str,
    requested_by: str,
    subjects: Sequence[Object] = (),
    lifetime: int = 3600,
    annotations: Object | None = None,
    reason: str = "",
    max_uses: int = 1,
    evidence: Sequence[tuple[str, Evidence]] = (),
) -> IntentRequest:
    """Builds a request, admitted and rendered as a terminal will.

    Args:
        action: the type URI, such as ``https://placet.dev/actions/release/v1``.
        target: such as ``pkg:pypi/app``.
        parameters: what the action's definition asks for.
        trust: this machine's own.
        gate: the ID of the gate that will act.
        requested_by: who claims to ask, as people will read it.
        subjects: in-toto resource descriptors, ``{"name": ..., "digest": {"sha256": ...}}``.
        lifetime: how long it is valid, in seconds.
        annotations: notes on the target.
        reason: your words to the approvers.
        max_uses: how often it may be used.
        evidence: documents for the approvers, by name.

    Raises:
        MalformedError: the action does not fit its definition, or the summary is too long.
        PolicyError: UNKNOWN_ACTION, UNKNOWN_GATE, NO_MATCHING_RULE, WINDOW_TOO_LONG, QUORUM_NOT_MET (the
            scope is closed).
        IndeterminateError: TRUST_EXPIRED.
    """
    now = int(time.time())
    return build_request(
        Ask(
            action_type=action,
            target=target,
            parameters=parameters,
            subjects=subjects,
            gate=gate,
            requested_by=requested_by,
            request_id=_uuid7(now),
            nonce=secrets.token_bytes(_NONCE_BYTES),
            now=now,
            lifetime=lifetime,
            annotations=annotations or {},
            reason=reason,
            max_uses=max_uses,
            evidence=evidence,
        ),
        trust=trust,
    )


def _uuid7(seconds: int) -> str:
    """Returns a UUIDv7 (RFC 9562 section 5.7); the standard library has it from Python 3.14 on."""
    value = (
        (seconds * 1000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    )
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
