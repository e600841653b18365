"""Layouts that ask for approval: what they would mean is refused before anybody signs them."""

from __future__ import annotations

import json

import pytest

from placet.adapters.intoto.new_layout import (
    ApproveStep,
    Functionary,
    LayoutFile,
    add_step,
    encode_layout_file,
    functionary_of,
    new_layout,
    parse_layout_file,
)
from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.people import MAX_ORIGINS
from placet.testing.authenticator import SoftSk
from placet.testing.intoto import FOREVER, functionary
from placet.testing.world import ALICE, BOB, World


def step(world: World, *people: str, threshold: int = 2) -> ApproveStep:
    """Returns the step of these people."""
    keys = tuple(Functionary(person, functionary(world, person)) for person in people)
    return ApproveStep("approve", keys, threshold, ("app.whl",))


@pytest.mark.parametrize("enveloped", [True, False])
def test_a_written_layout_reads_back_as_it_is(enveloped: bool) -> None:
    layout = new_layout(step(World(), ALICE, BOB), expires=FOREVER, readme="two people")
    file = LayoutFile(layout, enveloped)
    assert parse_layout_file(encode_layout_file(file, "app.layout"), "app.layout") == file
    assert parse_layout_file(json.dumps(layout).encode(), "bare") == LayoutFile(layout, False)


def test_adding_the_step_changes_nothing_that_is_handed_in() -> None:
    world = World()
    before = new_layout(step(world, ALICE, BOB), expires=FOREVER)
    copy = json.loads(json.dumps(before))
    after = add_step(before, step(world, ALICE, BOB)._replace(name="approve-again"))
    assert before == copy
    assert [s["name"] for s in after["steps"]] == ["approve", "approve-again"]


def test_a_layout_has_the_step_once() -> None:
    asked = step(World(), ALICE, BOB)
    with pytest.raises(PolicyError) as caught:
        add_step(new_layout(asked, expires=FOREVER), asked)
    assert "has a step 'approve' already" in caught.value.message


def test_a_key_that_the_layout_lists_otherwise_is_refused() -> None:
    """Somebody took the user verification out: the layout's key would decide, not the trust root's."""
    asked = step(World(), ALICE, BOB)
    layout = new_layout(asked, expires=FOREVER)
    layout["steps"] = []
    layout["keys"][asked.functionaries[0].keyid]["uv"] = False
    asked = step(World(), ALICE, BOB)
    with pytest.raises(PolicyError) as caught:
        add_step(layout, asked)
    assert f"of {ALICE} otherwise" in caught.value.message


def test_a_key_lists_as_many_pages_as_it_may_and_keys_without_a_browser_none() -> None:
    world = World()
    world.keys[BOB] = SoftSk(application=f"ssh:placet:{world.deployment}")
    trust = world.trust()
    pages = [f"http://t{n}.{world.rp_id}:8470" for n in range(MAX_ORIGINS + 1)]
    alice, bob = (trust.credentials[world.keys[person].keyid] for person in (ALICE, BOB))
    assert functionary_of(*alice, pages[:-1]).key["origins"] == pages[:-1]
    assert functionary_of(*bob, pages).key["origins"] == []
    with pytest.raises(PolicyError) as caught:
        functionary_of(*alice, pages)
    assert caught.value.reason is Reason.BAD_KEY
    assert "--terminal" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"1",
        b"\xff",
        b'{"signed":1}',
        b'{"_type":"layout"}',
        b'{"_type":"layout","steps":[],"inspect":[],"keys":{},"expires":"tomorrow","readme":""}',
        b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"payload":"!","payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"signed":{"_type":"link"},"signatures":[]}',
    ],
)
def test_what_is_no_layout_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_layout_file(data, "app.layout")
