"""Disks that fill up, refuse or lie: nothing acknowledged is lost, and nothing is served in part."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from relay_process import COMMAND, RelayProcess, answering, make_answer, make_request, running, submission

from placet.adapters.sqlite.store import SqliteRequestStore
from placet.adapters.system_clock import SystemClock
from placet.cli import main
from placet.core.bundle import IntentRequest
from placet.core.encoding import Digest, encode_canonical, sha256_hex
from placet.core.evidence.facts import Evidence
from placet.ports.request_store import RequestId
from placet.relay._shape import parse_answering, parse_submission
from placet.relay.courier import Courier

PAGE = 4096


def client(relay: RelayProcess) -> httpx.Client:
    return httpx.Client(base_url=relay.url, timeout=30, trust_env=False)


def large(size: int = 30_000) -> IntentRequest:
    content = os.urandom(size)
    return make_request(evidence=(Evidence(sha256_hex(content), "text/plain", content),))


def reason(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert error["message"].endswith("."), error
    return response.status_code, error["reason"]


def fill(http: httpx.Client, *, until: int, at_most: int = 2000) -> dict[Digest, Any]:
    """Submits and answers until the relay refuses; returns what it acknowledged."""
    acknowledged: dict[Digest, Any] = {}
    for _ in range(at_most):
        request = large()
        body = submission(request)
        response = http.post("/v1/requests", json=body)
        if response.status_code == until:
            return acknowledged
        assert response.status_code == 201, response.text
        acknowledged[request.id] = [body["request"], []]
        answer = answering(make_answer(request))
        response = http.post(f"/v1/requests/{request.id}/answers", json=answer)
        if response.status_code == until:
            return acknowledged
        assert response.status_code == 201, response.text
        acknowledged[request.id][1].append(answer["answer"])
    raise AssertionError(f"{at_most} requests and no {until}")


def check_all_there(http: httpx.Client, acknowledged: dict[Digest, Any]) -> None:
    assert acknowledged
    for request_id, (request, answers) in acknowledged.items():
        body = http.get(f"/v1/requests/{request_id}").json()
        assert (body["request"], body["answers"]) == (request, answers)


# An ordinary user mounts in a user namespace of its own; root may where those are forbidden.
_WAYS_TO_MOUNT = (
    (["unshare", "-Urm"], ["-U", "-m", "--preserve-credentials"]),
    (["unshare", "-m"], ["-m"]),
)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[tuple[list[str], Path] | None]:
    """Mounts a small file system at `folder` for whoever enters by a command, and shows it to us.

    None where nobody may mount, as in some containers.
    """
    folder.mkdir()
    script = f"mount -t tmpfs -o size={megabytes}m tmpfs '{folder}' && echo mounted && exec sleep 600"
    for unshare, enter in _WAYS_TO_MOUNT:
        holder = subprocess.Popen(
            [*unshare, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert holder.stdout is not None
            if holder.stdout.readline() == "mounted\n":
                yield ["nsenter", "-t", str(holder.pid), *enter], Path(f"/proc/{holder.pid}/root{folder}")
                return
        finally:
            holder.kill()
            holder.communicate()
    yield None


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder) / "disk", 1) as mounted:
        return mounted is not None


def test_a_full_disk_loses_nothing_and_passes_when_there_is_room_again(tmp_path: Path) -> None:
    """ENOSPC by a real file system."""
    with small_disk(tmp_path / "disk", 6) as mounted:
        assert mounted is not None
        enter, disk = mounted
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 2 * 1024**2)
        state = tmp_path / "disk" / "state"
        with running(state, "--no-limits", command=[*enter, *COMMAND]) as relay, client(relay) as http:
            acknowledged = fill(http, until=507)
            full = http.post("/v1/requests", json=submission(large()))
            assert reason(full) == (507, "store-full")
            assert full.headers["retry-after"] == "60"
            assert "no room left" in full.json()["error"]["message"]
            check_all_there(http, acknowledged)
            assert http.get("/healthz").status_code == 200
            # Room again, and no operator needs to restart anything.
            ballast.unlink()
            request = large(1000)
            assert http.post("/v1/requests", json=submission(request)).status_code == 201
            acknowledged[request.id] = [submission(request)["request"], []]
            acknowledged |= fill(http, until=507)
            relay.kill()
            assert "no room left" in str(relay.said)
        with running(state, "--no-limits", command=[*enter, *COMMAND]) as relay, client(relay) as http:
            check_all_there(http, acknowledged)
            (enough,) = disk.glob("state/relay.sqlite3")
            assert enough.stat().st_size > 0


def limited(*, file_bytes: int) -> list[str]:
    """Returns the command of a relay that may write no file beyond this size: what a quota does."""
    code = (
        "import resource as r, sys, placet.cli; "
        f"r.setrlimit(r.RLIMIT_FSIZE, ({file_bytes}, {file_bytes})); sys.exit(placet.cli.main())"
    )
    return [sys.executable, "-c", code, "relay", "serve"]


def test_a_disk_that_fails_is_named_and_a_restart_finds_everything(tmp_path: Path) -> None:
    """EFBIG, which SQLite cannot tell from a broken disk: nothing more is acknowledged until a restart."""
    with (
        running(tmp_path, "--no-limits", command=limited(file_bytes=2 * 1024**2)) as relay,
        client(relay) as http,
    ):
        acknowledged = fill(http, until=500)
        failed = http.post("/v1/requests", json=submission(make_request()))
        assert reason(failed) == (500, "store-failed")
        assert str(tmp_path) not in failed.text
        assert http.get("/healthz").status_code == 500
        check_all_there(http, acknowledged)
        relay.kill()
        assert "start this again" in relay.said
    with running(tmp_path, "--no-limits") as relay, client(relay) as http:
        check_all_there(http, acknowledged)
        assert http.post("/v1/requests", json=submission(make_request())).status_code == 201


def test_a_folder_that_became_read_only_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as mounted:
        enter = mounted[0] if mounted else []
        state = tmp_path / "disk" / "state"
        with running(state, command=[*enter, *COMMAND]) as relay:
            relay.stop()
        if mounted:
            subprocess.run([*enter, "mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        else:
            for place in (*state.iterdir(), state):
                place.chmod(0o500)
        done = subprocess.run(
            [*enter, *COMMAND, "--port", "0", "--state", str(state)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        why = "Read-only file system" if mounted else "Permission denied"
        assert f"cannot be used: {why}" in done.stderr
        assert "Traceback" not in done.stderr


def make_database(state: Path, count: int = 30) -> dict[Digest, Any]:
    """Keeps some requests as a relay would that was then stopped politely: all is in the one file."""
    acknowledged: dict[Digest, Any] = {}

    async def keep() -> None:
        store = SqliteRequestStore.open(state / "relay.sqlite3")
        courier = Courier(store, SystemClock())
        for _ in range(count):
            request = large(6000)
            body, answer = submission(request), answering(make_answer(request))
            await courier.submit(parse_submission(encode_canonical(body)))
            await courier.answer(RequestId(request.id), parse_answering(encode_canonical(answer)))
            acknowledged[request.id] = [body["request"], [answer["answer"]]]
        await store.close()

    asyncio.run(keep())
    return acknowledged


def check(state: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(["relay", "check", "--state", str(state), "--json", *arguments])
    return code, json.loads(out.getvalue()) if out.getvalue() else {"said": err.getvalue()}


def test_flipped_bits_are_never_served(tmp_path: Path) -> None:
    """Bits flipped while it runs, anywhere: what the relay says is the whole truth, or a named failure."""
    acknowledged = make_database(tmp_path)
    path = tmp_path / "relay.sqlite3"
    rng = random.Random(20261123)
    with running(tmp_path, "--no-limits") as relay, client(relay) as http:
        check_all_there(http, dict(list(acknowledged.items())[:1]))
        size = path.stat().st_size
        with path.open("r+b") as file:
            for _ in range(60):
                offset = rng.randrange(PAGE, size)
                file.seek(offset)
                (byte,) = file.read(1)
                file.seek(offset)
                file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        outcomes: dict[int, int] = {}
        for request_id, (request, answers) in acknowledged.items():
            response = http.get(f"/v1/requests/{request_id}")
            outcomes[response.status_code] = outcomes.get(response.status_code, 0) + 1
            if response.status_code == 200:
                body = response.json()
                assert (body["request"], body["answers"]) == (request, answers)
            else:
                assert reason(response) == (500, "store-failed")
                # A container that is not what it was, or a page that cannot be read at all.
                hint = response.json()["error"]["hint"]
                assert "placet relay check" in hint or "tells its operator" in hint
        assert outcomes.keys() == {200, 500}
        relay.kill()
    code, result = check(tmp_path)
    assert code == 1
    assert result["findings"]
    assert result["damaged"] >= 1


def test_a_damaged_page_stops_the_start_and_what_is_whole_is_saved(tmp_path: Path) -> None:
    state, new = tmp_path / "state", tmp_path / "new"
    acknowledged = make_database(state)
    assert check(state) == (
        0,
        {
            "database": str(state / "relay.sqlite3"),
            "requests": 30,
            "answers": 30,
            "damaged": 0,
            "findings": [],
        },
    )
    path = state / "relay.sqlite3"
    data = bytearray(path.read_bytes())
    for page in (len(data) // PAGE // 2, len(data) // PAGE // 3):
        data[page * PAGE : page * PAGE + PAGE] = os.urandom(PAGE)
    path.write_bytes(data)
    done = subprocess.run(
        [*COMMAND, "--port", "0", "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "is damaged" in done.stderr and "placet relay check" in done.stderr
    code, result = check(state, "--salvage-to", str(new / "relay.sqlite3"))
    assert code == 1
    assert 20 < result["requests"] < 30
    with running(new, "--no-limits") as relay, client(relay) as http:
        whole = 0
        for request_id, (request, answers) in acknowledged.items():
            response = http.get(f"/v1/requests/{request_id}")
            assert response.status_code in (200, 404)
            if response.status_code == 200:
                whole += 1
                assert (response.json()["request"], response.json()["answers"]) == (request, answers)
        assert whole == result["requests"]
        assert http.post("/v1/requests", json=submission(make_request())).status_code == 201
        assert check(new)[0] == 0
    # Nothing is ever saved over something else.
    assert "there is a file" in check(state, "--salvage-to", str(path))[1]["said"].lower()


def test_check_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_database(tmp_path, count=3)
    with closing(sqlite3.connect(tmp_path / "relay.sqlite3", isolation_level=None)) as shell:
        shell.execute("UPDATE answers SET container = x'00' WHERE seq = 2")
        shell.execute("UPDATE requests SET expires_at = expires_at + 1 WHERE seq = 3")
    assert main(["relay", "check", "--state", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "1 requests with 1 answers are whole" in said
    assert "2 requests are damaged" in said
    assert "--salvage-to" in said
    assert check(tmp_path / "nowhere")[0] == 2


def test_a_truncated_log_loses_its_tail_and_nothing_before(tmp_path: Path) -> None:
    """What a disk does that lies about syncs: the commits before the tear are whole, the torn one is none."""
    acknowledged: list[IntentRequest] = []
    with running(tmp_path, "--no-limits") as relay, client(relay) as http:
        for _ in range(40):
            request = make_request()
            assert http.post("/v1/requests", json=submission(request)).status_code == 201
            acknowledged.append(request)
        relay.kill()
    log = tmp_path / "relay.sqlite3-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size * 2 // 3)
    with running(tmp_path, "--no-limits") as relay, client(relay) as http:
        codes = [http.get(f"/v1/requests/{request.id}").status_code for request in acknowledged]
        assert codes == sorted(codes) and set(codes) == {200, 404}
        assert http.post("/v1/requests", json=submission(acknowledged[-1])).status_code == 201
        assert check(tmp_path)[0] == 0


if not can_mount():
    # Then the limit on file sizes is the only disk that fails here; root writes to every folder.
    del test_a_full_disk_loses_nothing_and_passes_when_there_is_room_again
    if os.geteuid() == 0:
        del test_a_folder_that_became_read_only_is_named
