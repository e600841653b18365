"""Any one-bit change of a bundle with exactly the quorum is refused, with a named reason (INV-1)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from placet.ceremony.request import attach_proof, requester_message
from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.errors import PlacetError, Reason
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.core.verify import verify_for_use
from placet.testing.authenticator import SoftSk
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, GATE, NOW, World, expected_of

LEVEL_TWO = """
[[rule]]
action = "https://placet.dev/actions/run/v1"
target = "host://**"
level = 2
quorum = { threshold = 2, of = ["group:release"] }
distinct_terminals = true
"""


def one_world(kind: str) -> World:
    world = World(seed=b"one bit", policy=LEVEL_TWO)
    world.assurance = dict.fromkeys((ALICE, BOB, CAROL), "vouched")
    if kind == "logged":
        world.policy = LEVEL_TWO.replace("level = 2", "level = 4")
        world.assurance = dict.fromkeys((ALICE, BOB, CAROL), "attested")
        world.more_files["log-policy"] = SmallLog(seed=b"one bit").policy()
    if kind == "sk":
        world.keys[ALICE] = SoftSk("ed25519", seed=b"alice")
        world.keys[BOB] = SoftSk("ecdsa", seed=b"bob")
    return world


@pytest.mark.parametrize("kind", ["webauthn", "sk", "logged"])
def test_one_changed_bit_in_each_byte_is_refused(kind: str) -> None:
    world = one_world(kind)
    bare = world.request_run(argv=["/usr/bin/true"], executable=b"x", reason="why")
    carol = world.keys[CAROL]
    signature = carol.sign(NAMESPACE_REQUEST, requester_message(bare))
    request = attach_proof(bare, keyid=carol.keyid, sshsig=signature)
    bundle = world.bundle(request, ALICE, BOB)
    if kind == "logged":
        # Exactly the quorum of witnesses: whatever is changed in a proof, it proves too little.
        log = SmallLog(seed=b"one bit")
        bundle = encode_bundle(log.prove(parse_bundle(bundle), at=NOW + 100, witnesses=("w1", "w3")))
    trust, expected = world.trust(), expected_of(request)

    approval = verify_for_use(bundle, trust=trust, gate=GATE, expected=expected, now=NOW + 120)
    assert (approval.level, approval.requester) == (4 if kind == "logged" else 2, CAROL)

    random = Random("one bit")
    reasons: Counter[Reason] = Counter()
    for at in range(len(bundle)):
        changed = bytearray(bundle)
        changed[at] ^= 1 << random.randrange(8)
        with pytest.raises(PlacetError) as caught:
            verify_for_use(bytes(changed), trust=trust, gate=GATE, expected=expected, now=NOW + 120)
        reasons[caught.value.reason] += 1
    assert sum(reasons.values()) == len(bundle)
    assert len(reasons) > 10, reasons
