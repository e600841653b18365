"""A refresh that dies: at any moment the gate decides by a whole snapshot, the old or the new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trust_simulator import FILES, Gate, Simulator

from placet.adapters.tuf_trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.core.encoding import sha256_hex
from placet.core.trust import parse_trust

NEW = FILES["people.json"].replace(b'"release"', b'"deploys"')
# Dies by SIGKILL right before the n-th rename or link that it would make: the steps that are seen outside.
SCRIPT = """
import os, signal, sys
from pathlib import Path
left = int(sys.argv[5])
def counted(call):
    def run(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **kwargs)
    return run
os.replace, os.symlink, os.rename = counted(os.replace), counted(os.symlink), counted(os.rename)
from placet.adapters.tuf_refresh import refresh
refresh(sys.argv[1], Path(sys.argv[2]), root_sha256=sys.argv[3], now=int(sys.argv[4]))
"""
# Python 3.12 renames without `os`, so that fewer steps are counted there; some are on every version.
STEPS = range(0, 14, 2)


def run(client: Gate, step: int) -> int:
    arguments = [
        client.source,
        str(client.snapshot),
        client.root_sha256,
        str(client.simulator.now),
        str(step),
    ]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=False, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("first", [True, False], ids=["the first refresh", "a later one"])
def test_killed_at_every_step(repo: Simulator, tmp_path: Path, first: bool) -> None:
    client = Gate(repo, tmp_path, None)
    old = None
    if not first:
        client.refresh()
        old = client.snapshot.read_bytes()
        repo.add_file("people.json", NEW)
        repo.publish(TARGETS, SNAPSHOT, TIMESTAMP, ROOT)
    codes = []
    for step in STEPS:
        codes.append(run(client, step))
        if codes[-1] == 0:
            break
        if client.snapshot.exists():
            found = client.snapshot.read_bytes()
            assert found == old or first or parse_trust(found).versions[TARGETS] == 2
        else:
            assert first
    assert codes[0] != 0
    assert sum(code != 0 for code in codes) >= 3
    trust = client.refresh().trust
    wanted = FILES["people.json"] if first else NEW
    assert trust.files["people.json"] == sha256_hex(wanted)
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
