"""A9: the assertion is collected by another page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attack_world import causes_of, forced_answer, forced_bundle

from placet.core.errors import MalformedError, Reason
from placet.core.people import parse_deployment, parse_terminals
from placet.testing.world import ALICE, BOB, World, expected_of

PAGES = [
    ({"web_origin": "http://login.demo.placet.localhost:8470"}, Reason.ORIGIN_NOT_ALLOWED),
    ({"web_origin": "http://t1.demo.placet.localhost:3000"}, Reason.ORIGIN_NOT_ALLOWED),
    ({"web_origin": "https://t1.demo.placet.localhost:8470"}, Reason.ORIGIN_NOT_ALLOWED),
    ({"web_origin": "http://t2.demo.placet.localhost:8470"}, Reason.ORIGIN_NOT_ALLOWED),
    ({"cross_origin": True}, Reason.CROSS_ORIGIN),
    ({"extra_members": ',"topOrigin":"https://evil.example"'}, Reason.CROSS_ORIGIN),
    ({"rp_id": "placet.localhost"}, Reason.SIGNATURE_INVALID),
    (
        {
            "web_origin": "http://evil.demo.placet.localhost:8470",
            "claimed_origin": "http://t1.demo.placet.localhost:8470",
        },
        Reason.CLIENT_DATA,
    ),
]


@pytest.mark.parametrize(("page", "reason"), PAGES)
def test_a9_an_assertion_of_another_page_does_not_count(page: dict[str, Any], reason: Reason) -> None:
    world = World()
    request = world.request_deploy()
    bundle = forced_bundle(
        world,
        request,
        forced_answer(world, request, ALICE, **page),
        forced_answer(world, request, BOB, terminal="t2"),
    )
    assert causes_of(world, bundle, expected_of(request)) == [reason]


@pytest.mark.parametrize(
    "rp_id", ["localhost", "localhost.", "placet.localhost", "DEMO.placet.localhost", ".localhost", "a..b"]
)
def test_a9_a_shared_rp_id_is_refused(rp_id: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_deployment({"name": "demo", "rpId": rp_id})
    assert (caught.value.reason, caught.value.path) == (Reason.BAD_VALUE, "/rpId")


def test_a9_a_terminal_cannot_have_the_origin_of_another_site() -> None:
    deployment = parse_deployment({"name": "demo", "rpId": "demo.placet.localhost"})
    world = World()
    value = json.loads(world.files()["terminals.json"])
    value["terminals"][0]["origins"] = ["https://login.example.com"]
    with pytest.raises(MalformedError) as caught:
        parse_terminals(value, deployment)
    assert caught.value.reason is Reason.BAD_VALUE
