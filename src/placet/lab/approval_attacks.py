"""A5 and A13: people did approve, but something else than what is done."""

from __future__ import annotations

import json
from collections.abc import Iterator

from in_toto.models.layout import Step  # type: ignore[import-untyped]

from placet.ceremony.link import link_payload
from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import IntentRequest, encode_bundle
from placet.core.encoding import encode_canonical
from placet.core.statement import parse_statement
from placet.lab.frameworks import ask_all, ask_in_toto
from placet.lab.scenario import Act, Answer, Scenario
from placet.lab.stage import PEOPLE, Stage
from placet.testing.intoto import approve_link, approve_step, functionaries, sign_link
from placet.testing.world import ALICE, BOB, artifact, expected_of

PLAN = "plan.json"
PLAN_A = b'{"create": ["bucket logs"]}'
PLAN_B = b'{"create": ["bucket logs"], "destroy": ["database customers"]}'
PROGRAM = b"terraform, as it lies on the gate"
APPLY = ("/usr/bin/terraform", "apply", PLAN)
DESTROY = ("/usr/bin/terraform", "destroy", "-auto-approve")
STAGING, PRODUCTION = "k8s://staging/ns/shop/deploy/app", "k8s://prod-eu/ns/shop/deploy/app"
IMAGE = b"image"


def play_changed_plan(stage: Stage) -> Iterator[Act]:
    """A5: people approve plan A; the file changes before it is applied."""
    asked_a, asked_b = (_ask_to_apply(stage, plan) for plan in (PLAN_A, PLAN_B))
    approved = stage.approve(asked_a)
    question = "May this command run, with this plan?"
    yield Act(
        "Plan B, with the approval for plan A",
        False,
        (
            *ask_all(stage, PLAN, PLAN_B, stage.provenance(PLAN, PLAN_B), asked_b.payload),
            stage.ask_gate(question, approved, expected_of(asked_b)),
        ),
    )
    other_command = _ask_to_apply(stage, PLAN_A, DESTROY)
    yield Act(
        "Plan A, but another command, with the approval for plan A",
        False,
        (stage.ask_gate(question, approved, expected_of(other_command)),),
    )
    yield Act(
        "Plan A, by the command that people saw",
        True,
        (stage.ask_gate(question, approved, expected_of(asked_a)),),
    )


def _ask_to_apply(stage: Stage, plan: bytes, argv: tuple[str, ...] = APPLY) -> IntentRequest:
    return stage.world.request_run(argv=argv, executable=PROGRAM, inputs=[artifact(PLAN, plan)])


def play_two_targets(stage: Stage) -> Iterator[Act]:
    """A13: one approves staging, another production; a threshold of two is met."""
    staging, production = (stage.world.request_deploy(IMAGE, target=t) for t in (STAGING, PRODUCTION))
    mixed = ((production, ALICE), (staging, BOB))
    yield Act(
        "Two approvals of one image, for two targets, under a layout without the action",
        False,
        (
            _ask_threshold(stage, "unbound", mixed, bound=False),
            stage.ask_gate("May this image go to production?", _mix(stage, mixed), expected_of(production)),
        ),
    )
    yield Act(
        "The same two people, both for production, under a layout with the material intent://action",
        True,
        (
            _ask_threshold(stage, "bound", ((production, ALICE), (production, BOB)), bound=True),
            stage.ask_gate(
                "May this image go to production?", stage.approve(production), expected_of(production)
            ),
        ),
    )
    yield Act(
        "The mixed approvals again, under the layout with the material intent://action",
        False,
        (
            _ask_threshold(stage, "bound-mixed", mixed, bound=True),
            stage.ask_gate("May this image go to production?", _mix(stage, mixed), expected_of(production)),
        ),
    )


def _ask_threshold(
    stage: Stage, folder: str, approvals: tuple[tuple[IntentRequest, str], ...], *, bound: bool
) -> Answer:
    step = approve_step(stage.world, PEOPLE, threshold=2)
    if not bound:
        step = Step(name="approve", pubkeys=step.pubkeys, threshold=2, expected_materials=[["ALLOW", "*"]])
    layout = stage.chain.layout(step, keys=functionaries(stage.world, *PEOPLE))
    links = dict(
        approve_link(stage.world, request, person) if bound else _unbound_link(stage, request, person)
        for request, person in approvals
    )
    return ask_in_toto(
        stage,
        folder,
        stage.chain.signed(layout, stage.chain.owner),
        links,
        lambda _: "threshold of two met",
        "Did two of the layout's functionaries approve?",
    )


def _unbound_link(stage: Stage, request: IntentRequest, person: str) -> tuple[str, bytes]:
    """Returns a link as layouts have it that know no action: what was approved stands in `environment`."""
    statement = parse_statement(request.payload)
    link = json.loads(link_payload(statement))
    del link["materials"]["intent://action"]
    link["environment"] = {"action": statement.value["predicate"]["action"]}
    return sign_link(stage.world, encode_canonical(link), person)


def _mix(stage: Stage, approvals: tuple[tuple[IntentRequest, str], ...]) -> bytes:
    """Returns the bundle for the first request, with everybody's signatures in it."""
    (request, first), *others = approvals
    bundle = add_answer(empty_bundle(request), stage.world.approve(request, first))
    signatures = [
        signature
        for asked, person in others
        for signature in stage.world.approve(asked, person, terminal="t2").envelope.signatures
    ]
    envelope = bundle.envelope._replace(signatures=(*bundle.envelope.signatures, *signatures))
    return encode_bundle(bundle._replace(envelope=envelope))


A5 = Scenario(
    "A5",
    "Approve A, execute B: the plan changes after the approval",
    "Atlantis #1508, tofu-controller #1129",
    "The plan file is the pipeline's own, so its signature, its link and its provenance are as valid for "
    "plan B as for plan A. The approval covers the bytes of one plan, and the gate hashes what it runs.",
    play_changed_plan,
)
A13 = Scenario(
    "A13",
    "An in-toto threshold met by approvals of different targets",
    "",
    "in-toto compares artifacts across a threshold, and nothing else. Two functionaries signed the step "
    "approve for the same image; one meant staging, the other production. Only a material that is the "
    "action itself makes in-toto see the difference.",
    play_two_targets,
)
