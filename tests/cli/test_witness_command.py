"""``placet witness`` as people run it: its own process, killed at the worst moment."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from placet.cli import main
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.tlog.note import parse_note
from placet.testing.small_log import SmallLog
from placet.testing.witness import encode_request

NAME = "witness.example/w1"
URL = "https://witness.example"
COMMAND = (sys.executable, "-m", "placet", "witness", "serve")

# The same command, which dies as by a power cut between what it stored and what it was about to sign.
DIES_BEFORE_SIGNING = """
import os, signal, sys
from placet.log import witness
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
witness.cosign = die
from placet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "witness"


def call(*arguments: str, state: Path) -> int:
    return main(["witness", *arguments, "--state", str(state)])


def init(state: Path) -> None:
    assert call("init", NAME, "--url", URL, state=state) == 0


@contextmanager
def serving(state: Path, command: Sequence[str] = COMMAND) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*command, "--port", "0", "--state", str(state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    found = re.match(r"placet witness listens on (http://[^,]+),", process.stdout.readline())
    try:
        assert found is not None
        yield found[1], process
    finally:
        process.kill()
        process.communicate()


def post(url: str, body: bytes) -> httpx.Response:
    return httpx.post(f"{url}/add-checkpoint", content=body)


def show(state: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    call("show", "--json", state=state)
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_init_prints_the_line_of_a_log_policy_and_keeps_the_key_to_its_owner(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(state)
    out, err = capsys.readouterr()
    policy = parse_log_policy(f"{out}quorum {NAME}\n".encode())
    assert (policy.witnesses[0].name, policy.witnesses[0].url) == (NAME, URL)
    assert "add-log" in err
    key = state / "witness.key"
    assert key.read_text().startswith(f"PRIVATE+KEY+{NAME}+")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (state, key)] == [0o700, 0o600]
    assert stat.S_IMODE((state / "witness.sqlite3").stat().st_mode) == 0o600
    before = key.read_bytes()
    assert call("init", NAME, state=state) == 2
    assert key.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [["a name"], ["a+name"], [""], [NAME, "--url", "witness.example"], [NAME, "--url", "https://a b"]],
)
def test_init_refuses_what_is_no_name_or_address(state: Path, arguments: list[str]) -> None:
    assert call("init", *arguments, state=state) != 0
    assert not state.exists()


def test_a_witness_cosigns_is_killed_and_goes_on(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = SmallLog()
    init(state)
    key = parse_log_policy(f"{capsys.readouterr().out}quorum none\n".encode()).witnesses[0].key
    with serving(state) as (url, process):
        assert post(url, encode_request(log, 0)).status_code == 404
        # While it runs.
        assert call("add-log", str(log.signer.verifier_key), state=state) == 0
        answer = post(url, encode_request(log, 0))
        assert answer.status_code == 200
        assert verify_cosignature(parse_note(log.checkpoint(times={}) + answer.content), key) > 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(state) as (url, process):
        log.append(b"more")
        assert post(url, encode_request(log, 0)).content == b"5\n"
        assert post(url, encode_request(log, 5)).status_code == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert "has stopped" in out


def test_killed_between_storing_and_signing_it_has_promised_nothing_and_signs_when_asked_again(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SmallLog()
    init(state)
    call("add-log", str(log.signer.verifier_key), state=state)
    dying = (sys.executable, "-c", DIES_BEFORE_SIGNING, "witness", "serve")
    with serving(state, dying) as (url, process):
        with pytest.raises(httpx.HTTPError):
            post(url, encode_request(log, 0))
        assert process.wait(timeout=20) == -signal.SIGKILL
    # It is stored, and nothing was signed: nobody can show a checkpoint that the witness does not know.
    (known,) = show(state, capsys)["logs"]  # type: ignore[misc]
    assert known["treeSize"] == "5"
    fork = SmallLog()
    fork.leaves[0] = b"another"
    with serving(state) as (url, _):
        assert post(url, encode_request(fork, 0)).status_code == 409
        # What a log does whose request got no answer.
        assert post(url, encode_request(log, 0)).content == b"5\n"
        assert post(url, encode_request(log, 5)).status_code == 200
        assert post(url, encode_request(fork, 5)).status_code == 422


def test_show_has_the_proof_of_a_fork_for_people_machines_and_files(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, fork = SmallLog(), SmallLog()
    fork.leaves[0] = b"another"
    init(state)
    (tmp_path / "policy").write_bytes(log.policy())
    assert call("add-log", "--policy", str(tmp_path / "policy"), state=state) == 0
    assert call("show", state=state) == 0
    assert "nothing cosigned yet" in capsys.readouterr().out
    with serving(state) as (url, process):
        post(url, encode_request(log, 0))
        assert post(url, encode_request(fork, 0)).status_code == 409
        process.terminate()
        assert "signed two roots" in process.communicate(timeout=20)[1]
    assert call("show", "--save-evidence", str(tmp_path / "evidence"), state=state) == 1
    assert "FORK: log.example/demo signed two root hashes for size 5" in capsys.readouterr().out
    (item,) = show(state, capsys)["evidence"]  # type: ignore[misc]
    assert item["kind"] == "fork"
    saved = {path.name: path.read_bytes() for path in (tmp_path / "evidence").iterdir()}
    assert saved == {
        "1-fork-submitted.note": fork.checkpoint(times={}),
        "1-fork-known.note": log.checkpoint(times={}),
    }


def test_refusals_say_what_to_do(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("serve", state=state) == 3
    assert "cannot be read" in capsys.readouterr().err
    assert call("show", state=state) == 3
    assert "placet witness init" in capsys.readouterr().err
    init(state)
    for text in ("nonsense", "a+00000000+AAAA", (state / "witness.key").read_text().strip()):
        assert call("add-log", text, state=state) == 2
        assert "Traceback" not in capsys.readouterr().err
    own = str(show(state, capsys)["key"])
    assert call("add-log", own, state=state) == 2
    assert "no log's" in capsys.readouterr().err
    assert call("serve", "--host", "192.0.2.1", state=state) == 2
    assert "--allow-remote" in capsys.readouterr().err
    (state / "witness.key").chmod(0o640)
    assert call("serve", "--port", "0", state=state) == 3
    assert "chmod 600" in capsys.readouterr().err


def test_a_key_with_another_witness_s_memory_does_not_serve(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(state)
    init(tmp_path / "other")
    (state / "witness.key").write_bytes((tmp_path / "other" / "witness.key").read_bytes())
    assert call("serve", "--port", "0", state=state) == 2
    assert "not that of the key" in capsys.readouterr().err


def test_a_moved_memory_serves_once_somebody_says_so(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(state)
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for name in ("witness.key", "witness.sqlite3"):
        (copy / name).touch(mode=0o600)
        (copy / name).write_bytes((state / name).read_bytes())
    assert call("show", state=copy) == 3
    assert "placet witness moved" in capsys.readouterr().err
    assert call("moved", state=copy) == 0
    assert call("show", state=copy) == 0
