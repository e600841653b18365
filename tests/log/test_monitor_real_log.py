"""The monitor and a real log server, in a process of its own, as it runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitor_world import LogWorld, Monitor, names, use_record

from placet.adapters.log_client import LogClient
from placet.adapters.note_key import create_note_key
from placet.adapters.sqlite.audit import AuditStore
from placet.core.bundle import encode_answer
from placet.core.errors import PlacetError
from placet.core.tlog.note import ED25519
from placet.log.monitor import Audit, Settings, WatchedLog
from placet.log.monitor_source import FolderLog, ServedLog
from placet.testing.scripted_log import TOKEN
from placet.testing.world import ALICE, BOB


class Place:
    """A log server on a free port, and a folder for the monitor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = LogWorld(now=None)
        signer = create_note_key(folder / "log" / "log.key", "log.example", ED25519)
        self.world.more_files["log-policy"] = f"log {signer.verifier_key}\nquorum none\n".encode()
        (folder / "trust.json").write_bytes(self.world.snapshot())
        (folder / "token").write_text(TOKEN)
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        (folder / "monitors.toml").write_text(f'[[monitor]]\nname = "us"\ntoken_sha256 = "{digest}"\n')

    def start(self) -> tuple[subprocess.Popen[str], str]:
        line = ["log", "serve", "--port", "0", "--state", "log", "--monitors", "monitors.toml"]
        process = subprocess.Popen(
            [sys.executable, "-m", "placet", *line, "--trust-snapshot", "trust.json", "--tiles", "tiles"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, process.stdout.readline().split("listens on ")[1].split(",")[0]


def wait_for(tiles: FolderLog, checkpoint: bytes) -> None:
    """Waits until a checkpoint is exported."""
    for _ in range(1000):
        try:
            if tiles.fetch_checkpoint() == checkpoint:
                return
        except PlacetError:
            pass
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def url(place: Place) -> Iterator[str]:
    """A running log."""
    process, url = place.start()
    yield url
    process.terminate()
    process.communicate()


def test_a_real_log_is_followed_and_mirrors_of_it_agree(place: Place, url: str) -> None:
    client, world = LogClient(url), place.world
    trust = world.trust()
    assert trust.log_policy is not None
    monitor = Monitor(place.folder, trust.log_policy, trust, now=world.now + 200)
    request = world.request_deploy()
    answers = [world.approve(request, person) for person in (ALICE, BOB)]
    approvals = [client.append(encode_answer(answer)).leaf_hash.hex() for answer in answers]
    client.append(use_record(request.id, approvals, at=world.now + 90))
    audited = monitor.run(url)
    assert names(audited) == [] and audited.unchecked == () and audited.logs[0].tree_size == 3
    client.append(use_record("ab" * 32, ["cd" * 32], at=world.now + 90, number=1))
    assert names(monitor.run(url, full=True)) == ["use-without-approval"]
    # The tiles that it exports say the same.
    tiles = FolderLog(place.folder / "tiles")
    wait_for(tiles, LogClient(url).fetch_checkpoint())
    audited = monitor.run(url, against=[tiles])
    assert names(audited) == [] and audited.unchecked == ()


def test_a_real_log_does_not_show_records_to_strangers(place: Place, url: str) -> None:
    trust = place.world.trust()
    assert trust.log_policy is not None
    LogClient(url).append(encode_answer(place.world.approve(place.world.request_deploy(), ALICE)))
    settings = Settings(trust.log_policy, trust, place.folder / "none.json", (), place.world.now)
    source = ServedLog(LogClient(url, tries=1), "no-token-of-this-log")
    with AuditStore(place.folder / "audit.sqlite") as store:
        audited = Audit(store, settings).run([WatchedLog("log.example", source, True)])
        leaf = store.leaf("log.example", 0)
    assert [str(item.error.reason) for item in audited.unchecked] == ["log-refused"]
    # Whose key it was stands in the leaf: that person hears of it all the same.
    assert leaf is not None and leaf.record is None and leaf.event["person"] == ALICE
