"""A7: text that a person does not see, or that two programs read differently."""

from __future__ import annotations

import json

import pytest
from attack_world import forced_answer, forced_bundle, reason_of, refusal

from placet.ceremony.decide import prepare
from placet.core.bundle import IntentRequest
from placet.core.encoding import encode_canonical
from placet.core.errors import Reason
from placet.testing.world import ALICE, BOB, NOW, World, expected_of

HIDDEN = {
    "bidirectional override": "user\u202egnp.exe",
    "bidirectional isolate": "a\u2066b\u2069c",
    "zero-width space": "app\u200bprod",
    "zero-width joiner": "app\u200dprod",
    "tag characters": "ok\U000e0065\U000e0076",
    "soft hyphen": "app\u00adprod",
    "terminal escape": "x\x1b[2Jy",
    "carriage return": "harmless\rrm -rf",
    "bell": "x\x07",
    "C1 control": "x\x9b31m",
    "line separator": "a\u2028b",
    "no-break space": "a\u00a0b",
    "private use": "a\ue000b",
    "noncharacter": "a\ufdd0b",
}


def hide(request: IntentRequest, text: str) -> IntentRequest:
    value = json.loads(request.payload)
    value["predicate"]["request"]["reason"] = text
    return IntentRequest(encode_canonical(value), ())


def assert_refused(world: World, request: IntentRequest, honest: IntentRequest, reason: Reason) -> None:
    assert refusal(lambda: prepare(request, trust=world.trust(), now=NOW)).reason is reason
    answers = [forced_answer(world, request, person) for person in (ALICE, BOB)]
    assert reason_of(world, forced_bundle(world, request, *answers), expected_of(honest)) is reason


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN.keys())
def test_a7_invisible_text_is_refused_at_terminal_and_gate(text: str) -> None:
    world = World()
    honest = world.request_deploy()
    assert_refused(world, hide(honest, text), honest, Reason.TEXT_NOT_ALLOWED)


def test_a7_a_second_normalization_is_refused() -> None:
    world = World()
    honest = world.request_deploy()
    assert_refused(world, hide(honest, "Zoe\u0308"), honest, Reason.NOT_NFC)


def test_a7_confusable_letters_are_shown_as_what_they_are() -> None:
    world = World()
    spoofed = world.request_deploy(reason="deploy to \u0440rod")  # a Cyrillic letter
    rows = {row.pointer: row.value for row in prepare(spoofed, trust=world.trust(), now=NOW).view.rows}
    assert rows["/predicate/request/reason"] == "deploy to \\u{440}rod"


def test_a7_an_escape_cannot_be_imitated() -> None:
    world = World()
    spoofed = world.request_deploy(reason="deploy to \\u{440}rod")
    rows = {row.pointer: row.value for row in prepare(spoofed, trust=world.trust(), now=NOW).view.rows}
    assert rows["/predicate/request/reason"] == "deploy to \\u{5c}u{440}rod"


def test_a7_sixty_kilobytes_of_padding() -> None:
    world = World()
    honest = world.request_deploy()
    assert_refused(world, hide(honest, "x " * 30_000), honest, Reason.BAD_VALUE)
    assert_refused(world, hide(honest, "x " * 40_000), honest, Reason.TOO_LARGE)


def test_a7_two_members_of_one_name() -> None:
    world = World()
    honest = world.request_deploy()
    text = honest.payload.decode()
    twice = IntentRequest(text.replace('"maxUses":"1"', '"maxUses":"1","maxUses":"9"').encode(), ())
    assert twice.payload != honest.payload
    assert_refused(world, twice, honest, Reason.DUPLICATE_MEMBER)


def test_a7_a_member_that_nobody_shows() -> None:
    world = World()
    honest = world.request_deploy()
    value = json.loads(honest.payload)
    value["predicate"]["action"]["alsoDo"] = "rm -rf /"
    assert_refused(world, IntentRequest(encode_canonical(value), ()), honest, Reason.UNKNOWN_MEMBER)


def test_a7_another_spelling_of_the_same_document() -> None:
    world = World()
    honest = world.request_deploy()
    for spelled in (
        json.dumps(json.loads(honest.payload), indent=1),
        honest.payload.decode().replace("rolling", "r\\u006flling"),
    ):
        assert_refused(world, IntentRequest(spelled.encode(), ()), honest, Reason.NOT_CANONICAL)


def test_a7_every_leaf_is_shown_once() -> None:
    world = World()
    request = world.request_deploy(reason="why", annotations={"environment": "production"})

    def leaves(value: object) -> int:
        if isinstance(value, dict) and value:
            return sum(leaves(v) for v in value.values())
        if isinstance(value, list) and value:
            return sum(leaves(v) for v in value)
        return 1

    rows = prepare(request, trust=world.trust(), now=NOW).view.rows
    assert len(rows) == len({row.pointer for row in rows}) == leaves(json.loads(request.payload))
    assert len({(row.section, row.label) for row in rows if row.section == "What will happen"}) == sum(
        row.section == "What will happen" for row in rows
    )
