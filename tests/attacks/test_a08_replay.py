"""A8: an approval is used again, elsewhere or later.  The ledger's part is with the gates' tests."""

from __future__ import annotations

import pytest
from attack_world import approved_run, changed, forced_answer, forced_bundle, judge, reason_of

from placet.core.errors import Reason
from placet.testing.world import ALICE, BOB, NOW, World, expected_of


def test_a8_replay_to_another_gate() -> None:
    world = World()
    bundle, expected = approved_run(world)
    assert reason_of(world, bundle, expected, gate="prod-us") is Reason.WRONG_AUDIENCE
    assert reason_of(world, bundle, expected, gate="unheard-of") is Reason.UNKNOWN_GATE


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW - 1, Reason.ISSUED_IN_FUTURE),
        (NOW + 3600, Reason.EXPIRED),
        (NOW + 86_400, Reason.EXPIRED),
    ],
)
def test_a8_yesterdays_approval(now: int, reason: Reason) -> None:
    world = World()
    bundle, expected = approved_run(world)
    assert judge(world, bundle, expected, now=NOW + 3599)
    assert reason_of(world, bundle, expected, now=now) is reason


def test_a8_the_window_cannot_be_moved_after_signing() -> None:
    world = World()
    request = world.request_deploy()
    answers = [forced_answer(world, request, person) for person in (ALICE, BOB)]
    later = changed(request, {"/predicate/request/expiresAt": "2026-11-23T10:59:59Z"})
    moved = [a._replace(envelope=a.envelope._replace(payload=later.payload)) for a in answers]
    assert reason_of(world, forced_bundle(world, later, *moved), expected_of(later)) is Reason.REPORT_INVALID


def test_a8_two_requests_for_the_same_action_are_two_approvals() -> None:
    world = World()
    first, second = world.request_deploy(), world.request_deploy()
    assert first.id != second.id
    stolen = [forced_answer(world, first, person) for person in (ALICE, BOB)]
    assert (
        reason_of(world, forced_bundle(world, second, *stolen), expected_of(second)) is Reason.REPORT_INVALID
    )
    one, two = (judge(world, world.bundle(r, ALICE, BOB), expected_of(r)) for r in (first, second))
    assert one.payload_digest != two.payload_digest


def test_a8_an_approval_that_would_be_a_session_is_refused() -> None:
    world = World()
    request = changed(world.request_deploy(), {"/predicate/request/expiresAt": "2027-11-23T10:00:00Z"})
    answers = [forced_answer(world, request, person) for person in (ALICE, BOB)]
    assert (
        reason_of(world, forced_bundle(world, request, *answers), expected_of(request))
        is Reason.WINDOW_TOO_LONG
    )


def test_a8_a_denial_is_no_approval() -> None:
    world = World()
    request = world.request_deploy()
    text = "Deny: Deploy registry.example/app to k8s://prod-eu/ns/shop/deploy/app, rolling"
    denied = changed(request, {"/predicate/decision": "deny", "/predicate/display/text": text})
    answers = [forced_answer(world, denied, person) for person in (ALICE, BOB)]
    assert (
        reason_of(world, forced_bundle(world, denied, *answers), expected_of(denied))
        is Reason.DECISION_IS_DENY
    )
