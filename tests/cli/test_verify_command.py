"""`placet verify` as its user meets it: verdict first, reason, next step, exit code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from placet.ceremony.publish import add_answer, empty_bundle
from placet.ceremony.trust_revoke import remove_person
from placet.core.bundle import encode_answer, encode_bundle, encode_request
from placet.core.trust import compile_trust
from placet.testing import world as worlds
from placet.testing.world import ALICE, BOB, World

WHEEL = b"a wheel"


class Case:
    """A bundle for a release that is valid now, in a folder, with its snapshot."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, policy: str | None = None) -> None:
        self.folder = folder
        self.started = int(time.time()) - 120
        monkeypatch.setattr(worlds, "NOW", self.started)
        self.world = World()
        if policy:
            self.world.policy = policy
        self.world.expires_at = self.started + 7 * 86_400
        request = self.world.request_release({"app.whl": WHEEL}, now=self.started)
        bundle = empty_bundle(request)
        for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
            answer = self.world.approve(request, person, terminal=terminal, decided_at=self.started + 30)
            bundle = add_answer(bundle, answer)
        (folder / "app.whl").write_bytes(WHEEL)
        (folder / "app.intent.json").write_bytes(encode_bundle(bundle))
        self.write_snapshot()

    def write_snapshot(self) -> None:
        (self.folder / "snapshot.json").write_bytes(self.world.snapshot())

    def verify(self, *more: str, target: str = worlds.RELEASE_TARGET) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "placet", "verify", "app.intent.json", "--trust", "snapshot.json"]
        command += ["--gate", worlds.GATE, "--action", "release", "--target", target, *more]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=os.environ | {"NO_COLOR": "1"},
            check=False,
        )


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


def test_allows_what_was_approved_and_says_who_when_and_how_strongly(case: Case) -> None:
    done = case.verify("--artifact", "app.whl")
    assert done.returncode == 0, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert first == f"ALLOWED: {ALICE} and {BOB} approved exactly this."
    assert "INTENT_LEVEL_1 (Bound)" in done.stdout
    assert "level 2 needs hardware" in done.stdout
    assert "only a gate's ledger knows" in done.stdout


def test_accepts_a_digest_instead_of_a_file(case: Case) -> None:
    assert case.verify("--artifact", f"sha256:{hashlib.sha256(WHEEL).hexdigest()}").returncode == 0


def test_denies_another_artifact_with_both_digests(case: Case) -> None:
    (case.folder / "app.whl").write_bytes(WHEEL + b"!")
    done = case.verify("--artifact", "app.whl")
    assert done.returncode == 1
    assert done.stdout.startswith("DENIED: ")
    assert "artifact-mismatch" in done.stdout
    assert hashlib.sha256(WHEEL + b"!").hexdigest() in done.stdout


def test_denies_another_target(case: Case) -> None:
    done = case.verify("--artifact", "app.whl", target="pkg:pypi/other")
    assert (done.returncode, "target-mismatch" in done.stdout) == (1, True)


def test_is_undecided_when_trust_has_expired(case: Case) -> None:
    case.world.expires_at = case.started + 60
    case.write_snapshot()
    done = case.verify("--artifact", "app.whl", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["reason"] == "trust-expired"
    assert "placet trust refresh" in json.loads(done.stdout)["hint"]


def test_json_says_the_same(case: Case) -> None:
    value = json.loads(case.verify("--artifact", "app.whl", "--json").stdout)
    assert value["verdict"] == "allowed"
    assert value["verifiedLevels"] == ["INTENT_LEVEL_1"]
    assert [a["person"] for a in value["approvers"]] == [ALICE, BOB]
    assert value["singleUseChecked"] is False


def test_audit_is_undecided_without_a_logged_time(case: Case) -> None:
    done = case.verify("--audit")
    assert (done.returncode, "time-unproven" in done.stdout) == (3, True)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(b"{", "not-json"), (b"\xff", "not-utf8"), (b"{}", "unsupported-type"), (b"[" * 100_000, "too-deep")],
)
def test_a_damaged_bundle_is_denied_by_name(case: Case, damage: bytes, reason: str) -> None:
    (case.folder / "app.intent.json").write_bytes(damage)
    done = case.verify("--artifact", "app.whl")
    assert (done.returncode, reason in done.stdout, done.stderr) == (1, True, "")


def test_wrong_usage_is_exit_2_without_a_traceback(case: Case) -> None:
    missing = case.verify("--artifact", "nowhere.whl")
    assert missing.returncode == 2
    assert missing.stderr.startswith("placet: The artifact nowhere.whl cannot be read")
    assert "Traceback" not in missing.stderr


def test_control_characters_of_a_hostile_bundle_never_reach_the_terminal(case: Case) -> None:
    hostile = b'{"evidence":[],"\\u001b[2J":1,"mediaType":"application/vnd.placet.intent.v1+json"}'
    (case.folder / "app.intent.json").write_bytes(hostile)
    done = case.verify("--artifact", "app.whl")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr


def test_an_action_that_there_is_not_is_wrong_usage(case: Case) -> None:
    done = case.verify("--artifact", "app.whl", "--action", "runn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no action 'runn'. It has: https://placet.dev/actions/deploy/v1, " in done.stderr


def test_a_missing_artifact_is_named(case: Case) -> None:
    done = case.verify()
    assert done.returncode == 1
    assert "It is an approval about app.whl: name what is about to be used with --artifact" in done.stdout


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("request", "app.intent.json: This is a request, not an approval bundle."),
        ("answer", "app.intent.json: This is one person's answer, not an approval bundle."),
        ("snapshot", "app.intent.json: This is a trust snapshot, not an approval bundle."),
        ("nothing", "app.intent.json: "),
    ],
)
def test_a_file_of_another_kind_is_named(case: Case, kind: str, sentence: str) -> None:
    request = case.world.request_release({"app.whl": WHEEL}, now=case.started)
    answer = case.world.approve(request, ALICE, decided_at=case.started + 30)
    data = {
        "request": encode_request(request),
        "answer": encode_answer(answer),
        "snapshot": case.world.snapshot(),
        "nothing": b"hello",
    }[kind]
    (case.folder / "app.intent.json").write_bytes(data)
    done = case.verify("--artifact", "app.whl")
    assert done.returncode == 1
    assert done.stdout.startswith(f"DENIED: {sentence}")
    if kind == "request":
        assert "Have it approved first" in done.stdout


def test_a_snapshot_that_is_none_is_named(case: Case) -> None:
    (case.folder / "snapshot.json").write_bytes(b"{")
    done = case.verify("--artifact", "app.whl")
    assert (done.returncode, "DENIED: snapshot.json: " in done.stdout) == (1, True)


def test_an_approver_who_was_revoked_since_is_a_denial_that_says_so_and_what_next(case: Case) -> None:
    files = dict(case.world.files())
    after = files | remove_person(files, BOB)
    snapshot = compile_trust(files=after, versions=case.world.versions, expires_at=case.world.expires_at)
    (case.folder / "snapshot.json").write_bytes(snapshot)
    done = case.verify("--artifact", "app.whl")
    assert done.returncode == 1
    assert "Ignored   No enrolled person has this key (any more). (unknown-key)" in done.stderr + done.stdout
    assert "Next      The key was never enrolled here, or was revoked since" in done.stderr + done.stdout
    assert "placet trust history" in done.stderr + done.stdout
