"""No gate acts on a use that the log was to hold first and does not, however the log or the gate dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_world import Verifier, plan_of
from use_log_world import QUEUED, STEPS, FixedClock, LoggedWorld, die, down, use_key

from placet.adapters.system_clock import SystemClock
from placet.core.bundle import parse_bundle
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.tlog.leaf import UseLeaf, decision_leaf, leaf_hash, parse_leaf
from placet.core.tlog.records import parse_use_record
from placet.gates.command import RunResult, Step, rehearse_approved, run_approved
from placet.gates.use_log import LogAccess, UseLog, flush_uses
from placet.ports.use_ledger import NOT_EXECUTED
from placet.testing.contracts.use_ledger import a_use
from placet.testing.small_log import SmallLog

FORK = multiprocessing.get_context("fork")
AFTER_CONSUMING = STEPS[1:]


@pytest.fixture
def world(tmp_path: Path) -> LoggedWorld:
    return LoggedWorld(tmp_path)


@pytest.fixture
def queued(tmp_path: Path) -> LoggedWorld:
    return LoggedWorld(tmp_path, policy=QUEUED)


def touch(world: LoggedWorld, name: str = "ran") -> bytes:
    """Returns the approval of a command that leaves a file."""
    return world.approve("touch", str(world.folder / name))


def run(
    world: LoggedWorld,
    bundle: bytes,
    *,
    log: UseLog | None = None,
    event_id: str | None = None,
    observe: Callable[[Step], None] = lambda step: None,
    clock: FixedClock | None = None,
) -> RunResult:
    with world.open_ledger() as ledger:
        return run_approved(
            plan_of(bundle),
            verify=Verifier(world, bundle),
            ledger=ledger,
            log=log or world.use_log(bundle),
            clock=clock or SystemClock(),
            inputs_from=world.inputs,
            folders=world.folders,
            event_id=event_id,
            observe=observe,
        )


def refusal(call: Callable[[], object]) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value


def ran(world: LoggedWorld, name: str = "ran") -> bool:
    return (world.folder / name).exists()


def waiting(world: LoggedWorld) -> int:
    with world.open_ledger() as ledger:
        return ledger.count_unlogged().uses


def flush(world: LoggedWorld) -> tuple[int, int, PlacetError | None]:
    assert world.trust.log_policy is not None
    with world.open_ledger() as ledger:
        done = flush_uses(ledger, LogAccess(world.trust.log_policy, world.log.open))
    return done.appended, done.left.uses, done.trouble


def outcomes(world: LoggedWorld) -> list[int | None]:
    with world.open_ledger() as ledger:
        return [use.exit_code for use in ledger.list_latest(10)]


# Logged before the act


def test_the_log_holds_the_use_before_the_command_starts(world: LoggedWorld) -> None:
    bundle = touch(world)
    seen: list[int] = []
    run(
        world,
        bundle,
        observe=lambda step: seen.append(len(world.log.leaves)) if step is Step.STARTED else None,
    )

    assert seen == [1]
    assert ran(world)
    assert waiting(world) == 0
    (signature,) = parse_bundle(bundle).envelope.signatures
    (report,) = parse_bundle(bundle).reports
    payload = sha256_hex(parse_bundle(bundle).envelope.payload)
    leaf = parse_leaf(world.log.leaves[0])
    assert isinstance(leaf, UseLeaf)
    assert leaf.approvals == (leaf_hash(decision_leaf("approved", payload, signature, report)).hex(),)
    assert (leaf.payload_digest, leaf.keyid) == (payload, world.key.public.digest)
    with world.open_ledger() as ledger:
        assert [use.leaf_index for use in ledger.list_latest(2)] == [5]


@pytest.mark.parametrize("step", STEPS)
def test_a14_a_log_that_dies_at_any_step_keeps_the_gate_from_acting(world: LoggedWorld, step: str) -> None:
    bundle = touch(world)
    world.log.at = {step: down}
    error = refusal(lambda: run(world, bundle))

    assert (type(error), error.reason) == (IndeterminateError, Reason.LOG_UNAVAILABLE)
    assert not ran(world)
    world.log.at = {}
    if step == "checkpoint":
        assert "Nothing was used" in error.hint
        assert (outcomes(world), waiting(world)) == ([], 0)
        run(world, bundle)  # so it can be used when the log is back
        assert ran(world)
    else:
        assert "The approval is used up" in error.hint
        assert (outcomes(world), waiting(world)) == ([NOT_EXECUTED], 1)
        again = refusal(lambda: run(world, bundle))
        assert again.reason is Reason.ALREADY_USED
        assert "nothing was done" in str(again)
        assert flush(world) == (1, 0, None)
    assert len(world.log.leaves) == 1


@pytest.mark.parametrize("step", STEPS)
def test_a8_a_gate_killed_at_any_step_of_logging_loses_no_trace_and_does_not_act(
    world: LoggedWorld, step: str
) -> None:
    bundle = touch(world)
    world.log.at = {step: die}
    gate = FORK.Process(target=run, args=(world, bundle))
    gate.start()
    gate.join()

    assert gate.exitcode == -9
    assert not ran(world)
    world.log.at = {}
    if step == "checkpoint":
        assert (outcomes(world), waiting(world), len(world.log.leaves)) == ([], 0, 0)
    else:
        assert (outcomes(world), waiting(world)) == ([None], 1)
        assert refusal(lambda: run(world, bundle)).reason is Reason.ALREADY_USED
        assert flush(world) == (1, 0, None)
        assert flush(world) == (0, 0, None)
        assert len(world.log.leaves) == 1


def test_a14_a_log_that_acknowledges_and_proves_nothing_is_not_believed(world: LoggedWorld) -> None:
    """An impostor at the log's address, or the log's own operator, would hide uses so."""
    bundles = [touch(world, name) for name in ("one", "two", "three")]
    stranger = SmallLog(seed=b"stranger", quorum=0)
    other = world.log.small.proof(0, times={})
    for bundle, proof in zip(bundles, ("", stranger.proof(0, times={}), other), strict=True):
        world.log.fetch_proof = lambda leaf, proof=proof: proof  # type: ignore[method-assign]
        error = refusal(lambda bundle=bundle: run(world, bundle))
        assert (type(error), error.reason) == (IndeterminateError, Reason.LOG_UNAVAILABLE)
    assert not any(ran(world, name) for name in ("one", "two", "three"))
    assert waiting(world) == 3
    del world.log.fetch_proof  # type: ignore[method-assign]
    assert flush(world) == (3, 0, None)


@pytest.mark.parametrize("step", STEPS)
def test_a18_a_log_that_is_slow_cannot_put_the_act_off_beyond_its_window(
    world: LoggedWorld, step: str
) -> None:
    """Whoever stands between gate and log could otherwise choose when an approved command runs."""
    clock = FixedClock(SystemClock().now())
    bundle = world.approve("touch", str(world.folder / "ran"), expires_at=clock.at + 30)
    world.log.at = {step: lambda: setattr(clock, "at", clock.at + 31)}
    error = refusal(lambda: run(world, bundle, clock=clock))

    assert error.reason is Reason.EXPIRED
    assert "Nothing was done, and the approval is used up" in error.hint
    assert (ran(world), outcomes(world), waiting(world)) == (False, [NOT_EXECUTED], 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_a_gate_that_waits_for_the_log_stops_the_act(
    world: LoggedWorld, number: signal.Signals
) -> None:
    """Signals before the start are kept for the command; but nobody presses Ctrl-C to have it started."""
    bundle = touch(world)
    world.log.at = {"append": lambda: os.kill(os.getpid(), number)}
    with pytest.raises(KeyboardInterrupt):
        run(world, bundle)
    assert (ran(world), outcomes(world), waiting(world)) == (False, [NOT_EXECUTED], 0)


def test_a14_what_answers_in_the_logs_place_is_found_out_before_anything_is_used(world: LoggedWorld) -> None:
    stranger = SmallLog(seed=b"stranger", quorum=0).checkpoint(times={})
    world.log.fetch_checkpoint = lambda: stranger  # type: ignore[method-assign]
    error = refusal(lambda: run(world, touch(world)))
    assert error.reason is Reason.LOG_UNAVAILABLE
    assert (outcomes(world), ran(world)) == ([], False)


def test_a_second_log_of_the_policy_stands_in(world: LoggedWorld) -> None:
    first = SmallLog(seed=b"another", log_origin="log.example/other", url="http://gone.example", quorum=0)
    lines = [first.policy().splitlines()[0], *world.log.small.policy().splitlines()]
    policy = world.trust._replace(log_policy=_parse(b"\n".join(lines) + b"\n"))
    opened = world.log.open

    def open_log(url: str, *, patient: bool) -> object:
        if url == "http://gone.example":
            down()
        return opened(url, patient=patient)

    bundle = touch(world)
    log = UseLog(
        gate="prod",
        trust=policy,
        bundle=parse_bundle(bundle),
        signer=world.key,
        open_log=open_log,  # type: ignore[arg-type]
    )
    run(world, bundle, log=log)
    assert (ran(world), len(world.log.leaves)) == (True, 1)


def _parse(policy: bytes) -> object:
    from placet.core.tlog.log_policy import parse_log_policy

    return parse_log_policy(policy)


def test_a_repeated_event_is_answered_and_not_logged_again(world: LoggedWorld) -> None:
    bundle = touch(world)
    first = run(world, bundle, event_id="event-1")
    again = run(world, bundle, event_id="event-1")
    assert (first.executed, again.executed, again.exit_code) == (True, False, 0)
    assert (len(world.log.leaves), waiting(world)) == (1, 0)


def test_a_repeated_event_that_the_log_stopped_is_told_so(world: LoggedWorld) -> None:
    bundle = touch(world)
    world.log.at = {"append": down}
    refusal(lambda: run(world, bundle, event_id="event-1"))
    world.log.at = {}
    error = refusal(lambda: run(world, bundle, event_id="event-1"))
    assert (type(error), error.reason) == (PolicyError, Reason.ALREADY_USED)
    assert "nothing was done then" in str(error)
    assert not ran(world)


def test_a_rehearsal_logs_nothing_and_says_what_the_run_would(world: LoggedWorld) -> None:
    bundle = touch(world)

    def rehearse() -> None:
        with world.open_ledger() as ledger:
            rehearse_approved(
                plan_of(bundle),
                verify=Verifier(world, bundle),
                ledger=ledger,
                log=world.use_log(bundle),
                clock=SystemClock(),
                inputs_from=world.inputs,
                folders=world.folders,
            )

    rehearse()
    assert (world.log.leaves, outcomes(world), waiting(world)) == ([], [], 0)
    world.log.at = {"checkpoint": down}
    assert refusal(rehearse).reason is Reason.LOG_UNAVAILABLE


def test_a_gate_without_a_use_key_of_the_trust_root_is_stopped_before_it_uses_anything(
    world: LoggedWorld,
) -> None:
    bundle = touch(world)
    error = refusal(lambda: run(world, bundle, log=world.use_log(bundle, use_key(8))))
    assert (type(error), error.reason) == (IndeterminateError, Reason.TRUST_UNAVAILABLE)
    assert "placet trust set-gate prod --use-key" in error.hint
    assert (outcomes(world), world.log.leaves) == ([], [])


# Queued


@pytest.mark.parametrize("step", STEPS)
def test_a17_with_queued_uses_the_gate_acts_and_the_leaf_comes_later(queued: LoggedWorld, step: str) -> None:
    bundle = touch(queued)
    queued.log.at = {step: down}
    log = queued.use_log(bundle)
    run(queued, bundle, log=log)

    assert ran(queued)
    assert waiting(queued) == 1
    assert log.flushed is not None
    assert log.flushed.trouble is not None
    assert log.flushed.trouble.reason is Reason.LOG_UNAVAILABLE
    assert queued.log.opened == [False]  # nobody waits for it
    queued.log.at = {}
    run(queued, touch(queued, "next"))  # the next act of the gate hands in both
    assert (waiting(queued), len(queued.log.leaves)) == (0, 2)


def test_a8_a_queued_use_survives_the_death_of_its_gate(queued: LoggedWorld) -> None:
    bundle = touch(queued)

    def die_when_started(step: Step) -> None:
        if step is Step.STARTED:
            die()

    gate = FORK.Process(target=run, args=(queued, bundle), kwargs={"observe": die_when_started})
    gate.start()
    gate.join()
    assert (gate.exitcode, waiting(queued)) == (-9, 1)
    assert flush(queued) == (1, 0, None)
    assert len(queued.log.leaves) == 1


def test_the_strictest_of_the_rules_decides(tmp_path: Path) -> None:
    both = QUEUED + QUEUED.replace('uses = "queued"', 'uses = "logged"').replace(
        "host://**", "host://build-*"
    )
    world = LoggedWorld(tmp_path, policy=both)
    world.log.at = {"checkpoint": down}
    assert refusal(lambda: run(world, touch(world))).reason is Reason.LOG_UNAVAILABLE
    assert not ran(world)


def test_a_record_that_the_log_refuses_waits_and_holds_up_no_other(queued: LoggedWorld) -> None:
    queued.log.at = {"checkpoint": down}
    for name in ("one", "two", "three"):
        run(queued, touch(queued, name))
    queued.log.at = {}
    genuine, refused = queued.log.append, []

    def append(record: bytes) -> object:
        if not refused or record in refused:
            refused.append(record)
            raise PolicyError(Reason.LOG_REFUSED, "The log refused.")
        return genuine(record)

    queued.log.append = append  # type: ignore[method-assign]
    done, left, trouble = flush(queued)
    assert (done, left, trouble and trouble.reason) == (2, 1, Reason.LOG_REFUSED)
    queued.log.append = genuine  # type: ignore[method-assign]
    assert flush(queued) == (1, 0, None)


def test_every_use_is_a_leaf_of_its_own_and_each_only_once(queued: LoggedWorld) -> None:
    bundle = queued.approve("touch", str(queued.folder / "ran"), max_uses=3)
    for _ in range(3):
        run(queued, bundle)
    assert len(set(queued.log.leaves)) == len(queued.log.leaves) == 3


def test_two_uses_share_no_id_even_if_they_are_alike(world: LoggedWorld) -> None:
    """Signatures differ by chance of their own; the ID must do so by itself, for keys that sign alike."""
    log = world.use_log(touch(world))
    alike = a_use()
    ids = {parse_use_record(log.make_record(alike)).use.id for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("lie", [b"no record", None])
def test_a14_one_record_that_cannot_be_logged_holds_up_no_other(
    queued: LoggedWorld, lie: bytes | None
) -> None:
    """A damaged row, or a log that proves something else of one use, would hide all later ones."""
    with queued.open_ledger() as ledger:
        ledger.consume(a_use(record=lie or _record_of(queued), now=SystemClock().now(), issued_at=2**40))
    genuine, first = queued.log.fetch_proof, []

    def fetch_proof(leaf_hash: bytes) -> str:
        first.append(leaf_hash)
        return queued.log.small.proof(0, times={}) if leaf_hash == first[0] else genuine(leaf_hash)

    if lie is None:
        queued.log.fetch_proof = fetch_proof  # type: ignore[method-assign]
    queued.log.at = {"checkpoint": down}
    run(queued, touch(queued))
    queued.log.at = {}
    done, left, trouble = flush(queued)
    assert (done, left) == (1, 1)
    assert trouble is not None


def _record_of(world: LoggedWorld) -> bytes:
    use = a_use(now=SystemClock().now())
    return world.use_log(touch(world, "another")).make_record(use)
