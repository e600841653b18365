"""A log and its witnesses as real processes: what `placet log show`, health and metrics say of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from placet.cli import main
from placet.core.tlog.log_policy import parse_log_policy
from placet.testing.world import ALICE, World

ORIGIN = "log.example/witnessed"
# A failure, not a measurement.
AT_MOST = 30.0


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "placet", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    found = re.search(r"listens on (http://[^,]+),", process.stdout.readline())
    try:
        assert found is not None, arguments
        yield found[1]
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Place:
    """A log in the relay's file or of its own, one witness that runs, and one that does not."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], log_folder: Path) -> None:
        self.folder, self._capsys = folder, capsys
        self.port, self.dead = free_port(), free_port()
        self._call("log", "init", ORIGIN, "--state", str(log_folder))
        lines = [capsys.readouterr().out.strip()]
        for name, port in (("w1", self.port), ("w2", self.dead)):
            url = f"http://127.0.0.1:{port}"
            self._call("witness", "init", name, "--url", url, "--state", str(folder / name))
            lines.append(capsys.readouterr().out.strip())
        lines += ["group any any w1 w2", "quorum any"]
        self.policy = folder / "log-policy"
        self.policy.write_text("".join(f"{line}\n" for line in lines))
        self._call("witness", "add-log", "--policy", str(self.policy), "--state", str(folder / "w1"))
        self.world = World(now=int(time.time()))
        self.world.more_files["log-policy"] = self.policy.read_bytes()
        self.snapshot = folder / "snapshot.json"
        self.snapshot.write_bytes(self.world.snapshot())
        capsys.readouterr()

    @contextmanager
    def witness(self) -> Iterator[str]:
        with serving("witness", "serve", "--port", str(self.port), "--state", str(self.folder / "w1")) as url:
            yield url

    def show(self, url: str, *more: str) -> str:
        self._call("log", "show", "--log", url, "--trust", str(self.snapshot), *more)
        return self._capsys.readouterr().out

    def _call(self, *arguments: str) -> None:
        assert main(list(arguments)) == 0, self._capsys.readouterr()


def wait_for(url: str, what: str) -> str:
    deadline = time.monotonic() + AT_MOST
    while time.monotonic() < deadline:
        text = httpx.get(url).text
        if what in text:
            return text
        time.sleep(0.02)
    raise AssertionError(f"{what} does not stand in {text}")


def test_show_names_who_has_cosigned_and_who_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, capsys, tmp_path / "log")
    bundle = tmp_path / "app.intent.json"
    bundle.write_bytes(place.world.bundle(place.world.request_deploy(), ALICE))
    with ExitStack() as stack:
        stack.enter_context(place.witness())
        options = ["--port", "0", "--state", str(tmp_path / "log"), "--log-policy", str(place.policy)]
        url = stack.enter_context(serving("log", "serve", *options))
        assert main(["log", "attach", str(bundle), "--log", url, "--trust", str(place.snapshot)]) == 0
        capsys.readouterr()
        health = json.loads(wait_for(f"{url}/healthz", '"problem":"log-unavailable"'))
        assert health["status"] == "ok"
        first, second = health["witnesses"]
        assert (first["name"], first["treeSize"], first["problem"]) == ("w1", "1", None)
        assert (second["name"], second["treeSize"]) == ("w2", "0")
        assert str(place.dead) not in str(health), "where witnesses are is nobody's business"
        shown = place.show(url)
        assert re.search(r"^Witnessed  20\S+Z by w1$", shown, re.M)
        assert "Missing    w2: log-unavailable\n" in shown
        assert "Quorum     is met" in shown
        assert json.loads(place.show(url, "--json"))["missing"] == {"w2": "log-unavailable"}


def test_the_relay_s_metrics_have_the_witnesses_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, capsys, tmp_path / "relay")
    metrics = free_port()
    options = ["--port", "0", "--state", str(tmp_path / "relay"), "--log-policy", str(place.policy)]
    with (
        place.witness(),
        serving("relay", "serve", *options, "--metrics-listen", f"127.0.0.1:{metrics}") as relay,
    ):
        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
        for name in ("tree_size", "answered_seconds", "failures"):
            assert f'placet_log_witness_{name}{{witness="w1"}} 0.0' in text
        assert httpx.get(f"{relay}/log/healthz").json()["witnesses"][1]["name"] == "w2"


def test_the_policy_that_the_commands_print_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = parse_log_policy(Place(tmp_path, capsys, tmp_path / "log").policy.read_bytes())
    assert [witness.name for witness in policy.witnesses] == ["w1", "w2"]
    assert policy.logs[0].key.name == ORIGIN
