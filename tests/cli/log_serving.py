"""A log or a witness as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(command: str, state: Path, *arguments: str) -> Iterator[str]:
    """Runs `placet log serve` or `placet witness serve`; yields its address."""
    with running(command, state, *arguments) as (url, _):
        yield url


@contextmanager
def running(command: str, state: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The same; yields its address and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "placet", command, "serve", "--port", "0", "--state", str(state), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(rf"placet {command} listens on (http://[^,]+),", line)
    assert found is not None, line + process.communicate()[1]
    try:
        yield found[1], process
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert "Traceback" not in err
