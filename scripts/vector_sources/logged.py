"""Decisions that a log is proven to hold: levels 3 and 4, and what time its witnesses prove."""

# ruff: noqa: E501 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from placet.core.bundle import IntentBundle
from placet.core.encoding import format_time
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, NOW, World, evidence
from vector_sources.book import AT, SEED, Book, Voice, b64, bundle_of, run_request, use_inputs
from vector_sources.worlds import ONE_HOUR, level_four, logged_world

SEEN = NOW + 90
ALL = (Voice(ALICE), Voice(BOB, "t2"), Voice(CAROL, "t3"))


def a_log(**changes: Any) -> SmallLog:
    """Returns the log that the worlds' trust roots name, empty of decisions."""
    return SmallLog(seed=SEED, **changes)


def logged() -> Book:
    """Is it in the log, and who saw it there?"""
    book = Book("logged")
    _levels(book)
    _proofs(book)
    _collective(book)
    _times(book)
    return book


def _proven(source: World, *voices: Voice | str, log: SmallLog | None = None, witnesses: Sequence[str] = ("w1",), at: int = SEEN, **more: Any) -> IntentBundle:
    return (log or a_log()).prove(bundle_of(source, run_request(source, **more), *voices), at=at, witnesses=witnesses)


def _levels(book: Book) -> None:
    def ok(name: str, ids: str, description: str, bundle: IntentBundle, **facts: Any) -> None:
        book.accept("verify-for-use", name, ids, description, use_inputs(bundle, trust="level-3"), **facts)

    def no(name: str, ids: str, description: str, bundle: IntentBundle, reason: str = "level-too-low", category: str = "policy", trust: str = "level-3") -> None:
        book.refuse("verify-for-use", name, ids, description, use_inputs(bundle, trust=trust), reason, category=category)

    source = logged_world(3)
    ok("level-3", "LVL-03 LVL-04 DLG-01 DLG-02 BND-05 TRU-05 INV-7", "In the log, and one witness saw it.", _proven(source, ALICE, BOB), level=3, people=[ALICE, BOB])
    no("unlogged", "LVL-03 INV-7", "No proof that it is in the log.", bundle_of(source, run_request(source), ALICE, BOB))
    no("unwitnessed", "LVL-03", "In the log, as its operator alone says (attack A14).", _proven(source, ALICE, BOB, witnesses=()))
    half = _proven(source, ALICE, BOB)
    no("one-unlogged", "LVL-03 LVL-04", "One of two decisions is in the log.", half._replace(log=half.log[:1]))
    no("no-log-named", "LVL-03 TRU-05", "The trust root names no log.", _proven(source, ALICE, BOB), "level-needs-log", trust="level-3-without-log")
    vouched = logged_world(3, assurance={ALICE: "attested", BOB: "vouched", CAROL: "attested"})
    no("vouched", "LVL-03", "A model that nobody attested.", _proven(vouched, ALICE, BOB), trust="level-3-vouched")
    item = evidence(b"what a terminal ought to verify")
    seen = {"evidence": (_result(item.digest, "verified"),)}
    asked = run_request(source, evidence=[("note", item)])
    checked = a_log().prove(bundle_of(source, asked, Voice(ALICE, report=seen), Voice(BOB, "t2", report=seen)), at=SEEN, witnesses=("w1",))
    ok("evidence-seen", "LVL-03", "Both terminals verified the evidence.", checked, level=3)
    unseen = {"evidence": (_result(item.digest, "not-checked"),)}
    unchecked = a_log().prove(bundle_of(source, asked, Voice(ALICE, report=seen), Voice(BOB, "t2", report=unseen)), at=SEEN, witnesses=("w1",))
    no("evidence-not-checked", "LVL-03", "One terminal showed evidence that it did not verify.", unchecked)


def _result(digest: str, result: str) -> Any:
    from placet.core.encoding import Digest
    from placet.core.report import EvidenceResult

    return EvidenceResult(Digest(digest), result)


def _proofs(book: Book) -> None:
    source = logged_world(1)

    def no(name: str, ids: str, description: str, bundle: IntentBundle, reason: str = "log-proof-invalid") -> None:
        book.refuse("verify-for-use", name, ids, description, use_inputs(bundle, trust="logged"), reason, category="verification")

    good = _proven(source, ALICE, BOB)
    alice, bob = good.log
    swapped = (alice._replace(proof=bob.proof), bob._replace(proof=alice.proof))
    no("proof-swapped", "DLG-02 INV-7", "The proofs of two decisions, each in the other's place.", good._replace(log=swapped))
    other = _proven(source, Voice(ALICE, report={"seconds_on_screen": 2}), BOB)
    no("proof-of-another", "DLG-02", "The proof of a decision with another report.", good._replace(log=other.log))
    no("proof-without-signature", "DLG-01", "A proof of a decision that is not here.", good._replace(log=(alice._replace(signature_digest=alice.signature_digest[::-1]), bob)))
    no("proof-without-report", "DLG-01", "A proof of a decision that no terminal reports.", good._replace(reports=good.reports[1:]))
    forked = alice.proof.replace("\n7\n", "\n8\n")
    no("checkpoint-altered", "DLG-02", "A checkpoint whose size was changed (attack A14).", good._replace(log=(alice._replace(proof=forked), bob)))
    replayed = _replayed(good)
    no("cosignature-replayed", "DLG-02", "A witness's cosignature of another checkpoint (attack A14).", replayed)
    stranger = _proven(source, ALICE, BOB, log=SmallLog(seed=b"another log"))
    book.accept("verify-for-use", "unknown-log", "DLG-03 TRU-05", "A log that the trust root does not name proves nothing, and harms nothing.", use_inputs(stranger, trust="logged"), level=2)
    third = _proven(logged_world(3), ALICE, BOB, log=SmallLog(seed=b"another log"))
    book.refuse("verify-for-use", "unknown-log-level-3", "DLG-03 LVL-03 INV-7", "A proof by a log of the courier's choice (attack A14).", use_inputs(third, trust="level-3"), "level-too-low", category="policy")
    nobody = use_inputs(_proven(source, ALICE, BOB), trust="logged-nowhere")
    book.accept("verify-for-use", "no-log", "DLG-03 TRU-05", "A trust root without a log.", nobody, level=2)


