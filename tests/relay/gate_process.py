"""A gate that consumes uses as fast as it can, as a process of its own that a test may kill.

    python gate_process.py LEDGER OUTPUT FIRST

Each line of OUTPUT is written before the next step begins: what stands there was told to this gate.
Several such gates walk through the same statements, so each use is raced for.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time

from placet.adapters.places import open_ledger
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.ports.use_ledger import Consumption, Use, UseLedger

MAX_USES = 2


def statement(number: int) -> Digest:
    return Digest(hashlib.sha256(f"statement {number}".encode()).hexdigest())


def main(place: str, output: str, first: int) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*words: object) -> None:
        os.write(file, (" ".join(map(str, words)) + "\n").encode())

    ledger = patiently(lambda: open_ledger(place))
    say("started")
    for number in itertools.count(first):
        consumption = patiently(lambda number=number: try_to_consume(ledger, number))
        if consumption is None:
            continue
        say("granted", consumption.payload_digest, consumption.ordinal, consumption.use_id)
        # Some acts never end: their outcome stays unknown.
        if number % 5:
            patiently(lambda use=consumption: record(ledger, use))
            say("recorded", consumption.use_id)


def try_to_consume(ledger: UseLedger, number: int) -> Consumption | None:
    now = int(time.time())
    use = Use(statement(number), "action", MAX_USES, issued_at=now - 10, now=now, summary=f"Run {number}")
    try:
        return ledger.consume(use)
    except PolicyError as error:
        assert error.reason == Reason.ALREADY_USED
        return None


def record(ledger: UseLedger, consumption: Consumption) -> None:
    ledger.record_outcome(consumption, 0, now=int(time.time()))


def patiently(call):  # type: ignore[no-untyped-def]
    """Tries again while the ledger cannot answer, as an operator would; a use in doubt is never taken."""
    while True:
        try:
            return call()
        except IndeterminateError as error:
            assert error.reason == Reason.LEDGER_UNAVAILABLE, error
            time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
