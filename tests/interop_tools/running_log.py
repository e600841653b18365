"""A real log with two real witnesses on loopback: `placet log serve`, with its tiles in a folder."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from placet.adapters.log_client import LogClient
from placet.core.bundle import encode_answer
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.leaf import encode_leaf
from placet.core.tlog.log_policy import LogPolicy, parse_log_policy
from placet.core.tlog.note import VerifierKey, parse_note
from placet.core.tlog.records import leaf_of_record
from placet.testing.witness import served_witness
from placet.testing.world import ALICE, BOB, World

_LOG = [sys.executable, "-m", "placet", "log"]
NAME = "log.example/interop"
_PATIENCE = 20.0


class RunningLog(NamedTuple):
    """A log that was filled and has been cosigned.

    Attributes:
        tiles: the folder that any web server could show.
        leaves: in their order.
        old_checkpoint: one of when the log was smaller.
        folder: where the policy stands, as `log-policy`.
    """

    url: str
    folder: Path
    tiles: Path
    leaves: tuple[bytes, ...]
    old_checkpoint: bytes
    policy: LogPolicy

    @property
    def key(self) -> VerifierKey:
        """The log's key."""
        return self.policy.logs[0].key

    @property
    def witness_keys(self) -> tuple[VerifierKey, ...]:
        """The witnesses' keys."""
        return tuple(witness.key for witness in self.policy.witnesses)


@contextmanager
def running_log(folder: Path, decisions: int) -> Iterator[RunningLog]:
    """Runs a log with so many decisions while the block lasts."""
    state, tiles = folder / "log", folder / "tiles"
    command = [*_LOG, "init", NAME, "--state", str(state)]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with ExitStack() as stack:
        policy_text = line
        for name in ("w1", "w2"):
            (folder / name).mkdir()
            witness = stack.enter_context(served_witness(folder / name, f"{name}.example"))
            policy_text += f"{witness.policy_line(name)}\n"
            witness.add_log(parse_log_policy(f"{line}quorum none\n".encode()).logs[0].key)
        policy_text += "group both all w1 w2\nquorum both\n"
        (folder / "log-policy").write_text(policy_text)
        arguments = [
            "--no-limits",
            "--log-policy",
            str(folder / "log-policy"),
            "--tiles",
            str(tiles),
            "--port",
            "0",
        ]
        url = stack.enter_context(_process([*_LOG, "serve", "--state", str(state), *arguments]))
        records, leaves = _records(decisions), [b""] * decisions
        _append(url, records[: decisions // 2], leaves)
        old = LogClient(url).fetch_checkpoint()
        _append(url, records[decisions // 2 :], leaves)
        _wait_for_tiles(tiles, decisions)
        yield RunningLog(url, folder, tiles, tuple(leaves), old, parse_log_policy(policy_text.encode()))


def _append(url: str, records: Sequence[bytes], leaves: list[bytes]) -> None:
    """Hands records in, several at a time, and notes where the log put each leaf."""

    def append(record: bytes) -> None:
        place = LogClient(url).append(record).leaf_index
        leaves[place] = encode_leaf(leaf_of_record(record))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(append, records))


@contextmanager
def _process(command: Sequence[str]) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            found = re.match(r"placet log listens on (http://[^,]+),", said)
            assert found is not None, said + process.communicate()[1]
            yield found[1]
        finally:
            process.terminate()
            process.communicate()


def _records(count: int) -> list[bytes]:
    world = World(seed=b"interop log")
    trust = world.trust()
    world.trust = lambda: trust  # nothing changes in it, and making it takes most of the time
    requests = [world.request_deploy(b"image %d" % i) for i in range((count + 1) // 2)]
    answers = [world.approve(request, person) for request in requests for person in (ALICE, BOB)]
    return [encode_answer(answer) for answer in answers[:count]]


def _wait_for_tiles(tiles: Path, size: int) -> None:
    """Waits until the folder shows the whole log, with both cosignatures."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if (tiles / "checkpoint").exists():
            note = parse_note((tiles / "checkpoint").read_bytes())
            if parse_checkpoint(note.text).tree_size == size and len(note.signatures) == 3:
                return
        time.sleep(0.05)
    raise AssertionError("the log did not show its tiles in time")
