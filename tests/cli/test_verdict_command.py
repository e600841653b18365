"""Verdicts as their user meets them: `placet verify --verdict`, `placet verdict`, `--require-slsa`."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import placet

from placet.adapters.verdict_key import VerdictKey
from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import encode_bundle
from placet.core.encoding import b64encode, encode_canonical
from placet.core.verdict.statements import SVR_TYPE, VSA_TYPE
from placet.testing import world as worlds
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, World

WHEEL = b"a wheel"
TARGET = worlds.RELEASE_TARGET
RULE = 'max_window = "1h"'
GITHUB = "https://github.com/actions/runner/github-hosted"


class Gate:
    """A gate in a folder, with a bundle that is valid now, and its verdict key in the trust root."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, demand: str = "", known: bool = True
    ) -> None:
        self.folder = folder
        started = int(time.time()) - 120
        monkeypatch.setattr(worlds, "NOW", started)
        self.world = World()
        self.world.policy = self.world.policy.replace(RULE, f"{RULE}\n{demand}")
        self.world.expires_at = started + 7 * 86_400
        init = self.placet("verdict", "init")
        assert init.returncode == 0, init.stderr
        self.key = VerdictKey.load(folder / "state" / "placet" / "gate" / "verdict.pem")
        if known:
            self.enter_keys(self.key)
        request = self.world.request_release({"app.whl": WHEEL}, now=started)
        bundle = empty_bundle(request)
        if not demand:
            for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
                answer = self.world.approve(request, person, terminal=terminal, decided_at=started + 30)
                bundle = add_answer(bundle, answer)
        (folder / "app.whl").write_bytes(WHEEL)
        (folder / "app.intent.json").write_bytes(encode_bundle(bundle))
        self.write_snapshot()

    def enter_keys(self, *keys: VerdictKey) -> None:
        listed = [b64encode(key.public.der) for key in keys]
        gates = [{"id": name, "ledger": name} for name in self.world.gates]
        gates[0] |= {"verdictKeys": listed}  # type: ignore[dict-item]
        self.world.more_files["gates.json"] = encode_canonical({"gates": gates})

    def write_snapshot(self) -> None:
        (self.folder / "snapshot.json").write_bytes(self.world.snapshot())

    def placet(self, *line: str) -> subprocess.CompletedProcess[str]:
        return placet(self.folder, *line)

    def verify(self, *more: str, artifact: str = "app.whl") -> subprocess.CompletedProcess[str]:
        asked = ("--trust", "snapshot.json", "--gate", worlds.GATE, "--action", "release", "--target", TARGET)
        return self.placet("verify", "app.intent.json", *asked, "--artifact", artifact, *more)

    def check(self, file: str, *more: str, target: str = TARGET) -> subprocess.CompletedProcess[str]:
        asked = (
            "--trust",
            "snapshot.json",
            "--gate",
            worlds.GATE,
            "--target",
            target,
            "--artifact",
            "app.whl",
        )
        return self.placet("verdict", "check", file, *asked, *more)

    def statement(self, file: str) -> dict[str, Any]:
        value = json.loads((self.folder / file).read_text())
        return dict(json.loads(base64.b64decode(value.get("dsseEnvelope", value)["payload"])))


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(tmp_path, monkeypatch)


