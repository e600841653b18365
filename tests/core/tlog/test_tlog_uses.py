"""Who can have made a record of a use: the gate that it names, by its use key, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from placet.core.bundle import parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature
from placet.core.encoding import Digest, KeyId, b64decode_strict, b64encode, encode_canonical, sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.tlog.leaf import decision_leaf, leaf_hash
from placet.core.tlog.records import Use, encode_use_record, leaf_of_record, use_message
from placet.core.tlog.uses import approval_leaves, make_use_record, verify_use_record
from placet.core.trust import Trust
from placet.core.verdict.keys import GatePublicKey, parse_gate_key
from placet.testing.world import ALICE, BOB, CAROL, World

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
USE = Use(
    Digest("a" * 64),
    (Digest("b" * 64), Digest("c" * 64)),
    "prod-eu",
    bytes(range(16)),
    "action",
    1_800_000_000,
)


class Key:
    """A gate's key that follows from a number."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(number, ec.SECP256R1())

    @property
    def public(self) -> GatePublicKey:
        return parse_gate_key(
            self._key.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


EU, US, VERDICTS, STRANGER = (Key(number) for number in (2, 3, 4, 5))


@pytest.fixture(scope="module")
def trust() -> Trust:
    world = World(seed=b"uses")
    gates = [
        {"id": "prod-eu", "ledger": "l", "useKeys": [_b64(EU)], "verdictKeys": [_b64(VERDICTS)]},
        {"id": "prod-us", "ledger": "l", "useKeys": [_b64(US)]},
    ]
    world.more_files["gates.json"] = encode_canonical({"gates": gates})
    return world.trust()


def _b64(key: Key) -> str:
    return b64encode(key.public.der)


def record_by(key: Key, use: Use = USE) -> bytes:
    return make_use_record(use, key.public, key.sign)


def refusal(call: Callable[[], object]) -> Reason:
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value.reason


def test_the_gates_own_record_is_believed(trust: Trust) -> None:
    assert verify_use_record(record_by(EU), trust) == USE


@pytest.mark.parametrize("forger", [US, VERDICTS, STRANGER])
def test_a14_a_use_in_another_gates_name_is_refused(trust: Trust, forger: Key) -> None:
    """Also by a key of the very gate that is for verdicts: whoever makes those may be another machine."""
    assert refusal(lambda: verify_use_record(record_by(forger), trust)) is Reason.UNKNOWN_KEY


def test_a14_a_forger_who_names_the_gates_key_did_not_sign_with_it(trust: Trust) -> None:
    forged = make_use_record(USE, EU.public, US.sign)
    assert refusal(lambda: verify_use_record(forged, trust)) is Reason.SIGNATURE_INVALID


def test_a_gate_that_is_not_in_the_trust_root_has_no_uses(trust: Trust) -> None:
    record = record_by(EU, USE._replace(gate="prod-asia"))
    assert refusal(lambda: verify_use_record(record, trust)) is Reason.UNKNOWN_GATE


@pytest.mark.parametrize(
    "change",
    [
        {"payload_digest": Digest("d" * 64)},
        {"approvals": ()},
        {"approvals": (Digest("b" * 64),)},
        {"id": bytes(16)},
        {"unit": "sha256:" + "0" * 64},
        {"used_at": 1_800_000_001},
    ],
)
def test_a14_what_a_gate_said_of_one_use_cannot_be_made_to_say_another(
    trust: Trust, change: dict[str, Any]
) -> None:
    said = json.loads(record_by(EU))
    payload, _ = use_message(USE._replace(**change))
    signature = b64decode_strict(said["envelope"]["signatures"][0]["sig"])
    envelope = Envelope(payload, PAYLOAD_TYPE, (Signature(KeyId(EU.public.digest), signature),))
    assert refusal(lambda: verify_use_record(encode_use_record(envelope), trust)) is Reason.SIGNATURE_INVALID


def test_the_second_signature_that_anybody_can_compute_is_no_second_leaf(trust: Trust) -> None:
    payload, message = use_message(USE)
    r, s = decode_dss_signature(EU.sign(message))
    found = []
    for half in (min(s, ORDER - s), max(s, ORDER - s)):
        signature = Signature(KeyId(EU.public.digest), encode_dss_signature(r, half))
        found.append(encode_use_record(Envelope(payload, PAYLOAD_TYPE, (signature,))))
    assert verify_use_record(found[0], trust) == USE
    assert refusal(lambda: verify_use_record(found[1], trust)) is Reason.SIGNATURE_INVALID


def test_gates_write_the_one_spelling_that_is_taken(trust: Trust) -> None:
    for _ in range(8):  # half of all signatures are in the upper half
        verify_use_record(record_by(EU), trust)


def test_two_uses_never_share_a_leaf_and_one_record_has_one() -> None:
    record = record_by(EU)
    other = record_by(EU, USE._replace(id=bytes(16)))
    assert leaf_of_record(record) == leaf_of_record(bytes(record))
    assert leaf_of_record(record) != leaf_of_record(other)


def test_a_use_names_the_decisions_that_counted_and_that_a_log_can_hold() -> None:
    world = World(seed=b"uses")
    bundle = parse_bundle(world.bundle(world.request_deploy(), ALICE, BOB, CAROL))
    payload = sha256_hex(bundle.envelope.payload)
    leaves = {
        signature.keyid: leaf_hash(decision_leaf("approved", payload, signature, report)).hex()
        for signature, report in zip(bundle.envelope.signatures, bundle.reports, strict=True)
    }
    alice, bob = world.keys[ALICE].keyid, world.keys[BOB].keyid
    assert approval_leaves(bundle, {alice, bob}) == tuple(sorted([leaves[alice], leaves[bob]]))
    without = bundle._replace(reports=bundle.reports[1:])  # nobody reports what Alice did
    assert approval_leaves(without, {alice, bob}) == (leaves[bob],)
    assert approval_leaves(bundle, set()) == ()
