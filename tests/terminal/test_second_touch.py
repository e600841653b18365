"""The second touch: the in-toto link is announced, shown in full, signed or left out; the approval stands."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from in_toto.exceptions import LinkNotFoundError
from page_driver import Reader, check_for_everyone, plugged_in, reading
from terminal_world import PageWorld, RunningTerminal, running, write_request
from test_approve_command import Place, make_place
from test_desk import Bench as DeskBench
from test_desk import unb64url
from test_relay_source import relay_at

from placet.ceremony.decide import prepare
from placet.ceremony.link import link_file_name, link_message, link_payload, signed_link
from placet.ceremony.publish import assemble, split_bundle
from placet.ceremony.request import build_request
from placet.ceremony.second_touch import asked_link
from placet.client import RelayClient
from placet.core.bundle import (
    Answer,
    IntentBundle,
    IntentRequest,
    encode_answer,
    encode_bundle,
    parse_answer,
    parse_bundle,
)
from placet.core.dsse import encode_envelope
from placet.core.encoding import b64url_encode
from placet.core.errors import MalformedError, Reason
from placet.core.sshsig import NAMESPACE_LINK
from placet.core.statement import parse_statement
from placet.core.verify import verify_for_use
from placet.relay._shape import parse_answering
from placet.relay.answer_filter import AnswerFilter
from placet.relay.errors import RelayError
from placet.terminal.second_touch import LinkAsked
from placet.terminal.touch import Assertion, DeskError
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.chromium import ChromiumSession
from placet.testing.intoto import Chain, approve_step, functionaries, stock_verify
from placet.testing.world import (
    ALICE,
    BOB,
    DEFAULT_POLICY,
    DEPLOY,
    DEPLOY_TARGET,
    GATE,
    NOW,
    World,
    artifact,
    expected_of,
)

LAYOUT = "layouts/app.layout"
POLICY = DEFAULT_POLICY.replace("max_window", f'layout = "{LAYOUT}"\nmax_window')


@pytest.fixture
def world(sockets: list[socket.socket]) -> PageWorld:
    return PageWorld(sockets[0].getsockname()[1], policy=POLICY)


@pytest.fixture
def request_(world: PageWorld) -> IntentRequest:
    return world.request_deploy(reason="The fix of Tuesday")


@pytest.fixture
def terminal(
    world: PageWorld, sockets: list[socket.socket], folder: Path, request_: IntentRequest
) -> Iterator[RunningTerminal]:
    with running(world, sockets, folder, [write_request(folder, "it", request_)]) as terminal:
        yield terminal


@pytest.fixture
def reader(chromium: ChromiumSession, terminal: RunningTerminal) -> Iterator[Reader]:
    with reading(chromium, terminal) as reader:
        yield reader


def read_link(reader: Reader) -> None:
    reader.page.wait_for_selector("#sign-link")
    reader.page.wait_for_timeout(400)
    for _ in range(20):
        if reader.page.is_enabled("#sign-link"):
            return
        reader.page.keyboard.press("PageDown")
        reader.page.wait_for_timeout(500)
    raise AssertionError(f"never finished reading: {reader.page.text_content('#left')}")


def first_touch(reader: Reader, request: IntentRequest) -> None:
    reader.open(request)
    reader.read_all()
    reader.page.click("#approve")
    reader.page.wait_for_selector("#sign-link, .problem")


def bundle_of(folder: Path) -> IntentBundle:
    return parse_bundle((folder / "it.intent.json").read_bytes())


def link_files(bundle: IntentBundle) -> dict[str, bytes]:
    return {link_file_name(link.signatures[0].keyid): encode_envelope(link) for link in bundle.links}


@pytest.mark.browser
def test_two_people_touch_twice_and_in_toto_accepts_their_threshold(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    page = reader.page
    for person in (ALICE, BOB):
        with plugged_in(world, reader.session, person):
            reader.open(request_)
            # Said before the first touch, beside the buttons.
            assert "takes two touches of your key" in page.inner_text("#second-touch")
            assert LAYOUT in page.inner_text("#second-touch")
            reader.read_all()
            page.click("#approve")
            page.wait_for_selector("#sign-link, .problem")
            shown = page.inner_text("main")
            assert "Approved. Now the in-toto link" in page.inner_text("h1")
            assert "Material intent://action sha256" in shown
            assert "Material registry.example/app sha256" in shown
            read_link(reader)
            page.click("#sign-link")
            assert "Approved." in reader.wait_state("approved", "error")
            assert "With the in-toto link, signed by your second touch." in page.inner_text("main")
    bundle = bundle_of(folder)
    assert [link.payload for link in bundle.links] == [link_payload(parse_statement(request_.payload))] * 2
    approval = verify_for_use(
        (folder / "it.intent.json").read_bytes(),
        trust=world.trust(),
        gate=GATE,
        expected=expected_of(request_),
        now=int(time.time()),
    )
    assert approval.people == (ALICE, BOB)
    chain = Chain()
    layout = chain.signed(
        chain.layout(approve_step(world, [ALICE, BOB], threshold=2), keys=functionaries(world)), chain.owner
    )
    stock_verify(folder / "both", layout, chain.owner, link_files(bundle))
    one = dict(list(link_files(bundle).items())[:1])
    with pytest.raises(LinkNotFoundError):
        stock_verify(folder / "one", layout, chain.owner, one)


@pytest.mark.browser
def test_page_shows_every_leaf_of_the_link_and_signs_nothing_before(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    with plugged_in(world, reader.session, ALICE):
        first_touch(reader, request_)
        review = prepare(request_, trust=world.trust(), now=int(time.time()))
        link = asked_link(review)
        assert link is not None
        shown = reader.page.evaluate(
            """() => [...document.querySelectorAll("[data-index]")].map((row) => {
              const shown = row.querySelector("dd code") ?? row.querySelector("dd");
              return [Number(row.dataset.index), shown.textContent];
            })"""
        )
        assert sorted(map(tuple, shown)) == [(i, row.value) for i, row in enumerate(link.rows)]
        check_for_everyone(reader.page, "second touch")
        # Enter never signs, here as little as there.
        read_link(reader)
        reader.page.focus("#sign-link")
        reader.page.keyboard.press("Enter")
        assert "Enter never signs" in reader.wait_state("ready")
        reader.page.click("#skip-link")
        reader.wait_state("approved", "error")


@pytest.mark.browser
@pytest.mark.parametrize("way", ["button", "leaving", "closing"])
def test_declining_the_link_sends_the_approval_without_it(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path, way: str
) -> None:
    page = reader.page
    with plugged_in(world, reader.session, ALICE):
        first_touch(reader, request_)
        assert not (folder / "it.intent.json").exists()
        if way == "button":
            page.click("#skip-link")
            reader.wait_state("approved", "error")
            assert "Sent without the in-toto link" in page.inner_text("main")
            assert f"Approved without the in-toto link that a layout asks for: {ALICE}" in page.inner_text(
                "main"
            )
        elif way == "leaving":
            page.click("#to-history")
            page.wait_for_selector("h1:has-text('History')")
        else:
            page.goto("about:blank")
        wait_for(folder / "it.intent.json")
    bundle = bundle_of(folder)
    assert (len(bundle.envelope.signatures), bundle.links) == (1, ())


def wait_for(path: Path) -> None:
    for _ in range(50):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} was never written")


@pytest.mark.browser
def test_faulty_second_touch_takes_nothing_from_the_approval(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    page = reader.page
    with plugged_in(world, reader.session, ALICE) as key:
        first_touch(reader, request_)
        read_link(reader)
        key.set_faults(bad_uv=True)
        page.click("#sign-link")
        said = reader.wait_state("error")
        assert "verify its user" in said
        assert "Your approval is signed and counts" in said
        key.set_faults()
        page.click("#sign-link")
        assert "Approved." in reader.wait_state("approved")
    assert len(bundle_of(folder).links) == 1


@pytest.mark.browser
def test_denial_takes_one_touch(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        assert "Denied." in reader.decide("deny")
    (path,) = folder.glob("it.denied-*.answer.json")
    assert parse_answer(path.read_bytes()).link is None


# -- The desk alone


class Bench(DeskBench):
    """A desk under a policy that names a layout."""

    def __init__(self, folder: Path, patience: float = 300.0) -> None:
        super().__init__(folder)
        self.world.policy = POLICY
        self.install()
        self.request = self.world.request_deploy(reason="Now, please")
        write_request(folder, "it", self.request)
        self.desk.links._patience = patience

    def approve(self, person: str = ALICE) -> LinkAsked:
        view = self.open()
        asked = self.desk.finish(view.view_id, "approve", self.touch(view, "approve", person))
        assert isinstance(asked, LinkAsked)
        return asked

    def touch_link(
        self, asked: LinkAsked, person: str = ALICE, *, as_person: str = "", **knobs: object
    ) -> Assertion:
        touch = self.desk.links.begin(asked.view_id, range(len(asked.section.blocks[0].lines)))
        key = self.world.keys[person]
        assert isinstance(key, SoftWebAuthn)
        made = key.get(unb64url(touch.challenge), **knobs)  # type: ignore[arg-type]
        shown = self.world.keys[as_person or person]
        assert isinstance(shown, SoftWebAuthn)
        return Assertion(b64url_encode(shown.credential_id), *made)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.desk.close()


def test_approval_waits_for_its_link_and_goes_out_once(bench: Bench) -> None:
    asked = bench.approve()
    assert not (bench.folder / "it.intent.json").exists()
    assertion = bench.touch_link(asked)
    outcome = bench.desk.links.finish(asked.view_id, assertion)
    assert outcome.decision.answer.link is not None
    assert outcome.progress.without_link == ()
    for again in (
        lambda: bench.desk.links.finish(asked.view_id, assertion),
        lambda: bench.desk.links.skip(asked.view_id),
    ):
        with pytest.raises(DeskError) as caught:
            again()
        assert caught.value.reason == "view-gone"
    assert len(bench.desk.history.decisions()) == 1
    assert len(bundle_of(bench.folder).links) == 1


def test_link_is_not_signed_before_it_was_shown(bench: Bench) -> None:
    asked = bench.approve()
    with pytest.raises(DeskError, match="not shown yet") as caught:
        bench.desk.links.begin(asked.view_id, range(3))
    assert "Your approval is signed and counts" in caught.value.meaning
    with pytest.raises(DeskError) as caught:
        bench.desk.links.finish(asked.view_id, Assertion("", b"", b"", b""))
    assert caught.value.reason == "not-begun"


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"flags": 0x01}, Reason.USER_VERIFICATION_MISSING),
        ({"flags": 0x04}, Reason.USER_PRESENCE_MISSING),
        ({"web_origin": "http://t9.demo.placet.localhost:8470"}, Reason.CLIENT_DATA),
        ({"person": BOB}, "unknown-credential"),
        ({"person": BOB, "as_person": ALICE}, Reason.SIGNATURE_INVALID),
    ],
)
def test_second_touch_that_does_not_count_leaves_the_approval_waiting(
    bench: Bench, knobs: dict[str, Any], reason: str
) -> None:
    asked = bench.approve()
    with pytest.raises(DeskError) as caught:
        bench.desk.links.finish(asked.view_id, bench.touch_link(asked, **knobs))
    assert caught.value.reason == reason
    assert "Your approval is signed and counts" in caught.value.meaning
    assert bench.desk.links.finish(asked.view_id, bench.touch_link(asked)).decision.answer.link


def test_touch_of_the_approval_is_no_touch_of_the_link(bench: Bench) -> None:
    """A13: one touch never signs both; the challenges differ in purpose and in bytes."""
    view = bench.open()
    first = bench.touch(view, "approve")
    asked = bench.desk.finish(view.view_id, "approve", first)
    assert isinstance(asked, LinkAsked)
    bench.touch_link(asked)
    with pytest.raises(DeskError) as caught:
        bench.desk.links.finish(asked.view_id, first)
    assert caught.value.reason == Reason.CHALLENGE_MISMATCH


def test_approval_whose_link_nobody_touches_goes_out_by_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path, patience=0.2)
    bench.approve()
    wait_for(tmp_path / "it.intent.json")
    assert bundle_of(tmp_path).links == ()


def test_terminal_that_stops_sends_what_waits(bench: Bench) -> None:
    bench.approve()
    bench.approve(BOB)
    bench.desk.close()
    assert len(bundle_of(bench.folder).envelope.signatures) == 2


def test_approval_that_could_not_be_kept_waits_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = bench.approve()

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("placet.terminal.sources.write_atomically", full)
    for attempt in (
        lambda: bench.desk.links.finish(asked.view_id, bench.touch_link(asked)),
        lambda: bench.desk.links.skip(asked.view_id),
    ):
        with pytest.raises(OSError, match="No space"):
            attempt()
    monkeypatch.undo()
    assert bench.desk.links.finish(asked.view_id, bench.touch_link(asked)).decision.answer.link


def test_artifact_that_bears_the_actions_name_is_refused_before_the_first_touch(bench: Bench) -> None:
    world = bench.world
    subjects = [artifact("intent://action", b"image")]
    ask = world.ask(DEPLOY, DEPLOY_TARGET, {"strategy": "rolling", "replicas": "6"}, subjects)
    request = build_request(ask, trust=world.trust())
    write_request(bench.folder, "it", request)
    with pytest.raises(MalformedError) as caught:
        bench.desk.open(request.id)
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


# -- Couriers


def linked_answers(world: World, request: IntentRequest, *people: str) -> list[Answer]:
    """Returns approvals with links, as two terminals would send them."""
    statement = parse_statement(request.payload)
    answers = []
    for person in people:
        key, payload = world.keys[person], link_payload(statement)
        sshsig = key.sign(NAMESPACE_LINK, link_message(payload))
        answers.append(world.approve(request, person)._replace(link=signed_link(payload, key.keyid, sshsig)))
    return answers


def test_courier_that_strips_or_swaps_links_gains_nothing() -> None:
    world = World(policy=POLICY)
    request, other = world.request_deploy(), world.request_deploy(b"another image")
    alice, bob = linked_answers(world, request, ALICE, BOB)
    (stale,) = linked_answers(world, other, ALICE)

    def linked(*answers: Answer) -> tuple[list[str], tuple[str, ...], bool]:
        progress = assemble(request, answers, trust=world.trust(), now=NOW + 100)
        signers = sorted(link.signatures[0].keyid for link in progress.bundle.links)
        return signers, progress.without_link, progress.refusal is None

    keys = {person: world.keys[person].keyid for person in (ALICE, BOB)}
    assert linked(alice, bob) == (sorted(keys.values()), (), True)
    # Stripped, swapped between people, or of another request: the approvals count, the links do not.
    for bad in (None, bob.link, stale.link):
        assert linked(alice._replace(link=bad), bob) == ([keys[BOB]], (ALICE,), True)
    # The same approval once with its link and once without: the link stays, in either order.
    bare = alice._replace(link=None)
    assert linked(alice, bare, bob) == linked(bare, alice, bob) == (sorted(keys.values()), (), True)
    # A bundle holds its links when it is taken apart and put together again.
    bundle = assemble(request, [alice, bob], trust=world.trust(), now=NOW + 100).bundle
    assert linked(*split_bundle(parse_bundle(encode_bundle(bundle))))[1] == ()


def test_relay_keeps_an_answer_with_its_link_and_none_with_a_false_one(tmp_path: Path) -> None:
    world = World(policy=POLICY)
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    request, other = world.request_deploy(), world.request_deploy(b"another image")
    alice, bob = linked_answers(world, request, ALICE, BOB)
    (stale,) = linked_answers(world, other, ALICE)
    door = AnswerFilter.load(tmp_path / "snapshot.json")

    def ask(answer: Answer) -> str:
        body = b'{"answer":' + encode_answer(answer) + b"}"
        with ThreadPoolExecutor(1) as pool:  # the browser's driver has the event loop of this thread
            return pool.submit(lambda: asyncio.run(door.check(parse_answering(body), now=NOW + 100))).result()

    assert ask(alice) == ask(alice._replace(link=None)) == world.keys[ALICE].keyid
    for bad in (bob.link, stale.link):
        with pytest.raises(RelayError) as caught:
            ask(alice._replace(link=bad))
        assert caught.value.reason == "answer-not-admitted"


# -- The command line


@pytest.fixture
def place(tmp_path: Path, private_homes: None) -> Place:
    return make_place(tmp_path, policy=POLICY)


@pytest.mark.interop
def test_two_touches_on_the_command_line_make_links_that_in_toto_accepts(place: Place) -> None:
    path = write_request(place.folder, "it", place.world.request_deploy())
    for person in (ALICE, BOB):
        done = place.approve(person, typed="approve\nlink\n", path=path)
        assert done.returncode == 0, done.stderr
        said = " ".join(done.stdout.split())
        assert said.index("takes two touches of your key") < said.index("Type approve")
        assert said.index("Type approve") < said.index("THE IN-TOTO LINK") < said.index("Type link")
        assert "With the in-toto link, signed by your second touch." in said
        link = done.stdout.partition("THE IN-TOTO LINK")[2].partition("Type link")[0]
        assert max(map(len, link.splitlines())) <= 75
    bundle = bundle_of(place.folder)
    chain = Chain()
    keys = functionaries(place.world, ALICE, BOB)
    layout = chain.layout(approve_step(place.world, [ALICE, BOB], threshold=2), keys=keys)
    stock_verify(place.folder / "both", chain.signed(layout, chain.owner), chain.owner, link_files(bundle))


@pytest.mark.interop
@pytest.mark.parametrize("typed", ["approve\n", "approve\n\n", "approve\nno\n", "approve\nLINK\n"])
def test_anything_but_the_word_sends_the_approval_without_its_link(place: Place, typed: str) -> None:
    done = place.approve(ALICE, typed=typed)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "The approval is signed and counts; it is sent without the in-toto link." in said
    assert f"Approved without the in-toto link that a layout asks for: {ALICE}" in said
    bundle = bundle_of(place.folder)
    assert (len(bundle.envelope.signatures), bundle.links) == (1, ())


@pytest.mark.interop
def test_links_come_through_a_relay_to_whoever_waits(place: Place, tmp_path: Path) -> None:
    with relay_at(tmp_path / "relay") as url, RelayClient(url) as client:
        client.submit(place.request, "secret")
        for person, typed in ((ALICE, "approve\nlink\n"), (BOB, "approve\n\n")):
            done = place.approve(person, "--relay", url, typed=typed, path=Path(place.request.id))
            assert done.returncode == 0, done.stderr
        approved = client.wait_for_bundle(place.request, trust=place.world.trust(), timeout=10)
    assert approved.progress.without_link == (BOB,)
    (link,) = parse_bundle(approved.bundle).links
    assert link.signatures[0].keyid == place.keys[ALICE].keyid
    verify_for_use(
        approved.bundle,
        trust=place.world.trust(),
        gate=GATE,
        expected=expected_of(place.request),
        now=int(time.time()),
    )
