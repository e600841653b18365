"""Levels 3 and 4 the whole way: a relay with its own log, real witnesses, the client, the gate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from relay_process import running

from placet.adapters.note_key import create_note_key
from placet.ceremony.request import attach_proof, requester_message
from placet.client import Approved, RelayClient
from placet.core.bundle import IntentRequest
from placet.core.errors import IndeterminateError, Reason
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.core.tlog.note import ED25519
from placet.core.verify import verify_for_use
from placet.testing.witness import ServedWitness, served_witness
from placet.testing.world import ALICE, BOB, CAROL, DEFAULT_POLICY, GATE, World, expected_of


class Place:
    """A relay whose log two witnesses of three cosign; the third is named and does not answer."""

    def __init__(self, folder: Path, stack: ExitStack, level: int) -> None:
        self.world = World(
            policy=DEFAULT_POLICY.replace("level = 1", f"level = {level}"), now=int(time.time()) - 30
        )
        self.world.assurance = dict.fromkeys(self.world.keys, "attested")
        state, policy = folder / "relay", folder / "log-policy"
        state.mkdir()
        log = create_note_key(state / "log.key", "log.example/demo", ED25519).verifier_key
        self.witnesses: list[ServedWitness] = []
        lines = [f"log {log}"]
        for name in ("w1", "w2"):
            witness = stack.enter_context(served_witness(folder / name, f"{name}.example"))
            witness.add_log(log)
            self.witnesses.append(witness)
            lines.append(witness.policy_line(name))
        silent = create_note_key(folder / "w3.key", "w3.example", 4).verifier_key
        lines += [f"witness w3 {silent} http://127.0.0.1:9", "group most 2 w1 w2 w3", "quorum most"]
        policy.write_text("".join(f"{line}\n" for line in lines))
        self.world.more_files["log-policy"] = policy.read_bytes()
        snapshot = folder / "snapshot.json"
        snapshot.write_bytes(self.world.snapshot())
        relay = running(state, "--log-policy", str(policy), "--trust-snapshot", str(snapshot))
        self.url = stack.enter_context(relay).url

    def request(self) -> IntentRequest:
        """Returns a request by Carol, who proves it: level 4 is about two others than whoever asks."""
        bare = self.world.request_deploy()
        carol = self.world.keys[CAROL]
        proof = carol.sign(NAMESPACE_REQUEST, requester_message(bare))
        return attach_proof(bare, keyid=carol.keyid, sshsig=proof)

    def approve(self, request: IntentRequest, *people: tuple[str, str], timeout: float = 20) -> Approved:
        def answer() -> None:
            with RelayClient(self.url) as terminal:
                for person, at in people:
                    decided = self.world.approve(request, person, terminal=at, decided_at=self.world.now + 1)
                    terminal.answer(request.id, decided)

        with RelayClient(self.url) as pipeline:
            pipeline.submit(request, "a secret that withdraws it: 0123456789abcdef")
            people_decide = threading.Thread(target=answer)
            people_decide.start()
            try:
                return pipeline.wait_for_bundle(request, trust=self.world.trust(), timeout=timeout)
            finally:
                people_decide.join()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("level", [3, 4])
def test_two_people_reach_the_level_with_the_log_s_proof(
    tmp_path: Path, stack: ExitStack, level: int
) -> None:
    place = Place(tmp_path, stack, level)
    request = place.request()
    approved = place.approve(request, (ALICE, "t1"), (BOB, "t2"))
    decided = verify_for_use(
        approved.bundle,
        trust=place.world.trust(),
        gate=GATE,
        expected=expected_of(request),
        now=int(time.time()),
    )
    assert (decided.level, decided.requester, decided.people) == (4, CAROL, (ALICE, BOB))
    for approver in decided.approvers:
        assert approver.logged is not None
        assert (approver.logged.witnesses, approver.logged.has_quorum) == (("w1", "w2"), True)


def test_two_people_on_one_terminal_are_not_level_4_and_the_wait_says_so(
    tmp_path: Path, stack: ExitStack
) -> None:
    place = Place(tmp_path, stack, 4)
    request = place.request()
    with pytest.raises(IndeterminateError) as caught:
        place.approve(request, (ALICE, "t1"), (BOB, "t1"), timeout=3)
    assert caught.value.reason is Reason.APPROVAL_PENDING
    assert "two people who decided on two terminals" in caught.value.message


def test_a_relay_that_hands_out_no_proofs_is_waited_for_in_vain(tmp_path: Path, stack: ExitStack) -> None:
    place = Place(tmp_path, stack, 3)
    # The trust root names another log than the one that the relay keeps.
    other = create_note_key(tmp_path / "other.key", "log.example/demo", ED25519).verifier_key
    policy = place.world.more_files["log-policy"].decode().splitlines()
    place.world.more_files["log-policy"] = "\n".join([f"log {other}", *policy[1:], ""]).encode()
    with pytest.raises(IndeterminateError) as caught:
        place.approve(place.request(), (ALICE, "t1"), (BOB, "t2"), timeout=3)
    assert caught.value.reason is Reason.APPROVAL_PENDING
    assert "no proof that the decision is in the log" in caught.value.message
