"""`placet request` as its user meets it, against files and a real relay."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from placet.adapters.relay_client import RelayClient
from placet.core.bundle import parse_request
from placet.core.requester import verify_requester
from placet.core.statement import parse_statement
from placet.core.verify import UnsafeAnyAction, verify_for_use
from placet.testing import world as worlds
from placet.testing.world import ALICE, BOB, World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    started = int(time.time()) - 30
    monkeypatch.setattr(worlds, "NOW", started)
    world = World()
    world.expires_at = started + 86_400
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    (tmp_path / "app.whl").write_bytes(b"wheel")
    return world


def placet(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "placet", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=60)


def ask_run(
    folder: Path, *more: str, command: tuple[str, ...] = ("cp", "app.whl", "/srv/app.whl")
) -> list[str]:
    common = ["request", "run", "--trust", "snapshot.json", "--gate", worlds.GATE, "--for", worlds.TARGET]
    return [*common, "--input", "app.whl", "--env", "LANG=C.UTF-8", *more, "--", *command]


def test_a_file_holds_the_exact_action(world: World, tmp_path: Path) -> None:
    done = placet(tmp_path, *ask_run(tmp_path, "--file", "a.request.json", "--reason", "weekly"))
    assert done.returncode == 0, done.stderr
    statement = parse_statement(parse_request((tmp_path / "a.request.json").read_bytes()).payload)
    assert statement.parameters["argv"] == ["cp", "app.whl", "/srv/app.whl"]
    assert statement.parameters["environment"] == {"LANG": "C.UTF-8"}
    program = Path(statement.parameters["executable"]["path"])
    assert (
        statement.parameters["executable"]["digest"]["sha256"]
        == hashlib.sha256(program.read_bytes()).hexdigest()
    )
    assert [s.digest for s in statement.subjects] == [f"sha256:{hashlib.sha256(b'wheel').hexdigest()}"]
    assert statement.text == f"Run cp app.whl /srv/app.whl for {worlds.TARGET}"


def test_two_requests_for_the_same_action_differ_in_nonce_and_id(world: World, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert placet(tmp_path, *ask_run(tmp_path, "--file", f"{name}.json")).returncode == 0
    first, second = (parse_request((tmp_path / f"{n}.json").read_bytes()) for n in "ab")
    assert first.id != second.id
    assert parse_statement(first.payload).request_id != parse_statement(second.payload).request_id


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["request", "deploy", "app:latest", "--to", "k8s://prod"], "does not name an artifact by digest"),
        (["request", "run", "--for", "host://x", "--", "no-such-program"], "no program"),
        (["request", "run", "--for", "host://x", "--env", "A", "--", "true"], "--env takes NAME=VALUE"),
        (
            ["request", "run", "--for", "host://x", "--expires", "2h", "--", "true"],
            "window of 3600 seconds at most",
        ),
        (["request", "run", "--for", "k8s://x", "--", "true"], "No rule allows"),
        (["request", "run", "--for", "host://x", "--reason", "a\u202eb", "--", "true"], "U+202E"),
        (["request", "run", "--for", "host://x", "--", "true", "x" * 600], "at most 512"),
        (["request", "run", "--for", "host://x", "--relay", "http://127.0.0.1:9", "--", "true"], "not sent"),
    ],
)
def test_a_clear_sentence_for_each_mistake(
    world: World, tmp_path: Path, words: list[str], sentence: str
) -> None:
    split = words.index("--") if "--" in words else len(words)
    options = ["--trust", "snapshot.json", "--gate", worlds.GATE]
    done = placet(tmp_path, *words[:split], *options, *words[split:])
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_requester_with_an_enrolled_key_is_a_fact(world: World, tmp_path: Path) -> None:
    from placet.ceremony.request import attach_proof, requester_message
    from placet.core.sshsig import NAMESPACE_REQUEST

    unsigned = world.request_run(argv=["/bin/true"], now=worlds.NOW)
    key = world.keys[ALICE]
    proof = key.sign(NAMESPACE_REQUEST, requester_message(unsigned))
    signed = attach_proof(unsigned, keyid=key.keyid, sshsig=proof)
    statement = parse_statement(signed.payload)
    assert verify_requester(statement, signed.evidence, trust=world.trust(), at=worlds.NOW) == ALICE


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[str]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "placet",
        "relay",
        "serve",
        "--port",
        str(port),
        "--state",
        str(tmp_path / "r"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    ) as process:
        url = f"http://127.0.0.1:{port}"
        with RelayClient(url) as client:
            client.check_health()
        yield url
        process.terminate()
        process.wait(timeout=20)


def test_wait_shows_progress_and_writes_a_bundle_that_verifies(
    world: World, tmp_path: Path, relay: str
) -> None:
    command = [
        sys.executable,
        "-m",
        "placet",
        *ask_run(tmp_path, "--relay", relay, "--wait", "-o", "out.json"),
    ]
    with (
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as waiting,
        RelayClient(relay) as client,
    ):
        listing = client.wait_for_requests(None, timeout=20)
        relayed = client.fetch(listing.requests[0].id)
        decided_at = int(time.time())
        for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
            client.answer(
                relayed.id, world.approve(relayed.request, person, terminal=terminal, decided_at=decided_at)
            )
        out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, out + err
    assert "Not enough people approved" in err
    assert "Approved by alice@example.com, bob@example.com: INTENT_LEVEL_1 (Bound)" in err
    approval = verify_for_use(
        (tmp_path / "out.json").read_bytes(),
        trust=world.trust(),
        gate=worlds.GATE,
        expected=UnsafeAnyAction("the test looks at the people only"),
        now=int(time.time()),
    )
    assert approval.people == (ALICE, BOB)
