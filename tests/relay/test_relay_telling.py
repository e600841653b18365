"""What the relay tells its operator: metrics with few labels, logs without secrets."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from relay_process import RelayProcess, answering, make_answer, make_request, running, submission

from placet.adapters.serving.door import Seen
from placet.core.encoding import sha256_hex
from placet.relay.metrics import Metrics

TOKEN = "the token of the pipeline"
CALLERS = f"""
[[caller]]
name = "pipeline"
token_sha256 = "{sha256_hex(TOKEN.encode())}"
requests_per_minute = 30
"""


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def telling_relay(folder: Path) -> Iterator[tuple[RelayProcess, str]]:
    callers, port = folder / "callers.toml", free_port()
    callers.write_text(CALLERS)
    options = ["--metrics-listen", f"127.0.0.1:{port}", "--log-format", "json", "--callers", str(callers)]
    with running(folder / "state", *options) as relay:
        yield relay, f"http://127.0.0.1:{port}/metrics"


def use(url: str) -> list[str]:
    """Uses the relay in every way; returns what no log and no metric may show."""
    request = make_request()
    answer = answering(make_answer(request))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
        path = f"/v1/requests/{request.id}"
        http.post("/v1/requests", json=submission(request, "withdraw secret"), headers=bearer)
        http.post(f"{path}/answers", json=answer)
        http.get(path)
        http.get(f"{path}/wait?timeout=0")
        http.get("/v1/wait?timeout=0")
        http.get(f"/v1/requests/{'0' * 64}")
        http.get("/v1/requests?limit=a-strange-value")
        http.get("/a/strange/path?with=query")
        http.request("PURGE", "/healthz")
        http.post(f"{path}/withdraw", json={"token": "guessed secret"})
        http.post(f"{path}/withdraw", json={"token": "withdraw secret"})
        http.get("/v1/requests", headers={"Authorization": "Bearer a stranger's token"})
        for _ in range(40):
            http.post("/v1/requests", json={}, headers=bearer)
    return [
        TOKEN,
        "stranger",
        "secret",
        "strange",
        "PURGE",
        "127.0.0.1",
        request.id,
        request.id[:13],
        "relay test",
        "host:relay-test",
        answer["answer"]["envelope"]["signatures"][0]["keyid"],
        json.loads(request.payload)["predicate"]["request"]["nonce"],
    ]


def test_metrics_and_logs_tell_everything_and_no_secret(tmp_path: Path) -> None:
    with telling_relay(tmp_path) as (relay, metrics_url):
        hidden = use(relay.url)
        deadline = time.monotonic() + 20
        text = ""
        # The store is counted when the relay starts and every 15 seconds; the rest at once.
        while "placet_relay_disk_bytes" not in text or "answers" not in text:
            text = httpx.get(metrics_url, trust_env=False).text
            assert time.monotonic() < deadline
        # Not on the relay's own address, where everybody comes.
        assert httpx.get(f"{relay.url}/metrics", trust_env=False).status_code == 404
        code, out, err = relay.stop()
    assert code == 0
    check_metrics(text)
    lines = [json.loads(line) for line in err.splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    check_calls(calls)
    for value in hidden:
        assert value not in text, value
        assert value not in err, value
        assert value not in out.replace("http://127.0.0.1", ""), value


def check_metrics(text: str) -> None:
    assert "_created" not in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in (
        "placet_relay_calls",
        "placet_relay_call_seconds",
        "placet_relay_refusals",
        "placet_relay_waiters",
        "placet_relay_open_requests",
        "placet_relay_answers",
        "placet_relay_kept_bytes",
        "placet_relay_disk_bytes",
        "placet_relay_commit_writes",
        "placet_relay_commit_seconds",
        "placet_relay_deleted_requests",
        "placet_relay_notifications",
        "process_resident_memory_bytes",
        "process_open_fds",
    ):
        assert name in families, name
    refused = {sample.labels["reason"]: sample.value for sample in families["placet_relay_refusals"].samples}
    for reason in (
        "unknown-request",
        "bad-query",
        "unknown-path",
        "wrong-method",
        "wrong-token",
        "rate-limited",
    ):
        assert refused[reason] >= 1, reason
    calls = {
        (s.labels["route"], s.labels["method"], s.labels["status"]): s.value
        for s in families["placet_relay_calls"].samples
        if s.name.endswith("_total")
    }
    assert calls["/v1/requests", "POST", "201"] == 1
    assert calls["/v1/requests/{id}/answers", "POST", "201"] == 1
    assert calls["none", "GET", "404"] >= 1
    assert calls["/healthz", "other", "405"] == 1
    commits = {s.name: s.value for s in families["placet_relay_commit_writes"].samples}
    assert commits["placet_relay_commit_writes_sum"] >= 3


def check_calls(calls: list[dict[str, str]]) -> None:
    members = {"method", "route", "status", "reason", "seconds", "caller", "request"}
    assert all(call.keys() == {*members, "event", "level", "timestamp"} for call in calls)
    submitted = calls[0]
    assert (submitted["method"], submitted["route"], submitted["status"]) == ("POST", "/v1/requests", 201)
    assert (submitted["caller"], submitted["reason"]) == ("pipeline", "")
    assert re.fullmatch("[0-9a-f]{12}", submitted["request"])
    assert {call["request"] for call in calls[1:4]} == {submitted["request"]}
    assert calls[1]["caller"] == ""
    assert [call["reason"] for call in calls[5:10]] == [
        "unknown-request",
        "bad-query",
        "unknown-path",
        "wrong-method",
        "wrong-token",
    ]
    assert calls[11]["reason"] == "unknown-caller"
    assert sum(call["reason"] == "rate-limited" for call in calls) > 10


def test_text_logs_stay_calm(tmp_path: Path) -> None:
    with running(tmp_path) as relay:
        use(relay.url)
        _, _, err = relay.stop()
    assert err == ""


def test_a_label_never_takes_what_somebody_made_up() -> None:
    metrics = Metrics()
    for i in range(100):
        metrics.saw(Seen("", f"METHOD{i}", 404, f"reason-{i}", 0.0, f"caller-{i}", f"{i:064x}"))
    from prometheus_client import generate_latest

    text = generate_latest(metrics.registry).decode()
    for made_up in ("METHOD", "reason-", "caller-", f"{7:064x}"):
        assert made_up not in text
    assert 'placet_relay_refusals_total{reason="other"} 100.0' in text


def test_a_metrics_address_in_use_is_named(tmp_path: Path) -> None:
    import subprocess

    from relay_process import COMMAND

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = subprocess.run(
            [
                *COMMAND,
                "--port",
                "0",
                "--state",
                str(tmp_path / "state"),
                "--metrics-listen",
                f"127.0.0.1:{port}",
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert f"Metrics cannot be offered on 127.0.0.1 port {port}" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_log_that_cannot_be_written_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from placet.relay import logs

    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    class Full:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(logs.sys, "stderr", Full())
    observer = logs.set_up_json_log()
    observer.saw(Seen("/healthz", "GET", 200, "", 0.001, "", ""))
