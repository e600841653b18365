"""A14: whoever owns the log rewrites it, and needs witnesses to sign what he wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from placet.core.errors import PlacetError, Reason
from placet.core.tlog.log_policy import LogPolicy, check_quorum, parse_log_policy
from placet.core.tlog.merkle import CompactRange, extend, hash_leaf, inclusion_proof
from placet.core.tlog.note import SignedNote, encode_note, parse_note, parse_signatures
from placet.core.tlog.proof import TlogProof, verify_proof
from placet.testing.small_log import SmallLog
from placet.testing.witness import ServedWitness, encode_request, served_witness


class Scene:
    def __init__(self, witnesses: list[ServedWitness]) -> None:
        self.witnesses = witnesses
        self.log = SmallLog()
        for witness in witnesses:
            witness.add_log(self.log.signer.verifier_key)

    def show(self, log: SmallLog, witness: int, old: int) -> httpx.Response:
        url = f"{self.witnesses[witness].url}/add-checkpoint"
        return httpx.post(url, content=encode_request(log, old))

    @property
    def policy(self) -> LogPolicy:
        lines = [f"log {self.log.signer.verifier_key}"]
        lines += [witness.policy_line(f"w{i}") for i, witness in enumerate(self.witnesses)]
        lines += ["group both all w0 w1", "quorum both"]
        return parse_log_policy("".join(f"{line}\n" for line in lines).encode())

    def prove(self, log: SmallLog, cosignatures: bytes) -> None:
        """Verifies that leaf 0 is in the log, under its checkpoint with these cosignatures."""
        note = parse_note(log.checkpoint(times={}))
        note = SignedNote(note.text, (*note.signatures, *parse_signatures(cosignatures)))
        known = log_nodes(log)
        hashes = inclusion_proof(0, len(log.leaves), lambda level, at: known[level, at])
        proof = TlogProof(0, hashes, encode_note(note))
        found = verify_proof(proof, hash_leaf(log.leaves[0]), self.policy)
        check_quorum(self.policy, found.witness_times)


def log_nodes(log: SmallLog) -> dict[tuple[int, int], bytes]:
    _, nodes = extend(CompactRange(), [hash_leaf(leaf) for leaf in log.leaves])
    return {(level, at): value for level, at, value in nodes}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with (
        served_witness(tmp_path / "w0", "w0.example") as first,
        served_witness(tmp_path / "w1", "w1.example") as second,
    ):
        yield Scene([first, second])


def rewritten(log: SmallLog, index: int) -> SmallLog:
    made = SmallLog()
    made.leaves = [*log.leaves]
    made.leaves[index] = b"rewritten"
    return made


def test_a14_honest_proofs_hold(scene: Scene) -> None:
    answers = [scene.show(scene.log, witness, 0).content for witness in (0, 1)]
    scene.prove(scene.log, b"".join(answers))


def test_a14_rewritten_leaf_is_cosigned_by_nobody_who_saw_it(scene: Scene) -> None:
    scene.show(scene.log, 0, 0)
    forged = rewritten(scene.log, 2)
    assert scene.show(forged, 0, 5).status_code == 422
    forged.append(b"more")
    assert scene.show(forged, 0, 5).status_code == 422
    assert scene.show(forged, 0, 0).status_code == 409


def test_a14_dropped_leaf_is_cosigned_by_nobody_who_saw_it(scene: Scene) -> None:
    scene.show(scene.log, 0, 0)
    shorter = SmallLog()
    del shorter.leaves[2]
    assert scene.show(shorter, 0, 4).status_code == 409
    assert scene.show(shorter, 0, 0).status_code == 409
    shorter.append(b"instead")
    assert scene.show(shorter, 0, 5).status_code == 422
    (item,) = scene.witnesses[0].state.list_evidence()
    assert item.kind == "fork"


def test_a14_rolled_back_checkpoint_is_not_cosigned_again(scene: Scene) -> None:
    older = SmallLog()
    older.leaves = scene.log.leaves[:3]
    assert scene.show(older, 0, 0).status_code == 200
    assert scene.show(scene.log, 0, 3).status_code == 200
    for old in (0, 3):
        answer = scene.show(older, 0, old)
        assert (answer.status_code, answer.content) == (409, b"5\n")


def test_a14_two_witnesses_who_are_shown_two_logs_make_no_quorum(scene: Scene) -> None:
    forged = rewritten(scene.log, 2)
    answers = [scene.show(scene.log, 0, 0), scene.show(forged, 1, 0)]
    assert [answer.status_code for answer in answers] == [200, 200]
    for log, answer in zip((scene.log, forged), answers, strict=True):
        with pytest.raises(PlacetError) as caught:
            scene.prove(log, answer.content)
        assert caught.value.reason is Reason.LOG_NOT_WITNESSED
        with pytest.raises(PlacetError) as caught:
            scene.prove(log, b"".join(answer.content for answer in answers))
        assert caught.value.reason is Reason.LOG_PROOF_INVALID
    # The first who is shown the other one has the proof.
    assert scene.show(forged, 0, 5).status_code == 422
    assert [item.kind for item in scene.witnesses[0].state.list_evidence()] == ["fork"]


def test_a14_replayed_cosignature_does_not_count_for_another_checkpoint(scene: Scene) -> None:
    answers = b"".join(scene.show(scene.log, witness, 0).content for witness in (0, 1))
    for forged in (rewritten(scene.log, 2), SmallLog()):
        forged.append(b"one that the witnesses never saw")
        with pytest.raises(PlacetError) as caught:
            scene.prove(forged, answers)
        assert caught.value.reason is Reason.LOG_PROOF_INVALID
