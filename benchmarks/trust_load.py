"""Loading a gate's trust snapshot, for 25 and for 1,000 approvers' keys, in one interleaved run.

- json      `json.loads` of the same bytes: what any reader in Python pays at least
- load      what `placet verify` and `placet run` do, from the file on, every key loaded anew

    python benchmarks/trust_load.py [--rounds 60]

Quotable are the ratios; milliseconds belong to one machine.  Exits with 1 when a load takes 5 ms or more
for 25 keys, or 50 ms or more for 1,000.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _measure import interleave, medians
from _trust_scene import make_files

from placet.cli._shared import load_trust
from placet.core import signature
from placet.core.trust import compile_trust

GOALS_MS = {25: 5.0, 1000: 50.0}


def anew(call: Callable[[], object]) -> Callable[[], object]:
    """Returns the call as a fresh process makes it: no key is known."""

    def run() -> None:
        signature._load_p256.cache_clear()
        signature._load_ed25519.cache_clear()
        call()

    return run


def sides_of(snapshot: bytes, path: Path) -> dict[str, Callable[[], object]]:
    """Returns what is compared."""
    path.write_bytes(snapshot)
    return {
        "json": lambda: json.loads(snapshot),
        "load": anew(lambda: load_trust(path)),
    }


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Loading a gate's trust snapshot.")
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    print("| approvers' keys | bytes | json | load | load: json | goal |")
    print("|---:|---:|---:|---:|---:|---:|")
    met = True
    for people, goal in GOALS_MS.items():
        snapshot = compile_trust(
            files=make_files(people), versions={"root": 1}, expires_at=int(time.time()) + 86_400
        )
        with tempfile.TemporaryDirectory() as folder:
            median = medians(interleave(sides_of(snapshot, Path(folder) / "snapshot.json"), rounds))
        met = met and median["load"] * 1e3 < goal
        cells = [f"{seconds * 1e3:.2f} ms" for seconds in median.values()]
        ratio = median["load"] / median["json"]
        print(f"| {people:,} | {len(snapshot):,} | {' | '.join(cells)} | {ratio:.0f} | {goal:g} ms |")
    print(f"\ngoal: below 5 ms for 25 keys and below 50 ms for 1,000: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
