"""What every `placet.ports.use_ledger.UseLedger` must do, as tests to inherit.

An implementation subclasses `UseLedgerContract` in a test module and says how to declare a birth and
how to open a ledger.  `open_ledger` is called again, and in other processes, to see what they find; how
a restored or copied ledger is noticed differs between implementations, and is for their own tests.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from placet.core.encoding import Digest, KeyId, format_time
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.ports.use_ledger import (
    ApproverMark,
    Backlog,
    Birth,
    Consumption,
    UnloggedUse,
    Use,
    UseLedger,
)

BORN = 1_800_000_000
NOW = BORN + 100
STATEMENT = Digest("a" * 64)
OTHER = Digest("b" * 64)
KEY = KeyId("c" * 64)
RECORD = b"what a log is to hold, with \x00 in it"
# What a clock may step back (spec/15-use.md).
CLOCK_STEP_SECONDS = 30
RACES = 40
GATES = 3
FORK = multiprocessing.get_context("fork")


def a_use(payload: Digest = STATEMENT, **changes: Any) -> Use:
    """Returns a use that a ledger born at `BORN` allows, with changes."""
    use = Use(payload_digest=payload, use_unit="action", max_uses=1, issued_at=BORN + 1, now=NOW)
    return use._replace(**changes)


def refusal(call: Callable[[], object]) -> PlacetError:
    """Returns the refusal of a call that must be refused."""
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value


class UseLedgerContract:
    """Inherit, and implement `declare_birth` and `open_ledger`."""

    def declare_birth(self, place: Any, *, now: int, clock_was_wrong: bool = False) -> Birth:
        """Makes the ledger at `place`, a folder of the test's own, or declares that it starts anew."""
        raise NotImplementedError

    def open_ledger(self, place: Any) -> UseLedger:
        """Opens the ledger at `place`."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Any) -> Any:
        """A place with a ledger that was born at `BORN`."""
        self.declare_birth(tmp_path, now=BORN)
        return tmp_path

    @pytest.fixture
    def ledger(self, place: Any) -> Iterator[UseLedger]:
        """The open ledger."""
        with closing(self.open_ledger(place)) as opened:
            yield opened

    def consume_at(self, place: Any, use: Use) -> Consumption:
        """Consumes as a gate does that is started for this one use."""
        with closing(self.open_ledger(place)) as ledger:
            return ledger.consume(use)

    def test_a_use_is_consumed_and_shown_with_its_outcome(self, ledger: UseLedger) -> None:
        consumption = ledger.consume(a_use(summary="Deploy app to prod"))

        assert (consumption.ordinal, consumption.used_at, consumption.repeated) == (1, NOW, False)
        assert consumption.ledger_id == ledger.birth().ledger_id
        assert [record.exit_code for record in ledger.list_unknown()] == [None]
        ledger.record_outcome(consumption, 3, now=NOW + 5)
        assert ledger.list_unknown() == ()
        (record,) = ledger.uses(STATEMENT)
        assert (record.exit_code, record.finished_at, record.used_at) == (3, NOW + 5, NOW)
        assert record.summary == "Deploy app to prod"
        assert ledger.list_latest(10) == (record,)

    def test_the_latest_uses_come_first(self, ledger: UseLedger) -> None:
        for number in range(3):
            ledger.consume(a_use(Digest(f"{number:064x}"), now=NOW + number))
        assert [record.used_at for record in ledger.list_latest(2)] == [NOW + 2, NOW + 1]

    def test_a8_replay_is_refused_and_says_when_and_how_it_ended(self, ledger: UseLedger) -> None:
        consumption = ledger.consume(a_use())
        unknown = refusal(lambda: ledger.consume(a_use()))
        ledger.record_outcome(consumption, 7, now=NOW)
        known = refusal(lambda: ledger.consume(a_use()))

        assert isinstance(known, PolicyError)
        assert unknown.reason == known.reason == Reason.ALREADY_USED
        assert format_time(NOW) in str(known)
        assert "exit code 7" in str(known)
        assert "outcome is not known" in str(unknown)

    def test_a8_replay_after_the_process_ended_is_refused(self, place: Any) -> None:
        self.consume_at(place, a_use())
        assert refusal(lambda: self.consume_at(place, a_use())).reason == Reason.ALREADY_USED

    def test_a8_use_survives_the_death_of_the_gate(self, place: Any) -> None:
        receiver, sender = FORK.Pipe(duplex=False)
        gate = FORK.Process(target=self._consume_and_die, args=(place, sender))
        gate.start()
        sender.close()
        assert receiver.recv() == 1
        gate.join()
        receiver.close()
        assert gate.exitcode == -signal.SIGKILL
        assert refusal(lambda: self.consume_at(place, a_use())).reason == Reason.ALREADY_USED
        with closing(self.open_ledger(place)) as ledger:
            assert [record.payload_digest for record in ledger.list_unknown()] == [STATEMENT]

    def _consume_and_die(self, place: Any, sender: Any) -> None:
        sender.send(self.open_ledger(place).consume(a_use(record=RECORD)).ordinal)
        os.kill(os.getpid(), signal.SIGKILL)

    def test_max_uses_counts_each_unit(self, ledger: UseLedger) -> None:
        assert [ledger.consume(a_use(max_uses=2)).ordinal for _ in range(2)] == [1, 2]
        assert refusal(lambda: ledger.consume(a_use(max_uses=2))).reason == Reason.ALREADY_USED
        assert ledger.consume(a_use(max_uses=2, use_unit="d" * 64)).ordinal == 1
        assert ledger.consume(a_use(OTHER)).ordinal == 1

    def test_checking_consumes_nothing(self, ledger: UseLedger) -> None:
        ledger.check_available(a_use())
        assert ledger.uses(STATEMENT) == ()
        ledger.consume(a_use())
        assert refusal(lambda: ledger.check_available(a_use())).reason == Reason.ALREADY_USED

    @pytest.mark.parametrize("issued_at", [BORN - 1, BORN])
    def test_a8_statement_from_before_the_birth_is_refused(self, ledger: UseLedger, issued_at: int) -> None:
        error = refusal(lambda: ledger.consume(a_use(issued_at=issued_at)))
        assert (type(error), error.reason) == (PolicyError, Reason.ISSUED_BEFORE_LEDGER)

    def test_repeated_event_gets_the_recorded_answer(self, ledger: UseLedger) -> None:
        first = ledger.consume(a_use(event_id="event-1"))
        running = ledger.consume(a_use(event_id="event-1"))
        ledger.record_outcome(first, 0, now=NOW)
        again = ledger.consume(a_use(event_id="event-1", now=NOW + 9))

        assert (running.repeated, running.exit_code) == (True, None)
        assert (again.repeated, again.exit_code, again.use_id, again.used_at) == (True, 0, first.use_id, NOW)
        assert len(ledger.uses(STATEMENT)) == 1
        assert refusal(lambda: ledger.consume(a_use(event_id="event-2"))).reason == Reason.ALREADY_USED

    def test_one_event_cannot_use_two_approvals(self, ledger: UseLedger) -> None:
        ledger.consume(a_use(event_id="event-1"))
        error = refusal(lambda: ledger.consume(a_use(OTHER, event_id="event-1")))
        assert error.reason == Reason.ALREADY_USED
        assert ledger.uses(OTHER) == ()

    def test_one_event_may_use_several_units(self, ledger: UseLedger) -> None:
        answers = [ledger.consume(a_use(event_id="event-1", use_unit=unit)) for unit in ("d" * 64, "e" * 64)]
        assert [answer.repeated for answer in answers] == [False, False]

    @pytest.mark.parametrize(
        ("counter", "decided_at", "accepted"),
        [
            (10, NOW + 1, True),
            (11, NOW + 1, True),
            (9, NOW + 1, False),
            (0, NOW + 1, False),
            (9, NOW, True),
            (11, NOW, True),
            (10, NOW - 1, True),
            (9, NOW - 1, True),
            (11, NOW - 1, False),
        ],
    )
    def test_counter_must_not_go_back_in_the_order_of_decisions(
        self, ledger: UseLedger, counter: int, decided_at: int, accepted: bool
    ) -> None:
        ledger.consume(a_use(approvers=(ApproverMark(KEY, 10, NOW),)))
        use = a_use(OTHER, approvers=(ApproverMark(KEY, counter, decided_at),))
        if accepted:
            ledger.consume(use)
        else:
            error = refusal(lambda: ledger.consume(use))
            assert (type(error), error.reason) == (PolicyError, Reason.COUNTER_WENT_BACK)
            assert ledger.uses(OTHER) == ()

    def test_counters_of_decisions_in_unknown_order_are_not_compared(self, ledger: UseLedger) -> None:
        ledger.consume(a_use(approvers=(ApproverMark(KEY, 10, NOW),)))
        ledger.consume(a_use(OTHER, approvers=(ApproverMark(KEY, 9, None),), issued_at=NOW - 5))
        later = a_use(Digest("d" * 64), issued_at=NOW + 1, now=NOW + 5)
        for counter in (8, 9):
            clone = later._replace(approvers=(ApproverMark(KEY, counter, None),))
            assert self._refused_counter(ledger, clone)
        ledger.consume(later._replace(approvers=(ApproverMark(KEY, 10, None),)))

    def _refused_counter(self, ledger: UseLedger, use: Use) -> bool:
        return refusal(lambda: ledger.consume(use)).reason == Reason.COUNTER_WENT_BACK

    def test_a_key_that_never_counts_passes(self, ledger: UseLedger) -> None:
        for number in range(3):
            ledger.consume(a_use(Digest(f"{number:064x}"), approvers=(ApproverMark(KEY, 0, NOW + number),)))
        other_key = ApproverMark(KeyId("d" * 64), 5, NOW)
        ledger.consume(a_use(OTHER, approvers=(other_key,)))

    def test_a18_clock_set_back_is_undecided(self, ledger: UseLedger) -> None:
        ledger.consume(a_use(now=NOW))
        error = refusal(lambda: ledger.consume(a_use(OTHER, now=NOW - CLOCK_STEP_SECONDS - 1)))
        assert (type(error), error.reason) == (IndeterminateError, Reason.TIME_UNPROVEN)
        ledger.consume(a_use(OTHER, now=NOW - CLOCK_STEP_SECONDS))

    def test_first_recorded_outcome_stands(self, ledger: UseLedger) -> None:
        consumption = ledger.consume(a_use())
        ledger.record_outcome(consumption, 0, now=NOW)
        with pytest.raises(IndeterminateError):
            ledger.record_outcome(consumption, 1, now=NOW)
        assert ledger.uses(STATEMENT)[0].exit_code == 0

    def test_new_birth_refuses_what_was_issued_before_and_keeps_the_uses(self, place: Any) -> None:
        self.consume_at(place, a_use())
        first = self.declare_birth(place, now=NOW + 10)
        with closing(self.open_ledger(place)) as ledger:
            for issued_at in (NOW, NOW + 10):
                late = a_use(OTHER, issued_at=issued_at, now=NOW + 20)
                assert self._issued_too_early(ledger, late)
            ledger.consume(a_use(OTHER, issued_at=NOW + 11, now=NOW + 20))
            assert len(ledger.uses(STATEMENT)) == 1
            assert ledger.birth() == first
            ledger.check_undisturbed()

    def _issued_too_early(self, ledger: UseLedger, use: Use) -> bool:
        return refusal(lambda: ledger.consume(use)).reason == Reason.ISSUED_BEFORE_LEDGER

    def test_new_birth_with_a_clock_set_back_is_refused_unless_said(self, place: Any) -> None:
        self.consume_at(place, a_use())
        error = refusal(lambda: self.declare_birth(place, now=NOW - 50))
        assert (type(error), error.reason) == (IndeterminateError, Reason.TIME_UNPROVEN)
        self.declare_birth(place, now=NOW - 50, clock_was_wrong=True)
        self.consume_at(place, a_use(OTHER, issued_at=NOW - 40, now=NOW - 30))
        again = a_use(issued_at=NOW - 40, now=NOW)
        assert refusal(lambda: self.consume_at(place, again)).reason == Reason.ALREADY_USED

    def test_a8_gates_racing_for_one_use_never_get_it_twice(self, place: Any) -> None:
        barrier, wins = FORK.Barrier(GATES, timeout=30), FORK.SimpleQueue()
        gates = [FORK.Process(target=self._race, args=(place, barrier, wins)) for _ in range(GATES)]
        for gate in gates:
            gate.start()
        for gate in gates:
            gate.join()
        won = []
        while not wins.empty():
            won.append(wins.get())
        wins.close()
        assert [gate.exitcode for gate in gates] == [0] * GATES
        assert sorted(won) == list(range(RACES))

    def _race(self, place: Any, barrier: Any, wins: Any) -> None:
        with closing(self.open_ledger(place)) as ledger:
            for number in range(RACES):
                barrier.wait()
                try:
                    ledger.consume(a_use(Digest(f"{number:064x}")))
                    wins.put(number)
                except PolicyError as error:
                    assert error.reason == Reason.ALREADY_USED

    def test_a_record_is_kept_with_its_use_until_the_log_has_it(self, place: Any) -> None:
        with closing(self.open_ledger(place)) as ledger:
            assert ledger.count_unlogged() == Backlog(0, None)
            ledger.consume(a_use(Digest("d" * 64)))  # no log is kept: nothing waits for one
            first = ledger.consume(a_use(record=RECORD))
            second = ledger.consume(a_use(OTHER, record=b"another", now=NOW + 5))
        with closing(self.open_ledger(place)) as ledger:
            waiting = (
                UnloggedUse(first.use_id, NOW, RECORD),
                UnloggedUse(second.use_id, NOW + 5, b"another"),
            )
            assert ledger.list_unlogged(10) == waiting
            assert ledger.list_unlogged(1) == waiting[:1]
            assert ledger.list_unlogged(1, after=first.use_id) == waiting[1:]
            assert ledger.count_unlogged() == Backlog(2, NOW)
            ledger.mark_logged(first.use_id, 0)
            ledger.mark_logged(first.use_id, 7)  # a second gate was slower: the first answer stands
            assert ledger.count_unlogged() == Backlog(1, NOW + 5)
            shown = {record.use_id: record for record in ledger.list_latest(10)}
        assert (shown[first.use_id].leaf_index, shown[first.use_id].is_unlogged) == (0, False)
        assert (shown[second.use_id].leaf_index, shown[second.use_id].is_unlogged) == (None, True)
        assert [use.is_unlogged for use in shown.values()].count(True) == 1

    def test_a_refused_use_leaves_no_record(self, ledger: UseLedger) -> None:
        ledger.consume(a_use(record=RECORD, event_id="event-1"))
        refusal(lambda: ledger.consume(a_use(record=b"second")))
        assert ledger.consume(a_use(record=b"third", event_id="event-1")).repeated
        ledger.check_available(a_use(OTHER, record=b"rehearsed"))
        assert [use.record for use in ledger.list_unlogged(10)] == [RECORD]

    def test_what_was_never_consumed_with_a_record_is_not_marked(self, ledger: UseLedger) -> None:
        consumption = ledger.consume(a_use())
        for use_id in (consumption.use_id, consumption.use_id + 1):
            with pytest.raises(IndeterminateError):
                ledger.mark_logged(use_id, 3)

    def test_the_record_survives_the_death_of_the_gate(self, place: Any) -> None:
        receiver, sender = FORK.Pipe(duplex=False)
        gate = FORK.Process(target=self._consume_and_die, args=(place, sender))
        gate.start()
        sender.close()
        assert receiver.recv() == 1
        gate.join()
        receiver.close()
        with closing(self.open_ledger(place)) as ledger:
            assert [use.record for use in ledger.list_unlogged(10)] == [RECORD]

    def test_records_survive_a_new_birth(self, place: Any) -> None:
        self.consume_at(place, a_use(record=RECORD))
        self.declare_birth(place, now=NOW + 10)
        with closing(self.open_ledger(place)) as ledger:
            ((use_id, _, record),) = ledger.list_unlogged(10)
            assert record == RECORD
            ledger.mark_logged(use_id, 2**40)
            assert ledger.list_unlogged(10) == ()

    def test_closing_twice_is_harmless(self, place: Any) -> None:
        ledger = self.open_ledger(place)
        ledger.close()
        ledger.close()
