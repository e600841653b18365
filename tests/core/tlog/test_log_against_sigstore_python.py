"""sigstore-python takes our proofs and checkpoints, refuses what we refuse, and its own log is one to us."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint, verify_checkpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError as SigstoreError
from sigstore_models.common.v1 import PublicKey, PublicKeyDetails

from placet.core.errors import PlacetError
from placet.core.tlog import checkpoint as ours
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.tlog.merkle import (
    CompactRange,
    consistency_proof,
    extend,
    hash_leaf,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import parse_proof, verify_proof
from placet.testing.private_sigstore.merkle import TransparencyLog
from placet.testing.small_log import SmallLog

ENTRIES = [b"entry %d" % i for i in range(200)]
LEAVES = [hash_leaf(entry) for entry in ENTRIES]
_, MADE = extend(CompactRange(), LEAVES)
NODES = {(level, index): value for level, index, value in MADE}


def read(level: int, index: int) -> bytes:
    return NODES[level, index]


def theirs(entry: bytes, index: int, size: int, hashes: list[bytes], root: bytes, **more: Any) -> Any:
    """Returns an entry as sigstore-python has it, as far as the two functions look."""
    proof = SimpleNamespace(log_index=index, tree_size=size, hashes=hashes, root_hash=root, **more)
    return SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=entry))


@given(st.integers(1, len(ENTRIES)), st.data())
@settings(deadline=None, max_examples=100)
def test_both_take_the_same_inclusion_proofs(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = extend(CompactRange(), LEAVES[:size])[0].root()
    proof = list(inclusion_proof(index, size, read))
    verify_merkle_inclusion(theirs(ENTRIES[index], index, size, proof, root))
    other = data.draw(st.integers(0, size - 1))
    changed = data.draw(st.permutations(proof)) if proof else []
    try:
        verify_inclusion(LEAVES[index], other, size, changed, root)
        said = True
    except PlacetError:
        said = False
    try:
        verify_merkle_inclusion(theirs(ENTRIES[index], other, size, changed, root))
    except SigstoreError:
        assert not said
    else:
        assert said


def test_their_checkpoint_code_takes_ours() -> None:
    log = SmallLog(seed=b"sigstore")
    index = log.append(b"an entry")
    proof = parse_proof(log.proof(index, times={"w1": 1, "w2": 2}))
    found = verify_proof(proof, hash_leaf(b"an entry"), parse_log_policy(log.policy()))
    text = proof.checkpoint.decode()
    signed = SignedCheckpoint.from_text(text)
    assert (signed.checkpoint.origin, signed.checkpoint.log_size) == (found.log_origin, found.tree_size)
    assert signed.checkpoint.log_hash == found.root_hash.hex()
    names = [signature.name for signature in signed.signed_note.signatures]
    assert names == [signature.name for signature in parse_note(proof.checkpoint).signatures]

    key = log.signer.verifier_key
    der = Ed25519PublicKey.from_public_bytes(key.public_key).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    known = PublicKey(raw_bytes=base64.b64encode(der), key_details=PublicKeyDetails.PKIX_ED25519)
    keyring: Any = Keyring([known])
    entry = theirs(
        b"an entry",
        index,
        found.tree_size,
        list(proof.hashes),
        found.root_hash,
        checkpoint=SimpleNamespace(envelope=text),
    )
    entry._inner.log_id = SimpleNamespace(key_id=key.key_id)
    verify_merkle_inclusion(entry)
    verify_checkpoint(keyring, entry)
    entry._inner.inclusion_proof.checkpoint.envelope = text.replace("\n6\n", "\n7\n")
    with pytest.raises(SigstoreError):
        verify_checkpoint(keyring, entry)


def test_the_log_of_the_private_sigstore_is_one_to_us() -> None:
    log = TransparencyLog(ec.derive_private_key(7, ec.SECP256R1()), "rekor.localhost")
    found = [log.append(b"body %d" % i) for i in range(40)]
    states = []
    for i, inclusion in enumerate(found):
        verify_inclusion(
            hash_leaf(b"body %d" % i),
            inclusion.leaf_index,
            inclusion.tree_size,
            inclusion.hashes,
            inclusion.root_hash,
        )
        state = ours.parse_checkpoint(parse_note(inclusion.checkpoint.encode()).text)
        assert (state.tree_size, state.root_hash) == (inclusion.tree_size, inclusion.root_hash)
        states.append(state)
    _, made = extend(CompactRange(), [hash_leaf(body) for body in log.bodies])
    nodes = {(level, index): value for level, index, value in made}
    new = states[-1]
    for old in states:
        proof = consistency_proof(old.tree_size, new.tree_size, lambda level, at: nodes[level, at])
        verify_consistency(old.tree_size, old.root_hash, new.tree_size, new.root_hash, proof)
