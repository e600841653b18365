"""A14: the log shows auditors one tree and gates another, drops an entry, rewrites history.

The log here has its real key and signs what it likes; each lie is seen and named by the monitor, by
the verifier of a proof, or by both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "log"))

from attack_world import refusal
from monitor_world import Monitor, names

from placet.adapters.log_client import LogClient
from placet.core.errors import Reason
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.log_policy import check_quorum
from placet.core.tlog.merkle import consistency_proof, hash_leaf, hash_node, verify_consistency
from placet.core.tlog.note import SignedNote, encode_note, parse_note
from placet.core.tlog.proof import encode_proof, parse_proof, verify_proof, verify_witnessed
from placet.core.tlog.tiles import encode_entries
from placet.log.monitor_compare import read_others
from placet.log.monitor_source import FolderLog, ServedLog
from placet.testing.scripted_log import ScriptedLog

NOW = 1_795_428_000


def leaves(count: int, what: str = "leaf") -> list[bytes]:
    return [f'{{"kind":"{what}-{i}"}}'.encode() for i in range(count)]


@pytest.fixture
def log() -> ScriptedLog:
    """An honest log so far."""
    log = ScriptedLog(now=NOW)
    log.leaves = leaves(7)
    log.publish()
    return log


@pytest.fixture
def monitor(tmp_path: Path, log: ScriptedLog) -> Monitor:
    """A monitor that followed the log while it was honest."""
    monitor = Monitor(tmp_path, log.policy(), now=NOW + 60)
    with log.served() as url:
        assert set(names(monitor.run(url, records=False))) == {"leaf-unknown"}
    return monitor


def seen(monitor: Monitor, log: ScriptedLog, **more: object) -> list[str]:
    """What the monitor names when it is shown this log; the strange kinds of these leaves aside."""
    with log.served() as url:
        audited = monitor.run(url, records=False, **more)  # type: ignore[arg-type]
    return [name for name in names(audited) if name != "leaf-unknown"]


def size_held(monitor: Monitor) -> int:
    with monitor.store() as store:
        held = store.followed("log.example")
    assert held is not None
    return held.tree_size


def test_a_fork_is_named_and_never_taken_over(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork(keep=4)
    fork.leaves += leaves(6, "other")
    fork.publish()
    found = seen(monitor, fork)
    assert found[0] == "fork" and set(found[1:]) == {"leaf-rewritten"}
    assert size_held(monitor) == 7
    # Both states are kept: the log's own signatures under both prove what it did.
    kept = list((monitor.folder / "evidence").rglob("*.checkpoint"))
    assert {path.read_bytes() for path in kept} == {log.checkpoint, fork.checkpoint}
    # The honest tree is still the one that holds.
    log.add(b'{"kind":"more"}')
    assert seen(monitor, log) == [] and size_held(monitor) == 8
    assert "fork" in monitor.open_findings()


def test_a_fork_of_the_same_size_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork(keep=6)
    fork.add(b'{"kind":"other"}')
    assert seen(monitor, fork) == ["fork", "leaf-rewritten"]


def test_a_dropped_leaf_is_named_by_its_number(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork()
    del fork.leaves[2]
    fork.leaves += leaves(3, "later")
    fork.publish()
    with fork.served() as url:
        audited = monitor.run(url, records=False)
    dropped = [finding for finding in audited.news if finding.name == "leaf-dropped"]
    assert [finding.leaf_index for finding in dropped] == [2]
    assert hash_leaf(log.leaves[2]).hex()[:16] in dropped[0].message


def test_a_rewritten_leaf_is_named_by_its_number(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork()
    fork.leaves[5] = b'{"kind":"history, rewritten"}'
    fork.leaves += leaves(3, "later")
    fork.publish()
    with fork.served() as url:
        audited = monitor.run(url, records=False)
    rewritten = [finding for finding in audited.news if finding.name == "leaf-rewritten"]
    assert [finding.leaf_index for finding in rewritten] == [5]


def test_an_inserted_leaf_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork()
    fork.leaves.insert(3, b'{"kind":"slipped in"}')
    fork.publish()
    assert seen(monitor, fork) == ["fork", "leaf-inserted"]


def test_an_entry_that_is_not_the_signed_one_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    log.leaves += leaves(3, "new")
    log.publish()
    honest = log.answer("/tile/entries/000.p/10", "")[1]
    log.shown["tile/entries/000.p/10"] = honest.replace(b"new-1", b"NEW-1")
    with log.served() as url:
        audited = monitor.run(url, records=False)
    (found,) = audited.news
    assert found.name == "entries-mismatch" and "entry 8" in found.message
    assert size_held(monitor) == 7


@pytest.mark.parametrize("bundle", [encode_entries(leaves(3)), b"\xff", b""])
def test_entries_that_are_held_back_are_named(log: ScriptedLog, monitor: Monitor, bundle: bytes) -> None:
    log.leaves += leaves(3, "new")
    log.publish()
    log.shown["tile/entries/000.p/10"] = bundle
    assert seen(monitor, log) == ["entries-mismatch"]
    assert size_held(monitor) == 7


def test_an_old_entry_that_changed_is_seen_when_all_is_read_again(log: ScriptedLog, monitor: Monitor) -> None:
    honest = log.answer("/tile/entries/000.p/7", "")[1]
    log.shown["tile/entries/000.p/7"] = honest.replace(b"leaf-1", b"LEAF-1")
    assert seen(monitor, log) == []
    assert seen(monitor, log, full=True) == ["entries-mismatch", "leaf-rewritten"]


def test_a_rolled_back_checkpoint_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    log.publish(size=5)
    assert seen(monitor, log) == ["rolled-back"]
    assert size_held(monitor) == 7


def test_a_rolled_back_and_rewritten_log_is_named_for_both(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork(keep=3)
    fork.add(b'{"kind":"other"}')
    assert seen(monitor, fork)[:2] == ["rolled-back", "fork"]


def test_a_frozen_log_is_named_by_its_witnesses_time(log: ScriptedLog, monitor: Monitor) -> None:
    monitor.max_age = 3600
    assert seen(monitor, log) == []
    monitor.now = NOW + 7200
    assert seen(monitor, log) == ["checkpoint-stale"]
    # It ends by itself when the log goes on.
    log.now = NOW + 7100
    log.publish()
    assert seen(monitor, log) == []
    assert "checkpoint-stale" not in monitor.open_findings()


def test_a_log_that_claims_to_be_endless_is_not_read(log: ScriptedLog, monitor: Monitor) -> None:
    note = sign_checkpoint(Checkpoint(log.origin, 2**60, log.root()), log.signer)
    log.checkpoint = log.cosign(note)
    with log.served() as url:
        audited = monitor.run(url, records=False, against=[ServedLog(LogClient(url, tries=1))])
    assert [str(item.error.reason) for item in audited.unchecked] == ["log-unavailable"] * 2
    assert log.asked[-2:] == ["checkpoint"] * 2


def test_a_witness_whose_clock_is_ahead_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    log.now = monitor.now + 1000
    log.publish()
    assert seen(monitor, log) == ["witness-time-ahead"] * 2


def test_a_replayed_cosignature_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    old = parse_note(log.checkpoint)
    log.leaves += leaves(2, "new")
    new = parse_note(log.publish(cosigned=False))
    cosignatures = [s for s in old.signatures if s.name != log.origin]
    log.checkpoint = encode_note(SignedNote(new.text, (*new.signatures, *cosignatures)))
    found = seen(monitor, log)
    assert found == ["cosignature-replayed", "cosignature-replayed", "not-witnessed"]
    # The verifier of a proof refuses the whole checkpoint for it.
    error = refusal(lambda: verify_witnessed(log.checkpoint, log.policy()))
    assert error.reason is Reason.LOG_PROOF_INVALID


def test_a_missing_quorum_is_named_and_the_entries_are_read_all_the_same(
    log: ScriptedLog, monitor: Monitor
) -> None:
    log.leaves += leaves(1, "new")
    log.publish(cosigned=False)
    assert seen(monitor, log) == ["not-witnessed"]
    assert size_held(monitor) == 8
    error = refusal(lambda: check_quorum(log.policy(), verify_witnessed(log.checkpoint, log.policy())[1]))
    assert error.reason is Reason.LOG_NOT_WITNESSED


def test_a_checkpoint_of_another_key_is_named(log: ScriptedLog, monitor: Monitor) -> None:
    stranger = ScriptedLog("log.example.evil", now=NOW)
    log.checkpoint = stranger.checkpoint
    assert seen(monitor, log) == ["checkpoint-forged"]
    log.checkpoint = b"no note at all"
    assert seen(monitor, log) == ["checkpoint-forged"]
    # The log's own signature, under another state.
    log.publish()
    log.checkpoint = log.checkpoint.replace(b"\n7\n", b"\n8\n")
    assert seen(monitor, log) == ["checkpoint-forged"]


def test_a_split_view_between_two_addresses_is_named(
    log: ScriptedLog, monitor: Monitor, tmp_path: Path
) -> None:
    other = log.fork(keep=4)
    other.leaves += leaves(2, "for gates only")
    other.publish()
    with other.served() as url:
        assert seen(monitor, log, against=[ServedLog(LogClient(url, tries=1))]) == [
            "split-view",
            "leaf-rewritten",
            "leaf-rewritten",
        ]
    # A fork that is ahead of us is found all the same: its entries are read.
    longer = log.fork(keep=4)
    longer.leaves += leaves(9, "for others only")
    longer.publish()
    with longer.served() as url:
        assert seen(monitor, log, against=[ServedLog(LogClient(url, tries=1))])[0] == "split-view"
    # Ahead of us, and honest up to here: what is beyond decides.
    ahead = log.fork()
    ahead.add(b'{"kind":"newer"}')
    ahead.export(tmp_path / "mirror")
    assert seen(monitor, log, against=[FolderLog(tmp_path / "mirror")]) == ["checkpoint-ahead"]
    # Once the log shows it here, too, all is well again.
    log.add(b'{"kind":"newer"}')
    assert seen(monitor, log) == []
    assert "checkpoint-ahead" not in monitor.open_findings()


def test_a_split_view_ahead_of_the_monitor_is_found_when_its_tree_gets_there(
    log: ScriptedLog, monitor: Monitor
) -> None:
    hidden = log.fork()
    hidden.leaves += leaves(2, "hidden")
    hidden.publish()
    others = read_others("gate.proof", hidden.prove(7).encode(), log.policy())
    assert seen(monitor, log, others=others) == ["checkpoint-ahead"]
    log.leaves += leaves(4, "shown")
    log.publish()
    assert seen(monitor, log) == ["split-view"]


def test_a_gate_that_was_shown_another_tree_gives_the_log_away(log: ScriptedLog, monitor: Monitor) -> None:
    fork = log.fork(keep=3)
    fork.leaves += leaves(2, "for gates only")
    fork.publish()
    proof = parse_proof(fork.prove(4))
    leaf = hash_leaf(fork.leaves[4])
    # The gate cannot know: the log signed it and its witnesses did.
    assert verify_proof(proof, leaf, log.policy()).tree_size == 5
    # Whoever collects what gates were shown can.
    assert seen(monitor, log, others=read_others("bundle", fork.prove(4).encode(), log.policy())) == [
        "split-view"
    ]


def test_a_proof_for_a_dropped_or_rewritten_leaf_is_refused(log: ScriptedLog) -> None:
    proof, leaf = parse_proof(log.prove(2)), hash_leaf(log.leaves[2])
    assert verify_proof(proof, leaf, log.policy()).leaf_index == 2
    fork = log.fork()
    fork.leaves[2] = b'{"kind":"another"}'
    fork.publish()
    moved = proof._replace(checkpoint=fork.checkpoint)
    for wrong, of in (
        (moved, leaf),
        (proof, hash_leaf(fork.leaves[2])),
        (proof._replace(leaf_index=3), leaf),
    ):
        error = refusal(lambda wrong=wrong, of=of: verify_proof(wrong, of, log.policy()))
        assert error.reason is Reason.LOG_PROOF_INVALID
    # A proof is text, and reading it gives the same bytes.
    assert encode_proof(parse_proof(fork.prove(2))) == fork.prove(2)


def test_a_fork_has_no_consistency_proof(log: ScriptedLog) -> None:
    fork = log.fork(keep=4)
    fork.leaves += leaves(6, "other")

    def read(level: int, index: int) -> bytes:
        row = [hash_leaf(leaf) for leaf in fork.leaves]
        for _ in range(level):
            row = [hash_node(a, b) for a, b in zip(row[::2], row[1::2], strict=False)]
        return row[index]

    proof = consistency_proof(7, 10, read)
    error = refusal(lambda: verify_consistency(7, log.root(), 10, fork.root(), proof))
    assert error.reason is Reason.LOG_INCONSISTENT
