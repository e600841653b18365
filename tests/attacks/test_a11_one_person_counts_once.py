"""A11: one person meets a quorum of two; the requester approves; a bot approves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attack_world import AT, forced_answer, forced_bundle, judge, reason_of, refusal

from placet.ceremony.request import attach_proof, requester_message
from placet.core.bundle import IntentRequest
from placet.core.encoding import b64encode, encode_canonical
from placet.core.errors import MalformedError, Reason
from placet.core.people import parse_deployment, parse_people
from placet.core.sshsig import NAMESPACE_REQUEST, encode_sk_ecdsa_key, key_id
from placet.core.trust import compile_trust, parse_trust
from placet.core.verify import verify_for_use
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.world import ALICE, BOB, CAROL, DEFAULT_POLICY, GATE, World, expected_of

EXCLUDING = DEFAULT_POLICY.replace("exclude_requester = false", "exclude_requester = true")
DEPLOYMENT = parse_deployment({"name": "demo", "rpId": "demo.placet.localhost"})


def asked_by(world: World, person: str) -> IntentRequest:
    """Returns a request that a person's key proves to be theirs."""
    bare = world.request_deploy()
    key = world.keys[person]
    blob = key.sign(NAMESPACE_REQUEST, requester_message(bare))
    return attach_proof(bare, keyid=key.keyid, sshsig=blob)


def test_a11_one_person_with_two_keys_is_one_person() -> None:
    world = World()
    second = "alice's second key"
    world.keys[second] = SoftWebAuthn(rp_id=world.rp_id, seed=b"second")
    request = World().request_deploy()
    files = World().files()
    staff = json.loads(files["people.json"])
    extra = dict(staff["people"][0]["credentials"][0])
    key = world.keys[second]
    extra |= {"publicKey": b64encode(key.wire), "keyid": key.keyid}
    staff["people"][0]["credentials"].append(extra)
    trust = parse_trust(
        compile_trust(
            files=files | {"people.json": encode_canonical(staff)},
            versions=world.versions,
            expires_at=world.expires_at,
        )
    )
    bundle = forced_bundle(
        world,
        request,
        forced_answer(world, request, ALICE),
        forced_answer(world, request, second, terminal="t2"),
    )
    error = refusal(
        lambda: verify_for_use(bundle, trust=trust, gate=GATE, expected=expected_of(request), now=AT)
    )
    assert error.reason is Reason.QUORUM_NOT_MET
    assert f"Approved: {ALICE}" in str(error)
    assert error.causes == ()


def test_a11_one_key_cannot_be_two_people() -> None:
    staff: Any = json.loads(World().files()["people.json"])
    staff["people"][1]["credentials"] = staff["people"][0]["credentials"]
    with pytest.raises(MalformedError) as caught:
        parse_people(staff, DEPLOYMENT)
    assert caught.value.reason is Reason.DUPLICATE_VALUE


def test_a11_one_key_cannot_be_two_people_under_two_applications() -> None:
    staff: Any = json.loads(World().files()["people.json"])
    key = World().keys[ALICE]
    assert isinstance(key, SoftWebAuthn)
    wire = encode_sk_ecdsa_key(key.point, "ssh:placet:demo")
    staff["people"][1]["credentials"][0] |= {
        "publicKey": b64encode(wire),
        "keyid": key_id(wire),
        "kind": "sk",
    }
    with pytest.raises(MalformedError) as caught:
        parse_people(staff, DEPLOYMENT)
    assert caught.value.reason is Reason.DUPLICATE_VALUE


def test_a11_the_verified_requester_never_counts() -> None:
    world = World(policy=EXCLUDING)
    request = asked_by(world, CAROL)
    expected = expected_of(request)
    assert judge(world, world.bundle(request, ALICE, BOB), expected).requester == CAROL
    for voices in ((ALICE, CAROL), (BOB, CAROL)):
        assert reason_of(world, world.bundle(request, *voices), expected) is Reason.QUORUM_NOT_MET


def test_a11_an_unverified_requester_costs_one_person_more() -> None:
    world = World(policy=EXCLUDING)
    request = world.request_deploy()
    expected = expected_of(request)
    assert reason_of(world, world.bundle(request, ALICE, BOB), expected) is Reason.QUORUM_NOT_MET
    assert judge(world, world.bundle(request, ALICE, BOB, CAROL), expected).requester is None


def test_a11_dropping_the_proof_on_the_way_does_not_help() -> None:
    world = World(policy=EXCLUDING)
    request = asked_by(world, ALICE)
    bundle = world.bundle(request, ALICE, BOB)
    stripped = forced_bundle(
        world,
        IntentRequest(request.payload, ()),
        *(forced_answer(world, request, p, terminal=t) for p, t in ((ALICE, "t1"), (BOB, "t2"))),
    )
    assert reason_of(world, bundle, expected_of(request)) is Reason.QUORUM_NOT_MET
    assert reason_of(world, stripped, expected_of(request)) is Reason.REQUEST_PROOF_INVALID


def test_a11_two_people_at_one_terminal_are_one_where_the_rule_says_so() -> None:
    world = World(policy=DEFAULT_POLICY + "distinct_terminals = true\n")
    request = world.request_release({"a": b"a"})
    expected = expected_of(request)
    apart = world.bundle(request, ALICE, BOB, terminals=("t1", "t2"))
    together = world.bundle(request, ALICE, BOB, terminals=("t1",))
    assert judge(world, apart, expected).people == (ALICE, BOB)
    assert reason_of(world, together, expected) is Reason.TERMINALS_NOT_DISTINCT


def test_a11_somebody_outside_the_group_does_not_count() -> None:
    world = World()
    world.groups[BOB] = ["sales"]
    request = world.request_deploy()
    assert reason_of(world, world.bundle(request, ALICE, BOB), expected_of(request)) is Reason.QUORUM_NOT_MET
