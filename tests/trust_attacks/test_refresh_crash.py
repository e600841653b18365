"""A refresh that dies: at any moment the gate decides by a whole snapshot, the old or the new."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from trust_simulator import FILES, Gate, Simulator

from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.core.encoding import sha256_hex
from placet.core.trust import parse_trust

NEW = FILES["people.json"].replace(b'"release"', b'"deploys"')
# More steps than a refresh has: it is not interrupted then.
NEVER = 10_000


def run(client: Gate, start: Path, die_at: int) -> int:
    """Refreshes from `start` on, in a process that dies by SIGKILL right before a step.

    A step is to open a file to write, or to give one another name.

    Returns:
        How many steps there were; -1 where it died.
    """
    shutil.rmtree(client.snapshot.parent, ignore_errors=True)
    shutil.copytree(start, client.snapshot.parent, symlinks=True)
    source, (reading, writing) = client.source, os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other tests' threads; this child needs none
        child = os.fork()
    if child == 0:
        steps = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal steps
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or event in ("os.rename", "os.symlink", "os.remove"):
                if steps == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps += 1

        code = 1
        try:
            sys.addaudithook(hook)
            refresh(source, client.snapshot, root_sha256=client.root_sha256, now=client.simulator.now)
            os.write(writing, str(steps).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    assert os.waitstatus_to_exitcode(status) == (0 if answer else -signal.SIGKILL)
    return int(answer or -1)


@pytest.mark.parametrize("first", [True, False], ids=["the first refresh", "a later one"])
def test_killed_at_every_step(repo: Simulator, tmp_path: Path, first: bool) -> None:
    client = Gate(repo, tmp_path, None)
    if not first:
        client.refresh()
        repo.add_file("people.json", NEW)
        repo.publish(TARGETS, SNAPSHOT, TIMESTAMP, ROOT)
    old = None if first else client.snapshot.read_bytes()
    # From the same beginning each time, or a later attempt would only do what an earlier one left.
    start = tmp_path / "start"
    if old:
        shutil.copytree(client.snapshot.parent, start, symlinks=True)
    else:
        start.mkdir()
    steps = run(client, start, NEVER)
    assert steps >= 10
    # The last steps replace the snapshot.
    for step in [*range(0, steps - 6, 6), *range(steps - 6, steps)]:
        assert run(client, start, step) == -1
        found = client.snapshot.read_bytes() if client.snapshot.exists() else None
        if found != old:
            assert found is not None
            assert parse_trust(found).versions[TARGETS] == (1 if first else 2)
    trust = client.refresh().trust
    assert trust.files["people.json"] == sha256_hex(FILES["people.json"] if first else NEW)
    assert parse_trust(client.snapshot.read_bytes()) == trust


def test_half_a_file_in_the_record_is_fetched_again(repo: Simulator, client: Gate) -> None:
    """What a crash of the machine leaves of a file that was being written."""
    client.refresh()
    record = client.snapshot.with_suffix(".tuf")
    for path in [*(record / "metadata").glob("*.json"), *(record / "targets").iterdir()]:
        if not path.is_symlink():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert not client.refresh().changed
    for path in (record / "metadata" / "root_history").iterdir():
        path.write_bytes(b"")
    assert not client.refresh().changed


def test_a_disk_that_is_full(repo: Simulator, client: Gate) -> None:
    """Where nothing can be written, the old snapshot is still there and still whole."""
    client.refresh()
    before = client.snapshot.read_bytes()
    repo.add_file("people.json", NEW)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from placet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["trust", "refresh", "--to", str(client.snapshot), "--from", client.source]
    done = subprocess.run(
        [sys.executable, "-c", limited, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 3, done.stderr
    assert "[trust-unavailable]" in done.stderr
    assert "unchanged and valid" in done.stderr
    assert client.snapshot.read_bytes() == before
