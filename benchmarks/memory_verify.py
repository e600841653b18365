"""Peak memory of a whole `placet verify`.

    python benchmarks/memory_verify.py

A process starts with its parent's peak on its account, so a bare interpreter starts the
command and asks the kernel for its peak resident set.  Exits with 1 when that reaches 40 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _measure import verify_arguments

GOAL_MB = 40.0
# MB of 1000 * 1000 bytes; the kernel counts in KiB.
LAUNCH = """
import json, os, sys
command = sys.argv[1:]
pid = os.posix_spawn(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024 / 1e6]))
"""


def peak_mb(command: list[str]) -> float:
    """Runs a command; returns its peak resident set in MB."""
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCH, *command]
    done = subprocess.run(launcher, check=True, stdout=subprocess.PIPE, text=True)
    code, megabytes = json.loads(done.stdout.splitlines()[-1])
    if code != 0:
        sys.exit(f"memory_verify: the command ended with {code}")
    return float(megabytes)


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    argparse.ArgumentParser(description="Peak memory of `placet verify`.").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("placet")), *verify_arguments(Path(folder))]
        nothing = peak_mb([sys.executable, "-I", "-c", "pass"])
        verify = max(peak_mb(command) for _ in range(5))
    print("| process | peak resident set |")
    print("|---|---:|")
    print(f"| `python -I -c pass` | {nothing:.1f} MB |")
    print(f"| `placet verify` | {verify:.1f} MB |")
    print(f"\ngoal: below {GOAL_MB:g} MB: {'met' if verify < GOAL_MB else 'MISSED'}")
    return 0 if verify < GOAL_MB else 1


if __name__ == "__main__":
    sys.exit(main())
