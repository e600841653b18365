"""litewitness, in Go, cosigns our logs; and to the same requests our witness answers as litewitness does."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from other_tools import OtherTools

from placet.adapters.sqlite.log import SqliteLog
from placet.adapters.system_clock import SystemClock
from placet.adapters.witness_client import WitnessClient
from placet.core.errors import VerificationError
from placet.core.tlog.log_policy import LogEntryKey, LogPolicy, Witness
from placet.core.tlog.note import ED25519, VerifierKey, parse_verifier_key
from placet.core.tlog.proof import verify_witnessed
from placet.log.cosigning import AskedWitness, Cosigning
from placet.ports.log_store import LogEntry
from placet.testing.small_log import SmallLog, note_signer
from placet.testing.witness import encode_request, served_witness

LOG = note_signer("log.example/for-others", ED25519, b"log")
_AT_MOST = 20.0


class Litewitness(NamedTuple):
    """A running litewitness."""

    tools: OtherTools
    database: Path
    url: str
    key: VerifierKey

    def add_log(self, key: VerifierKey) -> None:
        """Has it cosign for a log."""
        witnessctl = self.tools.path("witnessctl")
        options = ["-db", self.database, "-origin", key.name]
        for command in (["add-log", *options], ["add-key", *options, "-key", str(key)]):
            subprocess.run([witnessctl, *command], check=True, capture_output=True)

    def post(self, body: bytes) -> httpx.Response:
        """Sends it a request."""
        return httpx.post(f"{self.url}/add-checkpoint", content=body)


@contextmanager
def ssh_agent(folder: Path) -> Iterator[tuple[Path, str]]:
    """Runs an agent with a fresh key; litewitness signs with nothing else."""
    place, key = folder / "agent", folder / "key"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        while not place.exists():
            time.sleep(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(place)}
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        subprocess.run(["ssh-add", "-q", key], check=True, env=environment)
        shown = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True)
        yield place, shown.stdout.split()[1]
    finally:
        agent.kill()
        agent.wait()


@pytest.fixture
def litewitness(tools: OtherTools, tmp_path: Path) -> Iterator[Litewitness]:
    # A socket's path is short, whatever the test is called.
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [tools.path("litewitness"), "-name", "lite.example/w", "-listen", address]
    with ssh_agent(folder) as (agent, fingerprint):
        options = ["-db", tmp_path / "lite.db", "-key", fingerprint, "-ssh-agent", agent]
        with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
            try:
                said = ""
                assert process.stderr is not None
                while "msg=listening" not in said:
                    line = process.stderr.readline()
                    assert line, said
                    said += line
                vkey = re.search(r"vkey=(\S+)", said)
                assert vkey is not None
                key = parse_verifier_key(vkey[1])
                yield Litewitness(tools, tmp_path / "lite.db", f"http://{address}", key)
            finally:
                process.kill()
                process.communicate()
    shutil.rmtree(folder)


def test_litewitness_cosigns_our_log_as_our_own_witness_does(
    litewitness: Litewitness, tmp_path: Path
) -> None:
    async def main() -> None:
        log = SqliteLog.open(tmp_path / "log" / "log.sqlite3", LOG)
        litewitness.add_log(LOG.verifier_key)
        with served_witness(tmp_path / "ours") as ours:
            ours.add_log(LOG.verifier_key)
            witnesses = (
                Witness("lite", litewitness.key, litewitness.url),
                Witness("ours", ours.key, ours.url),
            )
            asked = [AskedWitness(it.name, it.key, WitnessClient(it.url)) for it in witnesses]
            cosigning = Cosigning(log, asked, SystemClock())
            task = asyncio.ensure_future(cosigning.run())
            size = 0
            for count in (1, 4, 300):
                await log.append([LogEntry(b"%d" % (size + i), b"record") for i in range(count)])
                size += count
                assert await log.wait_beyond(size - 1, _AT_MOST, cosignatures=2), cosigning.statuses()
            note = await log.cosigned(2)
            assert note is not None
            policy = LogPolicy((LogEntryKey(LOG.verifier_key),), witnesses)
            assert set(verify_witnessed(note, policy).witness_times) == {"lite", "ours"}
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await cosigning.close()
        await log.close()

    asyncio.run(main())


def test_litewitness_stops_the_cosigning_of_a_log_that_lost_leaves(
    litewitness: Litewitness, tmp_path: Path
) -> None:
    before = SmallLog(log_origin=LOG.name)
    before.signer = LOG
    litewitness.add_log(LOG.verifier_key)
    assert litewitness.post(encode_request(before, 0)).status_code == 200

    async def main() -> None:
        log = SqliteLog.open(tmp_path / "log" / "log.sqlite3", LOG)
        await log.append([LogEntry(b"all that is left", b"record")])
        asked = AskedWitness("lite", litewitness.key, WitnessClient(litewitness.url))
        cosigning = Cosigning(log, [asked], SystemClock())
        await asyncio.wait_for(cosigning.run(), _AT_MOST)
        with pytest.raises(VerificationError, match="cosigned size 5, and this log has 1 leaves"):
            cosigning.check_consistent()
        await cosigning.close()
        await log.close()

    asyncio.run(main())


def test_our_witness_answers_as_litewitness_does(litewitness: Litewitness, tmp_path: Path) -> None:
    log, fork = SmallLog(), SmallLog()
    stranger = SmallLog(seed=b"stranger")
    key = log.signer.verifier_key
    first = encode_request(log, 0)
    fork.leaves[1] = b"another"
    same_size = encode_request(fork, 5)
    log.append(b"more")
    fork.append(b"more")
    grown = encode_request(log, 5)
    requests = {
        "malformed": b"nonsense",
        "not signed": encode_request(stranger, 0),
        "first": first,
        "again from nothing": first,
        "another root": same_size,
        "another root from nothing": same_size.replace(b"old 5", b"old 0"),
        "again": first.replace(b"old 0", b"old 5"),
        "beyond": first.replace(b"old 0", b"old 6"),
        "from elsewhere": encode_request(log, 3),
        "wrong proof": grown.replace(b"old 5\n", b"old 5\n" + b"A" * 43 + b"=\n"),
        "fork": encode_request(fork, 5),
        "grown": grown,
        "rolled back": first,
    }
    litewitness.add_log(key)
    with served_witness(tmp_path / "ours") as ours:
        ours.add_log(key)
        for name, body in requests.items():
            answers = [
                litewitness.post(body),
                httpx.post(f"{ours.url}/add-checkpoint", content=body),
            ]
            said = [(it.status_code, it.headers["content-type"].split(";")[0]) for it in answers]
            if said[0][0] == 409:
                assert said[0] == said[1], name
                assert answers[0].content == answers[1].content, name
            else:
                assert said[0][0] == said[1][0], name
