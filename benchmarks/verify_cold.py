"""A cold `placet verify`, whole processes, against an interpreter that does nothing.

Interleaved in one run:

- nothing     `python -I -c pass`
- libraries   the interpreter, and importing what any verifier in Python needs: json, hashlib,
              argparse, and the two key types of `cryptography`
- module      `python -I -m placet verify …`
- command     `placet verify …`, the installed command as a gate calls it

The snapshot holds 25 approvers; the bundle has two approvals with reports, and no Sigstore
evidence.  Quotable are the ratios of medians to `nothing`.

    python benchmarks/verify_cold.py [--rounds 40]

Exits with 1 when the command takes more than six times as long as nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from _measure import interleave, medians, verify_arguments

GOAL, AIM = 6.0, 4.0
LIBRARIES = (
    "import json, hashlib, argparse; from cryptography.hazmat.primitives.asymmetric import ec, ed25519"
)


def process(command: list[str]) -> Callable[[], None]:
    """Returns a call that runs the command to its end."""

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return run


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="A cold `placet verify` against an idle interpreter.")
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        arguments = verify_arguments(Path(folder))
        commands = {
            "nothing": [sys.executable, "-I", "-c", "pass"],
            "libraries": [sys.executable, "-I", "-c", LIBRARIES],
            "module": [sys.executable, "-I", "-m", "placet", *arguments],
            "command": [str(Path(sys.executable).with_name("placet")), *arguments],
        }
        median = medians(interleave({name: process(c) for name, c in commands.items()}, rounds))
    print("| cold process | median | : nothing |")
    print("|---|---:|---:|")
    for name, seconds in median.items():
        print(f"| {name} | {seconds * 1e3:.1f} ms | {seconds / median['nothing']:.2f} |")
    ratio = median["command"] / median["nothing"]
    print(f"\ngoal: at most {GOAL:g} times nothing (aim {AIM:g}): {'met' if ratio <= GOAL else 'MISSED'}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
