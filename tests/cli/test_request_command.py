"""`placet request` as its user meets it, against files and a real relay."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from placet.adapters.paths import config_dir
from placet.adapters.tuf.scope_refresh import closed_policy
from placet.cli._relay import token_path
from placet.cli._request_wait import Reporter
from placet.client import RelayClient
from placet.core.bundle import parse_request
from placet.core.encoding import Digest, is_hex
from placet.core.evidence.requester import verify_requester
from placet.core.statement import parse_statement
from placet.core.verify import UnsafeAnyAction, verify_for_use
from placet.testing import world as worlds
from placet.testing.authenticator import SoftWebAuthn
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
    assert statement.text == f"Run for {worlds.TARGET}: cp app.whl /srv/app.whl"


def test_by_expired_trust_nobody_is_asked(world: World, tmp_path: Path) -> None:
    """People would be asked, and touch their keys, for what the gate then calls undecided."""
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    later = placet(tmp_path, *ask_run(tmp_path, "--token-later", "later.json"))
    assert later.returncode == 0, later.stderr
    world.expires_at = worlds.NOW - 5
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    (tmp_path / "token").write_text("a.b.c")
    prove = ["request", "prove", "later.json", "--token-file", "token", "--trust", "snapshot.json"]
    for words in (ask_run(tmp_path, "--file", "a.request.json"), [*prove, "--file", "a.request.json"]):
        done = placet(tmp_path, *words)
        assert (done.returncode, "[trust-expired]" in done.stderr) == (3, True), done.stderr
        assert "placet trust refresh" in done.stderr
        assert not (tmp_path / "a.request.json").exists()


def test_in_a_closed_scope_nobody_is_asked(world: World, tmp_path: Path) -> None:
    why = "its owners' signatures have expired"
    world.policy = closed_policy("default", why, world.files()).decode()
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    done = placet(tmp_path, *ask_run(tmp_path, "--file", "a.request.json"))
    assert (done.returncode, "[quorum-not-met]" in done.stderr) == (1, True), done.stderr
    assert f"The scope default is closed, since {why}; nobody can approve" in done.stderr
    assert "Its owners sign" in done.stderr
    assert not (tmp_path / "a.request.json").exists()


class Patient(BaseHTTPRequestHandler):
    """A relay that asks everybody to wait."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"error":{"reason":"rate-limited","message":"m","hint":""}}'
        self.send_response(429)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_relay_that_asks_to_wait_is_no_silence(world: World, tmp_path: Path, private_homes: None) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Patient) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = placet(tmp_path, *ask_run(tmp_path, "--relay", f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
    assert done.stderr.count("The relay asks to wait: trying again in 1 s.") == 2
    assert (done.returncode, "rate-limited" in done.stderr) == (3, True)


def test_a_file_that_holds_something_else_is_not_overwritten(world: World, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = placet(tmp_path, *ask_run(tmp_path, "--file", "mine.txt"))
    assert (done.returncode, "is there already" in done.stderr) == (2, True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_settings_that_do_not_exist_and_gates_that_do_not_either(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "request",
        "run",
        "--trust",
        "snapshot.json",
        "--for",
        worlds.TARGET,
        "--file",
        "a",
        "--",
        "true",
    ]
    monkeypatch.setenv("PLACET_GATE", "nowhere")
    assert "knows no gate 'nowhere', which PLACET_GATE names" in placet(tmp_path, *words).stderr
    monkeypatch.delenv("PLACET_GATE")
    config = config_dir() / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('gate = "elsewhere"\n')
    assert f"knows no gate 'elsewhere', which {config} names" in placet(tmp_path, *words).stderr
    config.write_text(f'gatte = "{worlds.GATE}"\n')
    done = placet(tmp_path, *words)
    assert (
        done.returncode,
        "gatte is no setting. There are: gate, ledger, log, log_ca_file, " in done.stderr,
    ) == (
        2,
        True,
    )


def test_a_new_machine_is_told_how_to_get_trust(tmp_path: Path) -> None:
    done = placet(tmp_path, "request", "run", "--for", "host://x", "--", "true")
    assert done.returncode == 3
    assert "On a new machine: placet trust refresh --from WHERE --root-sha256 HEX" in done.stderr


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
            "window of 1h at most; 2h were asked for",
        ),
        (["request", "run", "--for", "k8s://x", "--", "true"], "No rule allows"),
        (
            ["request", "run", "--for", "host://x", "--input", "app.whl", "--input", "app.whl", "--", "true"],
            "--input names 'app.whl' twice",
        ),
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
    assert done.returncode in (1, 2, 3)
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
        try:
            with RelayClient(url) as client:
                client.health()
            yield url
        finally:
            # Also where it never served: waiting for it would take for ever.
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


# Waiting again, stopping, taking back


class Waiter:
    """A `placet request … --wait` in the background, and the world's people who answer it."""

    def __init__(self, world: World, folder: Path, relay: str, *words: str) -> None:
        self.world, self.client = world, RelayClient(relay)
        command = [sys.executable, "-m", "placet", *words, "--relay", relay]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Waiter:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.client.close()

    def answer(self, request_id: str, person: str, *, deny: bool = False) -> None:
        answer_request(self.world, self.client, request_id, person, deny=deny)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        assert "Traceback" not in err
        return self.process.returncode, out, err


def answer_request(
    world: World, client: RelayClient, request_id: str, person: str, *, deny: bool = False
) -> None:
    from placet.ceremony import decide
    from placet.core.sshsig import NAMESPACE_INTENT

    request = client.fetch(Digest(request_id)).request
    at = int(time.time())
    terminal = "t1" if person == ALICE else "t2"
    if not deny:
        client.answer(request.id, world.approve(request, person, terminal=terminal, decided_at=at))
        return
    trust = world.trust()
    review = decide.deny(decide.prepare(request, trust=trust, now=at))
    key = world.keys[person]
    assert isinstance(key, SoftWebAuthn)
    sshsig = key.sign(NAMESPACE_INTENT, decide.message(review), web_origin=world.origin(terminal))
    answer, _, _ = decide.make_answer(
        review,
        sshsig=sshsig,
        trust=trust,
        terminal=world.terminals[terminal],
        decided_at=at,
        seconds_on_screen=9,
        renderer="test/1",
        changes="first time for this target",
    )
    client.answer(request.id, answer)


def ask(folder: Path, relay: str, *more: str) -> str:
    done = placet(folder, *ask_run(folder, "--relay", relay, *more))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0].removeprefix("Request ")


def wait(folder: Path, relay: str, request_id: str, *more: str) -> subprocess.CompletedProcess[str]:
    return placet(folder, "request", "wait", request_id, "--trust", "snapshot.json", "--relay", relay, *more)


def test_a10_a_bundle_is_fetched_long_after_it_was_asked_for(
    world: World, tmp_path: Path, relay: str
) -> None:
    request_id = ask(tmp_path, relay)
    with RelayClient(relay) as client:
        for person in (ALICE, BOB):
            answer_request(world, client, request_id, person)
    done = wait(tmp_path, relay, request_id, "-o", "late.json")
    assert done.returncode == 0, done.stderr
    approval = verify_for_use(
        (tmp_path / "late.json").read_bytes(),
        trust=world.trust(),
        gate=worlds.GATE,
        expected=UnsafeAnyAction("the test looks at the digest only"),
        now=int(time.time()),
    )
    assert approval.payload_digest == request_id
    # This machine has a snapshot and no record of how it came: nobody loses an approval by that.
    archived = wait(tmp_path, relay, request_id, "-o", "archive.json", "--with-trust")
    assert (archived.returncode, "does not carry the trust of its time" in archived.stderr) == (0, True)
    assert "placet trust attach" in archived.stderr
    assert (tmp_path / "archive.json").read_bytes() == (tmp_path / "late.json").read_bytes()
    assert "which --wait writes" in placet(tmp_path, *ask_run(tmp_path, "--with-trust")).stderr


def test_a_time_out_is_undecided_and_says_how_to_go_on(world: World, tmp_path: Path, relay: str) -> None:
    request_id = ask(tmp_path, relay)
    done = wait(tmp_path, relay, request_id, "--timeout", "1s")
    assert done.returncode == 3
    assert "UNDECIDED: Not approved within 1s." in done.stderr
    assert f"to wait again: placet request wait {request_id} --relay {relay}" in done.stderr


def test_ctrl_c_says_that_the_request_stays_open(world: World, tmp_path: Path, relay: str) -> None:
    request_id = ask(tmp_path, relay)
    words = ("request", "wait", request_id, "--trust", "snapshot.json")
    with Waiter(world, tmp_path, relay, *words) as waiter:
        assert waiter.process.stderr is not None
        assert "Not enough people" in waiter.process.stderr.readline()
        waiter.process.send_signal(signal.SIGINT)
        code, _, err = waiter.end()
    assert code == 130
    assert "Stopped waiting. The request stays open until 20" in err
    assert f"to take it back: placet withdraw {request_id}" in err


def test_denials_that_leave_no_quorum_end_the_waiting_at_once(
    world: World, tmp_path: Path, relay: str
) -> None:
    request_id = ask(tmp_path, relay)
    with RelayClient(relay) as client:
        answer_request(world, client, request_id, ALICE, deny=True)
        one = wait(tmp_path, relay, request_id, "--timeout", "1s")
        assert one.returncode == 3
        assert "Denied by alice@example.com" in one.stderr
        answer_request(world, client, request_id, BOB, deny=True)
    both = wait(tmp_path, relay, request_id, "--timeout", "30s")
    assert both.returncode == 1
    assert f"DENIED: {ALICE} and {BOB} denied it; without them the quorum cannot be met." in both.stderr


def test_the_relay_cannot_hand_out_another_request(world: World, tmp_path: Path, relay: str) -> None:
    done = wait(tmp_path, relay, "0" * 64)
    assert (done.returncode, "nothing to wait for" in done.stderr) == (2, True)
    assert wait(tmp_path, relay, "3f0c").returncode == 2


def test_a_request_is_taken_back_without_showing_its_secret(world: World, tmp_path: Path, relay: str) -> None:
    done = placet(tmp_path, *ask_run(tmp_path, "--relay", relay))
    request_id = done.stdout.splitlines()[0].removeprefix("Request ")
    kept = token_path(Digest(request_id))
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert kept.read_text() not in done.stdout + done.stderr
    withdrawn = placet(tmp_path, "withdraw", request_id, "--relay", relay)
    assert withdrawn.returncode == 0, withdrawn.stderr
    waited = wait(tmp_path, relay, request_id)
    assert (waited.returncode, "the request is withdrawn" in waited.stderr) == (1, True)


def test_another_machine_takes_it_back_with_the_token_only(world: World, tmp_path: Path, relay: str) -> None:
    request_id = ask(tmp_path, relay)
    kept = token_path(Digest(request_id))
    token = kept.read_text()
    kept.unlink()
    without = placet(tmp_path, "withdraw", request_id, "--relay", relay)
    assert (without.returncode, "not on this machine" in without.stderr) == (2, True)
    wrong = placet(tmp_path, "withdraw", request_id, "--relay", relay, "--token", "x" * 43)
    assert wrong.returncode == 2
    assert is_hex(token, 64)  # nothing in it can be taken for a flag
    assert placet(tmp_path, "withdraw", request_id, "--relay", relay, "--token", token).returncode == 0


def test_a_runner_without_a_state_folder_asks_all_the_same(
    world: World, tmp_path: Path, relay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    done = placet(tmp_path, *ask_run(tmp_path, "--relay", relay))
    assert done.returncode == 0, done.stderr
    assert "cannot be taken back, because nothing can be kept here (Not a directory" in done.stdout


def test_a_relay_that_is_down_is_undecided(world: World, tmp_path: Path) -> None:
    done = placet(tmp_path, *ask_run(tmp_path, "--relay", "http://127.0.0.1:9"))
    assert (done.returncode, "the request was not sent." in done.stderr) == (3, True)
    done = placet(tmp_path, *ask_run(tmp_path, "--relay", "nonsense"))
    assert (done.returncode, "is not the address of a relay" in done.stderr) == (2, True)


def test_who_approved_too_weakly_is_named(world: World, tmp_path: Path, relay: str) -> None:
    world.policy = world.policy.replace("level = 1", "level = 2")
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    asked = placet(tmp_path, *ask_run(tmp_path, "--relay", relay))
    assert "asks for INTENT_LEVEL_2" in asked.stderr
    assert "every key is a software key" in asked.stderr
    request_id = asked.stdout.splitlines()[0].removeprefix("Request ")
    with RelayClient(relay) as client:
        answer_request(world, client, request_id, ALICE)
    done = wait(tmp_path, relay, request_id, "--timeout", "1s")
    assert f"Approved, but below INTENT_LEVEL_2: {ALICE} (software key). Missing: 2 more" in done.stderr


def test_hardware_among_the_approvers_needs_no_note(world: World, tmp_path: Path) -> None:
    world.policy = world.policy.replace("level = 1", "level = 2")
    world.assurance[ALICE] = "vouched"
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    assert "Note:" not in placet(tmp_path, *ask_run(tmp_path, "--file", "a.json")).stderr


def test_for_the_next_level_names_only_those_who_hold_it_back(
    world: World, tmp_path: Path, relay: str
) -> None:
    world.assurance[ALICE] = "vouched"
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    request_id = ask(tmp_path, relay)
    with RelayClient(relay) as client:
        for person in (ALICE, BOB):
            answer_request(world, client, request_id, person)
    done = wait(tmp_path, relay, request_id)
    assert f"For the next level: {BOB} signed with a software key" in done.stderr
    assert f"{ALICE}'s authenticator model" not in done.stderr


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_clock_runs_on_a_terminal_while_there_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Screen()
    monkeypatch.setattr("sys.stderr", screen)
    reporter = Reporter(int(time.time()) + 600)
    reporter.say("Nobody has decided yet.")
    deadline = time.monotonic() + 10
    while "waited 0:01" not in screen.getvalue() and time.monotonic() < deadline:
        time.sleep(0.05)
    reporter.finish("APPROVED")
    assert screen.getvalue().count("Nobody has decided yet.") >= 2
    assert screen.getvalue().endswith("APPROVED\n")
