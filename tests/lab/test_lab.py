"""The thesis, runnable: what the frameworks answer to real attacks, and what the gate answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from placet.core.errors import PlacetError
from placet.lab.command import SCENARIOS, load_scenarios, play
from placet.lab.scenario import Act, Answer, Side
from placet.lab.stage import ARTIFACT, PEOPLE, Stage
from placet.testing.world import ALICE


def answers(act: Act, side: Side) -> list[bool]:
    return [answer.accepted for answer in act.answers if answer.side is side]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_frameworks_accept_the_attack_and_the_gate_refuses_it(name: str) -> None:
    acts = list(play(load_scenarios()[name]))
    attacks = [act for act in acts if not act.approved]
    approved = [act for act in acts if act.approved]
    assert answers(acts[0], Side.FRAMEWORK) and all(answers(acts[0], Side.FRAMEWORK)), "accepted by all"
    assert not any(accepted for act in attacks for accepted in answers(act, Side.GATE))
    assert approved and all(accepted for act in approved for accepted in answers(act, Side.GATE))
    assert all(act.holds for act in acts)
    assert all(a.reason and a.said for act in attacks for a in act.answers if a.side is Side.GATE)


def test_a13_in_toto_refuses_once_the_action_is_a_material() -> None:
    without, approved, bound = play(load_scenarios()["A13"])
    assert answers(without, Side.FRAMEWORK) == answers(approved, Side.FRAMEWORK) == [True]
    assert answers(bound, Side.FRAMEWORK) == [False]
    assert "different artifacts" in bound.answers[0].said


def test_no_answer_is_written_down_beforehand(tmp_path: Path) -> None:
    """Each verifier on the lab's stage can give the other answer, too."""
    from placet.lab.frameworks import ask_all, ask_sigstore, ask_slsa

    stage = Stage(tmp_path)
    try:
        good, bad = b"good", b"bad"
        bundle = stage.provenance(ARTIFACT, good)
        payload = stage.request_release(ARTIFACT, good, bundle).payload
        assert all(answer.accepted for answer in ask_all(stage, ARTIFACT, good, bundle, payload))
        assert not ask_sigstore(stage, bundle, bad).accepted
        altered = json.loads(bundle)
        altered["dsseEnvelope"]["payload"] = json.loads(stage.provenance(ARTIFACT, bad))["dsseEnvelope"][
            "payload"
        ]
        forged = json.dumps(altered).encode()
        assert not ask_sigstore(stage, forged, bad).accepted
        assert not ask_slsa(stage, forged, payload).accepted
        stage.job["repository"] = "somebody/else"
        stage.job["sub"] = "repo:somebody/else:ref:refs/heads/main"
        assert not ask_slsa(stage, stage.provenance(ARTIFACT, good), payload).accepted
    finally:
        stage.close()


def test_one_voice_is_not_two_people(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        artifact = b"good"
        request = stage.request_release(ARTIFACT, artifact, stage.provenance(ARTIFACT, artifact))
        alone = stage.world.bundle(request, ALICE)
        told = stage.ask_gate("?", alone, stage.expect_release(artifact))
        assert (told.accepted, told.reason) == (False, "quorum-not-met")
        assert stage.ask_gate(
            "?", stage.world.bundle(request, *PEOPLE), stage.expect_release(artifact)
        ).accepted
    finally:
        stage.close()


def test_an_approval_needs_the_provenance_that_the_rule_requires(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        with pytest.raises(PlacetError, match="requires evidence: slsa-provenance"):
            stage.approve(stage.world.request_release({ARTIFACT: b"good"}))
    finally:
        stage.close()


def test_a_wrong_answer_of_the_gate_is_seen() -> None:
    gate = Answer(Side.GATE, "placet gate", "?", True, "")
    assert not Act("x", False, (gate,)).holds
    assert not Act("x", True, (gate._replace(accepted=False),)).holds
    assert not Act("x", True, ()).holds


def placet(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "placet", "lab", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def test_the_command_says_what_each_answered() -> None:
    done = placet("run", "a2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sigstore-python         accepts" in done.stdout
    assert "placet gate             refuses" in done.stdout and "[quorum-not-met]" in done.stdout
    assert done.stdout.rstrip().endswith("In every act the gate answered as people had approved.")


def test_the_command_speaks_to_machines_and_knows_what_there_is() -> None:
    done = placet("run", "A13", "--json")
    acts = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(acts), {act["holds"] for act in acts}) == (0, 3, {True})
    listed = placet("list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(SCENARIOS)
    unknown = placet("run", "A99")
    assert unknown.returncode == 2 and "There are: A1, A2, A5, A13." in unknown.stderr
