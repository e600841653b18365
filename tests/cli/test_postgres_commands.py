"""PostgreSQL chosen by its address: `placet ledger`, `placet run`, `placet relay`, as real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import encode_bundle, encode_request
from placet.core.encoding import sha256_hex
from placet.core.statement import parse_statement
from placet.testing.world import ALICE, BOB, GATE, World

PLACET = [sys.executable, "-m", "placet"]
SECRET = "s3cret-word"
PROBE = """
import sys
from placet.cli import main
code = main(sys.argv[1:])
print(sorted({name.partition(".")[0] for name in sys.modules} & {"psycopg", "psycopg_pool", "asyncio"}))
sys.exit(code)
"""
# An installation without the extra: whoever looks for the driver finds none.
WITHOUT_DRIVER = """
import sys, importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name.startswith("psycopg") else find(name, *more)
from placet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def url(empty_database: str) -> str:
    """The address of an empty database, with a password in it that must never be printed."""
    return f"{empty_database}&password={quote(SECRET)}"


def call(
    *line: str, command: list[str] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*(command or PLACET), *line],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done


def test_a_ledger_is_made_shown_and_reborn(url: str) -> None:
    made = call("ledger", "create", "--ledger", url)
    assert made.returncode == 0, made.stderr
    ledger_id = re.search(r"placet-ledger:([0-9a-f]{32})", made.stdout)
    assert ledger_id is not None
    again = call("ledger", "create", "--ledger", url)
    assert (again.returncode, "already" in again.stderr) == (2, True)
    shown = call("ledger", "show", "--json", PLACET_LEDGER=url)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["ledger"]["id"], found["trouble"], found["uses"]) == (ledger_id[1], None, [])
    time.sleep(1)
    reborn = call("ledger", "reborn", "--yes", "--ledger", url)
    assert reborn.returncode == 0, reborn.stderr
    assert "failover" in reborn.stderr
    assert ledger_id[1] not in reborn.stdout


def test_a_database_without_a_ledger_says_how_to_make_one(url: str) -> None:
    shown = call("ledger", "show", "--ledger", url)
    assert (shown.returncode, "placet ledger create" in shown.stderr) == (3, True)
    reborn = call("ledger", "reborn", "--yes", "--ledger", url)
    assert (reborn.returncode, "placet ledger create" in reborn.stderr) == (2, True)


def test_tables_are_made_and_found_to_be_there(url: str) -> None:
    for line in (("ledger", "migrate", "--ledger"), ("relay", "migrate", "--store")):
        made, again = call(*line, url), call(*line, url)
        assert "the tables were made" in made.stdout
        assert "already" in again.stdout
        assert (made.returncode, again.returncode) == (0, 0)


def test_a_ledger_in_a_file_is_migrated_by_the_same_command(tmp_path: Path) -> None:
    place = str(tmp_path / "gate" / "ledger")
    assert call("ledger", "migrate", "--ledger", place).returncode == 2
    assert call("ledger", "create", "--ledger", place).returncode == 0
    assert "already" in call("ledger", "migrate", "--ledger", place).stdout


def test_an_approved_command_runs_once_whichever_gate_is_asked(url: str, tmp_path: Path) -> None:
    assert call("ledger", "create", "--ledger", url).returncode == 0
    time.sleep(1.1)
    now = int(time.time())
    world = World()
    world.expires_at = now + 86_400
    request = world.request_run(argv=["/bin/echo", "done"], now=now)
    bundle = empty_bundle(request)
    for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
        bundle = add_answer(bundle, world.approve(request, person, terminal=terminal, decided_at=now))
    intent, trust = tmp_path / "run.intent.json", tmp_path / "snapshot.json"
    intent.write_bytes(encode_bundle(bundle))
    trust.write_bytes(world.snapshot())
    line = ("run", "--intent", str(intent), "--trust", str(trust), "--gate", GATE, "--ledger", url)

    rehearsed = call(*line, "--dry-run", XDG_STATE_HOME=str(tmp_path / "one"))
    assert rehearsed.returncode == 0, rehearsed.stderr
    first = call(*line, XDG_STATE_HOME=str(tmp_path / "one"))
    second = call(*line, XDG_STATE_HOME=str(tmp_path / "two"))
    assert (first.returncode, first.stdout) == (0, "done\n"), first.stderr
    assert (second.returncode, second.stdout) == (125, "")
    assert "already-used" in second.stderr
    shown = call("ledger", "show", sha256_hex(request.payload), "--ledger", url)
    assert "exit code 0" in shown.stdout
    assert parse_statement(request.payload).text in shown.stdout


def test_a_gate_that_cannot_reach_its_ledger_denies(tmp_path: Path) -> None:
    address = f"postgresql://gate:{SECRET}@127.0.0.1:1/placet"
    shown = call("ledger", "show", "--ledger", address)
    assert shown.returncode == 3
    assert "postgresql://gate@127.0.0.1:1/placet cannot be reached" in shown.stderr


@pytest.mark.parametrize("line", [("ledger", "show", "--ledger"), ("relay", "serve", "--store")])
def test_a_missing_driver_is_named_with_the_command_that_installs_it(url: str, line: tuple[str, ...]) -> None:
    done = call(*line, url, command=[sys.executable, "-c", WITHOUT_DRIVER])
    assert done.returncode == 2
    assert "pip install 'placet[postgres]'" in done.stderr


def test_a_gate_with_a_file_loads_no_driver(tmp_path: Path) -> None:
    done = call(
        "ledger", "create", "--ledger", str(tmp_path / "ledger"), command=[sys.executable, "-c", PROBE]
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("relay", "serve", "--store", "relay.sqlite3"), "--state"),
        (("relay", "serve", "--store", "postgresql:///db", "--state", "/tmp/x"), ""),
        (("relay", "migrate"), "--store"),
        (("relay", "migrate", "--store", "/var/lib/placet/relay.sqlite3"), "--store"),
    ],
)
def test_a_place_that_is_no_database_is_explained(line: tuple[str, ...], hint: str) -> None:
    done = call(*line)
    assert done.returncode == 2
    assert hint in done.stderr


def test_a_relay_serves_from_postgresql_and_a_check_finds_it_whole(url: str) -> None:
    relay = subprocess.Popen(
        [*PLACET, "relay", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PLACET_STORE": url, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert relay.stdout is not None
        line = relay.stdout.readline()
        assert SECRET not in line
        assert "keeps its state in postgresql://" in line
        address = line.split()[4].rstrip(",")
        world = World()
        world.expires_at = int(time.time()) + 86_400
        request = world.request_deploy(now=int(time.time()))
        body = {"request": json.loads(encode_request(request)), "withdrawToken": {"sha256": "0" * 64}}
        with httpx.Client(base_url=address, trust_env=False, timeout=20) as http:
            assert http.post("/v1/requests", json=body).status_code == 201
            assert http.get(f"/v1/requests/{request.id}").status_code == 200
            assert http.get("/healthz").status_code == 200
    finally:
        relay.terminate()
        _, err = relay.communicate(timeout=20)
    assert (relay.returncode, SECRET in err) == (0, False)
    checked = call("relay", "check", "--store", url)
    assert (checked.returncode, "1 requests with 0 answers are whole" in checked.stdout) == (0, True)
