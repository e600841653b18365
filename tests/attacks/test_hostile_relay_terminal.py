"""A hostile relay and the real terminal: nothing is signed but what was shown."""

from __future__ import annotations

from hostile_world import Place, challenge_of, displayed_id

from placet.testing.hostile_relay import lies


def test_an_honest_relay_carries_a_decision(place: Place) -> None:
    request = place.ask()
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"] and not shown["troubles"])
        view = terminal.open(request.id)
        assert displayed_id(view) == request.id
        done = terminal.decide(view)
        assert done["delivery"]["state"] == "sent", done
    assert place.signed == [challenge_of(place, request)]
    assert len(place.real.fetch(request.id).answers) == 1


def test_a_swapped_request_is_not_even_shown(place: Place) -> None:
    request, other = place.ask(), place.world.request_deploy(b"other")
    place.relay.turn(lies.swapped(other))
    with place.terminal() as terminal:
        print(terminal.told(), [(s.who, s.kind, s.query) for s in place.relay.seen])
        print(place.wait(request))
        print(place.request("--wait", "--timeout", "1s"))
        print(place.withdraw(request))
        print(terminal.inbox())
