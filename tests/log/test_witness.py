"""What a witness cosigns, in which order it checks, and what it remembers (C2SP tlog-witness)."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from witness_scene import ORIGIN, FixedClock, ShownLog

from placet.adapters.serving.refusals import CallRefused
from placet.adapters.sqlite import witness as witness_state
from placet.adapters.sqlite.witness import EvidenceKind, SeenMovedError, WitnessState
from placet.adapters.witness_protocol import MAX_REQUEST_BYTES
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.core.tlog.checkpoint import parse_checkpoint, verify_checkpoint
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    ED25519,
    SignedNote,
    encode_signatures,
    parse_note,
    parse_signatures,
)
from placet.log.witness import ConflictRefused, Witness
from placet.testing.small_log import note_signer

SIGNER = note_signer("witness.example/w1", COSIGNATURE_ED25519, b"witness")


class Scene:
    """A witness that knows one log."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "witness" / "witness.sqlite3"
        self.clock = FixedClock()
        self.log = ShownLog()
        self.state = WitnessState.create(self.path, SIGNER.verifier_key)
        self.state.add_log(ORIGIN, self.log.key)
        self.witness = Witness(self.state, SIGNER, self.clock)

    def reopen(self, *, moved: bool = False) -> None:
        self.state.close()
        self.state = WitnessState.open(self.path, moved=moved)
        self.witness = Witness(self.state, SIGNER, self.clock)

    def show(self, old: int, size: int, *, log: ShownLog | None = None) -> int:
        """Grows the log as far as needed and shows it; returns the verified time of the cosignature."""
        shown = log or self.log
        shown.grow(max(0, size - len(shown.leaves)))
        text = parse_note(shown.checkpoint(size)).text
        answer = parse_signatures(self.witness.add_checkpoint(shown.request(old, size)))
        assert len(answer) == 1
        return verify_cosignature(SignedNote(text, answer), SIGNER.verifier_key)

    @property
    def seen(self) -> int:
        found = self.state.find_log(ORIGIN)
        assert found is not None
        return found.seen.tree_size


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.state.close()


def refuse(scene: Scene, body: bytes) -> CallRefused:
    with pytest.raises(CallRefused) as caught:
        scene.witness.add_checkpoint(body)
    return caught.value


def test_growth_is_cosigned_step_by_step(scene: Scene) -> None:
    sizes = [1, 2, 3, 7, 8, 64, 300, 301]
    for old, size in zip([0, *sizes], sizes, strict=False):
        scene.clock.time += 1
        assert scene.show(old, size) == scene.clock.time
        assert scene.seen == size
    scene.reopen()
    assert scene.seen == 301


def test_the_same_checkpoint_is_cosigned_again_at_the_new_time(scene: Scene) -> None:
    scene.show(0, 5)
    scene.clock.time += 100
    assert scene.show(5, 5) == scene.clock.time


def test_an_empty_log_is_cosigned(scene: Scene) -> None:
    assert scene.show(0, 0) == scene.clock.time
    scene.show(0, 3)


def test_a_log_may_sign_in_its_origin_by_a_key_of_another_name(scene: Scene) -> None:
    signer = note_signer("a-key-of-another-name", ED25519, b"k")
    scene.state.add_log("other.example/log", signer.verifier_key)
    scene.show(0, 4, log=ShownLog(4, origin="other.example/log", signer=signer))


def test_one_of_several_keys_of_a_log_is_enough(scene: Scene) -> None:
    second = note_signer(ORIGIN, ED25519, b"second")
    assert refuse(scene, ShownLog(2, signer=second).request(0)).reason == "not-signed"
    assert scene.state.add_log(ORIGIN, second.verifier_key)
    assert not scene.state.add_log(ORIGIN, second.verifier_key)
    scene.show(0, 2, log=ShownLog(2, signer=second))
    scene.show(2, 3)


def test_an_unknown_log_is_refused(scene: Scene) -> None:
    assert refuse(scene, ShownLog(2, origin="unknown.example").request(0)).reason == "unknown-log"


