"""A gate that is an in-toto functionary: its link exists only for what was approved, once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from use_log_world import FileLog, FixedClock, down, name_log, use_log_of

from placet.adapters.private_file import write_atomically
from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.ceremony.link import ACTION_MATERIAL, action_digest
from placet.core.bundle import IntentRequest
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.expected import Expected
from placet.core.statement import parse_statement
from placet.core.tlog.leaf import UseLeaf, parse_leaf
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.gates.functionary import GateLink, Step, rehearse_gate_link, write_gate_link
from placet.ports.use_ledger import NOT_EXECUTED
from placet.testing.world import ALICE, BOB, GATE, NOW, RELEASE, RELEASE_TARGET, RUN, World, expected_of

AT = NOW + 120
FORK = multiprocessing.get_context("fork")


class Gate:
    """A gate with a ledger and a folder for links; its links are not signed, which in-toto's tests show."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.path = folder / "ledger.sqlite3"
        declare_new_birth(self.path, now=NOW - 100)
        self.link = folder / "gate.link"
        self.log: FileLog | None = None
        self.clock = FixedClock(AT)

    def verify(
        self, request: IntentRequest, expected: Expected | None = None, now: int = AT
    ) -> VerifiedApproval:
        """Verifies the approval of two people."""
        return verify_for_use(
            self.world.bundle(request, ALICE, BOB),
            trust=self.world.trust(),
            gate=GATE,
            expected=expected or expected_of(request),
            now=now,
        )

    def write(
        self, request: IntentRequest, expected: Expected | None = None, *, kill_after: Step | None = None
    ) -> GateLink:
        """Writes the link, or dies on the way."""

        def observe(step: Step) -> None:
            if step is kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

        with SqliteLedger(self.path) as ledger:
            return write_gate_link(
                "gate",
                verify=lambda now: self.verify(request, expected, now),
                write=lambda payload: write_atomically(self.link, payload),
                ledger=ledger,
                log=use_log_of(self.world, self.log, self.world.bundle(request, ALICE, BOB)),
                clock=self.clock,
                observe=observe,
            )


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def refused(gate: Gate, request: IntentRequest, expected: Expected | None = None) -> Reason:
    """Returns why the gate writes nothing."""
    before = gate.link.read_bytes() if gate.link.exists() else None
    with pytest.raises(PlacetError) as caught:
        gate.write(request, expected)
    assert (gate.link.read_bytes() if gate.link.exists() else None) == before
    return caught.value.reason


def test_the_link_says_what_was_approved_and_passes_it_on(gate: Gate) -> None:
    request = gate.world.request_deploy()
    result = gate.write(request)
    asked = parse_statement(request.payload)
    image = {"registry.example/app": {"sha256": sha256_hex(b"image")}}
    assert result.unrecorded is None
    assert json.loads(gate.link.read_bytes()) == {
        "_type": "link",
        "name": "gate",
        "materials": image | {ACTION_MATERIAL: {"sha256": action_digest(asked)}},
        "products": image,
        "byproducts": {"intent": {"sha256": asked.payload_digest}, "intentLevel": "INTENT_LEVEL_1"},
        "environment": {},
        "command": [],
    }


def test_a8_the_same_approval_makes_no_second_link(gate: Gate) -> None:
    request = gate.world.request_deploy()
    gate.write(request)
    gate.link.unlink()
    assert refused(gate, request) is Reason.ALREADY_USED


