"""A hostile relay and the real terminal: nothing is signed but what was shown, and bad hides nothing good."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from attack_world import forced_bundle
from hostile_world import TOKEN, Place, challenge_of, displayed_id

from placet.ceremony.request import attach_proof, requester_message
from placet.core.bundle import parse_answer
from placet.core.errors import PlacetError, Reason
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.core.verify import verify_for_use
from placet.terminal import relay_source
from placet.testing.hostile_relay import lies, wire
from placet.testing.world import ALICE, BOB, GATE, expected_of


def test_an_honest_relay_carries_a_decision(place: Place) -> None:
    request = place.ask()
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"] and not shown["troubles"])
        view = terminal.open(request.id)
        assert displayed_id(view) == request.id
        assert terminal.decide(view)["delivery"]["state"] == "sent"
        assert terminal.settled()["troubles"] == []
    assert place.signed == [challenge_of(place, request)]
    assert len(place.real.fetch(request.id).answers) == 1


def test_a_request_that_cannot_be_read_hides_no_other(place: Place) -> None:
    bad, good = place.ask(b"bad"), place.ask(b"good")
    other = place.draft(b"other")

    def swap_one(seen: Any, forward: Any) -> Any:
        return lies.swapped(other)(seen, forward) if seen.request_id == bad.id else None

    place.relay.turn(swap_one)
    with place.terminal() as terminal:
        shown = terminal.settled()
        assert [item["id"] for item in shown["requests"]] == [good.id]
        assert "1 of the relay's requests cannot be read." in shown["troubles"][0]["message"]
        assert "error" in terminal.open(bad.id)
        assert terminal.decide(terminal.open(good.id))["delivery"]["state"] == "sent"
    assert place.signed == [challenge_of(place, good)]


def test_a6_what_is_swapped_while_a_person_reads_is_not_what_is_signed(place: Place) -> None:
    request, other = place.ask(), place.draft(b"other")
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"])
        view = terminal.open(request.id)
        place.relay.turn(lies.swapped(other))
        terminal.decide(view)
        assert "another request" in terminal.told().text
    assert place.signed == [challenge_of(place, request)]
    (answer,) = place.real.fetch(request.id).answers
    assert answer.envelope.payload == request.payload


def test_a6_the_terminal_sees_another_request_than_requester_and_gate(place: Place) -> None:
    """The relay hides the real request, has people approve its own, and hands that out for the real one."""
    real, evil = place.ask(b"image"), place.ask(b"malware")
    place.relay.turn(lies.only_for("terminal", lies.hidden(real.id)))
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"])
        view = terminal.open(evil.id)
        # What people approve is what they read: the other artifact, under its own name and digest.
        assert displayed_id(view) == evil.id
        for person in (ALICE, BOB):
            assert terminal.decide(terminal.open(evil.id), person=person)["delivery"]["state"] == "sent"
    collected = place.real.fetch(evil.id).answers
    place.relay.turn(lies.with_answers(*collected))
    told = place.wait(real)
    assert told.code == 3
    assert "2 answers do not count (subject-mismatch" in told.text
    with pytest.raises(PlacetError) as refusal:
        verify_for_use(
            forced_bundle(place.world, evil, *collected),
            trust=place.world.trust(),
            gate=GATE,
            expected=expected_of(real),
            now=int(time.time()),
        )
    assert refusal.value.reason is Reason.ARTIFACT_MISMATCH


def test_order_and_repetition_are_the_terminals_own(place: Place) -> None:
    late = place.ask(b"late", lifetime=3000)
    soon = place.ask(b"soon", lifetime=900)
    seen = []
    with place.terminal() as terminal:
        for told in ((), (lies.reversed_order(),), (lies.doubled(),)):
            place.relay.turn(*told)
            seen.append([item["id"] for item in terminal.settled()["requests"]])
    assert seen == [[soon.id, late.id]] * 3


def test_times_are_those_of_the_statement(place: Place) -> None:
    request = place.ask(lifetime=900)
    for name in ("submittedAt", "expiresAt"):
        place.relay.turn(
            lies.item(name, "2099-01-01T00:00:00Z"), lies.member("request", name, "2099-01-01T00:00:00Z")
        )
        with place.terminal() as terminal:
            shown = terminal.until(lambda inbox: inbox["requests"])
            assert 0 < shown["requests"][0]["secondsLeft"] <= 900
            assert 0 < terminal.open(request.id)["secondsLeft"] <= 900


def test_a_count_that_never_stays_the_same_costs_work_and_nothing_else(place: Place) -> None:
    request = place.ask()
    counts = iter(list(range(32)) * 1000)
    place.relay.turn(lies.listed(lambda real: [{**item, "answers": next(counts)} for item in real]))
    with place.terminal() as terminal:
        assert [item["id"] for item in terminal.settled()["requests"]] == [request.id]


def test_a_proof_of_who_asks_that_is_withheld_makes_a_claim_of_it(place: Place) -> None:
    bare = place.draft()
    key = place.world.keys[BOB]
    proof = key.sign(NAMESPACE_REQUEST, requester_message(bare))
    request = attach_proof(bare, keyid=key.keyid, sshsig=proof)
    place.real.submit(request, TOKEN)
    with place.terminal() as terminal:
        shown = terminal.until(lambda inbox: inbox["requests"])
        assert shown["requests"][0]["requester"] == BOB
    place.relay.turn(lies.without_evidence())
    with place.terminal() as terminal:
        shown = terminal.settled()
        assert [item.get("requester") for item in shown["requests"]] == [None]


@pytest.mark.parametrize(
    "lie",
    [lies.endless(), wire.dripping(), wire.failing(), lies.circle()],
    ids=["flood", "drip", "5xx", "circle"],
)
def test_the_terminal_stops_when_it_is_told_to(place: Place, lie: Any) -> None:
    place.ask()
    place.relay.turn(lie)
    with place.terminal() as terminal:
        terminal.until(lambda shown: place.relay.seen)
        started = time.monotonic()
    # One exchange of 0.7 seconds may be under way; nothing is tried again.
    assert time.monotonic() - started < 2


def test_a_relay_that_takes_no_more_answers_costs_no_decision(place: Place) -> None:
    """The letter stays, the person is told so, and again after a restart, until the request expires."""
    request = place.ask()
    refusal = lies.refused("answer", 409, "too-many-answers", "Full.")
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"])
        view = terminal.open(request.id)
        place.relay.turn(refusal)
        done = terminal.decide(view)
        assert done["delivery"]["state"] == "refused"
        assert "signed and kept on this terminal; nobody else has it" in done["delivery"]["text"]
    (kept,) = (place.folder / "terminal" / "outbox").glob("*.refused")
    assert parse_answer(kept.read_bytes()).envelope.payload == request.payload
    with place.terminal() as terminal:
        trouble = terminal.settled()["troubles"][-1]
        assert trouble["message"].startswith('Not sent: "Deploy registry.example/app')
        assert trouble["meaning"] == "Your decision is signed and kept on this terminal; nobody else has it."
        assert trouble["hint"].startswith("Have the requester withdraw it and ask again")
    assert len(place.real.fetch(request.id).answers) == 0


def test_a_decision_kept_for_later_and_refused_then_is_told(place: Place) -> None:
    request = place.ask()
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"])
        view = terminal.open(request.id)
        place.relay.turn(wire.closing())
        assert terminal.decide(view)["delivery"]["state"] == "kept"
        place.real.withdraw(request.id, TOKEN)
        place.relay.turn()
        shown = terminal.until(lambda inbox: any("Not sent" in t["message"] for t in inbox["troubles"]))
        assert shown["unsent"] == 0
    assert "request-not-open" in shown["troubles"][-1]["message"]


def test_a_letter_that_is_wrongly_acknowledged_hides_no_request(place: Place) -> None:
    request = place.ask()
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"])
        view = terminal.open(request.id)
        place.relay.turn(lies.acknowledged_as("answer", {"answer": {"sha256": "0" * 64}}))
        assert terminal.decide(view)["delivery"]["state"] == "kept"
        later = place.ask(b"later")
        shown = terminal.until(lambda inbox: later.id in [item["id"] for item in inbox["requests"]])
        assert shown["unsent"] == 1
        place.relay.turn()
        assert terminal.until(lambda inbox: inbox["unsent"] == 0 and not inbox["troubles"])


def test_a_relay_cannot_write_into_the_page(place: Place) -> None:
    place.ask()
    evil = '<img src=x onerror=alert(1)>"\x1b[2J\u202e'
    place.relay.turn(lies.refused("listing", 403, evil, evil, evil))
    with place.terminal() as terminal:
        text = json.dumps(terminal.settled()["troubles"])
    assert "(status 403, http-403)" in text
    assert "\\u" not in text
    assert text.count("onerror") == 1  # its words, quoted; its reason and its advice are not told


def test_the_terminal_looks_at_no_more_than_it_shows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_source, "MAX_OPEN", 5)
    place.relay.turn(lies.endless(page=3))
    with place.terminal() as terminal:
        assert "more than 5 open requests" in terminal.told().text
    pages = [seen for seen in place.relay.seen if seen.kind == "listing"]
    fetched = [seen for seen in place.relay.seen if seen.kind == "request"]
    looks = sum("after" not in seen.query for seen in pages)
    assert len(pages) <= 2 * looks
    assert len(fetched) <= 5 * looks