def _replayed(good: IntentBundle) -> IntentBundle:
    """Puts the cosignature of a smaller tree under the checkpoint of a larger one."""
    log = a_log()
    old = log.checkpoint(times={"w1": SEEN}).decode().splitlines()[-1]
    alice, bob = good.log
    lines = alice.proof.splitlines()
    return good._replace(log=(alice._replace(proof="\n".join([*lines[:-1], old]) + "\n"), bob))


def _collective(book: Book) -> None:
    source = level_four()

    def no(name: str, description: str, bundle: IntentBundle, reason: str = "level-too-low") -> None:
        book.refuse("verify-for-use", name, "LVL-06 INV-5", description, use_inputs(bundle, trust="level-4"), reason, category="policy")

    quorum = ("w1", "w3")
    book.accept("verify-for-use", "level-4", "LVL-06 LVL-05 INV-7", "Three people on three terminals, of whom one may have asked; a quorum of witnesses.", use_inputs(_proven(source, *ALL, witnesses=quorum), trust="level-4"), level=4)
    no("level-4-no-quorum", "One witness where two are the quorum.", _proven(source, *ALL, witnesses=("w2",)))
    no("level-4-one-person", "One person is not several, whatever the rule's threshold.", _proven(source, ALICE, witnesses=quorum))
    no("level-4-requester", "The unverified requester could be one of the two.", _proven(source, ALICE, BOB, witnesses=quorum))
    no("level-4-one-terminal", "Three people on two terminals, where one may have asked.", _proven(source, Voice(ALICE), Voice(BOB, "t2"), Voice(CAROL, "t2"), witnesses=quorum))


def _times(book: Book) -> None:
    source = logged_world(1)
    good = _proven(source, ALICE, BOB, witnesses=("w1", "w2"))
    book.accept("verify-for-use", "clock-behind", "VER-10", "The witnesses' time is later than the gate's, and in the window.", use_inputs(good, trust="logged"), now=NOW + 61, level=3)
    late = _proven(source, ALICE, BOB, witnesses=("w1", "w2"), at=NOW + ONE_HOUR)
    book.refuse("verify-for-use", "clock-turned-back", "VER-10 VER-06 INV-4", "By the gate's clock it is valid, and witnesses signed after its end (attack A18).", use_inputs(late, trust="logged"), "expired", category="policy")
    expired = _proven(source, ALICE, BOB, witnesses=("w1", "w2"), at=source.expires_at)
    book.refuse("verify-for-use", "trust-clock-turned-back", "VER-10 VER-01", "Witnesses signed after the gate's trust expired.", use_inputs(expired, trust="logged"), "trust-expired", category="indeterminate")
    alone = _proven(source, ALICE, BOB, witnesses=("w1",), at=NOW + 10 * ONE_HOUR)
    book.accept("verify-for-use", "one-witness-ahead", "VER-10", "One witness alone does not turn a clock forward.", use_inputs(alone, trust="logged"), level=3)
    audit = {"trust": "logged", "loggedAt": None}
    book.accept("verify-for-audit", "witnessed", "VER-09", "Judged at the time by which a quorum of witnesses had seen it.", audit | {"bundle": _b64(good)}, now=NOW + 10**7, people=[ALICE, BOB])
    book.refuse("verify-for-audit", "witnessed-by-one", "VER-09", "One witness is no quorum.", audit | {"bundle": _b64(alone)}, "time-unproven", category="indeterminate")
    one = good._replace(log=good.log[:1])
    book.refuse("verify-for-audit", "one-unproven", "VER-09", "One of two decisions has no proven time.", audit | {"bundle": _b64(one)}, "time-unproven", category="indeterminate")
    book.refuse("verify-for-audit", "witnessed-late", "VER-09 VER-06", "Logged after the window.", audit | {"bundle": _b64(late)}, "expired", category="policy")
    said = {"trust": "logged", "bundle": _b64(good), "loggedAt": format_time(AT)}
    book.accept("verify-for-audit", "said", "VER-09", "A time that the auditor brings.", said, people=[ALICE, BOB])


def _b64(bundle: IntentBundle) -> str:
    from placet.core.bundle import encode_bundle

    return b64(encode_bundle(bundle))
