"""A hostile relay and the gate: whatever a foolish assembler makes of its answers, the gate is not fooled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attack_world import forced_answer, forced_bundle
from hostile_world import Place
from test_hostile_relay_table import forced_answer_now, named, strangers

from placet.ceremony.publish import assemble
from placet.client import RelayClient
from placet.core.bundle import Answer, IntentRequest
from placet.core.errors import PlacetError, Reason
from placet.core.verify import verify_for_use
from placet.testing.hostile_relay import Lie, lies, wire
from placet.testing.world import ALICE, BOB, CAROL, GATE, expected_of

Make = Callable[[Place, IntentRequest], Lie]


def elsewhere(place: Place, request: IntentRequest, person: str) -> Answer:
    """A6, A9: the relay's own page asked the person's key to sign."""
    now = int(time.time())
    return forced_answer(place.world, request, person, web_origin="https://relay.example", decided_at=now)


LIES: dict[str, tuple[Make, Reason, Reason | None]] = {
    "A6: signed on the relay's own page": (
        lambda place, request: lies.with_answers(*(elsewhere(place, request, p) for p in (ALICE, BOB))),
        Reason.QUORUM_NOT_MET,
        Reason.ORIGIN_NOT_ALLOWED,
    ),
    "A12: a genuine key that nobody enrolled": (
        lambda place, request: lies.with_answers(strangers(place, request)),
        Reason.QUORUM_NOT_MET,
        Reason.UNKNOWN_KEY,
    ),
    "A12: the relay's key in the name of somebody enrolled": (
        lambda place, request: lies.with_answers(named(strangers(place, request), BOB, place)),
        Reason.REPORT_ORPHAN,
        None,
    ),
    "A11: one person's signature in two names": (
        lambda place, request: lies.with_answers(
            forced_answer_now(place, request, ALICE),
            named(forced_answer_now(place, request, ALICE), BOB, place),
        ),
        Reason.REPORT_ORPHAN,
        None,
    ),
    "A11: one person's signature twice": (
        lambda place, request: lies.with_answers(
            *(forced_answer_now(place, request, CAROL) for _ in range(2))
        ),
        Reason.DUPLICATE_VALUE,
        None,
    ),
}


def collect(place: Place, request: IntentRequest) -> bytes:
    """Assembles whatever the relay hands out, as nobody should."""
    with RelayClient(place.relay.url) as relay:
        return forced_bundle(place.world, request, *relay.fetch(request.id).answers)


def judge(place: Place, bundle: bytes, request: IntentRequest) -> PlacetError:
    with pytest.raises(PlacetError) as refusal:
        verify_for_use(
            bundle, trust=place.world.trust(), gate=GATE, expected=expected_of(request), now=int(time.time())
        )
    return refusal.value


@pytest.mark.parametrize("name", LIES)
def test_the_gate_counts_only_what_people_did(place: Place, name: str, tmp_path: Path) -> None:
    make, reason, cause = LIES[name]
    request = place.ask()
    place.relay.turn(make(place, request))
    bundle = collect(place, request)
    error = judge(place, bundle, request)
    assert error.reason is reason, error
    assert cause is None or {c.reason for c in error.causes} == {cause}
    path = tmp_path / "forced.intent.json"
    path.write_bytes(bundle)
    said = place.verify(path)
    assert said.code == 1
    assert said.text.startswith("DENIED")
    # And whoever assembles as placet does has no bundle at all.
    with RelayClient(place.relay.url) as relay:
        answers = relay.fetch(request.id).answers
    progress = assemble(request, answers, trust=place.world.trust(), now=int(time.time()))
    assert progress.refusal is not None


def test_a8_approvals_of_yesterday_do_not_fit_today(place: Place) -> None:
    yesterday, today = place.ask(), place.ask()
    place.approve(yesterday, ALICE, BOB)
    old = place.real.fetch(yesterday.id).answers
    place.relay.turn(lies.with_answers(*old))
    moved = [answer._replace(envelope=answer.envelope._replace(payload=today.payload)) for answer in old]
    assert judge(place, forced_bundle(place.world, today, *moved), today).reason is Reason.REPORT_INVALID


def test_a17_a_bundle_in_hand_needs_no_relay(place: Place) -> None:
    request = place.ask()
    place.approve(request, ALICE, BOB)
    assert place.wait(request).code == 0
    place.relay.turn(wire.closing())
    before = len(place.relay.seen)
    assert place.verify().text.startswith("ALLOWED")
    assert len(place.relay.seen) == before
    # What is not in hand is undecided, and says so.
    told = place.wait(request)
    assert told.code == 3
    assert "Whether people approved is not known." in told.text


def test_a15_a_relay_stuffs_its_answers_and_the_requester_is_done_in_time(place: Place) -> None:
    """As many answers as there may be, each as large as it may be, before the two that count."""
    from placet.core.dsse import Signature
    from placet.core.encoding import KeyId, sha256_hex

    request = place.ask()
    place.approve(request, ALICE, BOB)
    real = place.real.fetch(request.id).answers[0]
    junk = [
        real._replace(
            envelope=real.envelope._replace(
                signatures=(Signature(KeyId(sha256_hex(b"%d" % i)), bytes(40_000)),)
            )
        )
        for i in range(30)
    ]
    place.relay.turn(lies.with_answers(*junk))
    started = time.process_time()
    told = place.wait(request)
    assert told.code == 0, told.text
    assert time.process_time() - started < 4
