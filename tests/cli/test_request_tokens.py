"""`placet request` with OIDC tokens: from a command, in two steps, and GitHub's way, with a local issuer."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from placet.adapters.oidc.keys import refresh_issuers
from placet.adapters.oidc.tokens import TokenVerifier
from placet.ceremony.decide import prepare
from placet.cli import main
from placet.core.bundle import parse_request
from placet.documents.issuers import ISSUERS_FILE, Issuer, encode_issuers
from placet.testing import world as worlds
from placet.testing.oidc import SoftIssuer
from placet.testing.world import ALICE, World

DEPLOY = ["deploy", f"registry.example/app@sha256:{'0' * 64}", "--to", "k8s://prod-eu/ns/a/deploy/b"]


class Job:
    """A CI job in a folder of its own, with a trust snapshot."""

    def __init__(self, folder: Path, issuer: SoftIssuer) -> None:
        self.folder, self.issuer, self.snapshot = folder, issuer, folder / "snapshot.json"
        self.world = World(seed=b"job")
        self.world.expires_at = int(time.time()) + 86_400
        self.world.accounts = {ALICE: [{"issuer": issuer.address, "subject": "31"}]}
        believed = Issuer(issuer.address, "actor_id", {}, ("RS256",), None)
        self.world.more_files = {ISSUERS_FILE: encode_issuers([believed])}
        self.snapshot.write_bytes(self.world.snapshot())
        refresh_issuers(self.snapshot, self.world.more_files[ISSUERS_FILE], now=int(time.time()))
        self.out = folder / "out.request.json"

    def ask(self, *words: str) -> int:
        common = ["--trust", str(self.snapshot), "--file", str(self.out), "--gate", worlds.GATE]
        return main(["request", *DEPLOY, *common, *words])

    def requester(self) -> str | None:
        request = parse_request(self.out.read_bytes())
        evidence = TokenVerifier(self.snapshot)
        return prepare(request, trust=self.world.trust(), now=int(time.time()), evidence=evidence).requester


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(worlds, "NOW", int(time.time()) - 30)
    with SoftIssuer() as issuer:
        yield Job(tmp_path, issuer)


def test_a_token_command_is_told_the_audience(job: Job) -> None:
    script = job.folder / "get-token"
    # The issuer's key is in this process, so the command only says which audience it was asked for.
    asked = job.folder / "audience"
    ready = job.folder / "token"

    def answer() -> None:
        while not asked.exists() or not asked.read_text():
            threading.Event().wait(0.01)
        said = {"aud": asked.read_text(), "actor_id": "31"}
        part = ready.with_suffix(".part")
        part.write_text(job.issuer.token(said))
        part.rename(ready)

    script.write_text(
        "import sys, time, pathlib\n"
        f"pathlib.Path({str(asked)!r}).write_text(sys.argv[1])\n"
        f"ready = pathlib.Path({str(ready)!r})\n"
        "while not ready.exists(): time.sleep(0.01)\n"
        "print(ready.read_text())\n"
    )
    helper = threading.Thread(target=answer)
    helper.start()
    assert job.ask("--token-command", f"{sys.executable} {script} {{audience}}") == 0
    helper.join()
    assert job.requester() == ALICE


def test_two_steps_for_issuers_that_fix_the_audience_beforehand(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = job.folder / "unproven.json"
    assert job.ask("--token-later", str(kept)) == 0
    *_, audience = capsys.readouterr().out.split()
    token = job.folder / "token"
    token.write_text(job.issuer.token({"aud": audience, "actor_id": "31"}) + "\n")
    words = ["request", "prove", str(kept), "--token-file", str(token), "--trust", str(job.snapshot)]
    assert main([*words, "--file", str(job.out)]) == 0
    assert job.requester() == ALICE


def test_github_is_asked_for_this_audience(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class GitHub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (audience,) = parse_qs(urlsplit(self.path).query)["audience"]
            seen.append((audience, self.headers["Authorization"]))
            body = json.dumps({"value": job.issuer.token({"aud": audience, "actor_id": "31"})})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), GitHub) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"http://127.0.0.1:{server.server_port}/?api=2")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret-of-the-job")
        assert job.ask("--token-from", "github") == 0
        thread.join()
    ((audience, bearer),) = seen
    assert audience.startswith("placet:request:")
    assert bearer == "bearer secret-of-the-job"
    assert job.requester() == ALICE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--token-from", "github"], "no GitHub Actions job"),
        (["--token-command", "true"], "names no {audience}"),
        (["--token-command", "false {audience}"], "exit code 1"),
        (["--token-command", "echo {audience}"], "no OIDC token"),
        (["--token-command", "/nowhere/at-all {audience}"], "did not work"),
    ],
)
def test_no_token_means_nothing_is_sent(
    job: Job,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    assert job.ask(*words) == 2
    assert said in capsys.readouterr().err
    assert not job.out.exists()
