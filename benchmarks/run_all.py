"""Runs every benchmark, one after the other, and prints their tables.

    python benchmarks/run_all.py [NAME …]

Exits with 1 when any of them misses its goal.  Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALL = (
    "verify_warm",
    "verify_cold",
    "evidence_warm",
    "evidence_cold",
    "evidence_throughput",
    "memory_verify",
    "trust_load",
    "trust_refresh",
    "relay_store",
    "relay_postgres",
    "memory_relay",
    "log_append",
    "log_growth",
    "log_http",
)


def main() -> int:
    """Runs the benchmarks; returns the exit code."""
    parser = argparse.ArgumentParser(description="Runs every benchmark and prints its table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)} (default: all)")
    names = parser.parse_args().names or ALL
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(ALL)}")
    print(f"{platform.machine()}, Python {platform.python_version()}, {platform.platform()}")
    missed = []
    for name in names:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode != 0:
            missed.append(name)
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nall goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
