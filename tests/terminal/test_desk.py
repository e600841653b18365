"""The desk alone: what it refuses, whatever the page says."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_world import MovableClock, PageWorld, keep_credentials, write_request

from placet.core.encoding import b64url_encode
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.trust import compile_trust, parse_trust
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.desk import MAX_VIEWS, Desk, OpenView
from placet.terminal.history import History, rate_notice
from placet.terminal.screen import SECTION_REQUESTER, build_screen, compare_statements
from placet.terminal.sources import FileSource
from placet.terminal.touch import Assertion, DeskError
from placet.terminal.trust_file import TrustFile
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.world import ALICE, BOB, CAROL


class Bench:
    """A desk with two requests and soft keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.world = folder, MovableClock(), PageWorld(8470)
        self.request = self.world.request_deploy(reason="Now, please")
        self.other = self.world.request_deploy(b"other image")
        files = [write_request(folder, "it", self.request), write_request(folder, "other", self.other)]
        self.source = FileSource(files)
        self.credentials = CredentialStore(folder / "credentials.json")
        keep_credentials(self.world, self.credentials, ALICE, BOB)
        self.install()
        self.desk = Desk(
            source=self.source,
            trust_file=TrustFile(folder / "snapshot.json"),
            identity=self.world.terminals["t1"],
            credentials=self.credentials,
            history=History(folder / "history.jsonl"),
            clock=self.clock,
            web_origin=self.world.origin("t1"),
        )

    def install(self) -> None:
        fresh = self.folder / "fresh.json"
        fresh.write_bytes(self.world.snapshot())
        fresh.rename(self.folder / "snapshot.json")

    def open(self) -> OpenView:
        return self.desk.open(self.request.id)

    def touch(self, view: OpenView, decision: str, person: str = ALICE, **knobs: object) -> Assertion:
        """Asks the desk what to sign and signs it."""
        asked = self.desk.begin(view.view_id, decision, range(view.screen.row_count))
        key = self.world.keys[person]
        assert isinstance(key, SoftWebAuthn)
        made = key.get(unb64url(asked.challenge), **knobs)  # type: ignore[arg-type]
        return Assertion(b64url_encode(key.credential_id), made[0], made[1], made[2])


def unb64url(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)


def refused(bench: Bench) -> None:
    assert not (bench.folder / "it.intent.json").exists()
    assert not (bench.folder / "history.jsonl").exists()


def test_honest_decision_is_kept_with_report_and_history(bench: Bench) -> None:
    view = bench.open()
    done = bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve"))
    assert done.decision.person == ALICE
    assert done.delivery.state == "sent"
    assert [d.record for d in bench.desk.history.decisions()] == [done.decision.record]
    assert stat.S_IMODE((bench.folder / "history.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("seen", [[], range(5), range(1, 100)])
def test_view_whose_rows_were_not_all_shown_is_not_signed(bench: Bench, seen: list[int]) -> None:
    view = bench.open()
    for decision in ("approve", "deny"):
        with pytest.raises(DeskError, match="not shown yet"):
            bench.desk.begin(view.view_id, decision, seen)


def test_signature_made_past_the_page_is_not_taken(bench: Bench) -> None:
    """A challenge can be computed by anybody who knows the request; that everything was shown cannot."""
    view, twin = bench.open(), bench.open()
    assertion = bench.touch(twin, "approve")
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", assertion)
    assert caught.value.reason == "not-begun"
    refused(bench)


def test_touch_for_a_denial_cannot_become_an_approval(bench: Bench) -> None:
    view = bench.open()
    bench.touch(view, "approve")
    denial = bench.touch(view, "deny")
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", denial)
    assert caught.value.reason == Reason.CHALLENGE_MISMATCH
    refused(bench)


def test_touch_for_another_request_is_refused(bench: Bench) -> None:
    view, other = bench.open(), bench.desk.open(bench.other.id)
    bench.touch(view, "approve")
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", bench.touch(other, "approve"))
    assert caught.value.reason == Reason.CHALLENGE_MISMATCH
    refused(bench)


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"web_origin": "http://t2.demo.placet.localhost:8470"}, Reason.CLIENT_DATA),
        ({"cross_origin": True}, Reason.CROSS_ORIGIN),
        ({"flags": 0x01}, Reason.USER_VERIFICATION_MISSING),
        ({"flags": 0x04}, Reason.USER_PRESENCE_MISSING),
        ({"flags": 0x0D}, Reason.BACKUP_NOT_ALLOWED),
        ({"rp_id": "evil.placet.localhost"}, Reason.SIGNATURE_INVALID),
    ],
)
def test_wrongly_made_assertion_is_refused_before_anything_is_kept(
    bench: Bench, knobs: dict[str, object], reason: Reason
) -> None:
    view = bench.open()
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve", **knobs))
    assert caught.value.reason == reason
    assert caught.value.hint
    refused(bench)
    # The view stays open: the same person may try again with an honest touch.
    bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve"))


