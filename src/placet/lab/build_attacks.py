"""A1 and A2: the pipeline itself is the attacker, with every credential that it has."""

from __future__ import annotations

from collections.abc import Iterator

from placet.lab.frameworks import ask_all
from placet.lab.scenario import Act, Scenario
from placet.lab.stage import ARTIFACT, Stage

HONEST = b"PK app 1.4.2, as the maintainers wrote it"
EVIL = b"PK app 1.4.2, and one function more"
STOLEN = b"PK app 1.4.3, which no maintainer wrote"


def play_build_server(stage: Stage) -> Iterator[Act]:
    """A1: the build server compiles other source than it fetched, then signs and attests the result."""
    honest = stage.provenance(ARTIFACT, HONEST)
    # The same build, the same commit, the same identity: only the bytes that came out are others.
    evil = stage.provenance(ARTIFACT, EVIL)
    approved = stage.approve(stage.request_release(ARTIFACT, HONEST, honest))
    asked = stage.request_release(ARTIFACT, EVIL, evil)
    yield Act(
        "The swapped build, with the approval that people gave for the honest one",
        False,
        (
            *ask_all(stage, ARTIFACT, EVIL, evil, asked.payload),
            stage.ask_gate("May this file be published?", approved, stage.expect_release(EVIL)),
        ),
    )
    yield Act(
        "The swapped build, approved by the build server itself",
        False,
        (stage.ask_gate("May this file be published?", stage.forge(asked), stage.expect_release(EVIL)),),
    )
    honest_request = stage.request_release(ARTIFACT, HONEST, honest)
    yield Act(
        "The honest build, with its approval",
        True,
        (
            *ask_all(stage, ARTIFACT, HONEST, honest, honest_request.payload),
            stage.ask_gate("May this file be published?", approved, stage.expect_release(HONEST)),
        ),
    )


def play_stolen_token(stage: Stage) -> Iterator[Act]:
    """A2: whoever holds the CI token publishes a version that nobody asked for, with valid provenance."""
    name = "app-1.4.3.whl"
    stolen = stage.provenance(name, STOLEN)
    asked = stage.request_release(name, STOLEN, stolen)
    yesterday = stage.approve(stage.request_release(ARTIFACT, HONEST, stage.provenance(ARTIFACT, HONEST)))
    question = "May this file be published?"
    yield Act(
        "A version that only the token's thief wants, with an approval that the thief signed",
        False,
        (
            *ask_all(stage, name, STOLEN, stolen, asked.payload),
            stage.ask_gate(question, stage.forge(asked), stage.expect_release(STOLEN)),
        ),
    )
    yield Act(
        "The same, with the approval of the version before",
        False,
        (stage.ask_gate(question, yesterday, stage.expect_release(STOLEN)),),
    )
    approved = stage.approve(asked)
    yield Act(
        "The same version, after two people looked at it and touched their keys",
        True,
        (stage.ask_gate(question, approved, stage.expect_release(STOLEN)),),
    )
    yield Act(
        "That approval once more, for the same file",
        False,
        (stage.ask_gate(question, approved, stage.expect_release(STOLEN)),),
    )


A1 = Scenario(
    "A1",
    "The build server swaps the source before it compiles",
    "SolarWinds, 2020",
    "The pipeline signs and attests what it made. The signature, the log entry, the layout and the SLSA L3 "
    "provenance are all genuine: the attacker is the builder.",
    play_build_server,
)
A2 = Scenario(
    "A2",
    "A stolen CI token publishes a new version",
    "TanStack 2026, tj-actions 2025, Ultralytics 2024",
    "The token is the workflow's identity. With it, valid SLSA L3 provenance of a malicious version takes "
    "seconds; a touch of a person's key it cannot make.",
    play_stolen_token,
)
