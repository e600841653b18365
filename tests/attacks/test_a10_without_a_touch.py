"""A10: preflight assertions, no verification, software keys, synced passkeys."""

from __future__ import annotations

import json

import pytest
from attack_world import causes_of, forced_answer, forced_bundle, judge, refusal

from placet.core.encoding import b64encode
from placet.core.errors import MalformedError, Reason
from placet.core.people import parse_deployment, parse_people
from placet.testing.authenticator import BE, BS, UP, UV, SoftSk, SoftTerminalKey
from placet.testing.world import ALICE, BOB, CAROL, DEFAULT_POLICY, World, expected_of

KEYS = ["webauthn", "ecdsa", "ed25519"]


def one_world(kind: str) -> World:
    world = World()
    if kind != "webauthn":
        world.keys[ALICE] = SoftSk("ecdsa" if kind == "ecdsa" else "ed25519", seed=b"alice")
    return world


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (UV, Reason.USER_PRESENCE_MISSING),
        (0, Reason.USER_PRESENCE_MISSING),
        (UP, Reason.USER_VERIFICATION_MISSING),
        (UP | UV | BE | BS, Reason.BACKUP_NOT_ALLOWED),
        (UP | UV | BE, Reason.BACKUP_NOT_ALLOWED),
        (UP | UV | 0x40, Reason.FLAGS_INVALID),
        (UP | UV | 0x02, Reason.FLAGS_INVALID),
        (UP | UV | 0x20, Reason.FLAGS_INVALID),
        (UP | UV | 0x80, Reason.FLAGS_INVALID),
    ],
)
def test_a10_a_signature_without_the_right_flags_does_not_count(
    kind: str, flags: int, reason: Reason
) -> None:
    world = one_world(kind)
    request = world.request_deploy()
    bundle = forced_bundle(
        world,
        request,
        forced_answer(world, request, ALICE, flags=flags),
        forced_answer(world, request, BOB, terminal="t2"),
    )
    assert causes_of(world, bundle, expected_of(request)) == [reason]


def test_a10_a_plain_software_key_cannot_be_enrolled() -> None:
    world, plain = World(), SoftTerminalKey(seed=b"plain")
    people = json.loads(world.files()["people.json"])
    for kind in ("webauthn", "sk"):
        people["people"][0]["credentials"][0] |= {
            "publicKey": b64encode(plain.wire),
            "keyid": plain.keyid,
            "kind": kind,
        }
        with pytest.raises(MalformedError) as caught:
            parse_people(people, parse_deployment({"name": "demo", "rpId": "demo.placet.localhost"}))
        assert caught.value.reason is Reason.BAD_KEY


def test_a10_software_posing_as_hardware_never_exceeds_level_one() -> None:
    world = World(policy=DEFAULT_POLICY.replace("level = 1", "level = 2"))
    world.assurance = {ALICE: "attested", BOB: "vouched", CAROL: "software"}
    request = world.request_deploy()
    hardware = world.bundle(request, ALICE, BOB)
    assert judge(world, hardware, expected_of(request)).level == 2
    posing = world.bundle(request, ALICE, CAROL)
    error = refusal(lambda: judge(world, posing, expected_of(request)))
    assert error.reason is Reason.LEVEL_TOO_LOW
    assert "software key" in str(error)


def test_a10_more_than_one_use_is_no_level_two() -> None:
    world = World(policy=DEFAULT_POLICY.replace("level = 1", "level = 2"))
    world.assurance = dict.fromkeys((ALICE, BOB), "attested")
    request = world.request_deploy(max_uses=2)
    error = refusal(lambda: judge(world, world.bundle(request, ALICE, BOB), expected_of(request)))
    assert error.reason is Reason.LEVEL_TOO_LOW
    assert "2 uses" in str(error)


def test_a10_an_ssh_signature_does_not_count_for_a_pages_key() -> None:
    world = World()
    request = world.request_deploy()
    page_key = world.keys[ALICE]
    posing = SoftSk("ecdsa", application=world.rp_id, seed=b"posing")
    answer = forced_answer(world, request, ALICE)
    (signature,) = answer.envelope.signatures
    assert signature.keyid == page_key.keyid
    world.keys[ALICE] = posing
    forged = forced_answer(world, request, ALICE)
    world.keys[ALICE] = page_key
    (made,) = forged.envelope.signatures
    envelope = forged.envelope._replace(signatures=(made._replace(keyid=page_key.keyid),))
    bundle = forced_bundle(
        world, request, forged._replace(envelope=envelope), forced_answer(world, request, BOB, terminal="t2")
    )
    # The report still names the posing key, so nothing is even counted.
    assert refusal(lambda: judge(world, bundle, expected_of(request))).reason is Reason.REPORT_ORPHAN