def test_one_touch_counts_once(bench: Bench) -> None:
    view = bench.open()
    assertion = bench.touch(view, "approve")
    bench.desk.finish(view.view_id, "approve", assertion)
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", assertion)
    assert caught.value.reason == "view-gone"
    assert len(bench.desk.history.decisions()) == 1


def test_key_that_decided_already_is_not_asked_again(bench: Bench) -> None:
    for person in (ALICE, BOB):
        view = bench.open()
        bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve", person))
    view = bench.open()
    with pytest.raises(DeskError) as caught:
        bench.desk.begin(view.view_id, "approve", range(view.screen.row_count))
    assert caught.value.reason == "already-decided"
    # A change of mind is another decision.
    assert len(bench.desk.begin(view.view_id, "deny", range(view.screen.row_count)).credentials) == 2


def test_credential_of_somebody_who_left_is_not_asked_for(bench: Bench) -> None:
    del bench.world.keys[ALICE]
    bench.install()
    view = bench.open()
    touch = bench.desk.begin(view.view_id, "approve", range(view.screen.row_count))
    bob = bench.world.keys[BOB]
    assert isinstance(bob, SoftWebAuthn)
    assert [c[0] for c in touch.credentials] == [b64url_encode(bob.credential_id)]


def test_credential_that_has_expired_is_not_asked_for(bench: Bench) -> None:
    from placet.core.encoding import format_time

    now = bench.clock.now()
    bench.world.credential_members[ALICE] = {"notAfter": format_time(now - 1)}
    bench.install()
    usable = bench.credentials.usable(bench.world.trust(), now)
    assert [person.id for person, _, _ in usable] == [BOB]


def test_request_that_expires_between_touch_and_answer_is_refused(bench: Bench) -> None:
    view = bench.open()
    assertion = bench.touch(view, "approve")
    bench.clock.offset = 3600
    with pytest.raises(PolicyError) as caught:
        bench.desk.finish(view.view_id, "approve", assertion)
    assert caught.value.reason is Reason.EXPIRED
    refused(bench)


def test_rules_that_change_while_it_is_read_stop_the_decision(bench: Bench) -> None:
    view = bench.open()
    bench.world.policy = bench.world.policy.replace("threshold = 2", "threshold = 3")
    bench.install()
    with pytest.raises(PolicyError) as caught:
        bench.desk.begin(view.view_id, "approve", range(view.screen.row_count))
    assert caught.value.reason is Reason.POLICY_STALE


def test_terminal_that_is_not_enrolled_decides_nothing(bench: Bench) -> None:
    bench.world.terminals = {"t2": bench.world.terminals["t2"]}
    bench.install()
    with pytest.raises(PolicyError) as caught:
        bench.open()
    assert caught.value.reason is Reason.TERMINAL_UNKNOWN


def test_request_file_that_is_gone_is_not_signed(bench: Bench) -> None:
    view = bench.open()
    assertion = bench.touch(view, "approve")
    (bench.folder / "it.request.json").unlink()
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", assertion)
    assert caught.value.reason == "request-gone"


