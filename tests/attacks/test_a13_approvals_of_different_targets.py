"""A13: an in-toto threshold met by approvals of different targets.

Every verdict of in-toto here is that of `in_toto_verify` itself, with our key type registered and nothing
else changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_toto.exceptions import RuleVerificationError, ThresholdVerificationError  # type: ignore[import-untyped]
from in_toto.models.layout import Step  # type: ignore[import-untyped]

from placet.adapters.intoto.new_layout import ApproveStep, functionary_of, new_layout
from placet.ceremony.link import link_file_name, link_message, link_payload, signed_link
from placet.core.bundle import IntentRequest
from placet.core.dsse import encode_envelope
from placet.core.encoding import encode_canonical
from placet.core.errors import PolicyError, Reason
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.statement import parse_statement
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.intoto import (
    Chain,
    approve_link,
    approve_step,
    functionaries,
    sign_link,
    stock_verify,
)
from placet.testing.world import ALICE, BOB, CAROL, World

STAGING = "k8s://staging/ns/shop/deploy/app"


class Shop:
    """A layout that wants two of three people to approve; `bound` where the action must be a material."""

    def __init__(self, folder: Path, *, bound: bool = True, world: World | None = None) -> None:
        self.folder, self.world, self.chain = folder, world or World(), Chain()
        step = approve_step(self.world, list(self.world.keys), threshold=2)
        if not bound:
            step = Step(
                name="approve", pubkeys=step.pubkeys, threshold=2, expected_materials=[["ALLOW", "*"]]
            )
        layout = self.chain.layout(step, keys=functionaries(self.world))
        self.layout = self.chain.signed(layout, self.chain.owner)

    def verify(self, *links: tuple[str, bytes]) -> Any:
        """Runs `in_toto_verify` on these links."""
        return stock_verify(self.folder, self.layout, self.chain.owner, dict(links))

    def approve(self, request: IntentRequest, person: str, *, bound: bool = True) -> tuple[str, bytes]:
        """Returns a person's link; where not `bound`, the action stands where in-toto compares nothing."""
        if bound:
            return approve_link(self.world, request, person)
        statement = parse_statement(request.payload)
        link = json.loads(link_payload(statement))
        del link["materials"]["intent://action"]
        link["environment"] = {"action": statement.value["predicate"]["action"]}
        return sign_link(self.world, encode_canonical(link), person)


def test_a13_without_the_action_as_material_two_targets_meet_one_threshold(tmp_path: Path) -> None:
    """What in-toto itself says; the reason for `intent://action`."""
    shop = Shop(tmp_path, bound=False)
    production, staging = shop.world.request_deploy(), shop.world.request_deploy(target=STAGING)
    shop.verify(
        shop.approve(production, ALICE, bound=False), shop.approve(staging, BOB, bound=False)
    )  # accepted


def test_a13_with_the_action_as_material_two_targets_meet_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    production, staging = shop.world.request_deploy(), shop.world.request_deploy(target=STAGING)
    with pytest.raises(ThresholdVerificationError, match="have different artifacts"):
        shop.verify(shop.approve(production, ALICE), shop.approve(staging, BOB))
    shop.verify(shop.approve(production, ALICE), shop.approve(production, BOB))


