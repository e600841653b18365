"""The in-toto link of the step `approve`, from a statement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placet.ceremony.decide import deny, prepare
from placet.ceremony.link import (
    ACTION_MATERIAL,
    action_digest,
    link_file_name,
    link_message,
    link_payload,
    signed_link,
    verify_link,
)
from placet.core.dsse import Envelope
from placet.core.encoding import encode_canonical, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_LINK
from placet.core.statement import IntentStatement, parse_statement
from placet.testing.world import ALICE, BOB, NOW, World


def statement(world: World, **more: Any) -> IntentStatement:
    """Returns the statement of a deployment."""
    return parse_statement(world.request_deploy(**more).payload)


def signed(world: World, payload: bytes, person: str = ALICE, namespace: str = NAMESPACE_LINK) -> Envelope:
    """Returns the link as a person's key signs it."""
    key = world.keys[person]
    return signed_link(payload, key.keyid, key.sign(namespace, link_message(payload)))


def test_the_link_names_the_artifacts_and_the_action_and_nothing_else() -> None:
    asked = statement(World())
    link = json.loads(link_payload(asked))
    action = asked.value["predicate"]["action"]
    assert link == {
        "_type": "link",
        "name": "approve",
        "materials": {
            "registry.example/app": asked.value["subject"][0]["digest"],
            ACTION_MATERIAL: {"sha256": sha256_hex(encode_canonical(action))},
        },
        "products": {},
        "byproducts": {},
        "environment": {},
        "command": [],
    }


def test_an_action_without_artifacts_is_its_own_only_material() -> None:
    asked = parse_statement(World().request_run(argv=["/bin/true"]).payload)
    assert json.loads(link_payload(asked))["materials"] == {ACTION_MATERIAL: {"sha256": action_digest(asked)}}


def test_the_action_is_target_type_and_parameters() -> None:
    world = World()
    digests = {
        action_digest(statement(world)),
        action_digest(statement(world, target="k8s://prod-us/ns/shop/deploy/app")),
        action_digest(statement(world, parameters={"strategy": "rolling", "replicas": "7"})),
    }
    assert len(digests) == 3
    # Two requests for the same action are two approvals of it: window and nonce are no part of it.
    assert action_digest(statement(world)) == action_digest(statement(world))


def test_a_denial_makes_no_link() -> None:
    world = World()
    review = deny(prepare(world.request_deploy(), trust=world.trust(), now=NOW + 60))
    with pytest.raises(PlacetError) as caught:
        link_payload(review.statement)
    assert caught.value.reason is Reason.DECISION_IS_DENY


def test_no_artifact_can_take_the_place_of_the_action() -> None:
    asked = statement(World())
    forged = asked._replace(subjects=(asked.subjects[0]._replace(name=ACTION_MATERIAL),))
    with pytest.raises(MalformedError) as caught:
        link_payload(forged)
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


def test_links_have_the_names_that_in_toto_looks_for() -> None:
    assert link_file_name("af6cd0619de0") == "approve.af6cd061.link"
    assert link_file_name("af6cd0619de0", "gate") == "gate.af6cd061.link"


def test_a_link_is_verified_for_its_person() -> None:
    world = World()
    asked = statement(world)
    link = signed(world, link_payload(asked), BOB)
    assert verify_link(link, asked, trust=world.trust(), at=NOW).id == BOB


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("other statement", Reason.SUBJECT_MISMATCH),
        ("altered", Reason.SUBJECT_MISMATCH),
        ("approval for link", Reason.NAMESPACE_MISMATCH),
        ("stranger", Reason.UNKNOWN_KEY),
        ("other key", Reason.KEY_MISMATCH),
        ("expired key", Reason.CREDENTIAL_NOT_VALID),
        ("no touch", Reason.USER_PRESENCE_MISSING),
        ("two signatures", Reason.BAD_VALUE),
        ("no signature", Reason.BAD_VALUE),
    ],
)
def test_any_other_link_is_refused(attack: str, reason: Reason) -> None:
    world = World()
    asked = statement(world)
    payload = link_payload(asked)
    link, at = signed(world, payload), NOW
    trust = world.trust()
    match attack:
        case "other statement":
            link = signed(world, link_payload(statement(world, image=b"other")))
        case "altered":
            link = link._replace(payload=payload.replace(b'"command":[]', b'"command":["x"]'))
        case "approval for link":
            link = signed(world, payload, namespace=NAMESPACE_INTENT)
        case "stranger":
            link = signed(World(seed=b"other"), payload)
        case "other key":
            link = link._replace(signatures=(link.signatures[0]._replace(keyid=world.keys[BOB].keyid),))
        case "expired key":
            at = NOW + 400 * 86_400
        case "no touch":
            key = world.keys[ALICE]
            link = signed_link(payload, key.keyid, key.sign(NAMESPACE_LINK, link_message(payload), flags=4))
        case "two signatures":
            link = link._replace(signatures=link.signatures + signed(world, payload, BOB).signatures)
        case "no signature":
            link = link._replace(signatures=())
    with pytest.raises(PlacetError) as caught:
        verify_link(link, asked, trust=trust, at=at)
    assert caught.value.reason is reason
