"""A14: the relay lies about the log.  Its proofs are verified like everything else that it carries."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))

from relay_process import running

from placet.ceremony.publish import Progress, assemble
from placet.client import RelayClient
from placet.core.bundle import IntentRequest
from placet.core.errors import Reason
from placet.core.tlog.note import parse_signer_key
from placet.core.tlog.proof import encode_proof, parse_proof
from placet.testing.hostile_relay import HostileRelay, Lie, lies
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, World


class Scene(NamedTuple):
    """Two approvals at a real relay whose log the trust root names, and a hostile relay before it."""

    hostile: HostileRelay
    world: World
    request: IntentRequest
    other: IntentRequest


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    state = tmp_path_factory.mktemp("logged")
    # Of today: the relay's process has the machine's clock.
    world = World(now=int(time.time()) - 100)
    with running(state) as real, HostileRelay(real.url, hold=False) as hostile:
        signer = parse_signer_key((state / "log.key").read_text())
        world.more_files["log-policy"] = f"log {signer.verifier_key} {real.url}/log\nquorum none\n".encode()
        requests = [world.request_run(argv=["/usr/bin/true"], executable=b"x") for _ in range(2)]
        with RelayClient(real.url) as client:
            for request in requests:
                client.submit(request, "secret")
                for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
                    client.answer(request.id, world.approve(request, person, terminal=terminal))
        yield Scene(hostile, world, *requests)


def collect(scene: Scene, lie: Lie | None) -> Progress:
    """Collects as placet's own client does."""
    scene.hostile.turn(*([] if lie is None else [lie]))
    with RelayClient(scene.hostile.url) as client:
        found = client.fetch(scene.request.id)
    return assemble(
        scene.request, found.answers, trust=scene.world.trust(), now=int(time.time()), proofs=found.proofs
    )


def test_honest_proofs_come_along(scene: Scene) -> None:
    progress = collect(scene, None)
    assert (len(progress.bundle.log), progress.unlogged, progress.dropped) == (2, (), ())


Proofs = dict[str, Any]


def exchanged(proofs: Proofs) -> Proofs:
    return dict(zip(proofs, reversed(list(proofs.values())), strict=True))


def one_bit(proofs: Proofs) -> Proofs:
    return {digest: _alter(text, hashes=True) for digest, text in proofs.items()}


def another_index(proofs: Proofs) -> Proofs:
    return {digest: _alter(text, hashes=False) for digest, text in proofs.items()}


def _alter(text: str, *, hashes: bool) -> str:
    proof = parse_proof(text)
    first = bytes([proof.hashes[0][0] ^ 1]) + proof.hashes[0][1:]
    if hashes:
        return encode_proof(proof._replace(hashes=(first, *proof.hashes[1:])))
    return encode_proof(proof._replace(leaf_index=proof.leaf_index ^ 1))


def of_a_log_of_its_own(proofs: Proofs) -> Proofs:
    """The relay's owner makes another log, in the name of the real one."""
    origin = parse_proof(next(iter(proofs.values()))).checkpoint.split(b"\n", 1)[0].decode()
    own = SmallLog(seed=b"the relay's own", log_origin=origin)
    return dict.fromkeys(proofs, own.proof(0, times={}))


def junk(proofs: Proofs) -> Proofs:
    return dict(zip(proofs, ({}, "c2sp.org/tlog-proof@v1\n"), strict=True))


def huge(proofs: Proofs) -> Proofs:
    return {digest: text + "x" * 100_000 for digest, text in proofs.items()}


@pytest.mark.parametrize(
    "change",
    [exchanged, one_bit, another_index, of_a_log_of_its_own, junk, huge, lambda proofs: {}],
    ids=lambda change: change.__name__,
)
def test_a_false_proof_is_left_out_and_takes_no_approval_with_it(
    scene: Scene, change: Callable[[Proofs], Proofs]
) -> None:
    progress = collect(scene, lies.proofs(change))
    assert progress.bundle.log == ()
    assert len(progress.approvers) == 2
    # Whoever collects hears that the log is missing, and goes on asking.
    assert len(progress.unlogged) == 2


def test_the_proof_of_another_approval_is_none_of_this_one(scene: Scene) -> None:
    with RelayClient(scene.hostile.url) as client:
        scene.hostile.turn()
        stolen = [proof.proof for proof in client.fetch(scene.other.id).proofs]
    progress = collect(scene, lies.proofs(lambda proofs: dict(zip(proofs, stolen, strict=True))))
    assert progress.bundle.log == ()
    assert {error.reason for error in progress.dropped} == {Reason.LOG_PROOF_INVALID}


def test_proofs_without_answers_are_ignored(scene: Scene) -> None:
    progress = collect(scene, lies.proofs(lambda proofs: {**proofs, "0" * 64: "junk", "not a digest": 7}))
    assert len(progress.bundle.log) == 2
