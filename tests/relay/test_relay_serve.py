"""``placet relay serve`` as an operator meets it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from relay_process import COMMAND, RelayProcess, make_request, running, submission


def refused(*arguments: str, state: Path) -> str:
    """Runs a relay that must not start; returns what it said."""
    done = subprocess.run(
        [*COMMAND, "--state", str(state), *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_it_says_where_it_listens_and_stops_cleanly(tmp_path: Path) -> None:
    with running(tmp_path) as relay:
        assert httpx.get(f"{relay.url}/healthz", trust_env=False).json() == {"status": "ok"}
        code, out, err = relay.stop()
    assert code == 0
    assert "everything that it acknowledged is stored" in out
    assert err == ""
    # The write-ahead log was folded in.
    assert {file.name for file in tmp_path.iterdir()} == {
        *("relay.sqlite3", "relay.sqlite3.lock"),
        *("relay.sqlite3.checkpoint", "log.key"),
    }


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        said = refused("--port", str(port), state=tmp_path)
    assert f"Port {port} on 127.0.0.1 is already in use" in said
    assert "--port" in said
    assert not (tmp_path / "relay.sqlite3").exists()


def test_a_second_relay_on_the_same_state_is_refused(tmp_path: Path) -> None:
    with running(tmp_path):
        said = refused("--port", "0", state=tmp_path)
    assert "Another relay or log is using" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "relay.example"])
def test_it_does_not_open_itself_to_the_network_unasked(tmp_path: Path, host: str) -> None:
    said = refused("--host", host, state=tmp_path)
    assert "can be reached by other machines" in said
    assert "TLS" in said
    assert "--allow-remote" in said


def test_it_listens_to_the_network_when_asked(tmp_path: Path) -> None:
    with running(tmp_path, "--host", "0.0.0.0", "--allow-remote") as relay:
        url = f"http://127.0.0.1:{relay.port}/healthz"
        assert httpx.get(url, trust_env=False).status_code == 200


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    said = refused("--host", "192.0.2.1", "--allow-remote", state=tmp_path)
    assert "cannot listen on 192.0.2.1" in said


@pytest.mark.parametrize("port", ["65536", "-1", "http", "٣"])
def test_a_port_that_is_none_is_a_usage_error(tmp_path: Path, port: str) -> None:
    assert "is not a port number" in refused(f"--port={port}", state=tmp_path)


def test_a_state_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be used: Not a directory" in refused("--port", "0", state=tmp_path / "file" / "x")


def test_a_damaged_database_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "relay.sqlite3").write_bytes(b"not a database at all" * 1000)
    assert "is damaged or is not a database" in refused("--port", "0", state=tmp_path)


def test_the_state_folder_follows_the_environment(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    RelayProcess(process, "").kill()
    assert str(tmp_path / "placet" / "relay" / "relay.sqlite3") in line


def test_waiters_are_sent_home_when_it_stops(tmp_path: Path) -> None:
    with (
        running(tmp_path) as relay,
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=relay.url, timeout=30, trust_env=False) as http,
    ):
        request = make_request()
        http.post("/v1/requests", json=submission(request))
        waiting = pool.submit(http.get, f"/v1/requests/{request.id}/wait?timeout=60")
        time.sleep(0.3)
        start = time.monotonic()
        code, _, err = relay.stop()
        assert (code, err) == (0, "")
        assert waiting.result(timeout=10).json()["state"] == "open"
        assert time.monotonic() - start < 4


def test_a_locked_database_answers_busy_and_recovers(tmp_path: Path) -> None:
    with running(tmp_path) as relay, httpx.Client(base_url=relay.url, timeout=30, trust_env=False) as http:
        body = submission(make_request())
        with closing(sqlite3.connect(tmp_path / "relay.sqlite3", isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            response = http.post("/v1/requests", json=body)
            assert (response.status_code, response.json()["error"]["reason"]) == (503, "store-busy")
            assert response.headers["retry-after"] == "2"
            shell.execute("ROLLBACK")
        assert http.post("/v1/requests", json=body).status_code == 201
        _, _, err = relay.stop()
    assert err.startswith("placet relay: ")
    assert "locked by another program" in err
    assert err.count("\n") == 1


def test_the_database_survives_a_full_disk(tmp_path: Path) -> None:
    """The store's own limit stands for the disk: SQLite reports both in the same way."""
    from placet.adapters.sqlite.store import SqliteRequestStore
    from placet.adapters.system_clock import SystemClock
    from placet.relay.app import create_app
    from placet.relay.courier import Courier

    async def main() -> None:
        store = SqliteRequestStore.open(tmp_path / "relay.sqlite3", max_bytes=120_000)
        transport = httpx.ASGITransport(create_app(Courier(store, SystemClock())))
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as http:
            codes = [
                (await http.post("/v1/requests", json=submission(make_request()))).status_code
                for _ in range(60)
            ]
            full = await http.post("/v1/requests", json=submission(make_request()))
            assert (codes[0], full.status_code) == (201, 507)
            assert full.json()["error"]["reason"] == "store-full"
            assert (await http.get("/v1/requests")).status_code == 200
        await store.close()

    import asyncio

    asyncio.run(main())
