"""Decisions with Sigstore evidence each second: one process, and one for each core.

Every process makes whole decisions for the same time, side by side in one run; nothing is kept from one
decision to the next.  Threads share one interpreter lock, which sigstore-python holds most of the time, so
a gate that needs more starts more processes.

    python benchmarks/evidence_throughput.py [--seconds 3]

There is no goal; the ratio says what a second core brings.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from _evidence_scene import EvidenceScene


def decide_for(seconds: float, threads: int, start: object, results: object) -> None:
    """Makes decisions for a while, in a process of its own, and tells how many a second."""
    with tempfile.TemporaryDirectory() as folder:
        scene = EvidenceScene(Path(folder))
        verifier = scene.each_anew()
        scene.decide(verifier)  # imports and roots
        start.wait()  # type: ignore[attr-defined]
        counts = [0] * threads
        until = time.perf_counter() + seconds

        def work(number: int) -> None:
            while time.perf_counter() < until:
                scene.decide(verifier)
                counts[number] += 1

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        scene.stage.close()
        results.put(sum(counts) / seconds)  # type: ignore[attr-defined]


def rate(processes: int, threads: int, seconds: float) -> float:
    """Returns the decisions a second of so many processes together."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=decide_for, args=(seconds, threads, start, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    total = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Decisions with evidence each second.")
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    cores = os.cpu_count() or 1
    one = rate(1, 1, seconds)
    print("| whole decisions with one SLSA bundle | a second | : one process |")
    print("|---|---:|---:|")
    for name, found in (
        ("one process", one),
        (f"one process, {cores} threads", rate(1, cores, seconds)),
        (f"{cores} processes", rate(cores, 1, seconds)),
    ):
        print(f"| {name} | {found:.0f} | {found / one:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
