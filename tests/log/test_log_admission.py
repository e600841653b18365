"""What a log takes of gates: uses by their keys, and without trust none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from log_inside import Inside, decision, post, reason, with_log

from placet.core.bundle import encode_answer, parse_answer
from placet.core.encoding import Digest, b64encode, encode_canonical, sha256_hex
from placet.core.sshsig import encode_sshsig, parse_sshsig
from placet.core.sshwire import ssh_mpint
from placet.core.tlog.leaf import leaf_hash
from placet.core.tlog.records import Use, encode_trust_record, leaf_of_record
from placet.core.tlog.uses import make_use_record
from placet.core.verdict.keys import parse_gate_key
from placet.testing.world import GATE, NOW, World

A_ROOT = encode_canonical({"signatures": [{"keyid": "0" * 64, "sig": ""}], "signed": {}})
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEY = ec.derive_private_key(4711, ec.SECP256R1())
PUBLIC = parse_gate_key(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def use_record(approvals: tuple[Digest, ...], gate: str = GATE, key: Any = KEY) -> bytes:
    use = Use(sha256_hex(b"payload"), approvals, gate, bytes(16), "action", NOW + 70)
    public = parse_gate_key(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return make_use_record(use, public, lambda message: bytes(key.sign(message, ec.ECDSA(hashes.SHA256()))))


class GateWorld(World):
    """A world whose gate has a use key."""

    def files(self) -> dict[str, bytes]:
        files = super().files()
        gates = json.loads(files["gates.json"])
        gates["gates"][0]["useKeys"] = [b64encode(PUBLIC.der)]
        return files | {"gates.json": encode_canonical(gates)}


def test_a_use_is_taken_by_its_gates_key_alone() -> None:
    approval = Digest(leaf_hash(leaf_of_record(decision(World()))).hex())
    other = ec.derive_private_key(4712, ec.SECP256R1())

    async def scenario(log: Inside) -> None:
        # Its approval is not in this log: that is what monitors must hear of, so it is taken.
        assert (await post(log.http, use_record((approval,)))).status_code == 201
        for record in (use_record((approval,), key=other), use_record((approval,), gate="prod-us")):
            assert reason(await post(log.http, record)) == (403, "not-admitted")
        assert reason(await post(log.http, use_record((approval,), gate="nobodys"))) == (403, "not-admitted")

    with_log(scenario, trust=GateWorld().trust())


def test_a14_without_a_snapshot_nobody_can_say_who_the_gates_and_administrators_are() -> None:
    approval = decision(World())
    leaf = Digest(leaf_hash(leaf_of_record(approval)).hex())

    async def scenario(log: Inside) -> None:
        assert (await post(log.http, approval)).status_code == 201
        for record in (use_record((leaf,)), encode_trust_record(A_ROOT)):
            refused = await post(log.http, record)
            assert reason(refused) == (403, "not-admitted")
            assert "follows no trust root" in refused.text

    with_log(scenario)


def altered(record: bytes) -> bytes:
    """Returns a decision with the other of the two ECDSA signatures that anybody can compute from one."""
    answer = parse_answer(record)
    (signature,) = answer.envelope.signatures
    sshsig = parse_sshsig(signature.sig)
    assert sshsig.numbers is not None
    r, s = sshsig.numbers
    other = encode_sshsig(sshsig._replace(signature=ssh_mpint(r) + ssh_mpint(P256_ORDER - s)))
    envelope = answer.envelope._replace(signatures=(signature._replace(sig=other),))
    return encode_answer(answer._replace(envelope=envelope))


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a14_a_decision_makes_one_leaf_though_its_signature_has_two_forms(with_snapshot: bool) -> None:
    world = World()
    record = decision(world)

    async def scenario(log: Inside) -> None:
        assert reason(await post(log.http, altered(record))) == (403, "not-admitted")
        assert (await post(log.http, record)).status_code == 201

    with_log(scenario, trust=world.trust() if with_snapshot else None)