def test_a_verdict_is_made_and_checked(gate: Gate) -> None:
    done = gate.verify("--verdict", "v.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  Verdict   VSA in v.json, good until " in done.stdout
    assert gate.statement("v.json")["predicateType"] == VSA_TYPE
    checked = gate.check("v.json", "--level", "INTENT_LEVEL_1")
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (
        0,
        "HOLDS: the gate says that exactly this was approved.",
    )
    assert "not checked: only a gate's ledger knows" in checked.stdout
    said = json.loads(gate.check("v.json", "--json").stdout)
    assert (said["verdict"], said["type"], said["levels"]) == ("holds", "vsa", ["INTENT_LEVEL_1"])


@pytest.mark.parametrize("form", ["dsse", "bundle"])
@pytest.mark.parametrize("kind", ["vsa", "svr"])
def test_both_kinds_in_both_forms(gate: Gate, kind: str, form: str) -> None:
    assert gate.verify("--verdict", "v", "--verdict-type", kind, "--verdict-format", form).returncode == 0
    assert gate.statement("v")["predicateType"] == {"vsa": VSA_TYPE, "svr": SVR_TYPE}[kind]
    assert ("dsseEnvelope" in json.loads((gate.folder / "v").read_text())) is (form == "bundle")
    assert gate.check("v").returncode == 0


def test_what_a_check_refuses(gate: Gate) -> None:
    gate.verify("--verdict", "v.json", "--verdict-life", "2m")
    denied = gate.check("v.json", target="pkg:pypi/other")
    assert (denied.returncode, "evidence-resource" in denied.stdout) == (1, True)
    low = gate.check("v.json", "--level", "SLSA_BUILD_LEVEL_3")
    assert (low.returncode, "evidence-level" in low.stdout) == (1, True)
    assert json.loads(gate.check("v.json", "--level", "INTENT_LEVEL_2", "--json").stdout)["reason"] == (
        "evidence-level"
    )
    (gate.folder / "app.whl").write_bytes(b"another")
    other = gate.check("v.json")
    assert (other.returncode, "evidence-subject" in other.stdout) == (1, True)


def test_a_denial_writes_no_verdict_unless_asked_and_then_failed(gate: Gate) -> None:
    (gate.folder / "other.whl").write_bytes(b"another")
    assert gate.verify("--verdict", "v.json", artifact="other.whl").returncode == 1
    assert not (gate.folder / "v.json").exists()
    done = gate.verify("--verdict", "v.json", "--verdict-on-denial", artifact="other.whl")
    assert done.returncode == 1
    assert gate.statement("v.json")["predicate"]["verificationResult"] == "FAILED"
    gate.world.expires_at = worlds.NOW + 60
    gate.write_snapshot()
    undecided = gate.verify("--verdict", "w.json", "--verdict-on-denial")
    assert undecided.returncode == 3
    assert "No verdict was written: this is undecided, not denied" in undecided.stderr
    assert not (gate.folder / "w.json").exists()


def test_a_key_that_the_trust_root_does_not_name_for_this_gate(gate: Gate, tmp_path: Path) -> None:
    VerdictKey.create(tmp_path / "other.pem")
    done = gate.verify("--verdict", "v.json", "--verdict-key", "other.pem")
    assert (done.returncode, "names other verdict keys for the gate prod-eu" in done.stderr) == (2, True)
    assert not (gate.folder / "v.json").exists()
    gate.enter_keys(VerdictKey.load(tmp_path / "other.pem"), gate.key)
    gate.write_snapshot()
    assert gate.verify("--verdict", "v.json", "--verdict-key", "other.pem").returncode == 0
    assert gate.check("v.json").returncode == 0


def test_a_gate_whose_key_nobody_knows_makes_verdicts_for_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(tmp_path, monkeypatch, known=False)
    assert gate.verify("--verdict", "v.json").returncode == 0
    done = gate.check("v.json")
    assert (done.returncode, "names no verdict key of the gate prod-eu" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--verdict-type", "svr"), "--verdict-type is about a verdict."),
        (("--verdict-on-denial",), "--verdict-on-denial is about a verdict."),
        (("--verdict", "v", "--verdict-life", "2d"), "A verdict lives for a day at most"),
        (("--verdict", "v", "--verdict-life", "soon"), "'soon' is not a duration."),
        (("--verdict", "nowhere/v"), "nowhere does not exist."),
        (("--audit", "--verdict", "v"), "An audit judges by the rules of its time"),
        (("--audit", "--require-slsa", "3"), "An audit judges by the rules of its time"),
        (("--unsafe-any-action", "--verdict", "v"), "Nothing is compared, so nothing is allowed"),
        (("--verdict", "v", "--verdict-key", "none.pem"), "DENIED"),
    ],
)
def test_wrong_usage_is_said(gate: Gate, options: tuple[str, ...], sentence: str) -> None:
    done = gate.verify(*options)
    if "none.pem" in options:
        assert (done.returncode, "This gate has no verdict key (none.pem" in done.stdout) == (3, True)
        assert "placet verdict init" in done.stdout
    else:
        assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
    assert not (gate.folder / "v").exists()


def test_a_second_init_keeps_the_key(gate: Gate) -> None:
    done = gate.placet("verdict", "init")
    assert (done.returncode, "already a verdict key" in done.stderr) == (3, True)


# What the caller requires of the evidence.


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        (("--require-slsa", "3"), ("Which builders do you trust with SLSA Build level 3?", "--builder ID")),
        (("--require-slsa", "3", "--builder", GITHUB), ("From which repository", "--source https://")),
        (("--builder", "x"), ("go with --require-slsa",)),
        (("--require-slsa", "4"), ("invalid choice: 4",)),
        (
            ("--require-slsa", "3", "--builder", "https://builder.example/1", "--any-source"),
            ("cannot be required like this", "who signs"),
        ),
        (
            (
                "--require-slsa",
                "2",
                "--builder",
                GITHUB,
                "--source",
                "https://github.com/a/b",
                "--ref",
                "main",
            ),
            ("not spelled in full",),
        ),
        (("--require-evidence", "slsa"), ("no evidence of kind 'slsa'", "slsa-provenance, slsa-vsa")),
        (("--require-evidence", "sbom,formats"), ("is not KIND,OPTION=VALUE",)),
        (("--require-evidence", "sbom,formats=[,"), ("begins like JSON and is none",)),
        (("--require-evidence", 'sbom,formats=["a"]x'), ("a comma was expected",)),
        (("--require-evidence", "sbom,a=1,a=2"), ("stands twice",)),
        (("--require-evidence", "sbom"), ("needs the option 'signers'",)),
    ],
)
def test_what_is_wrong_with_a_demand_is_said(
    gate: Gate, options: tuple[str, ...], sentences: tuple[str, ...]
) -> None:
    done = gate.verify(*options)
    assert (done.returncode, done.stdout) == (2, "")
    for sentence in sentences:
        assert sentence in done.stderr, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--require-slsa", "3", "--builder", GITHUB, "--source", "https://github.com/acme/app"),
        ("--require-evidence", 'signature,signers=[{"issuer":"https://a.example","identity":"b"}]'),
        ("--require-evidence", f'slsa-provenance,builders=[{{"id":"{GITHUB}","level":3}}],any-source=true'),
    ],
)
def test_a_demand_that_the_approval_does_not_meet_denies(gate: Gate, options: tuple[str, ...]) -> None:
    done = gate.verify(*options, "--json")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "evidence-required")


