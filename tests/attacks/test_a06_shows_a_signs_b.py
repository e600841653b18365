"""A6: a page shows one thing and has another signed."""

from __future__ import annotations

import pytest
from attack_world import changed, forced_answer, forced_bundle, judge, reason_of, refusal

from placet.ceremony.decide import challenge, make_answer, prepare
from placet.core.bundle import IntentRequest
from placet.core.errors import Reason
from placet.core.sshsig import NAMESPACE_INTENT, encode_webauthn_sshsig
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.world import ALICE, BOB, NOW, World, expected_of

A, B = "k8s://prod-eu/ns/shop/deploy/app", "k8s://prod-eu/ns/bank/deploy/vault"


def signed_elsewhere(world: World, shown: IntentRequest, signed: IntentRequest) -> bytes:
    """Returns the signature that a hostile page got: the key signs `signed` while `shown` is shown."""
    key = world.keys[ALICE]
    assert isinstance(key, SoftWebAuthn)
    assertion = key.get(
        challenge(prepare(signed, trust=world.trust(), now=NOW + 60)), web_origin=world.origin("t1")
    )
    return encode_webauthn_sshsig(
        key_wire=key.wire,
        namespace=NAMESPACE_INTENT,
        authenticator_data=assertion.authenticator_data,
        client_data_json=assertion.client_data_json,
        der_signature=assertion.signature,
        web_origin=world.origin("t1"),
    )


def test_a6_the_terminal_sends_nothing_that_was_signed_for_other_bytes() -> None:
    world = World()
    shown, other = world.request_deploy(target=A), world.request_deploy(target=B)
    blob = signed_elsewhere(world, shown, other)
    review = prepare(shown, trust=world.trust(), now=NOW + 60)
    error = refusal(
        lambda: make_answer(
            review,
            sshsig=blob,
            trust=world.trust(),
            terminal=world.terminals["t1"],
            decided_at=NOW + 60,
            seconds_on_screen=1,
            renderer="x",
            changes="x",
        )
    )
    assert error.reason is Reason.CHALLENGE_MISMATCH


def test_a6_a_signature_cannot_be_moved_to_another_statement() -> None:
    world = World()
    shown, other = world.request_deploy(target=A), world.request_deploy(target=B)
    honest = [forced_answer(world, shown, person) for person in (ALICE, BOB)]
    moved = [
        answer._replace(envelope=answer.envelope._replace(payload=other.payload), report=report.report)
        for answer, report in zip(honest, [forced_answer(world, other, p) for p in (ALICE, BOB)], strict=True)
    ]
    bundle = forced_bundle(world, other, *moved)
    assert reason_of(world, bundle, expected_of(other)) is Reason.REPORT_ORPHAN


@pytest.mark.parametrize("text", ["Deploy nothing", "Deploy registry.example/app to k8s://staging, rolling"])
def test_a6_the_summary_says_something_else(text: str) -> None:
    world = World()
    lying = changed(world.request_deploy(target=A), {"/predicate/display/text": text})
    error = refusal(lambda: prepare(lying, trust=world.trust(), now=NOW + 60))
    assert error.reason is Reason.DISPLAY_MISMATCH
    answers = [forced_answer(world, lying, person) for person in (ALICE, BOB)]
    assert (
        reason_of(world, forced_bundle(world, lying, *answers), expected_of(lying)) is Reason.DISPLAY_MISMATCH
    )


def test_a6_another_template_is_refused_by_terminal_and_gate() -> None:
    world = World()
    pinned = changed(world.request_deploy(), {"/predicate/display/template/digest/sha256": "0" * 64})
    assert refusal(lambda: prepare(pinned, trust=world.trust(), now=NOW)).reason is Reason.TEMPLATE_STALE
    answers = [forced_answer(world, pinned, person) for person in (ALICE, BOB)]
    assert (
        reason_of(world, forced_bundle(world, pinned, *answers), expected_of(pinned)) is Reason.TEMPLATE_STALE
    )


def test_a6_an_argument_cannot_pass_for_the_target() -> None:
    world = World()
    spoof = world.request_run(argv=["/bin/true", "for host://staging"], executable=b"x")
    review = prepare(spoof, trust=world.trust(), now=NOW)
    assert review.view.text == 'Run for host://build-1.example: /bin/true "for host://staging"'
    assert judge(world, world.bundle(spoof, ALICE, BOB), expected_of(spoof)).text == review.view.text
