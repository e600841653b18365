"""What a person sees of evidence: what was verified, apart from what the request says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from placet.ceremony.decide import prepare
from placet.ceremony.publish import assemble
from placet.core.display import SECTION_EVIDENCE
from placet.core.errors import PlacetError, Reason
from placet.lab.stage import ARTIFACT, REPOSITORY, Stage
from placet.terminal.screen import build_screen
from placet.terminal.screen_parts import NOT_A_ROW, Section
from placet.testing.world import evidence

WHEEL = b"wheel"


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def section(stage: Stage, **more: Any) -> Section:
    request = stage.request_release(ARTIFACT, WHEEL, stage.provenance(ARTIFACT, WHEEL, **more))
    review = prepare(request, trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    progress = assemble(request, (), trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    screen = build_screen(review, progress, None, stage.now)
    return next(s for s in screen.sections if s.title == SECTION_EVIDENCE)


def test_verified_facts_stand_apart_from_the_requests_words(stage: Stage) -> None:
    verified, named = section(stage).blocks
    assert [note.kind for note in verified.notes] == ["fact", "fact"]
    assert verified.notes[1].text == "It meets what the rule asks for, at SLSA Build level 3."
    assert {line.row for line in verified.lines} == {NOT_A_ROW}
    shown = {line.label: line.value for line in verified.lines}
    assert shown["Source repository"] == f"https://github.com/{REPOSITORY}"
    assert shown["Transparency log"] == "entry verified"
    assert NOT_A_ROW not in {line.row for line in named.lines} and len(named.lines) == 3


def test_a_builder_whose_claim_contradicts_its_certificate_is_not_shown(stage: Stage) -> None:
    with pytest.raises(PlacetError) as caught:
        section(stage, commit="a" * 40)
    assert caught.value.reason is Reason.EVIDENCE_SOURCE


def test_nobody_is_asked_to_sign_without_the_evidence_that_a_rule_requires(stage: Stage) -> None:
    for named in ((), (("slsa-provenance", evidence(b"not provenance")),)):
        request = stage.world.request_release({ARTIFACT: WHEEL}, evidence=named)
        with pytest.raises(PlacetError) as caught:
            prepare(request, trust=stage.trust, now=stage.now, evidence=stage.verifiers)
        assert caught.value.reason in (Reason.EVIDENCE_REQUIRED, Reason.EVIDENCE_NOT_VERIFIED)


def test_nobody_is_asked_to_sign_what_another_repository_built(stage: Stage) -> None:
    stage.job["repository"] = "somebody/else"
    request = stage.request_release(ARTIFACT, WHEEL, stage.provenance(ARTIFACT, WHEEL))
    with pytest.raises(PlacetError) as caught:
        prepare(request, trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    assert caught.value.reason in (Reason.EVIDENCE_SOURCE, Reason.EVIDENCE_BUILDER, Reason.EVIDENCE_SIGNER)


def test_evidence_that_no_rule_asks_for_is_said_not_to_be_checked(stage: Stage) -> None:
    request = stage.world.request_deploy(evidence=[("note", evidence(b"x"))])
    review = prepare(request, trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    progress = assemble(request, (), trust=stage.trust, now=stage.now, evidence=stage.verifiers)
    found = build_screen(review, progress, None, stage.now).sections
    (block,) = next(s for s in found if s.title == SECTION_EVIDENCE).blocks
    assert block.notes[0].kind == "claim" and block.notes[0].text.startswith("Not verified here")
