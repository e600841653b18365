"""What a consumer checks before it relies on a verdict (spec/18-verdicts.md, section "Consuming").

The steps are those of SLSA's "How to verify" for summaries, and two that SLSA leaves out: the verdict's
own time, and that its policy and inputs are there.  A verdict is as good as the gate that signed it; it
is no approval, and whoever can check the approval itself should.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.decode import Object, read_ascii, read_choice, read_list, read_map, read_string, read_time
from placet.core.encoding import format_time
from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.evidence.attestations import Attestation, parse_attestation
from placet.core.evidence.vsa_input import EXPIRES_AT
from placet.core.verdict.envelope import parse_verdict
from placet.core.verdict.keys import GatePublicKey
from placet.core.verdict.levels import parse_slsa_levels
from placet.core.verdict.statements import (
    INPUT_ATTESTATIONS,
    MAX_LIFE,
    RESOURCE_URI,
    SVR_TYPE,
    VSA_TYPE,
)

_MAX_LEVELS = 64


class ExpectedVerdict(NamedTuple):
    """What a consumer is about to rely on a verdict for.

    Args:
        verifier: the gate's URI.
        target: what is about to change.
        subjects: digests of what is about to be used, spelled ``sha256:…``.
        levels: levels that are needed; a higher level of a SLSA track satisfies a lower one.
    """

    verifier: str
    target: str
    subjects: frozenset[str]
    levels: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """A verdict that holds.  Times are Unix seconds."""

    predicate_type: str
    verifier: str
    target: str
    subjects: frozenset[str]
    levels: tuple[str, ...]
    verified_at: int
    expires_at: int
    predicate: Object


def verify_verdict(data: bytes, *, key: GatePublicKey, expected: ExpectedVerdict, now: int) -> Verdict:
    """Verifies a verdict: signed by this gate's key, about exactly this, passed, high enough, still good.

    Raises:
        MalformedError: it is not in its format, or of another predicate type.
        VerificationError: SIGNATURE_INVALID.
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_RESOURCE, EVIDENCE_SUBJECT, EVIDENCE_LEVEL, EVIDENCE_STALE.
    """
    signed = parse_verdict(data)
    key.verify(signed.signature, signed.message)
    attestation = parse_attestation(signed.payload)
    verdict = _read_verdict(attestation)
    if verdict.verifier != expected.verifier:  # VSA-02: one key speaks for one gate
        raise _refuse(
            Reason.EVIDENCE_SIGNER, "The verdict is of another gate.", expected.verifier, verdict.verifier
        )
    if verdict.target != expected.target:  # VSA-10: a verdict about staging copied to production (A20)
        raise _refuse(
            Reason.EVIDENCE_RESOURCE, "The verdict is about another target.", expected.target, verdict.target
        )
    if not expected.subjects or not verdict.subjects >= expected.subjects:  # VSA-01
        raise _refuse(
            Reason.EVIDENCE_SUBJECT,
            "The verdict is not about everything that is about to be used.",
            tuple(sorted(expected.subjects)),
            tuple(sorted(verdict.subjects)),
        )
    _check_levels(verdict.levels, expected.levels)
    _check_time(verdict, now)
    return verdict


def _refuse(reason: Reason, message: str, expected: object, actual: object) -> PolicyError:
    return PolicyError(
        reason,
        message,
        expected=expected,
        actual=actual,
        hint="Have the gate verify the approval again, for what is about to be done.",
    )


def _read_verdict(attestation: Attestation) -> Verdict:
    predicate = attestation.predicate
    if attestation.predicate_type == VSA_TYPE:
        result = read_choice(
            predicate.get("verificationResult"), _at("verificationResult"), ("PASSED", "FAILED")
        )
        if result != "PASSED":  # VSA-08: a gate that refused also signs, and says so
            raise _refuse(Reason.EVIDENCE_LEVEL, "The gate refused this.", "PASSED", result)
        levels, time, target, inputs = "verifiedLevels", "timeVerified", "resourceUri", "inputAttestations"
    elif attestation.predicate_type == SVR_TYPE:
        levels, time, target, inputs = "properties", "timeCreated", RESOURCE_URI, INPUT_ATTESTATIONS
    else:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "This is no verdict: neither a VSA v1 nor an SVR v0.2.",
            path="/predicateType",
            expected=VSA_TYPE,
            actual=attestation.predicate_type,
        )
    _read_inputs(predicate, inputs)
    verifier = read_map(predicate.get("verifier"), _at("verifier"), max_items=8)
    stated = read_list(predicate.get(levels), _at(levels), max_items=_MAX_LEVELS, min_items=1)
    return Verdict(
        predicate_type=attestation.predicate_type,
        verifier=read_ascii(verifier.get("id"), _at("verifier/id")),
        target=read_ascii(predicate.get(target), _at(target)),
        subjects=attestation.subjects,
        levels=tuple(read_string(item, f"{_at(levels)}/{i}") for i, item in enumerate(stated)),
        verified_at=read_time(predicate.get(time), _at(time)),
        expires_at=read_time(predicate.get(EXPIRES_AT), _at(EXPIRES_AT)),
        predicate=predicate,
    )


def _at(member: str) -> str:
    return f"/predicate/{member}"


def _read_inputs(predicate: Object, member: str) -> None:
    """Refuses a summary that rests on nothing: it was made without an approval (VSA-04)."""
    items: list[Any] = read_list(predicate.get(member), _at(member), max_items=256, min_items=1)
    named = [item.get("name") for item in items if isinstance(item, dict)]
    if "intent" not in named:
        raise MalformedError(
            Reason.MISSING_MEMBER, "The verdict names no approval that it rests on.", path=_at(member)
        )


def _check_levels(levels: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    reached, needed = parse_slsa_levels(levels), parse_slsa_levels(wanted)  # VSA-06
    for track, level in needed.items():
        if reached.get(track, 0) < level:
            found = f"SLSA_{track}_LEVEL_{reached[track]}" if track in reached else "none of that track"
            raise _refuse(
                Reason.EVIDENCE_LEVEL, "The level is too low.", f"SLSA_{track}_LEVEL_{level}", found
            )
    for name in wanted:
        if not name.startswith("SLSA_") and name not in levels:
            raise _refuse(Reason.EVIDENCE_LEVEL, "The verdict lacks a level that is needed.", name, levels)


def _check_time(verdict: Verdict, now: int) -> None:
    """Refuses what is not yet, no longer, or for too long good (VSA-07)."""
    lives = verdict.expires_at - verdict.verified_at
    if verdict.verified_at <= now < verdict.expires_at and lives <= MAX_LIFE:
        return
    raise PolicyError(
        Reason.EVIDENCE_STALE,
        f"The verdict was good from {format_time(verdict.verified_at)} to {format_time(verdict.expires_at)}; "
        f"it is {format_time(now)} now.",
        hint="A verdict is short-lived: have the gate verify the approval again.",
    )