def test_a_signature_by_a_known_name_and_another_key_is_refused(scene: Scene) -> None:
    forged = ShownLog(2, signer=note_signer(ORIGIN, ED25519, b"forger"))
    assert refuse(scene, forged.request(0)).reason == "not-signed"
    honest, other = ShownLog(2).checkpoint(), ShownLog(3).checkpoint()
    moved = other.partition(b"\n\n")[0] + b"\n\n" + honest.partition(b"\n\n")[2]
    assert refuse(scene, b"old 0\n\n" + moved).reason == "not-signed"
    assert scene.seen == 0


def test_an_old_size_beyond_the_checkpoint_is_refused_before_the_state_is_compared(scene: Scene) -> None:
    scene.show(0, 5)
    body = scene.log.request(0, 5).replace(b"old 0\n", b"old 6\n", 1)
    refused = refuse(scene, body)
    assert refused.reason == "old-size-too-large"
    assert not isinstance(refused, ConflictRefused)


def test_monitors_see_what_was_cosigned_with_the_very_cosignature_that_was_given(scene: Scene) -> None:
    scene.log.grow(5)
    stranger = note_signer("stranger", ED25519, b"s")
    note = parse_note(scene.log.checkpoint())
    request = scene.log.request(0) + encode_signatures((stranger.sign(note.text),))
    given = scene.witness.add_checkpoint(request)
    scene.clock.time += 50
    origin_hash = hashlib.sha256(ORIGIN.encode()).digest()
    assert scene.witness.latest(origin_hash) == scene.log.checkpoint() + given
    with pytest.raises(CallRefused):
        scene.witness.latest(hashlib.sha256(b"another").digest())


@pytest.mark.parametrize("old", [0, 3, 6])
def test_another_old_size_is_a_conflict_that_names_the_right_one(scene: Scene, old: int) -> None:
    scene.show(0, 5)
    scene.log.grow(5)
    refused = refuse(scene, scene.log.request(old))
    assert isinstance(refused, ConflictRefused)
    assert refused.tree_size == 5


@pytest.mark.parametrize(
    "change", ["drop", "add", "swap", "of-another-tree"], ids=lambda change: f"proof-{change}"
)
def test_a_wrong_proof_is_refused_and_kept(scene: Scene, change: str) -> None:
    scene.show(0, 5)
    scene.log.grow(7)
    head, _, note = scene.log.request(5).partition(b"\n\n")
    first, *lines = head.split(b"\n")
    if change == "drop":
        lines = lines[:-1]
    elif change == "add":
        lines.append(lines[0])
    elif change == "swap":
        lines[0], lines[1] = lines[1], lines[0]
    else:
        lines = ShownLog(12, branch="x").request(5).partition(b"\n\n")[0].split(b"\n")[1:]
    assert refuse(scene, b"\n".join([first, *lines]) + b"\n\n" + note).reason == "proof-invalid"
    assert scene.seen == 5
    assert [item.kind for item in scene.state.list_evidence()] == [EvidenceKind.UNPROVEN]


def test_a_proof_where_nothing_is_to_be_proven_is_refused(scene: Scene) -> None:
    scene.log.grow(5)
    note = scene.log.checkpoint()
    proof = b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    assert refuse(scene, b"old 0\n" + proof + b"\n" + note).reason == "proof-invalid"
    scene.show(0, 5)
    assert refuse(scene, b"old 5\n" + proof + b"\n" + note).reason == "proof-invalid"


