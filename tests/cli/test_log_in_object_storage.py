"""``placet log serve --store s3://…``: real processes, a real S3 server, and the tools that ask any log."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import obstore
import pytest
from in_process import placet
from obstore.store import S3Store
from test_log_command import serving

from placet.adapters.log_client import LogClient
from placet.core.bundle import encode_answer
from placet.core.errors import PlacetError, Reason
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.leaf import leaf_hash
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.tlog.note import VerifierKey, parse_verifier_key
from placet.core.tlog.proof import parse_proof, verify_proof
from placet.core.tlog.records import leaf_of_record
from placet.testing.object_storage import (
    BUCKET,
    ENVIRONMENT,
    ObjectStorage,
    StorageWire,
    refusal,
    start_object_storage,
)
from placet.testing.world import ALICE, BOB, World


class Scene:
    """The key of a log, and a prefix for it."""

    def __init__(self, folder: Path, server: ObjectStorage) -> None:
        self.folder, self.server = folder, server
        self.prefix = f"cli-{secrets.token_hex(8)}"
        self.store = f"s3://{BUCKET}/{self.prefix}"
        self.line = placet(folder, "log", "init", "log.example/s3", "--state", "log").stdout
        self.key: VerifierKey = parse_verifier_key(self.line.split()[1])
        self.world = World()

    def serving(self, *, endpoint: str = "") -> AbstractContextManager[str]:
        options = ["--store", self.store, "--endpoint", endpoint or self.server.url]
        return serving("log", self.folder / "log", *options)

    def record(self, *people: str) -> bytes:
        request = self.world.request_run(argv=["/usr/bin/true"], executable=b"x")
        return encode_answer(self.world.approve(request, *people))


@pytest.fixture
def scene(tmp_path: Path, object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Scene:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return Scene(tmp_path, object_storage)


def test_a_log_in_object_storage_is_asked_as_any_other(scene: Scene) -> None:
    records = [scene.record(ALICE), scene.record(BOB)]
    with scene.serving() as url:
        client = LogClient(url)
        first = client.append(records[0])
        assert (first.leaf_index, first.created) == (0, True)
        again = client.append(records[0])
        assert (again.leaf_index, again.created) == (0, False)
        before = verify_checkpoint(client.fetch_checkpoint(), scene.key)
    with scene.serving() as url:
        client = LogClient(url)
        assert verify_checkpoint(client.fetch_checkpoint(), scene.key) == before
        assert client.append(records[1]).leaf_index == 1
        policy = parse_log_policy(f"log {scene.key}\nquorum none\n".encode())
        for index, record in enumerate(records):
            leaf = leaf_hash(leaf_of_record(record))
            proven = verify_proof(parse_proof(client.fetch_proof(leaf)), leaf, policy)
            assert (proven.leaf_index, proven.tree_size) == (index, 2)
        shown = placet(scene.folder, "log", "show", "--log", url, "--key", str(scene.key))
        assert shown.returncode == 0
    options = {"allow_http": True}
    bucket = S3Store(BUCKET, prefix=scene.prefix, endpoint=scene.server.url, client_options=options)
    assert verify_checkpoint(obstore.get(bucket, "checkpoint").bytes().to_bytes(), scene.key).tree_size == 2


def test_two_processes_serve_one_log_and_one_is_killed(scene: Scene) -> None:
    records = [scene.record(person) for person in (ALICE, BOB) * 3]
    with killed(scene) as url, scene.serving() as other:
        one, two = LogClient(url), LogClient(other)
        places = [(one, two)[n % 2].append(record).leaf_index for n, record in enumerate(records)]
    assert places == list(range(6))
    with scene.serving() as url:
        client = LogClient(url)
        assert verify_checkpoint(client.fetch_checkpoint(), scene.key).tree_size == 6
        assert [client.append(record).leaf_index for record in records] == places


def test_a_public_bucket_is_followed_without_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with start_object_storage(open_to_all=True) as server:
        scene = Scene(tmp_path, server)
        with scene.serving() as url:
            for person in (ALICE, BOB):
                LogClient(url).append(scene.record(person))
        (tmp_path / "policy").write_text(f"log {scene.key}\nquorum none\n")
        (tmp_path / "snapshot.json").write_bytes(scene.world.snapshot())
        where = f"{server.url}/{BUCKET}/{scene.prefix}"
        options = ["--log-policy", "policy", "--trust", "snapshot.json", "--json"]
        followed = placet(tmp_path, "audit", "--log", where, *options)
        assert (followed.returncode, '"treeSize":"2"' in followed.stdout.replace(" ", "")) == (0, True)
        shown = placet(tmp_path, "log", "show", "--log", where, "--key", str(scene.key))
        assert (shown.returncode, re.search(r"Leaves +2", shown.stdout) is not None) == (0, True)


@contextmanager
def killed(scene: Scene) -> Iterator[str]:
    command = [sys.executable, "-m", "placet", "log", "serve", "--port", "0", "--state", scene.folder / "log"]
    command += ["--store", scene.store, "--endpoint", scene.server.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.match(
        r"placet log listens on (http://[^,]+), .* keeps its state in s3://", process.stdout.readline()
    )
    assert found is not None
    try:
        yield found[1]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_without_storage_the_log_refuses_and_goes_on_when_it_is_back(scene: Scene) -> None:
    record = scene.record(ALICE)
    with StorageWire(scene.server.port) as wire, scene.serving(endpoint=wire.url) as url:
        client = LogClient(url)
        passing, wire.fate = wire.fate, lambda request: refusal("503 Slow Down", "SlowDown")
        with pytest.raises(PlacetError) as told:
            client.append(record)
        assert told.value.reason is Reason.LOG_UNAVAILABLE
        wire.fate = passing
        assert client.append(record).leaf_index == 0


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--store", "log.sqlite3"], 2, "--state DIR"),
        (["--endpoint", "http://127.0.0.1:1"], 2, "--store"),
        (["--store", "s3://Logs"], 2, "s3://BUCKET/PREFIX"),
        (["--store", "s3://logs", "--endpoint", "http://s3.example.com"], 2, "https://"),
        (["--store", "s3://logs", "--endpoint", "http://127.0.0.1:1"], 3, "log-unavailable"),
        (["--store", "s3://logs", "--moved-from", "there"], 2, "s3://BUCKET/PREFIX"),
    ],
)
def test_what_cannot_be_a_store_is_told(scene: Scene, options: list[str], code: int, says: str) -> None:
    told = placet(scene.folder, "log", "serve", "--port", "0", "--state", "log", *options)
    assert (told.returncode, says in told.stderr, "Traceback" in told.stderr) == (code, True, False), (
        told.stderr
    )


def test_storage_that_ignores_conditions_is_refused(scene: Scene) -> None:
    with StorageWire(scene.server.port) as wire:
        wire.fate = lambda request: (
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'
            if request.method == "PUT"
            else refusal("404 Not Found", "NoSuchKey")
        )
        options = ["--store", scene.store, "--endpoint", wire.url]
        told = placet(scene.folder, "log", "serve", "--port", "0", "--state", "log", *options)
    assert told.returncode == 3
    assert "If-None-Match" in told.stderr
    assert "two histories" in told.stderr


def test_without_the_client_library_it_says_what_to_install(scene: Scene) -> None:
    code = "import sys; sys.modules['obstore'] = None; from placet.cli import main; sys.exit(main())"
    line = ["log", "serve", "--port", "0", "--state", "log", "--store", scene.store]
    told = subprocess.run(
        [sys.executable, "-c", code, *line],
        cwd=scene.folder,
        capture_output=True,
        text=True,
        env={**os.environ, "AWS_ENDPOINT_URL_S3": scene.server.url},
    )
    assert told.returncode == 2
    assert "placet[s3]" in told.stderr
