"""A small world for attacks: what the gate says to a bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from placet.ceremony.publish import empty_bundle
from placet.core.bundle import Answer, IntentRequest, encode_bundle, parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from placet.core.encoding import encode_canonical, parse_json, sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.report import Report, encode_report
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_REPORT
from placet.core.verify import Expected, UnsafeAnyAction, VerifiedApproval, verify_for_use
from placet.testing.world import ALICE, BOB, GATE, NOW, World, expected_of

AT = NOW + 120


def judge(
    world: World, bundle: bytes, expected: Expected | UnsafeAnyAction, *, gate: str = GATE, now: int = AT
) -> VerifiedApproval:
    """Asks the gate."""
    return verify_for_use(bundle, trust=world.trust(), gate=gate, expected=expected, now=now)


def refusal(call: Callable[[], object]) -> PlacetError:
    """Returns the refusal of a call that must be refused."""
    try:
        call()
    except PlacetError as e:
        return e
    raise AssertionError("it was accepted")


def reason_of(world: World, bundle: bytes, expected: Expected, **more: Any) -> Reason:
    """Returns why the gate refuses a bundle."""
    return refusal(lambda: judge(world, bundle, expected, **more)).reason


def causes_of(world: World, bundle: bytes, expected: Expected) -> list[Reason]:
    """Returns why signatures of a refused bundle do not count."""
    error = refusal(lambda: judge(world, bundle, expected))
    assert error.reason is Reason.QUORUM_NOT_MET, error
    return [cause.reason for cause in error.causes]


def changed(request: IntentRequest, changes: dict[str, Any]) -> IntentRequest:
    """Returns the request with some members, by JSON pointer, changed."""
    value = parse_json(request.payload, max_bytes=1 << 20, what="payload")
    for pointer, new in changes.items():
        *way, last = pointer.split("/")[1:]
        parent = value
        for step in way:
            parent = parent[int(step)] if isinstance(parent, list) else parent[step]
        parent[int(last) if isinstance(parent, list) else last] = new
    return IntentRequest(encode_canonical(value), request.evidence)


def forced_answer(
    world: World,
    request: IntentRequest,
    person: str,
    *,
    terminal: str = "t1",
    decided_at: int = NOW + 60,
    **knobs: Any,
) -> Answer:
    """Answers as a hostile terminal would: whatever the knobs say is signed, and reported as if good."""
    key = world.keys[person]
    if key.kind == "webauthn":
        knobs.setdefault("web_origin", world.origin(terminal))
    blob = key.sign(NAMESPACE_INTENT, pae(PAYLOAD_TYPE, request.payload), **knobs)
    report = Report(
        terminal_id=terminal,
        payload_digest=request.id,
        signature_keyid=key.keyid,
        signature_digest=sha256_hex(blob),
        decided_at=decided_at,
        seconds_on_screen=1,
        renderer="hostile/1",
        changes="nothing",
        evidence=(),
        trust_versions=world.versions,
    )
    said = encode_report(report)
    signer = world.terminals[terminal]
    signed = signer.sign(NAMESPACE_REPORT, pae(PAYLOAD_TYPE, said))
    return Answer(
        Envelope(request.payload, PAYLOAD_TYPE, (Signature(key.keyid, blob),)),
        Envelope(said, PAYLOAD_TYPE, (Signature(signer.keyid, signed),)),
    )


def forced_bundle(world: World, request: IntentRequest, *answers: Answer) -> bytes:
    """Assembles answers without looking at them."""
    bundle = empty_bundle(request)
    return encode_bundle(
        bundle._replace(
            envelope=bundle.envelope._replace(
                signatures=tuple(s for answer in answers for s in answer.envelope.signatures)
            ),
            reports=tuple(answer.report for answer in answers),
            trust_versions=world.versions,
        )
    )


def approved_run(world: World, **more: Any) -> tuple[bytes, Expected]:
    """Returns a good bundle for a command, and what the gate expects of it."""
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x", **more)
    bundle = world.bundle(request, ALICE, BOB)
    assert len(parse_bundle(bundle).envelope.signatures) == 2
    return bundle, expected_of(request)
