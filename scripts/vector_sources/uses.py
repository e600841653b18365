"""Using an approval: the ledger's sequences, and the command gate's own checks."""

# ruff: noqa: E501 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

from typing import Any

from placet.core.encoding import format_time
from placet.testing.world import NOW, artifact
from vector_sources.book import Book, altered, b64, run_request, world
from vector_sources.forms import ACTION, action_subject_of
from vector_sources.logged_uses import add_logged_uses

FIRST, SECOND, KEY = "a" * 64, "b" * 64, "c" * 64
BORN = NOW - 3600


def _step(do: str, at: int = NOW + 60, **more: Any) -> dict[str, Any]:
    return {"do": do, "now": format_time(at)} | more


def _consume(payload: str = FIRST, at: int = NOW + 60, issued: int = NOW, **more: Any) -> dict[str, Any]:
    return _step("consume", at, payloadDigest=payload, issuedAt=format_time(issued), **more)


def _mark(counter: int, decided: int | None) -> dict[str, Any]:
    return {"approvers": [{"keyid": KEY, "counter": counter, "decidedAt": format_time(decided) if decided else None}]}


def uses() -> Book:
    """Sequences against one ledger."""
    book = Book("use")
    born = _step("birth", BORN)
    used = _consume(expect={"ordinal": 1})

    def ok(name: str, ids: str, description: str, *steps: Any, **facts: Any) -> None:
        book.accept("use", name, ids, description, {"steps": list(steps)}, **facts)

    def no(name: str, ids: str, description: str, reason: str, category: str, *steps: Any) -> None:
        book.refuse("use", name, ids, description, {"steps": list(steps)}, reason, category=category)

    policy, undecided = "policy", "indeterminate"
    ok("once", "USE-01 USE-02 USE-03 USE-06 USE-07 INV-4", "The first use.", born, _consume(), ordinal=1, repeated=False)
    no("twice", "USE-01 USE-02 INV-4", "The second use (attack A8).", "already-used", policy, born, used, _consume())
    ok("another-statement", "USE-02", "Another approval.", born, used, _consume(SECOND), ordinal=1)
    ok("two-allowed", "USE-02", "Two uses were approved.", born, _consume(maxUses=2), _consume(maxUses=2), ordinal=2)
    no("three-of-two", "USE-02", "One use more than was approved.", "already-used", policy, born, _consume(maxUses=2), _consume(maxUses=2), _consume(maxUses=2))
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    ok("two-units", "USE-02", "Each artifact once.", born, _consume(useUnit=one), _consume(useUnit=two), ordinal=1)
    no("unit-twice", "USE-02", "One artifact twice.", "already-used", policy, born, _consume(useUnit=one), _consume(useUnit=one))
    ok("rehearsal", "USE-01", "A dry run consumes nothing.", born, _step("rehearse", payloadDigest=FIRST, issuedAt=format_time(NOW)), _consume(), ordinal=1)
    no("rehearsal-of-used", "USE-02", "A dry run says what the run would.", "already-used", policy, born, used, _step("rehearse", payloadDigest=FIRST, issuedAt=format_time(NOW)))
    no("older-than-ledger", "USE-03 INV-4", "Issued before the ledger began.", "issued-before-ledger", policy, born, _consume(issued=BORN - 1))
    no("as-old-as-ledger", "USE-03", "Issued in the ledger's first second.", "issued-before-ledger", policy, born, _consume(issued=BORN))
    ok("just-younger", "USE-03", "Issued a second later.", born, _consume(issued=BORN + 1), ordinal=1)
    no("no-ledger", "USE-01 INV-8", "There is no ledger.", "ledger-unavailable", undecided, _consume())
    no("lost-ledger", "USE-04 INV-8", "The ledger was removed.", "ledger-unavailable", undecided, born, used, _step("lose"), _consume(SECOND))
    no("restored-ledger", "USE-04 INV-8", "A ledger from a backup has forgotten a use.", "ledger-restored", undecided, born, _step("copy"), used, _step("restore"), _consume(SECOND))
    ok("new-birth", "USE-04", "A restored ledger, declared as a new birth.", born, _step("copy"), used, _step("restore"), _step("birth", NOW + 120), _consume(SECOND, NOW + 180, NOW + 121), ordinal=1)
    no("new-birth-old-statement", "USE-04 USE-03", "After a new birth, older statements are refused.", "issued-before-ledger", policy, born, used, _step("birth", NOW + 120), _consume(SECOND, NOW + 180))
    event = {"eventId": "delivery-1"}
    ok("event-again", "USE-05", "The same event, delivered twice, gets the recorded answer.", born, _consume(**event), _step("outcome", exitCode=3), _consume(**event), repeated=True, exitCode=3)
    no("event-of-another", "USE-05", "The same event for another approval.", "already-used", policy, born, _consume(**event), _consume(SECOND, **event))
    no("other-event", "USE-05", "Another event is another use.", "already-used", policy, born, _consume(**event), _consume(eventId="delivery-2"))
    ok("counter-forward", "USE-06", "A counter that counts.", born, _consume(**_mark(5, NOW + 10)), _consume(SECOND, **_mark(6, NOW + 20)), ordinal=1)
    no("counter-back", "USE-06", "A counter that went back: a cloned key.", "counter-went-back", policy, born, _consume(**_mark(5, NOW + 10)), _consume(SECOND, **_mark(4, NOW + 20)))
    ok("counter-other-order", "USE-06", "Used in another order than decided.", born, _consume(**_mark(6, NOW + 20)), _consume(SECOND, **_mark(5, NOW + 10)), ordinal=1)
    ok("counter-unknown-order", "USE-06", "The order of decisions is not known.", born, _consume(**_mark(6, None)), _consume(SECOND, **_mark(5, None)), ordinal=1)
    ok("counter-always-zero", "USE-06", "A key that does not count.", born, _consume(**_mark(0, NOW + 10)), _consume(SECOND, **_mark(0, NOW + 20)), ordinal=1)
    no("clock-back", "USE-07", "The gate's clock was set back (attack A18).", "time-unproven", undecided, born, _consume(at=NOW + 600), _consume(SECOND, at=NOW + 60))
    ok("clock-step", "USE-07", "A clock that was corrected by seconds.", born, _consume(at=NOW + 60), _consume(SECOND, at=NOW + 40), ordinal=1)
    ok("unknown-outcome", "USE-08", "A crash leaves an unknown outcome, and people are told.", born, used, _step("unknown"), unknown=1)
    ok("known-outcome", "USE-08", "A recorded outcome.", born, used, _step("outcome", exitCode=0), _step("unknown"), unknown=0)
    kept = _consume(record=b64(b"a record"), expect={"ordinal": 1})
    ok("record-kept", "USE-11", "The use's record is kept with it.", born, kept, _step("unlogged"), unlogged=1)
    ok("record-logged", "USE-11", "The log holds it, and nothing waits.", born, kept, _step("logged", leafIndex=7), _step("unlogged"), unlogged=0)
    ok("record-after-birth", "USE-11", "A new birth forgets no record.", born, kept, _step("birth", NOW + 120), _step("unlogged", NOW + 180), unlogged=1)
    ok("no-record", "USE-11", "Where no log is kept, nothing waits for one.", born, used, _step("unlogged"), unlogged=0)
    no("unknown-not-retried", "USE-08 INV-4", "An act that may have happened is never repeated.", "already-used", policy, born, used, _step("unknown", expect={"unknown": 1}), _consume())
    add_logged_uses(book)
    return book


