"""Proofs on their way into a bundle: what is taken, what is left out, and who is still waited for."""

from __future__ import annotations

import pytest

from placet.ceremony.publish import Progress, assemble, split_bundle
from placet.core.bundle import LogProof, parse_bundle
from placet.core.errors import Reason
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, NOW, World


class Scene:
    """A request that two people approved, and a log that the trust root names."""

    def __init__(self, log: SmallLog) -> None:
        self.world, self.log = World(), log
        self.world.more_files["log-policy"] = log.policy()
        self.request = self.world.request_deploy()
        self.bundle = parse_bundle(self.world.bundle(self.request, ALICE, BOB))

    def proofs(self, *witnesses: str) -> tuple[LogProof, ...]:
        return self.log.prove(self.bundle, at=NOW + 90, witnesses=witnesses).log

    def assemble(self, *proofs: LogProof) -> Progress:
        answers = split_bundle(self.bundle)
        return assemble(self.request, answers, trust=self.world.trust(), now=NOW + 120, proofs=proofs)


@pytest.mark.parametrize(
    ("quorum", "witnesses", "waited_for"),
    [
        (2, ("w1", "w2"), ()),
        (2, ("w1",), (ALICE, BOB)),
        (2, (), (ALICE, BOB)),
        (0, ("w3",), ()),
        (0, (), (ALICE, BOB)),
    ],
)
def test_an_approval_is_waited_for_until_it_is_witnessed_as_the_policy_asks(
    quorum: int, witnesses: tuple[str, ...], waited_for: tuple[str, ...]
) -> None:
    scene = Scene(SmallLog(quorum=quorum))
    assert scene.assemble().unlogged == (ALICE, BOB)
    progress = scene.assemble(*scene.proofs(*witnesses))
    assert progress.refusal is None
    assert (progress.unlogged, len(progress.bundle.log)) == (waited_for, 2)


def test_where_the_trust_root_names_no_log_nobody_is_waited_for() -> None:
    scene = Scene(SmallLog())
    proofs = scene.proofs("w1", "w2")
    del scene.world.more_files["log-policy"]
    progress = scene.assemble(*proofs)
    assert (progress.unlogged, progress.bundle.log) == ((), ())


def test_a_false_proof_takes_neither_the_approval_nor_the_proof_that_held() -> None:
    scene = Scene(SmallLog())
    alice, bob = scene.proofs("w1", "w2")
    false = alice._replace(proof=bob.proof)
    progress = scene.assemble(alice, bob, false)
    assert [error.reason for error in progress.dropped] == [Reason.LOG_PROOF_INVALID]
    assert progress.bundle.log == (alice, bob)
    assert {a.person_id for a in progress.approvers} == {ALICE, BOB}


def test_a_better_proof_that_comes_later_takes_the_place() -> None:
    scene = Scene(SmallLog())
    early = scene.proofs("w1")
    later = SmallLog()
    later.leaves = scene.log.leaves
    better = later.prove(scene.bundle, at=NOW + 95, witnesses=("w1", "w3")).log
    # A relay that shows the lesser one again afterwards takes nothing away.
    for proofs in ((*early, *better), (*better, *early)):
        progress = scene.assemble(*proofs)
        assert progress.bundle.log == better
        assert progress.unlogged == ()


def test_proofs_of_others_stay_out() -> None:
    scene = Scene(SmallLog())
    (alice, _) = scene.proofs("w1", "w2")
    stranger = alice._replace(signature_digest=alice.signature_digest[::-1])
    assert scene.assemble(stranger).bundle.log == ()