def test_the_state_is_durable_before_the_signature_exists(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the signer sees on the disk, through a connection of its own, is what it is about to sign."""
    from placet.log import witness as module

    found: list[int] = []
    really = module.cosign

    def look_first(text: bytes, signer: object, time: int) -> object:
        other = sqlite3.connect(f"file:{scene.path}?mode=ro", uri=True)
        found.extend(other.execute("SELECT tree_size FROM seen").fetchone())
        other.close()
        return really(text, signer, time)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "cosign", look_first)
    scene.show(0, 4)
    scene.show(4, 9)
    assert found == [4, 9]
    mode = scene.state._connection.execute("PRAGMA synchronous").fetchone()[0]
    assert mode == 2, "FULL: a commit that is not synced is not durable"


def test_of_two_requests_at_once_one_wins_and_nothing_rolls_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race in the specification: both are checked before either is stored."""
    scene.show(0, 5)
    scene.log.grow(15)
    meet = threading.Barrier(2)
    really = WitnessState.advance

    def both_have_been_checked(self: WitnessState, *args: object) -> int:
        meet.wait(timeout=10)
        return really(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(WitnessState, "advance", both_have_been_checked)
    outcomes: list[object] = []

    def ask(size: int) -> None:
        try:
            outcomes.append(scene.witness.add_checkpoint(scene.log.request(5, size)))
        except ConflictRefused as e:
            outcomes.append(e.tree_size)

    threads = [threading.Thread(target=ask, args=(size,)) for size in (8, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["bytes", "int"]
    assert scene.seen in outcomes


def test_two_processes_on_one_state_cannot_roll_it_back(scene: Scene) -> None:
    other = WitnessState.open(scene.path)
    known = scene.state.find_log(ORIGIN)
    assert known is not None
    scene.show(0, 9)
    older = parse_checkpoint(parse_note(scene.log.checkpoint(4)).text)
    with pytest.raises(SeenMovedError) as caught:
        other.advance(known.seen, older, scene.log.checkpoint(4), scene.clock.now())
    assert caught.value.tree_size == 9
    other.close()


def test_the_time_never_goes_back(scene: Scene) -> None:
    first = scene.show(0, 5)
    scene.clock.time = first - 1
    with pytest.raises(IndeterminateError) as caught:
        scene.show(5, 6)
    assert caught.value.reason is Reason.TIME_UNPROVEN
    assert scene.seen == 5
    scene.reopen()
    with pytest.raises(IndeterminateError):
        scene.show(5, 6)
    scene.clock.time = first
    assert scene.show(5, 6) == first


def test_the_time_is_one_for_all_logs(scene: Scene) -> None:
    later = scene.show(0, 5)
    scene.clock.time = later - 1
    second = ShownLog(3, origin="second.example")
    scene.state.add_log("second.example", second.key)
    with pytest.raises(IndeterminateError):
        scene.show(0, 3, log=second)


def test_a_fork_at_the_size_that_was_cosigned_is_kept_as_proof(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.show(0, 5)
    fork = ShownLog(5, branch="x", kept=2)
    with caplog.at_level(logging.ERROR, "placet.witness"):
        # Whatever old size it names.
        for old, reason in ((0, "conflict"), (5, "another-root"), (3, "conflict")):
            assert refuse(scene, fork.request(old)).reason == reason
    assert len(caplog.messages) == 1, "said once, however often it is shown"
    (item,) = scene.state.list_evidence()
    assert item.kind is EvidenceKind.FORK
    # The two notes alone convince anybody who has the log's key.
    one, two = (verify_checkpoint(note, scene.log.key) for note in (item.submitted, item.known))
    assert one.tree_size == two.tree_size
    assert one.root_hash != two.root_hash
    scene.show(5, 6)


def test_what_was_unproven_becomes_a_fork_or_is_forgotten_once_its_size_is_cosigned(scene: Scene) -> None:
    scene.show(0, 5)
    scene.log.grow(5)
    fork = ShownLog(10, branch="x", kept=2)
    wrong_proof = b"old 5\n\n" + scene.log.checkpoint(10)
    refuse(scene, fork.request(5))
    refuse(scene, wrong_proof)
    assert [item.kind for item in scene.state.list_evidence()] == [EvidenceKind.UNPROVEN] * 2
    scene.show(5, 10)
    (item,) = scene.state.list_evidence()
    assert (item.kind, item.submitted) == (EvidenceKind.FORK, fork.checkpoint())
    assert item.known == scene.log.checkpoint(10)


def test_evidence_stays_bounded_and_forks_are_not_pushed_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_state, "MAX_EVIDENCE", 3)
    scene.show(0, 5)
    forks = [ShownLog(5, branch=str(i)).checkpoint() for i in range(5)]
    for note in forks:
        refuse(scene, b"old 5\n\n" + note)
    scene.log.grow(5)
    unproven = [ShownLog(9, branch=str(i)).checkpoint() for i in range(5)]
    for note in unproven:
        refuse(scene, b"old 5\n\n" + note)
    kept = [item.submitted for item in scene.state.list_evidence()]
    assert kept == [*forks[:3], *unproven[-3:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: body[:-1],
        lambda body: body.replace(b"old 3", b"old 03"),
        lambda body: body.replace(b"old 3", b"old +3"),
        lambda body: body.replace(b"old 3", b"old  3"),
        lambda body: body.replace(b"old 3", b"OLD 3"),
        lambda body: body.replace(b"old 3", b"old 3 "),
        lambda body: body.replace(b"old 3", b"old 9223372036854775808"),
        lambda body: body.replace(b"old 3", "old ٣".encode()),
        lambda body: body.replace(b"=\n", b"\n", 1),
        lambda body: body.replace(b"=\n", b"=\r\n", 1),
        lambda body: body.replace(b"\n\n", b"\n\n\n", 1),
        lambda body: body.replace(b"\n\n", b"\nAAAA\n\n", 1),
        lambda body: body.replace(b"old 3\n", b"old 3\n" + (b"A" * 43 + b"=\n") * 62, 1),
        lambda body: body.partition(b"\n\n")[2],
        lambda body: body + b"x" * 100_000,
        lambda body: body.replace(b"log.example", b"log\0example"),
        lambda body: body.replace(b"log.example", b"\xff\xff"),
    ],
)
def test_what_is_not_in_its_form_is_malformed(scene: Scene, change: object) -> None:
    scene.show(0, 3)
    scene.log.grow(4)
    body = scene.log.request(3)
    with pytest.raises(MalformedError):
        scene.witness.add_checkpoint(change(body))  # type: ignore[operator]
    assert scene.seen == 3


@pytest.mark.parametrize(
    "body", [b"old 3\n\n" + b"x" * MAX_REQUEST_BYTES, b"old 3" + b"\n" * MAX_REQUEST_BYTES]
)
def test_what_is_too_large_is_refused_before_it_is_read(scene: Scene, body: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        scene.witness.add_checkpoint(body)
    assert caught.value.expected == MAX_REQUEST_BYTES


def test_a_missing_memory_is_never_made_in_passing(tmp_path: Path) -> None:
    with pytest.raises(IndeterminateError, match="is missing") as caught:
        WitnessState.open(tmp_path / "none.sqlite3")
    assert "two histories" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_memory_that_was_restored_is_refused_until_somebody_says_that_it_was_moved(scene: Scene) -> None:
    scene.show(0, 5)
    scene.state.close()
    backup = scene.path.with_suffix(".backup")
    shutil.copy2(scene.path, backup)
    backup.replace(scene.path)
    with pytest.raises(IndeterminateError) as caught:
        WitnessState.open(scene.path)
    assert caught.value.reason is Reason.LOG_DAMAGED
    assert "placet witness moved" in caught.value.hint
    scene.reopen(moved=True)
    scene.reopen()
    assert scene.seen == 5


def test_a_damaged_memory_is_refused(scene: Scene) -> None:
    scene.show(0, 5)
    scene.state.close()
    scene.path.write_bytes(b"SQLite format 3\0" + os.urandom(8192))
    with pytest.raises(IndeterminateError) as caught:
        WitnessState.open(scene.path)
    assert caught.value.reason is Reason.LOG_DAMAGED


def test_a_memory_that_others_can_change_is_refused(scene: Scene) -> None:
    scene.state.close()
    scene.path.chmod(0o620)
    with pytest.raises(IndeterminateError, match="other users"):
        WitnessState.open(scene.path)


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(IndeterminateError, match="not a witness's state"):
        WitnessState.open(path)


def test_a_full_disk_signs_nothing(scene: Scene) -> None:
    scene.show(0, 5)
    pages = scene.state._connection.execute("PRAGMA page_count").fetchone()[0]
    scene.state._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = note_signer("x", ED25519, b"")
    with pytest.raises(IndeterminateError, match="disk is full"):
        for i in range(500):
            scene.state.add_log(f"{i}{'.example' * 30}", many.verifier_key)
    assert scene.seen == 5


def test_forks_that_are_proven_later_stay_bounded_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log may show other trees of the next size first, and cosigning makes forks of them: at every size."""
    monkeypatch.setattr(witness_state, "MAX_EVIDENCE", 3)
    scene.show(0, 5)
    scene.log.grow(5)
    for size in range(6, 10):
        for branch in range(3):
            refuse(scene, b"old %d\n\n" % (size - 1) + ShownLog(size, branch=f"{branch} {size}").checkpoint())
        scene.show(size - 1, size)
    kept = scene.state.list_evidence()
    assert [(item.kind, item.tree_size) for item in kept] == [(EvidenceKind.FORK, 6)] * 3
