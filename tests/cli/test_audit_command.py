"""``placet audit`` as cron starts it: exit codes, words for tired people, JSON, notices, reports."""

from __future__ import annotations

import csv
import io
import json
import resource
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from threading import Thread
from typing import Any

import pytest
from in_process import placet

sys.path.insert(0, str(Path(__file__).parents[1] / "log"))

from monitor_world import LogWorld, log_answer, log_record, use_record

from placet.adapters.sqlite._audit_file import AuditStateError, open_file
from placet.core.bundle import LogProof, encode_bundle, parse_bundle
from placet.core.encoding import sha256_hex
from placet.core.tlog.log_policy import encode_log_policy
from placet.testing.scripted_log import TOKEN, ScriptedLog
from placet.testing.world import ALICE, BOB, NOW


class Place:
    """A folder with what an audit needs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.world = LogWorld()
        self.log = ScriptedLog(now=NOW + 100)
        self.world.more_files["log-policy"] = encode_log_policy(self.log.policy())
        (folder / "trust.json").write_bytes(self.world.snapshot())
        (folder / "token").write_text(f"{TOKEN}\n")
        (folder / "two-words").write_text("no token")
        self.at = NOW + 200
        for module in ("_audit_run", "_audit_findings", "_audit_report"):
            monkeypatch.setattr(f"placet.cli.{module}.now", lambda: self.at)

    def audit(self, *options: str, records: bool = True) -> CompletedProcess[str]:
        token = ["--token-file", "token"] if records else []
        with self.log.served() as url:
            return self.placet("--log", url, *token, "--trust", "trust.json", *options)

    def placet(self, *line: str) -> CompletedProcess[str]:
        return placet(self.folder, "audit", *line)

    def approve(self, **more: Any) -> tuple[str, list[str]]:
        request = self.world.request_deploy(**more)
        people = ((ALICE, "t1"), (BOB, "t2"))
        return request.id, [
            log_answer(self.log, self.world.approve(request, person, terminal=terminal))
            for person, terminal in people
        ]

    def use(self, payload: str, approvals: list[str], **more: Any) -> None:
        log_record(self.log, use_record(payload, approvals, at=NOW + 90, **more))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_all_is_well(place: Place) -> None:
    place.use(*place.approve())
    done = place.audit()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ALL WELL: 3 new entries checked; nothing needs you.",
        "  Log       log.example, 3 entries, seen by its witnesses 2026-11-23T10:01:40Z",
    ]
    done = place.audit("--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert place.placet("findings").stdout == "Nothing is open.\n"


def test_a_finding_stays_until_somebody_settles_it(place: Place) -> None:
    place.use("ab" * 32, ["cd" * 32])
    for _ in range(2):
        done = place.audit("-q")
        assert done.returncode == 1
        assert done.stdout.startswith("FOUND: 1 finding is open;")
        assert "  ALARM     use-without-approval  [" in done.stdout
        assert "names an approval that is in no log" in done.stdout and "Next: Look at the" in done.stdout
    name = done.stdout.partition("[")[2].partition("]")[0]
    shown = json.loads(place.placet("findings", "--json").stdout)["findings"]
    assert [(item["id"], item["severity"], item["settledAt"]) for item in shown] == [(name, "alarm", None)]
    assert place.placet("settle", name).returncode == 2
    assert place.placet("settle", "nonsense", "--because", "x").returncode == 2
    assert place.placet("settle", name, "--because", "a drill").returncode == 0
    assert place.placet("settle", name, "--because", "again").returncode == 2
    assert place.audit("-q").returncode == 0
    assert "Settled 2026-11-23T10:03:20Z: a drill" in place.placet("findings", "--all").stdout


def test_only_alarms_fail_where_that_is_asked_for(place: Place) -> None:
    place.log.add(b'{"kind":"strange"}', b"{}")
    assert place.audit().returncode == 1
    assert place.audit("--fail-on", "alarm").returncode == 0
    place.use("ab" * 32, ["cd" * 32])
    assert place.audit("--fail-on", "alarm").returncode == 1


def test_what_programs_read_is_stable(place: Place) -> None:
    payload, approvals = place.approve()
    place.use(payload, approvals[:1])
    found = json.loads(place.audit("--json").stdout)
    assert set(found) == {"result", "logs", "new", "open", "unchecked", "told"}
    assert found["result"] == "findings" and found["unchecked"] == []
    assert found["told"] == {"sent": 0, "failures": []}
    (log,) = found["logs"]
    assert log == {
        "origin": "log.example",
        "treeSize": "3",
        "rootHash": place.log.root().hex(),
        "newEntries": 3,
        "holds": True,
        "witnessedAt": "2026-11-23T10:01:40Z",
    }
    (new,) = found["new"]
    assert set(new) == {"id", "name", "severity", "message", "next", "log", "leafIndex"}
    assert (new["name"], new["severity"], new["leafIndex"]) == ("quorum-not-logged", "warning", "2")
    assert [item["id"] for item in found["open"]] == [new["id"]]
    assert json.loads(place.audit("--json").stdout)["new"] == []


def test_what_could_not_be_checked_is_neither_well_nor_found(place: Place) -> None:
    done = place.placet("--log", "http://127.0.0.1:9", "--trust", "trust.json")
    assert done.returncode == 3 and done.stdout.startswith("UNCHECKED: ")
    assert "the log log.example at http://127.0.0.1:9" in done.stdout and "(log-unavailable)" in done.stdout
    assert json.loads(place.placet("--log", "http://127.0.0.1:9", "--trust", "trust.json", "--json").stdout)[
        "unchecked"
    ]


def test_all_is_not_well_with_records_that_nobody_showed(place: Place) -> None:
    place.use(*place.approve())
    assert "without a monitor's token" in place.audit(records=False).stdout
    assert "without a monitor's token" not in place.audit().stdout


def test_a_full_disk_is_no_reason_to_remove_the_state(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(AuditStateError) as caught:
            open_file(tmp_path / "audit.sqlite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be used" in str(caught.value) and "Remove" not in caught.value.hint
    open_file(tmp_path / "audit.sqlite").close()


def test_an_expired_trust_knows_nobody_new(place: Place) -> None:
    assert place.audit().returncode == 0
    place.at = NOW + 8 * 86_400
    done = place.audit()
    assert done.returncode == 3 and "(trust-expired)" in done.stdout and "trust refresh" in done.stdout


def test_a_folder_of_tiles_is_followed_with_a_policy_and_no_trust(place: Place) -> None:
    place.use(*place.approve())
    place.log.export(place.folder / "tiles")
    (place.folder / "policy").write_bytes(encode_log_policy(place.log.policy()))
    more = ("--log", "tiles", "--log-policy", "policy")
    done = placet(place.folder, "audit", *more, XDG_DATA_HOME=str(place.folder / "nothing"))
    assert done.returncode == 0 and "3 new entries checked" in done.stdout
    assert "without a trust root no signature" in done.stdout
    place.log.checkpoint = b""
    place.use("ab" * 32, ["cd" * 32], number=4)
    place.log.export(place.folder / "tiles")
    done = placet(place.folder, "audit", *more, XDG_DATA_HOME=str(place.folder / "nothing"))
    assert done.returncode == 1 and "use-without-approval" in done.stdout


def test_what_others_were_shown_is_compared(place: Place) -> None:
    place.approve()
    assert place.audit().returncode == 0
    fork = place.log.fork(keep=0)
    request = place.world.request_deploy(image=b"for gates only")
    answer = place.world.approve(request, ALICE)
    log_answer(fork, answer)
    (place.folder / "seen.checkpoint").write_bytes(fork.checkpoint)
    done = place.audit("--checkpoint", "seen.checkpoint")
    assert done.returncode == 1 and "split-view" in done.stdout and "seen.checkpoint" in done.stdout
    # From the approval itself, too: proofs travel with it.
    bundle = parse_bundle(place.world.bundle(request, ALICE))
    digest = sha256_hex(bundle.envelope.signatures[0].sig)
    carrying = bundle._replace(log=(LogProof(digest, fork.prove(0)),))
    (place.folder / "app.intent.json").write_bytes(encode_bundle(carrying))
    (place.folder / "bare.intent.json").write_bytes(encode_bundle(bundle))
    fresh = ("--state", "fresh")
    assert "split-view" in place.audit(*fresh, "--bundle", "app.intent.json").stdout
    with fork.served() as url:
        assert "split-view" in place.audit("--state", "another", "--against", url).stdout
    # What the log did not sign says nothing about it.
    altered = fork.checkpoint.replace(b"\n1\n", b"\n2\n")
    (place.folder / "altered.checkpoint").write_bytes(altered)
    for wrong in ("bare.intent.json", "token", "nowhere", "altered.checkpoint"):
        assert place.audit(*fresh, "--bundle", wrong).returncode == 2


def test_a_token_goes_to_the_log_that_it_is_for(place: Place) -> None:
    other = ScriptedLog("other.example", now=NOW + 100)
    both = place.log.policy("none")._replace(logs=(*place.log.policy().logs, *other.policy().logs))
    (place.folder / "policy").write_bytes(encode_log_policy(both))
    log_answer(other, place.world.approve(place.world.request_deploy(), ALICE))
    with place.log.served() as here, other.served() as there:
        logs = ("--log", f"log.example={here}", "--log", f"other.example={there}", "--log-policy", "policy")
        done = place.placet(*logs, "--trust", "trust.json", "--token-file", "log.example=token", "--json")
        found = json.loads(done.stdout)
        assert found["result"] == "well" and [log["treeSize"] for log in found["logs"]] == ["0", "1"]
        assert "v1/records" not in other.asked
        for wrong in (("--token-file", "token"), ("--log", here)):
            done = place.placet(*logs, *wrong)
            assert done.returncode == 2 and "Write it ORIGIN=" in done.stderr


def test_freshness_is_asked_for_in_words(place: Place) -> None:
    assert place.audit("--max-age", "1h").returncode == 0
    place.at = NOW + 7200
    done = place.audit("--max-age", "1h")
    assert done.returncode == 1 and "checkpoint-stale" in done.stdout
    assert place.audit("--max-age", "soon").returncode == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log", "nowhere"], "neither an address nor a folder"),
        (["--log-policy", "token"], "log policy token cannot be used"),
        (["--token-file", "two-words"], "does not hold one line"),
        (["--notify", "trust.json"], "notify file trust.json cannot be used"),
        (["--against", "nowhere"], "neither an address nor a folder"),
        (["--against", "http://user:secret@here"], "'...' is not the address of a log"),
        (["report", "--from", "monday"], "is not a day"),
        (["report", "--from", "2026-03-02", "--to", "2026-03-01"], "ends before it begins"),
        (["report"], "No monitor has remembered anything"),
    ],
)
def test_wrong_usage_says_what_is_wrong(place: Place, options: list[str], said: str) -> None:
    line = options if options[0] == "report" else ["--trust", "trust.json", "--log", "http://127.0.0.1:9"]
    done = place.placet(*line, *(options if options[0] != "report" else []))
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_log_in_the_trust_root_there_is_nothing_to_follow(place: Place) -> None:
    del place.world.more_files["log-policy"]
    (place.folder / "trust.json").write_bytes(place.world.snapshot())
    done = place.placet("--trust", "trust.json")
    assert done.returncode == 3 and "names no log" in done.stderr and "set-file log-policy" in done.stderr


def test_two_audits_at_once_do_not_mix(place: Place) -> None:
    from placet.adapters.sqlite.audit import AuditStore

    with AuditStore(place.folder / "state" / "placet" / "audit" / "audit.sqlite"):
        done = place.audit()
    assert done.returncode == 3 and "Another audit is using" in done.stderr


@pytest.mark.parametrize("content", [b"no database", b""])
def test_a_state_that_is_none_is_said_so(place: Place, content: bytes) -> None:
    (place.folder / "mine").mkdir()
    (place.folder / "mine" / "audit.sqlite").write_bytes(content)
    done = place.audit("--state", "mine")
    if content:
        assert done.returncode == 3 and "damaged or is not a database" in done.stderr
    else:  # an empty file is a new database
        assert done.returncode == 0


@pytest.fixture
def hook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A webhook on this machine, and what it was sent."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_address[1], got
    server.shutdown()
    server.server_close()
    thread.join()


def test_people_are_told_through_apprise(place: Place, hook: tuple[int, list[dict[str, Any]]]) -> None:
    port, got = hook
    url = f"json://user:secret@127.0.0.1:{port}/"
    (place.folder / "notify.toml").write_text(
        f'[[person]]\nid = "{ALICE}"\nurls = ["{url}"]\n[[operators]]\nname = "on call"\nurls = ["{url}"]\n'
    )
    place.approve()
    place.use("ab" * 32, ["cd" * 32])
    done = place.audit("--notify", "notify.toml")
    assert done.returncode == 1 and "  Told      2 messages sent" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert [message["title"] for message in got] == [
        "placet: your key was used",
        "placet: the audit found something",
    ]
    assert "Your key approved" in got[0]["message"] and "Was this not you?" in got[0]["message"]
    assert "secret" not in (place.folder / "state" / "placet" / "audit" / "audit.sqlite").read_bytes().decode(
        "latin-1"
    )
    place.audit("--notify", "notify.toml")
    assert len(got) == 2


# -- reports


def test_the_report_in_its_three_forms(place: Place) -> None:
    payload, approvals = place.approve()
    place.use(payload, approvals)
    place.use("ab" * 32, ["cd" * 32], number=1)
    log_answer(place.log, place.world.deny(place.world.request_deploy(image=b"no"), BOB))
    assert place.audit().returncode == 1
    period = ("--from", "2026-11-01", "--to", "2026-11-23")
    found = json.loads(place.placet("report", *period, "--json", "--trust", "trust.json").stdout)
    assert (found["from"], found["to"], found["deployment"]) == (
        "2026-11-01T00:00:00Z",
        "2026-11-24T00:00:00Z",
        "demo",
    )
    assert [(d["kind"], d["person"], d["terminal"], d["secondsOnScreen"]) for d in found["decisions"]] == [
        ("approved", ALICE, "t1", "12"),
        ("approved", BOB, "t2", "12"),
        ("denied", BOB, "t1", "31"),
    ]
    assert [(u["approvedBy"], u["withoutApproval"]) for u in found["uses"]] == [
        ([ALICE, BOB], False),
        ([], True),
    ]
    assert [p["person"] for p in found["people"]] == [ALICE, BOB]
    assert found["people"][1] | {"terminals": None} == {
        "person": BOB,
        "approved": 1,
        "denied": 1,
        "medianSecondsOnScreen": 21,
        "leastSecondsOnScreen": 12,
        "terminals": None,
    }
    assert [f["name"] for f in found["findings"]] == ["use-without-approval"]
    rows = list(csv.DictReader(io.StringIO(place.placet("report", *period, "--csv").stdout)))
    assert [row["kind"] for row in rows] == ["approved", "approved", "denied", "used", "used"]
    assert [row["withoutApproval"] for row in rows[3:]] == ["no", "yes"]
    done = place.placet("report", *period, "-o", "report.html")
    assert done.returncode == 0 and (place.folder / "report.html").stat().st_mode & 0o077 == 0
    page = (place.folder / "report.html").read_text()
    assert "alice@example.com" in page and "<script" not in page and "://" not in page.partition("<main>")[0]
    empty = json.loads(place.placet("report", "--from", "2025-01-01", "--to", "2025-12-31", "--json").stdout)
    assert empty["decisions"] == empty["uses"] == empty["people"] == []
    # What is open is in every report, whenever it was found.
    assert len(empty["findings"]) == 1


def test_a_report_cannot_be_written_where_nothing_can(place: Place) -> None:
    place.audit()
    done = place.placet("report", "-o", "no/such/folder.html")
    assert done.returncode == 2 and "cannot be written" in done.stderr
