"""A cold `placet verify` with Sigstore evidence, whole processes, against sigstore-python's own.

Interleaved in one run:

- sigstore   a process that imports sigstore-python, loads the trusted root and verifies the provenance
- command    `placet verify` of a bundle that carries the same provenance and two approvals
- without    `placet verify` of a bundle without evidence: Sigstore is never imported

    python benchmarks/evidence_cold.py [--rounds 15]

Exits with 1 when the command takes more than 1.1 times sigstore-python.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from _evidence_scene import EvidenceScene
from _measure import interleave, medians, verify_arguments

GOAL, AIM = 1.1, 0.3

SIGSTORE = """
import sys
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy
root, bundle, identity, issuer = sys.argv[1:]
verifier = Verifier(trusted_root=TrustedRoot.from_file(root))
with open(bundle, "rb") as file:
    verifier.verify_dsse(Bundle.from_json(file.read()), policy.Identity(identity=identity, issuer=issuer))
"""


def process(command: list[str]) -> Callable[[], None]:
    """Returns a call that runs the command to its end."""

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return run


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="A cold `placet verify` with evidence.")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    placet = str(Path(sys.executable).with_name("placet"))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        scene = EvidenceScene(Path(folder))
        provenance = str(Path(folder) / "provenance.sigstore.json")
        own = [sys.executable, "-I", "-c", SIGSTORE, str(scene.root), provenance]
        commands = {
            "sigstore": [*own, scene.identity, scene.issuer],
            "command": [placet, *scene.verify_arguments()],
            "without": [placet, *verify_arguments(Path(other))],
        }
        median = medians(interleave({name: process(c) for name, c in commands.items()}, rounds))
        scene.stage.close()
    print("| cold process | median | : sigstore-python |")
    print("|---|---:|---:|")
    for name, seconds in median.items():
        print(f"| {name} | {seconds * 1e3:.0f} ms | {seconds / median['sigstore']:.2f} |")
    ratio = median["command"] / median["sigstore"]
    told = f"goal: at most {GOAL:g} times sigstore-python (aim {AIM:g})"
    print(f"\n{told}: {'met' if ratio <= GOAL else 'MISSED'}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
