"""`placet run`, `placet ledger` and a real `placet log serve`: what a gate does with a log, and without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

import in_process
from command_world import GATE, POLICY, CommandWorld
from use_log_world import QUEUED, use_key

from placet.adapters.gate_key import read_public_key
from placet.adapters.log_calls import LogRefusedError
from placet.adapters.log_client import LogClient
from placet.core.encoding import Digest
from placet.core.tlog.leaf import UseLeaf, leaf_hash
from placet.core.tlog.records import Use, leaf_of_record
from placet.core.tlog.uses import make_use_record

PLACET = [sys.executable, "-c", "import sys; from placet.cli import main; sys.exit(main())"]


def placet(state: Path, *line: str) -> subprocess.CompletedProcess[str]:
    return in_process.placet(state.parent, *line, XDG_STATE_HOME=str(state))


class Site:
    """A gate, and a log on another machine: each with its own state."""

    def __init__(self, folder: Path, policy: str = POLICY) -> None:
        self.folder, self.state = folder, folder / "state"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        made = placet(self.state, "ledger", "use-key")
        assert made.returncode == 0, made.stderr
        public = self.state / "placet" / "gate" / "use.pub"
        assert f"placet trust set-gate GATE --use-key {public}" in made.stdout
        named = placet(folder / "log", "log", "init", "log.example/uses", "--url", self.url)
        line = next(line for line in named.stdout.splitlines() if line.startswith("log "))
        self.world = CommandWorld(
            folder,
            policy=policy,
            log_policy=f"{line}\nquorum none\n".encode(),
            use_key=read_public_key(public).der,
        )

    @contextmanager
    def log(self, port: str = "") -> Iterator[LogClient]:
        """Runs the log where the trust root says that it is, or elsewhere."""
        port = port or self.url.rpartition(":")[2]
        trust = ["--trust-snapshot", str(self.world.trust_path)]
        line = [*PLACET, "log", "serve", "--port", port, "--no-limits", *trust]
        environment = os.environ | {"XDG_STATE_HOME": str(self.folder / "log")}
        with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = process.stdout.readline()
                assert "listens" in ready
                yield LogClient(next(word for word in ready.split() if word.startswith("http")).rstrip(","))
            finally:
                process.kill()

    def run(self, bundle: bytes, *more: str) -> subprocess.CompletedProcess[str]:
        options = ["--intent", str(self.world.save(bundle)), "--trust", str(self.world.trust_path)]
        return placet(self.state, "run", *options, "--gate", GATE, *more)

    def ledger(self, *line: str) -> subprocess.CompletedProcess[str]:
        return placet(self.state, "ledger", *line)

    def touch(self, name: str) -> bytes:
        return self.world.approve("touch", str(self.folder / name))

    def ran(self, name: str) -> bool:
        return (self.folder / name).exists()

    def show(self) -> dict[str, object]:
        shown: dict[str, object] = json.loads(self.ledger("show", "--json").stdout)
        return shown


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def queued(tmp_path: Path) -> Site:
    return Site(tmp_path, QUEUED)


def test_a_use_is_in_the_log_when_its_command_starts(site: Site) -> None:
    bundle = site.touch("ran")
    with site.log() as log:
        rehearsed = site.run(bundle, "--dry-run")
        assert (rehearsed.returncode, site.show()["uses"]) == (0, []), rehearsed.stderr
        done = site.run(bundle)
        assert (done.returncode, done.stderr, site.ran("ran")) == (0, "", True)
        with site.world.open_ledger() as ledger:
            assert ledger.list_unlogged(9) == ()
        (use,) = site.show()["uses"]  # type: ignore[misc]
        assert (use["leafIndex"], use["waitsForLog"], use["executed"]) == ("0", False, True)
        assert "leaf 0 of the log" in site.ledger("show").stdout
        leaf = _leaf_in_ledger(site)
        assert len(leaf.approvals) == 1
        assert "\nindex 0\n" in log.fetch_proof(leaf_hash(leaf))


def _leaf_in_ledger(site: Site) -> UseLeaf:
    import sqlite3

    with sqlite3.connect(site.world.ledger_path) as connection:
        (record,) = connection.execute("SELECT record FROM uses").fetchone()
    connection.close()
    leaf = leaf_of_record(record)
    assert isinstance(leaf, UseLeaf)
    return leaf


def test_a17_without_the_log_nothing_runs_and_nothing_is_used(site: Site) -> None:
    bundle = site.touch("ran")
    done = site.run(bundle)
    assert done.returncode == 125
    assert done.stderr.startswith("UNDECIDED: A rule wants each use logged before it is acted on")
    assert "Reason    log-unavailable" in done.stderr
    assert "Next      Nothing was used and nothing was done." in done.stderr
    assert (site.ran("ran"), site.show()["uses"]) == (False, [])
    with site.log():
        assert site.run(bundle).returncode == 0
    assert site.ran("ran")


def test_a17_a_queued_use_waits_is_told_of_and_handed_in(queued: Site) -> None:
    done = queued.run(queued.touch("ran"))
    assert (done.returncode, queued.ran("ran")) == (0, True)
    assert "1 use waits for the log, since " in done.stderr
    assert "`placet ledger flush` hands in what waits." in done.stderr
    assert "1 use waits for the log, since " in queued.ledger("show").stdout
    shown = queued.show()
    assert (shown["unlogged"]["uses"], shown["uses"][0]["waitsForLog"]) == (1, True)  # type: ignore[index]

    flush = ("flush", "--trust", str(queued.world.trust_path))
    failed = queued.ledger(*flush)
    assert failed.returncode == 3
    assert failed.stderr.startswith("0 uses were handed in. 1 use waits for the log, since ")
    assert "log-unavailable: " in failed.stderr
    with queued.log():
        done = queued.ledger(*flush)
        assert (done.returncode, done.stdout) == (0, "1 use was handed in. None waits any more.\n"), (
            done.stderr
        )
        assert queued.ledger(*flush, "--quiet").stdout == ""
        assert queued.ledger(*flush).stdout == "No use waits for the log.\n"
    assert queued.show()["unlogged"] == {"uses": 0, "since": None}


def test_a_gate_without_a_use_key_is_told_how_to_get_one(site: Site) -> None:
    bundle = site.touch("ran")
    (site.state / "placet" / "gate" / "use.pem").unlink()
    done = site.run(bundle)
    assert done.returncode == 125
    assert "this gate signs each use, and it cannot" in done.stderr
    assert "`placet ledger use-key`" in done.stderr
    assert f"`placet trust set-gate {GATE} --use-key FILE.pub`" in done.stderr
    assert placet(site.state, "ledger", "use-key").returncode == 0
    done = site.run(bundle)  # a key of its own making, which no administrator has entered
    assert done.returncode == 125
    assert "does not name the use key of this machine" in done.stderr
    assert site.show()["uses"] == []
    again = placet(site.state, "ledger", "use-key")
    assert again.returncode == 3
    assert "already a use key" in again.stderr


def test_a14_the_log_takes_no_use_in_another_gates_name(site: Site) -> None:
    forger = use_key(9)
    use = Use(Digest("a" * 64), (Digest("b" * 64),), GATE, bytes(16), "action", 1_800_000_000)
    forged = make_use_record(use, forger.public, forger.sign_message)
    with site.log() as log:
        with pytest.raises(LogRefusedError) as caught:
            log.append(forged)
        assert caught.value.log_reason == "not-admitted"


def test_what_waits_for_a_log_that_was_given_up_is_not_dropped(queued: Site) -> None:
    queued.run(queued.touch("ran"))
    folder = queued.folder / "another"
    folder.mkdir()
    without = CommandWorld(folder)
    done = queued.ledger("flush", "--trust", str(without.trust_path))
    assert done.returncode == 2
    assert "1 use waits for the log, since " in done.stderr
    assert "the trust root names none with an address" in done.stderr
    assert queued.show()["unlogged"]["uses"] == 1  # type: ignore[index]


class Cutter:
    """Stands before a log, and cuts every connection from the one with a number on.

    Args:
        cut: the number, from 1.
        after: lets the log act, and keeps its answer.
    """

    def __init__(self, listen: str, to: str, *, cut: int, after: bool) -> None:
        self._to, self._cut, self._after, self._seen = int(to.rpartition(":")[2]), cut, after, 0
        self._server = socket.create_server(("127.0.0.1", int(listen.rpartition(":")[2])))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            self._seen += 1
            with caller:
                if self._seen >= self._cut and not self._after:
                    continue
                answer = self._ask(caller)
                if self._seen < self._cut:
                    caller.sendall(answer)

    def _ask(self, caller: socket.socket) -> bytes:
        with socket.create_connection(("127.0.0.1", self._to)) as log:
            asked = b""
            while not _is_whole(asked):
                asked += caller.recv(65536)
            log.sendall(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            return b"".join(iter(lambda: log.recv(65536), b""))


def _is_whole(request: bytes) -> bool:
    head, blank, body = request.partition(b"\r\n\r\n")
    length = next(
        (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
    )
    return bool(blank) and len(body) >= int(length.partition(b":")[2])


@pytest.mark.parametrize(("cut", "after"), [(2, False), (2, True), (3, True)])
def test_a14_a_log_that_is_cut_off_at_any_request_keeps_the_command_from_running(
    site: Site, cut: int, after: bool
) -> None:
    """The requests are: a checkpoint, the record, its proof."""
    bundle = site.touch("ran")
    with site.log("0") as log:
        cutter = Cutter(site.url, log.url, cut=cut, after=after)
        try:
            done = site.run(bundle)
        finally:
            cutter.close()
        assert done.returncode == 125, done.stderr
        assert "Reason    log-unavailable" in done.stderr
        assert "The approval is used up, and its record waits" in done.stderr
        assert "1 use waits for the log, since " in done.stderr
        assert not site.ran("ran")
        assert "NOTHING WAS DONE" in site.ledger("show").stdout
        again = Cutter(site.url, log.url, cut=99, after=False)
        try:
            assert site.ledger("flush", "--trust", str(site.world.trust_path)).returncode == 0
        finally:
            again.close()
        assert log.fetch_checkpoint().split(b"\n")[1] == b"1"  # one leaf, however often it was handed in
    (use,) = site.show()["uses"]  # type: ignore[misc]
    assert (use["leafIndex"], use["executed"], use["exitCode"]) == ("0", False, None)
    assert site.run(bundle).returncode == 125


PROBE = """
import sys
from placet.cli import main
code = main(sys.argv[1:])
print(code, *sorted(sys.modules), file=sys.stderr)
"""


def test_without_a_log_in_the_trust_root_nothing_of_logs_is_loaded(tmp_path: Path) -> None:
    world = CommandWorld(tmp_path)
    bundle = world.save(world.approve("true"))
    line = ["run", "--intent", str(bundle), "--trust", str(world.trust_path), "--gate", GATE]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *line],
        env=os.environ | {"XDG_STATE_HOME": str(world.state)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, *loaded = done.stderr.split()
    assert code == "0", done.stderr
    dear = {"httpx", "asyncio", "placet.gates.use_log", "placet.adapters.log_client"}
    assert dear & set(loaded) == set()