def runs() -> Book:
    """What the command gate checks itself."""
    book = Book("run")
    plain = run_request(world()).payload
    files = world().request_run(argv=["/usr/bin/true", "in/app.whl"], executable=b"a program", inputs=[artifact("in/app.whl", b"wheel")]).payload

    def inputs(payload: bytes, program: str = "a program", **named: str) -> dict[str, Any]:
        return {"payload": b64(payload), "program": program, "files": named}

    def no(name: str, ids: str, description: str, given: Any, reason: str, path: str = "") -> None:
        book.refuse("run", name, ids, description, given, reason, category="policy", path=path)

    def with_parameters(**parameters: Any) -> bytes:
        made = altered(plain, {f"{ACTION}/parameters/{name}": value for name, value in parameters.items()})
        return altered(made, {"/subject": [action_subject_of(made)]})

    book.accept("run", "plain", "USE-09 USE-10", "A command without files.", inputs(plain), argv=["/usr/bin/true"])
    book.accept("run", "with-file", "USE-09 USE-10", "A command with an input file.", inputs(files, **{"in/app.whl": "wheel"}), argv=["/usr/bin/true", "in/app.whl"])
    no("environment-name", "USE-09", "A name that would set another variable.", inputs(with_parameters(environment={"A=B": "c"})), "execution-mismatch", f"{ACTION}/parameters/environment")
    no("environment-empty-name", "USE-09", "A variable without a name.", inputs(with_parameters(environment={"": "c"})), "execution-mismatch", f"{ACTION}/parameters/environment")
    no("folder", "USE-09", "A folder that depends on where the gate runs.", inputs(with_parameters(workingDirectory="srv")), "execution-mismatch", f"{ACTION}/parameters/workingDirectory")
    no("other-file", "USE-10 INV-1", "Another file under the approved name (attack A5).", inputs(files, **{"in/app.whl": "wheeL"}), "artifact-mismatch")
    no("other-program", "USE-10 INV-1", "Another program under the approved path.", inputs(plain, "another program"), "execution-mismatch")
    no("no-file", "USE-10", "The file is not there.", inputs(files), "execution-mismatch")
    return book
