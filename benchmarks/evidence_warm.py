"""A warm decision with SLSA provenance in a Sigstore bundle, against sigstore-python on that bundle alone.

Interleaved in one run:

- checks     the bare signature checks: those of the bundle (the leaf's by P-384; certificate transparency,
             envelope, checkpoint and timestamp by P-256) and of two approvals with reports
- sigstore   sigstore-python's own `verify_dsse` of the provenance, its verifier made beforehand
- decision   the gate's: the provenance verified anew, two approvals, rules, expectations
- again      the same by a gate that has verified this provenance before: facts are kept until trust changes
- without    a decision by the same approvals, without evidence

The lean verifier says yes to this bundle (ADR 0031); sigstore-python would decide about any other.

    python benchmarks/evidence_warm.py [--rounds 300]

Exits with 1 when a decision takes more than 1.25 times sigstore-python alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from _evidence_scene import EvidenceScene, raw_checks
from _measure import interleave, make_scene, medians, signature_checks, whole_checks

from placet.core.verify import verify_for_use
from placet.testing.world import GATE

GOAL = 1.25


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="A warm decision with evidence, against sigstore-python.")
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        scene = EvidenceScene(Path(folder))
        anew, kept = scene.each_anew(), scene.once()
        of_bundle, of_people = raw_checks(), whole_checks(signature_checks(scene.bundle))
        plain = make_scene()
        sides = {
            "checks": lambda: (of_bundle(), of_people()),
            "sigstore": scene.sigstore_python(),
            "decision": lambda: scene.decide(anew),
            "again": lambda: scene.decide(kept),
            "without": lambda: verify_for_use(
                plain.bundle, trust=plain.trust, gate=GATE, expected=plain.expected, now=plain.now
            ),
        }
        median = medians(interleave(sides, rounds))
        scene.stage.close()
    print("| warm, one SLSA bundle, two people | median | : sigstore-python | : checks |")
    print("|---|---:|---:|---:|")
    for name, seconds in median.items():
        ratios = f"{seconds / median['sigstore']:.2f} | {seconds / median['checks']:.2f}"
        print(f"| {name} | {seconds * 1e3:.2f} ms | {ratios} |")
    both = median["sigstore"] + median["without"]
    print(
        f"\nof sigstore-python and the same approvals, one after the other: {median['decision'] / both:.2f}"
    )
    ratio = median["decision"] / median["sigstore"]
    print(f"\ngoal: at most {GOAL:g} times sigstore-python alone: {'met' if ratio <= GOAL else 'MISSED'}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