def test_a13_other_parameters_are_another_action(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    six = shop.world.request_deploy()
    sixty = shop.world.request_deploy(parameters={"strategy": "rolling", "replicas": "60"})
    with pytest.raises(ThresholdVerificationError, match="have different artifacts"):
        shop.verify(shop.approve(six, ALICE), shop.approve(sixty, BOB))


def test_a13_links_that_leave_the_action_out_are_refused(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    request = shop.world.request_deploy()
    with pytest.raises(RuleVerificationError, match="REQUIRE intent://action"):
        shop.verify(*(shop.approve(request, person, bound=False) for person in (ALICE, BOB)))


@pytest.mark.parametrize("people", [(ALICE, BOB), (ALICE, BOB, CAROL), (BOB, CAROL)])
def test_a13_two_of_three_people_meet_the_threshold(tmp_path: Path, people: tuple[str, ...]) -> None:
    shop = Shop(tmp_path)
    request = shop.world.request_deploy()
    shop.verify(*(shop.approve(request, person) for person in people))


def test_a13_keys_without_a_browser_meet_it_too(tmp_path: Path) -> None:
    world = World()
    world.keys[ALICE] = SoftSk(sk_type="ecdsa", application=f"ssh:placet:{world.deployment}")
    world.keys[BOB] = SoftSk(sk_type="ed25519", application=f"ssh:placet:{world.deployment}")
    shop = Shop(tmp_path, world=world)
    request = shop.world.request_deploy()
    shop.verify(*(shop.approve(request, person) for person in (ALICE, BOB)))


def _alone(shop: Shop, request: IntentRequest) -> list[tuple[str, bytes]]:
    return [shop.approve(request, ALICE)]


def _copied(shop: Shop, request: IntentRequest) -> list[tuple[str, bytes]]:
    """Alice's link under the name of Bob's."""
    (_, data), (name, _) = shop.approve(request, ALICE), shop.approve(request, BOB)
    return [shop.approve(request, ALICE), (name, data)]


def _altered(shop: Shop, request: IntentRequest) -> list[tuple[str, bytes]]:
    """Bob's signature over other bytes than he signed."""
    other = shop.approve(shop.world.request_deploy(target=STAGING), BOB)
    name, data = shop.approve(request, BOB)
    value = json.loads(data) | {"signatures": json.loads(other[1])["signatures"]}
    return [shop.approve(request, ALICE), (name, json.dumps(value).encode())]


def _approval_as_link(shop: Shop, request: IntentRequest) -> list[tuple[str, bytes]]:
    """What Bob signed to approve natively, as the signature of a link."""
    payload = link_payload(parse_statement(request.payload))
    key = shop.world.keys[BOB]
    link = signed_link(payload, key.keyid, key.sign(NAMESPACE_INTENT, link_message(payload)))
    return [shop.approve(request, ALICE), (link_file_name(key.keyid), encode_envelope(link))]


def _stranger(shop: Shop, request: IntentRequest) -> list[tuple[str, bytes]]:
    thief = World(seed=b"thief")
    return [shop.approve(request, ALICE), approve_link(thief, request, BOB)]


def _knob(**knobs: Any) -> Any:
    def make(shop: Shop, request: IntentRequest) -> list[tuple[str, bytes]]:
        return [shop.approve(request, ALICE), approve_link(shop.world, request, BOB, **knobs)]

    return make


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(_alone, id="one person alone"),
        pytest.param(_copied, id="one person's link twice"),
        pytest.param(_altered, id="altered payload"),
        pytest.param(_approval_as_link, id="a signature made for another purpose"),
        pytest.param(_stranger, id="a key that the layout does not list"),
        pytest.param(_knob(flags=0x04), id="no touch"),
        pytest.param(_knob(flags=0x01), id="no PIN"),
        pytest.param(_knob(flags=0x1D), id="a synced passkey"),
        pytest.param(_knob(web_origin="https://evil.example"), id="a page that is no terminal"),
    ],
)
def test_a13_in_toto_refuses(tmp_path: Path, attack: Any) -> None:
    shop = Shop(tmp_path)
    with pytest.raises(Exception, match=r"requires '2' link metadata|Only found '1'"):
        shop.verify(*attack(shop, shop.world.request_deploy()))


def test_a13_another_digest_is_not_what_was_approved(tmp_path: Path) -> None:
    """Two people approved the image that was built; somebody else's link says it was another."""
    shop = Shop(tmp_path)
    good, evil = shop.world.request_deploy(), shop.world.request_deploy(b"evil image")
    with pytest.raises(ThresholdVerificationError, match="have different artifacts"):
        shop.verify(shop.approve(good, ALICE), shop.approve(evil, BOB))


def test_a13_one_person_with_two_keys_gets_no_layout() -> None:
    """in-toto would count both, so no layout of ours lists both."""
    world = World()
    second = f"{ALICE} (second key)"
    world.keys[second] = SoftWebAuthn(rp_id=world.rp_id, seed=b"second")
    people = json.loads(world.files()["people.json"])
    people["people"][0]["credentials"] += people["people"].pop()["credentials"]
    world.more_files["people.json"] = encode_canonical(people)
    trust = world.trust()
    keys = tuple(
        functionary_of(*trust.credentials[world.keys[name].keyid], sorted(trust.origins))
        for name in (ALICE, second)
    )
    with pytest.raises(PolicyError) as caught:
        new_layout(ApproveStep("approve", keys, 2, ("app",)), expires="2099-01-01T00:00:00Z")
    assert caught.value.reason is Reason.EVIDENCE_LAYOUT
    assert f"two keys belong to {ALICE}" in caught.value.message
