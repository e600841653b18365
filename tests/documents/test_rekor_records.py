"""A hardware key's signature as Rekor v2 logs it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785

from placet.core.bundle import IntentBundle, parse_bundle
from placet.core.dsse import Signature
from placet.core.errors import PlacetError, Reason
from placet.core.sshsig import NAMESPACE_LINK
from placet.documents.rekor import (
    encode_leaf,
    encode_request,
    encode_sigstore_bundle,
    loggable_signatures,
)
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, CAROL, World


@pytest.fixture(scope="module")
def world() -> World:
    world = World(seed=b"rekor")
    world.keys[BOB] = SoftSk("ecdsa", seed=b"bob")
    world.keys[CAROL] = SoftSk("ed25519", seed=b"carol")
    return world


@pytest.fixture(scope="module")
def bundle(world: World) -> IntentBundle:
    return parse_bundle(world.bundle(world.request_deploy(), ALICE, BOB, CAROL))


def with_signature(bundle: IntentBundle, index: int, sig: bytes) -> IntentBundle:
    signatures = list(bundle.envelope.signatures)
    signatures[index] = Signature(signatures[index].keyid, sig)
    return bundle._replace(envelope=bundle.envelope._replace(signatures=tuple(signatures)))


def test_webauthn_and_openssh_keys_of_p256_can_be_logged_and_ed25519_cannot(
    world: World, bundle: IntentBundle
) -> None:
    able, unable = loggable_signatures(bundle)
    assert [signature.keyid for signature in able] == [world.keys[ALICE].keyid, world.keys[BOB].keyid]
    assert [(found.keyid, found.error.reason) for found in unable] == [
        (world.keys[CAROL].keyid, Reason.LOG_REFUSED)
    ]
    assert "Ed25519" in unable[0].error.message
    assert "ssh-keygen -t ecdsa-sk" in unable[0].error.hint


def test_openssl_accepts_what_is_logged(
    bundle: IntentBundle, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """So it is an ordinary signature over ordinary bytes, which is all that Rekor knows of it."""
    openssl = require_tool("openssl")
    for signature in loggable_signatures(bundle)[0]:
        for name, content in (
            ("signed", signature.signed),
            ("sig", signature.signature),
            ("pem", signature.public_key_pem),
        ):
            (tmp_path / name).write_bytes(content)
        command = [openssl, "dgst", "-sha256", "-verify", "pem", "-signature", "sig", "signed"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout == "Verified OK\n"


def test_the_leaf_is_canonical_json_with_the_digest_the_signature_and_the_key(bundle: IntentBundle) -> None:
    for signature in loggable_signatures(bundle)[0]:
        leaf = encode_leaf(signature)
        assert rfc8785.dumps(json.loads(leaf)) == leaf
        record = json.loads(leaf)["spec"]["hashedRekordV002"]
        assert base64.b64decode(record["data"]["digest"]) == hashlib.sha256(signature.signed).digest()
        request = json.loads(encode_request(signature))["hashedRekordRequestV002"]
        assert request["signature"] == record["signature"]
        assert request["digest"] == record["data"]["digest"]


def test_nothing_of_the_approval_is_logged(world: World, bundle: IntentBundle) -> None:
    public = b"".join(
        encode_leaf(signature) + encode_sigstore_bundle(signature, {})
        for signature in loggable_signatures(bundle)[0]
    )
    assert not [word for word in (b"alice", b"registry.example", b"prod", b"deploy") if word in public]
    # Not even its digest, by which somebody who has it could find it.
    assert bundle.envelope.payload not in public
    assert hashlib.sha256(bundle.envelope.payload).hexdigest().encode() not in public
    assert base64.b64encode(hashlib.sha256(bundle.envelope.payload).digest()) not in public


def test_a_signature_over_another_approval_is_not_logged(world: World, bundle: IntentBundle) -> None:
    other = parse_bundle(world.bundle(world.request_deploy(b"another image"), ALICE, BOB))
    for index, reason in ((0, Reason.CHALLENGE_MISMATCH), (1, Reason.SIGNATURE_INVALID)):
        moved = with_signature(bundle, index, other.envelope.signatures[index].sig)
        with pytest.raises(PlacetError) as refused:
            loggable_signatures(moved)
        assert refused.value.reason is reason


def test_a_signature_for_another_purpose_is_not_logged(world: World, bundle: IntentBundle) -> None:
    key = world.keys[BOB]
    assert isinstance(key, SoftSk)
    with pytest.raises(PlacetError) as refused:
        loggable_signatures(with_signature(bundle, 1, key.sign(NAMESPACE_LINK, b"a link")))
    assert refused.value.reason is Reason.NAMESPACE_MISMATCH


def test_a_signature_by_another_key_is_not_logged(bundle: IntentBundle) -> None:
    sig = bundle.envelope.signatures[1].sig
    own, other = SoftSk("ecdsa", seed=b"bob").wire, SoftSk("ecdsa", seed=b"mallory").wire
    with pytest.raises(PlacetError) as refused:
        loggable_signatures(with_signature(bundle, 1, sig.replace(own, other)))
    assert refused.value.reason is Reason.SIGNATURE_INVALID
    point_at = own.index(b"nistp256") + 12
    bad = own[: point_at + 1] + bytes(64) + own[point_at + 65 :]
    with pytest.raises(PlacetError) as refused:
        loggable_signatures(with_signature(bundle, 1, sig.replace(own, bad)))
    assert refused.value.reason is Reason.BAD_KEY