def test_a8_where_each_artifact_is_a_use_an_approval_without_any_is_used_once_all_the_same(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take no use at all: the gate acts again and again, and nothing of it is logged."""
    trust = gate.world.trust()
    by_subject = trust.actions[RUN]._replace(use_unit="subject")
    monkeypatch.setattr(gate.world, "trust", lambda: trust._replace(actions={RUN: by_subject}))
    request = gate.world.request_run(argv=["/usr/bin/true"], executable=b"x")
    gate.write(request)
    assert refused(gate, request) is Reason.ALREADY_USED


def test_a3_another_artifact_gets_no_link(gate: Gate) -> None:
    request, evil = gate.world.request_deploy(), gate.world.request_deploy(b"evil")
    assert refused(gate, request, expected_of(evil)) is Reason.ARTIFACT_MISMATCH
    gate.write(request)  # what was refused used nothing up


def test_each_released_artifact_is_a_use_of_its_own(gate: Gate) -> None:
    request = gate.world.request_release({"a.whl": b"a", "b.whl": b"b"})

    def only(data: bytes) -> Expected:
        return Expected(RELEASE_TARGET, frozenset({f"sha256:{sha256_hex(data)}"}), RELEASE)

    gate.write(request, only(b"a"))
    assert list(json.loads(gate.link.read_bytes())["products"]) == ["a.whl"]
    assert refused(gate, request) is Reason.ALREADY_USED  # both: one of them is used up
    gate.write(request, only(b"b"))
    assert list(json.loads(gate.link.read_bytes())["products"]) == ["b.whl"]
    with SqliteLedger(gate.path) as ledger:
        assert [use.exit_code for use in ledger.list_latest(9)] == [0, 0]


def test_a_link_that_cannot_be_written_is_recorded_as_failed(gate: Gate, tmp_path: Path) -> None:
    request = gate.world.request_deploy()
    gate.link = tmp_path / "missing" / "gate.link"
    with pytest.raises(OSError, match="missing"):
        gate.write(request)
    with SqliteLedger(gate.path) as ledger:
        assert [use.exit_code for use in ledger.list_latest(9)] == [1]


def test_a_rehearsal_uses_nothing_up(gate: Gate) -> None:
    request = gate.world.request_deploy()
    with SqliteLedger(gate.path) as ledger:
        for _ in range(2):
            rehearse_gate_link(
                "gate",
                verify=lambda _now: gate.verify(request),
                ledger=ledger,
                log=None,
                clock=FixedClock(AT),
            )
        assert ledger.list_latest(9) == ()
    gate.write(request)
    with SqliteLedger(gate.path) as ledger, pytest.raises(PlacetError) as caught:
        rehearse_gate_link(
            "gate", verify=lambda _now: gate.verify(request), ledger=ledger, log=None, clock=FixedClock(AT)
        )
    assert caught.value.reason is Reason.ALREADY_USED


@pytest.mark.parametrize("step", list(Step))
def test_a8_killed_between_any_two_steps_never_makes_a_second_link(gate: Gate, step: Step) -> None:
    request = gate.world.request_deploy()
    process = FORK.Process(target=gate.write, args=(request,), kwargs={"kill_after": step})
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert gate.link.exists() == (step in (Step.WRITTEN, Step.RECORDED))
    if step is Step.VERIFIED:
        gate.write(request)  # nothing was used up
        return
    assert refused(gate, request) is Reason.ALREADY_USED
    with SqliteLedger(gate.path) as ledger:
        unknown = ledger.list_unknown()
    assert len(unknown) == (0 if step is Step.RECORDED else 1)


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a14_no_link_where_the_log_misses_one_of_several_uses(gate: Gate, fails_at: int) -> None:
    log = gate.log = name_log(gate.world, gate.path.parent)
    request = gate.world.request_release({"a.whl": b"a", "b.whl": b"b"})
    handed_in = 0

    def fail_once() -> None:
        nonlocal handed_in
        handed_in += 1
        if handed_in == fails_at:
            down()

    log.at = {"append": fail_once}
    assert refused(gate, request) is Reason.LOG_UNAVAILABLE
    with SqliteLedger(gate.path) as ledger:
        assert [use.exit_code for use in ledger.list_latest(9)] == [NOT_EXECUTED] * 2
        assert ledger.count_unlogged().uses == 3 - fails_at
    assert refused(gate, request) is Reason.ALREADY_USED


def test_a18_a_log_that_is_slow_cannot_put_the_link_off_beyond_its_window(gate: Gate) -> None:
    log = gate.log = name_log(gate.world, gate.path.parent)
    log.at = {"append": lambda: setattr(gate.clock, "at", AT + 3600)}
    assert refused(gate, gate.world.request_release({"a.whl": b"a", "b.whl": b"b"})) is Reason.EXPIRED
    with SqliteLedger(gate.path) as ledger:
        assert [use.exit_code for use in ledger.list_latest(9)] == [NOT_EXECUTED] * 2


def test_each_use_of_a_link_is_in_the_log_before_it_is_written(gate: Gate) -> None:
    log = gate.log = name_log(gate.world, gate.path.parent)
    gate.write(gate.world.request_release({"a.whl": b"a", "b.whl": b"b"}))
    leaves = [parse_leaf(leaf) for leaf in log.leaves]
    assert len(leaves) == 2
    assert all(isinstance(leaf, UseLeaf) and len(leaf.approvals) == 2 for leaf in leaves)
    gate.link.unlink()
    log.at = {"checkpoint": down}
    assert refused(gate, gate.world.request_deploy()) is Reason.LOG_UNAVAILABLE