def test_builders_and_source_come_from_the_rules_where_the_caller_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders = f'builders = [{{ id = "{GITHUB}", level = 2 }}], source = "https://github.com/acme/app"'
    gate = Gate(tmp_path, monkeypatch, demand=f'evidence = [{{ kind = "slsa-provenance", {builders} }}]')
    assert json.loads(gate.verify("--require-slsa", "2", "--json").stdout)["reason"] == "evidence-required"
    above = gate.verify("--require-slsa", "3")
    assert above.returncode == 2
    assert f"The rules trust {GITHUB} to level 2." in above.stderr


GUIDE = Path(__file__).parents[2] / "docs" / "how-to-use-verdicts.md"


def test_the_guide_s_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(tmp_path, monkeypatch)
    monkeypatch.setenv("PLACET_TRUST", "snapshot.json")
    monkeypatch.setenv("PLACET_GATE", worlds.GATE)
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    init, enter, *lines = [line for block in blocks for line in block.splitlines()]
    # Done already, by the same words; and what the administrator does, in another test.
    assert (init, enter.split(" ", 3)[:3]) == ("placet verdict init", ["placet", "trust", "set-gate"])
    assert len(lines) == 3
    for line in lines:
        done = gate.placet(*shlex.split(line)[1:])
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_an_administrator_enters_a_gate_s_verdict_keys(tmp_path: Path) -> None:
    for name in ("anna", "ben"):
        key = SoftSk("ed25519", application="ssh:placet:demo", seed=name.encode())
        line = b"sk-ssh-ed25519@openssh.com " + base64.b64encode(key.wire) + b" " + name.encode()
        (tmp_path / f"{name}.pub").write_bytes(line + b"\n")
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}

    def trust(*words: str) -> subprocess.CompletedProcess[str]:
        return placet(tmp_path, "trust", *words, **data)

    admins = ("anna@example.com=anna.pub", "ben@example.com=ben.pub")
    made = trust("init", "--deployment", "demo", "--admin", *admins, "--threshold", "2")
    assert made.returncode == 0, made.stderr
    keys = [VerdictKey.create(tmp_path / f"{n}.pem").public.digest for n in (1, 2)]
    said = trust("add-gate", "prod-eu", "--verdict-key", "1.pub")
    assert (said.returncode, keys[0][:4] in said.stdout) == (0, True), said.stderr
    assert trust("set-gate", "prod-eu", "--verdict-key", "1.pub", "--verdict-key", "2.pub").returncode == 0
    (gate,) = json.loads(trust("show", "--json").stdout)["gates"]
    assert gate == {"id": "prod-eu", "ledger": "prod-eu", "verdictKeys": keys, "useKeys": []}
    assert f"signs verdicts with the key SHA-256 {keys[1]}" in trust("show").stdout
    assert trust("set-gate", "prod-eu", "--ledger", "placet-ledger:01").returncode == 0
    assert trust("set-gate", "prod-eu", "--no-verdict-keys").returncode == 0
    (gate,) = json.loads(trust("show", "--json").stdout)["gates"]
    assert gate == {"id": "prod-eu", "ledger": "placet-ledger:01", "verdictKeys": [], "useKeys": []}
    assert trust("set-gate", "prod-eu", "--use-key", "2.pub").returncode == 0
    assert trust("set-gate", "prod-eu", "--ledger", "placet-ledger:02").returncode == 0
    (gate,) = json.loads(trust("show", "--json").stdout)["gates"]
    assert (gate["useKeys"], gate["verdictKeys"]) == ([keys[1]], [])
    assert f"logs its uses with the key SHA-256 {keys[1]}" in trust("show").stdout
    said = trust("add-gate", "prod-us", "--use-key", "1.pub")
    assert (said.returncode, f"use key {keys[0][:4]}" in said.stdout) == (0, True), said.stdout + said.stderr
    twice = trust("set-gate", "prod-eu", "--verdict-key", "1.pub")
    assert (twice.returncode != 0, "one key stands for two gates" in twice.stderr) == (True, True), (
        twice.stderr
    )
    for words, sentence in (
        (("set-gate", "prod-eu"), "What shall change about this gate?"),
        (("set-gate", "prod-eu", "--verdict-key", "1.pem"), "Give the public half"),
        (("add-gate", "prod-us", "--verdict-key", "none.pub"), "cannot be read"),
    ):
        wrong = trust(*words)
        assert (wrong.returncode != 0, sentence in wrong.stderr) == (True, True), wrong.stderr
