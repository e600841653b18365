"""Peak memory of a relay: idle, and after a thousand reads.

    python benchmarks/memory_relay.py

Exits with 1 when the idle relay's peak resident set reaches 80 MB.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

GOAL_MB = 80.0
IDLE_SECONDS = 3.0
START = [sys.executable, "-m", "placet", "relay", "serve", "--port", "0"]


def peak_mb(pid: int) -> float:
    """Returns the peak resident set of a process in MB (of 1000 * 1000 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        sys.exit("memory_relay: this needs Linux")
    return int(found[1]) * 1024 / 1e6


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    argparse.ArgumentParser(description="Peak memory of an idle relay.").parse_args()
    with tempfile.TemporaryDirectory() as state:
        relay = subprocess.Popen(
            [*START, "--state", state],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            assert relay.stdout is not None
            url = re.search(r"http://[^,]+", relay.stdout.readline())
            if url is None:
                sys.exit("memory_relay: the relay did not start")
            time.sleep(IDLE_SECONDS)
            idle = peak_mb(relay.pid)
            with httpx.Client(base_url=url[0], trust_env=False) as http:
                for _ in range(500):
                    http.get(f"/v1/requests/{secrets.token_hex(32)}")
                    http.get("/v1/requests")
            used = peak_mb(relay.pid)
        finally:
            relay.send_signal(signal.SIGTERM)
            relay.wait(timeout=20)
    print("| relay | peak resident set |")
    print("|---|---:|")
    print(f"| idle | {idle:.1f} MB |")
    print(f"| after 1,000 reads | {used:.1f} MB |")
    print(f"\ngoal: idle below {GOAL_MB:g} MB: {'met' if idle < GOAL_MB else 'MISSED'}")
    return 0 if idle < GOAL_MB else 1


if __name__ == "__main__":
    sys.exit(main())