def test_bundle_that_cannot_be_written_keeps_the_view_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = bench.open()
    assertion = bench.touch(view, "approve")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("placet.terminal.sources.write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        bench.desk.finish(view.view_id, "approve", assertion)
    monkeypatch.undo()
    refused(bench)
    bench.desk.finish(view.view_id, "approve", assertion)


def test_unknown_view_and_unknown_credential_are_refused(bench: Bench) -> None:
    with pytest.raises(DeskError):
        bench.desk.begin("guess", "approve", [])
    view = bench.open()
    stranger = bench.touch(view, "approve")._replace(credential_id="c3RyYW5nZXI")
    with pytest.raises(DeskError) as caught:
        bench.desk.finish(view.view_id, "approve", stranger)
    assert caught.value.reason == "unknown-credential"


def test_views_are_bounded_and_the_oldest_goes_first(bench: Bench) -> None:
    first = bench.open()
    for _ in range(MAX_VIEWS):
        last = bench.open()
    with pytest.raises(DeskError):
        bench.desk.begin(first.view_id, "approve", [])
    bench.desk.begin(last.view_id, "approve", range(last.screen.row_count))


def test_inbox_shows_what_can_be_decided_first_and_says_why_the_rest_cannot(bench: Bench) -> None:
    bench.desk.put_aside(bench.request.id)
    assert [w.request_id for w in bench.desk.waiting()] == [bench.other.id, bench.request.id]
    # What waits for nobody here stands after what was only put aside.
    for person, decision, done in ((ALICE, "approve", False), (BOB, "deny", True)):
        view = bench.desk.open(bench.other.id)
        bench.desk.finish(view.view_id, decision, bench.touch(view, decision, person))
        # While another person of this terminal has not decided, it waits for them.
        (other,) = [w for w in bench.desk.waiting() if w.request_id == bench.other.id]
        assert other.done is done
    assert [w.request_id for w in bench.desk.waiting()] == [bench.request.id, bench.other.id]
    assert other.decided_here == ("alice@example.com approved here", "bob@example.com denied here")
    bench.clock.offset = 3600
    assert {w.refusal.reason for w in bench.desk.waiting() if w.refusal} == {Reason.EXPIRED}


def test_request_that_others_completed_waits_for_nobody(bench: Bench) -> None:
    for person in (ALICE, BOB):
        answer = bench.world.approve(bench.request, person, decided_at=bench.clock.now())
        bench.source.deliver(bench.request, answer, trust=bench.world.trust(), now=bench.clock.now())
    assert [(w.request_id, w.done, w.decided_here) for w in bench.desk.waiting()] == [
        (bench.other.id, False, ()),
        (bench.request.id, True, ()),
    ]


def test_a_gate_that_is_not_there_is_named_as_the_trust_root_would(bench: Bench) -> None:
    from placet.ceremony.decide import prepare

    files = bench.world.files() | {"gates.json": b'{"gates":[]}'}
    trust = parse_trust(
        compile_trust(files=files, versions=bench.world.versions, expires_at=bench.world.expires_at)
    )
    with pytest.raises(PlacetError, match=r"no gate named 'prod-eu'\."):
        prepare(bench.request, trust=trust, now=bench.clock.now())


def test_verified_requester_is_a_fact_and_an_unverified_one_a_claim(bench: Bench) -> None:
    from placet.ceremony.decide import prepare
    from placet.ceremony.publish import assemble
    from placet.ceremony.request import attach_proof, requester_message
    from placet.core.sshsig import NAMESPACE_REQUEST

    key = bench.world.keys[CAROL]
    proven = attach_proof(
        bench.request, keyid=key.keyid, sshsig=key.sign(NAMESPACE_REQUEST, requester_message(bench.request))
    )
    trust, now = bench.world.trust(), bench.clock.now()
    for request, kind, words in (
        (bench.request, "claim", "Unverified"),
        (proven, "fact", "Verified: carol@example.com"),
    ):
        progress = assemble(request, [], trust=trust, now=now)
        screen = build_screen(prepare(request, trust=trust, now=now), progress, None, now)
        (section,) = [s for s in screen.sections if s.title == SECTION_REQUESTER]
        (note,) = section.blocks[0].notes
        assert (note.kind, note.text.startswith(words)) == (kind, True)


def test_second_approver_is_not_told_that_the_first_ones_request_is_unchanged(bench: Bench) -> None:
    """A7: what the first approver decided a minute ago is no earlier state of this target."""
    for person in (ALICE, BOB):
        view = bench.open()
        assert "First time for this target" in str(view.screen)
        done = bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve", person))
        assert b"first approval of this target" in done.decision.answer.report.payload
    (bench.folder / "it.intent.json").unlink()
    other = bench.desk.open(bench.other.id)
    assert "First time" not in str(other.screen)
    assert "Artifact 1 digest sha256, before" in str(other.screen)
    touch = bench.touch(other, "approve")
    bench.desk.finish(other.view_id, "approve", touch)
    # Once more the first request: now another payload stands between.
    assert "Artifact 1 digest sha256, before" in str(bench.open().screen)


def test_needs_of_whoever_is_above_the_reached_level_are_not_listed(bench: Bench) -> None:
    """A9: as in verification, only those at the reached level hold the next one up."""
    from placet.ceremony.publish import assemble
    from placet.terminal.progress import describe_level

    answers = [
        bench.world.approve(bench.request, person, decided_at=bench.clock.now()) for person in (ALICE, BOB)
    ]
    progress = assemble(bench.request, answers, trust=bench.world.trust(), now=bench.clock.now())
    low, high = progress.approvers
    low = low._replace(level=1, missing=("what the low one needs",))
    high = high._replace(level=2, missing=("what the high one needs",))
    said = " ".join(describe_level(progress._replace(level=1, approvers=(low, high))))
    assert "Missing for INTENT_LEVEL_2 (Present): what the low one needs." in said
    assert "high" not in said


def test_screen_names_the_request_by_the_digest_that_its_requester_sees(bench: Bench) -> None:
    from placet.core.encoding import sha256_hex
    from placet.terminal.text import render_text

    screen = bench.open().screen
    assert screen.request_id == bench.request.id == sha256_hex(bench.request.payload)
    lines = render_text(screen, colour=False).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Request "))
    assert at < 4
    shown = (lines[at] + lines[at + 1]).removeprefix("Request ").split()
    assert {len(group) for group in shown} == {4}
    assert "".join(shown) == bench.request.id


def test_comparison_names_what_differs_and_nothing_else(bench: Bench) -> None:
    from placet.core.statement import parse_statement

    before, now = parse_statement(bench.request.payload), parse_statement(bench.other.payload)
    assert [change.name for change in compare_statements(before, now)] == ["Artifact 1 digest sha256"]
    assert compare_statements(before, before) == ()


def test_screen_that_hides_or_repeats_a_row_is_refused(bench: Bench) -> None:
    from placet.ceremony.decide import prepare
    from placet.core.errors import VerificationError
    from placet.terminal.screen import check_every_row_once

    screen = bench.open().screen
    review = prepare(bench.request, trust=bench.world.trust(), now=bench.clock.now())
    check_every_row_once(screen, review)
    first, *rest = screen.sections
    changed = screen.headline._replace(value="Deploy something nice")
    for wrong in (
        screen._replace(sections=tuple(rest)),
        screen._replace(sections=(first, first, *rest)),
        screen._replace(headline=changed),
    ):
        with pytest.raises(VerificationError) as caught:
            check_every_row_once(wrong, review)
        assert caught.value.reason is Reason.DISPLAY_INCOMPLETE


def test_torn_line_hides_no_other_decision(bench: Bench) -> None:
    for person in (ALICE, BOB):
        view = bench.open()
        bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve", person))
        with (bench.folder / "history.jsonl").open("ab") as file:
            file.write(b'{"decidedAt": 17')
    assert [d.person for d in bench.desk.history.decisions()] == [ALICE, BOB]
    assert bench.desk.history.unreadable() == 2


def test_damaged_credential_store_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    store = CredentialStore(path)
    store.add("aa" * 32, KnownCredential("aWQ", ("usb",)))  # type: ignore[arg-type]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text('{"credentials": {"a": 1}}')
    with pytest.raises(IndeterminateError, match="damaged"):
        store.add("bb" * 32, KnownCredential("aWQ", ()))  # type: ignore[arg-type]
    assert json.loads(path.read_text()) == {"credentials": {"a": 1}}


def test_requests_that_pour_in_are_named_as_unusual() -> None:
    now = 1_000_000_000
    assert rate_notice([now - 60] * 4, [], now) == ""
    assert rate_notice([now - 7000] * 40, [], now) == ""
    said = rate_notice([now - 60] * 12, [now - day * 43_200 for day in range(1, 21)], now)
    assert said.startswith("12 requests in 10 minutes; usual here is 2 a day.")
    busy = [now - 601 - i * 1000 for i in range(800)]
    assert rate_notice([now - 60] * 12, busy, now) == ""


def test_nothing_the_page_sends_reaches_the_signed_bytes(bench: Bench) -> None:
    """A6: the desk signs what it rendered; a page can only choose a view and a decision."""
    view = bench.open()
    done = bench.desk.finish(view.view_id, "approve", bench.touch(view, "approve"))
    assert done.decision.answer.envelope.payload == bench.request.payload
    key = bench.world.keys[ALICE]
    forged = key.sign(NAMESPACE_INTENT, b"something else", web_origin=bench.world.origin("t1"))
    assert forged
    with pytest.raises((DeskError, PlacetError)):
        bench.desk.finish(view.view_id, "approve", bench.touch(bench.desk.open(bench.other.id), "approve"))
