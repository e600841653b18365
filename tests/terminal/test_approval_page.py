"""A person, a real Chromium and a key: from the inbox to a bundle that the gate accepts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_driver import Reader, plugged_in, reading
from terminal_world import PageWorld, RunningTerminal, running, write_request

from placet.ceremony.decide import prepare
from placet.core.bundle import IntentRequest, parse_answer
from placet.core.report import parse_report
from placet.core.statement import parse_statement
from placet.core.verify import verify_for_use
from placet.testing.chromium import ChromiumSession
from placet.testing.world import ALICE, BOB, GATE, expected_of

pytestmark = pytest.mark.browser

REASON = "Release of Tuesday's fix <img src=x onerror=alert(1)> \u202eplease"
HOSTILE = ["/bin/true", "</code><script>alert(1)</script>", "a  b ", "#token=x"]


@pytest.fixture
def request_(world: PageWorld) -> IntentRequest:
    return world.request_run(argv=HOSTILE, reason=REASON.replace("\u202e", ""))


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


def test_two_people_approve_on_the_page_and_the_gate_accepts(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        assert "Approved." in reader.decide("approve")
        assert "1 more of group:release" in reader.page.inner_text("main")
    with plugged_in(world, reader.session, BOB):
        reader.open(request_)
        assert "alice@example.com approved at" in reader.page.inner_text("#decided")
        reader.decide("approve")
        shown = reader.page.inner_text("main")
        assert "INTENT_LEVEL_1 (Bound) is reached" in shown
        assert "Missing for INTENT_LEVEL_2 (Present)" in shown
    bundle = (folder / "it.intent.json").read_bytes()
    approval = verify_for_use(
        bundle, trust=world.trust(), gate=GATE, expected=expected_of(request_), now=int(time.time())
    )
    assert {(a.person_id, a.terminal_id, a.kind) for a in approval.approvers} == {
        (ALICE, "t1", "webauthn"),
        (BOB, "t1", "webauthn"),
    }


def test_denial_is_signed_and_recorded(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        assert "Denied." in reader.decide("deny")
    said = reader.page.inner_text("main")
    assert "One denial alone does not stop the request; others may still approve." in said
    (path,) = folder.glob("it.denied-*.answer.json")
    answer = parse_answer(path.read_bytes())
    assert parse_statement(answer.envelope.payload).decision == "deny"
    report = parse_report(answer.report.payload)
    assert report.changes == "first approval of this target on this terminal"
    assert report.terminal_id == "t1"
    assert not (folder / "it.intent.json").exists()


def test_keyboard_alone_is_enough_and_enter_alone_never_approves(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    page = reader.page
    with plugged_in(world, reader.session, ALICE):
        reader.open_inbox()
        press_until(reader, "Tab", f'[data-request="{request_.id}"]')
        page.keyboard.press("Enter")
        page.wait_for_selector("#approve")
        # Nothing is preselected: Enter, pressed at once and again, does nothing.
        for _ in range(3):
            page.keyboard.press("Enter")
        reader.read_all()
        page.keyboard.press("Enter")
        press_until(reader, "Tab", "#approve")
        for _ in range(3):
            page.keyboard.press("Enter")
        page.wait_for_timeout(200)
        assert reader.state == "ready"
        assert "Enter never approves" in page.inner_text("#status")
        page.keyboard.press("Space")
        assert "Approved." in reader.wait_state("approved", "error")


def press_until(reader: Reader, key: str, selector: str) -> None:
    for _ in range(30):
        reader.page.keyboard.press(key)
        if reader.page.evaluate("s => document.activeElement.matches(s)", selector):
            outline = reader.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", "focus must be visible"
            return
    raise AssertionError(f"{selector} cannot be reached with {key}")


def test_key_signs_nothing_before_everything_was_shown(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    page = reader.page
    reader.open(request_)
    assert page.is_disabled("#approve")
    assert page.is_disabled("#deny")
    assert page.is_enabled("#later")
    # Jumping over the middle is not reading it.
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    assert page.is_disabled("#approve")
    assert "Left to show" in page.inner_text("#left")
    # A page that was tampered with, and claims to have shown what it did not, names too few rows.
    view = page.evaluate(CALL, ["/api/views", {"request": request_.id}])["value"]
    some = list(range(view["rowCount"] - 1))
    path = f"/api/views/{view['view']}/begin"
    refused = page.evaluate(CALL, [path, {"decision": "approve", "seen": some}])
    assert (refused["status"], refused["value"]["error"]["reason"]) == (409, "not-all-shown")
    page.click("#next")
    reader.read_all()
    assert "Everything was shown" in page.inner_text("#left")
    # Said once to the eye; the live region says it to those who listen.
    assert "Everything was shown" in reader.wait_state("shown")
    assert page.evaluate("getComputedStyle(document.querySelector('#status')).clipPath") == "inset(50%)"


CALL = """async ([path, body]) => {
  const token = sessionStorage.getItem("placet-token");
  const headers = {"Content-Type": "application/json", "X-Placet-Token": token};
  const response = await fetch(path, {method: "POST", headers, body: JSON.stringify(body)});
  return {status: response.status, value: await response.json()};
}"""


def test_page_shows_every_row_exactly_once_as_it_is_signed(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    reader.open(request_)
    review = prepare(request_, trust=world.trust(), now=int(time.time()))
    shown = reader.page.evaluate(ROWS)
    assert sorted(map(tuple, shown)) == [(i, row.value) for i, row in enumerate(review.view.rows)]
    assert reader.page.evaluate("document.scripts.length") == 1


ROWS = """() => [...document.querySelectorAll("[data-index]")].map((row) => {
  const shown = row.querySelector("dd code, dd blockquote") ?? row.querySelector("dd") ?? row;
  return [Number(row.dataset.index), shown.textContent];
})"""


def test_token_leaves_the_address_bar_and_a_page_without_it_gets_nothing(
    reader: Reader, request_: IntentRequest
) -> None:
    reader.open_inbox()
    assert reader.terminal.guard.token not in reader.page.url
    assert reader.page.evaluate("document.cookie") == ""
    fresh = reader.page.context.new_page()
    fresh.goto(f"{reader.terminal.guard.web_origin}/#/request/{request_.id}")
    fresh.wait_for_selector(".problem")
    assert "without the link of this launch" in fresh.inner_text("main")
    assert "Nothing was signed" in fresh.inner_text("main")
    fresh.close()


def test_page_names_the_request_before_and_after_the_touch(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    page = reader.page
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        assert page.inner_text("#request-id dt") == "Request"
        groups = page.locator("#request-id code span").all_inner_texts()
        assert {len(group) for group in groups} == {4}
        assert "".join(groups) == request_.id
        box = page.locator("#request-id").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 800
        reader.decide("deny")
        labels = page.locator("main dt").all_inner_texts()
        assert ("Request" in labels, "Denial, SHA-256" in labels) == (True, True)
    page.click("#back")
    page.wait_for_selector("#requests")
    assert f"{ALICE} denied here" in page.inner_text("#requests")
    with plugged_in(world, reader.session, BOB):
        reader.open(request_)
        reader.decide("deny")
    page.click("#back")
    page.wait_for_selector("#done")
    assert "All is quiet" in page.inner_text("h1")
    assert "Decided here or complete" in page.inner_text("main")
    assert f"{ALICE} denied here" in page.inner_text("#done")


def test_not_now_signs_nothing_and_comes_back(reader: Reader, request_: IntentRequest, folder: Path) -> None:
    reader.open(request_)
    reader.page.click("#later")
    reader.page.wait_for_selector("#requests")
    reader.page.get_by_text("put aside").wait_for()
    assert not (folder / "history.jsonl").exists()
    assert list(folder.glob("*.intent.json")) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"bogus_signature": True}, "DER"),
        ({"bad_up": True}, "touched"),
        ({"bad_uv": True}, "verify its user"),
    ],
)
def test_faulty_key_is_refused_calmly_and_the_next_try_succeeds(
    reader: Reader,
    world: PageWorld,
    request_: IntentRequest,
    folder: Path,
    fault: dict[str, bool],
    words: str,
) -> None:
    with plugged_in(world, reader.session, ALICE) as key:
        reader.open(request_)
        key.set_faults(**fault)
        said = reader.decide("approve")
        assert reader.state == "error"
        assert words in said
        assert "Nothing was sent." in said
        assert "What to do" in said
        assert not (folder / "it.intent.json").exists()
        key.set_faults()
        assert "Approved." in reader.decide("approve")


def test_untouched_key_can_be_cancelled(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE) as key:
        key.set_automatic_presence(False)
        reader.open(request_)
        reader.read_all()
        reader.page.click("#approve")
        assert "Touch your key to approve" in reader.wait_state("touch")
        assert reader.page.is_disabled("#deny")
        reader.page.click("#cancel")
        said = reader.wait_state("error")
        assert "You cancelled." in said
        assert "Nothing was signed" in said
        assert reader.page.is_enabled("#approve")
    assert not (folder / "it.intent.json").exists()


def test_synced_passkey_is_refused(reader: Reader, world: PageWorld, request_: IntentRequest) -> None:
    with plugged_in(world, reader.session, ALICE) as key:
        (known,) = key.credentials()
        key.set_backup_state(known["credentialId"], eligible=True, backed_up=True)
        reader.open(request_)
        assert "synced" in reader.decide("approve")
        assert reader.state == "error"


def test_request_that_expired_while_it_was_read_is_not_signed(
    reader: Reader, world: PageWorld, request_: IntentRequest
) -> None:
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        reader.terminal.clock.offset = 3601
        said = reader.decide("approve")
    assert "expired" in said
    assert "Nothing was signed and nothing was sent." in said


def test_second_tab_cannot_decide_the_same_again(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE):
        other_page = reader.page.context.new_page()
        other = Reader(ChromiumSession(other_page), reader.terminal)
        other.open(request_)
        other.read_all()
        reader.page.bring_to_front()
        reader.open(request_)
        reader.decide("approve")
        other_page.bring_to_front()
        with plugged_in(world, other.session, ALICE):
            other_page.click("#approve")
            said = other.wait_state("approved", "error")
            # Bob's key is known here too; Alice's is not asked for again.
            assert "gave no signature" in said
        other_page.close()
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["person"] for line in lines] == [ALICE]


def test_history_and_record_tell_what_was_signed(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        reader.decide("approve")
    reader.page.click("#to-record")
    reader.page.wait_for_selector("#save")
    with reader.page.expect_download() as download:
        reader.page.click("#save")
    answer = parse_answer(Path(download.value.path()).read_bytes())
    assert answer.envelope.payload == request_.payload
    reader.page.click("#to-history")
    reader.page.wait_for_selector(".requests")
    assert "Approved by alice@example.com" in reader.page.inner_text("main")


def test_what_changed_since_the_last_approval_is_shown(
    reader: Reader, world: PageWorld, request_: IntentRequest, folder: Path
) -> None:
    with plugged_in(world, reader.session, ALICE):
        reader.open(request_)
        assert "First time for this target" in reader.page.inner_text("main")
        reader.decide("approve")
        other = world.request_run(argv=["/bin/true", "other"])
        # The same request file, with another request in it.
        write_request(folder, "it", other)
        (folder / "it.intent.json").unlink()
        reader.open(other)
        shown = reader.page.inner_text("main")
        assert "First time" not in shown
        assert "Parameter argv 2, before" in shown
        assert HOSTILE[1] in shown
