"""Fuzzes the core with near-valid input.

    python fuzz/run.py --seconds 60 [--target bundle] [--seed 1]

Prints a line for each target; stops with exit code 1 at the first input that breaks the property, and leaves
that input in ``fuzz/findings/``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random

from mutations import mutate
from targets import TARGETS, Target

from placet.core.errors import PlacetError

FINDINGS = Path(__file__).resolve().parent / "findings"


def try_input(target: Target, data: bytes) -> bool:
    """Runs one input; returns whether it was accepted.

    Raises:
        Exception: the property is broken.
    """
    try:
        target.run(data)
    except PlacetError:
        return False
    return True


def run_target(
    target: Target, random: Random, *, cases: int | None = None, until: float = 0
) -> tuple[int, int]:
    """Runs mutated seeds, so many or until a monotonic time; returns how many ran and were accepted.

    Raises:
        Finding: an input broke the property.
    """
    ran = accepted = 0
    while ran < cases if cases is not None else time.monotonic() < until:
        data = mutate(random.choice(target.seeds), random)
        ran += 1
        try:
            accepted += try_input(target, data)
        except Exception as e:
            raise Finding(data) from e
    return ran, accepted


class Finding(Exception):
    """An input that broke the property."""

    def __init__(self, data: bytes) -> None:
        super().__init__(repr(data[:200]))
        self.data = data


def main() -> int:
    """Runs the program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30, help="for all targets together (30)")
    parser.add_argument("--target", choices=sorted(TARGETS), help="this target alone")
    parser.add_argument("--seed", type=int, default=None, help="for a repeatable run")
    args = parser.parse_args()
    seed = time.time_ns() if args.seed is None else args.seed
    names = [args.target] if args.target else list(TARGETS)
    print(f"seed {seed}")
    for name in names:
        until = time.monotonic() + args.seconds / len(names)
        try:
            ran, accepted = run_target(TARGETS[name], Random(f"{seed} {name}"), until=until)
        except Finding as finding:
            FINDINGS.mkdir(exist_ok=True)
            path = FINDINGS / f"{name.replace('/', '_').replace(' ', '_')}-{seed}"
            path.write_bytes(finding.data)
            print(f"{name}: {finding.__cause__!r}\nThe input is in {path}", file=sys.stderr)
            return 1
        print(f"{name:32} {ran:8} ran {accepted:8} accepted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
