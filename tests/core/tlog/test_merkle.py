"""The tree against RFC 6962 as it is written, and proofs against everything that is not quite them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence

import pytest
import rfc6962_model as model
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.tlog.merkle import (
    EMPTY_ROOT,
    MAX_PROOF_HASHES,
    MAX_TREE_SIZE,
    CompactRange,
    NodeReader,
    consistency_proof,
    extend,
    hash_leaf,
    hash_node,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [hash_leaf(b"entry %d" % i) for i in range(720)]
sizes = st.integers(1, 150)


def grow(leaves: Sequence[bytes], start: CompactRange | None = None) -> tuple[CompactRange, NodeReader]:
    compact, made = extend(start or CompactRange(), leaves)
    nodes = {(level, index): value for level, index, value in made}
    assert len(nodes) == len(made)
    return compact, lambda level, index: nodes[level, index]


_, READ = grow(LEAVES)


@given(st.lists(st.integers(0, 90), max_size=8))
@settings(deadline=None, max_examples=60)
def test_a_tree_grows_to_the_same_in_any_batches(batches: list[int]) -> None:
    compact, nodes, size = CompactRange(), {}, 0
    for batch in batches:
        compact, made = extend(compact, LEAVES[size : size + batch])
        for level, index, value in made:
            assert (level, index) not in nodes
            nodes[level, index] = value
        size += batch
    assert compact.size == size
    assert compact.root() == model.root(LEAVES[:size])
    assert nodes.keys() == {(level, index) for level in range(11) for index in range(size >> level)}
    assert all(value == READ(level, index) for (level, index), value in nodes.items())


@given(sizes, st.data())
@settings(deadline=None, max_examples=60)
def test_inclusion_proofs_are_those_of_the_rfc(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, READ)
    assert list(proof) == model.path(index, LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, proof, model.root(LEAVES[:size]))


@given(sizes, st.data())
@settings(deadline=None, max_examples=60)
def test_consistency_proofs_are_those_of_the_rfc(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    proof = consistency_proof(old, size, READ)
    assert list(proof) == (model.proof(old, LEAVES[:size]) if old else [])
    verify_consistency(old, model.root(LEAVES[:old]), size, model.root(LEAVES[:size]), proof)


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit % (8 * len(value))).to_bytes(len(value), "big")


@given(sizes, st.data(), st.integers(0, 255))
@settings(deadline=None, max_examples=80)
def test_no_bit_of_an_inclusion_proof_can_be_changed(size: int, data: st.DataObject, bit: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = list(inclusion_proof(index, size, READ))
    root = model.root(LEAVES[:size])
    given_ = [LEAVES[index], root, *proof]
    at = data.draw(st.integers(0, len(given_) - 1))
    given_[at] = flipped(given_[at], bit)
    with pytest.raises(VerificationError) as caught:
        verify_inclusion(given_[0], index, size, given_[2:], given_[1])
    assert caught.value.reason is Reason.LOG_PROOF_INVALID


@given(sizes, st.data(), st.integers(0, 255))
@settings(deadline=None, max_examples=80)
def test_no_bit_of_a_consistency_proof_can_be_changed(size: int, data: st.DataObject, bit: int) -> None:
    old = data.draw(st.integers(1, size))
    given_ = [model.root(LEAVES[:old]), model.root(LEAVES[:size]), *consistency_proof(old, size, READ)]
    at = data.draw(st.integers(0, len(given_) - 1))
    given_[at] = flipped(given_[at], bit)
    with pytest.raises(VerificationError) as caught:
        verify_consistency(old, given_[0], size, given_[1], given_[2:])
    assert caught.value.reason is Reason.LOG_INCONSISTENT


@given(st.integers(1, 40), st.data())
@settings(deadline=None, max_examples=60)
def test_a_proof_holds_at_its_index_only(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, READ)
    root = model.root(LEAVES[:size])
    for other in range(-1, size + 2):
        if other != index:
            with pytest.raises(VerificationError):
                verify_inclusion(LEAVES[index], other, size, proof, root)


@given(st.integers(1, 60), st.data(), st.lists(st.sampled_from(LEAVES[:4]), min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_hashes_cannot_be_added_or_left_out(size: int, data: st.DataObject, more: list[bytes]) -> None:
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    root, old_root = model.root(LEAVES[:size]), model.root(LEAVES[:old])
    included, continued = inclusion_proof(index, size, READ), consistency_proof(old, size, READ)
    for proof in ((*included, *more), (*more, *included), included[1:], included[:-1]):
        if proof != included:
            with pytest.raises(VerificationError):
                verify_inclusion(LEAVES[index], index, size, proof, root)
    for proof in ((*continued, *more), (*more, *continued), continued[1:], continued[:-1]):
        if proof != continued:
            with pytest.raises(VerificationError):
                verify_consistency(old, old_root, size, root, proof)


@given(
    st.integers(-2, 2**64),
    st.integers(-2, 2**64),
    st.lists(st.binary(max_size=40), max_size=70),
    st.binary(max_size=40),
    st.binary(max_size=40),
)
@settings(deadline=None, max_examples=200)
def test_only_refusals_escape(a: int, b: int, hashes: list[bytes], one: bytes, two: bytes) -> None:
    for verify in (
        lambda: verify_inclusion(one, a, b, hashes, two),
        lambda: verify_consistency(a, one, b, two, hashes),
    ):
        with contextlib.suppress(VerificationError):
            verify()


def test_the_largest_tree_is_proven() -> None:
    def read(level: int, index: int) -> bytes:
        return hashlib.sha256(b"%d %d" % (level, index)).digest()

    size = MAX_TREE_SIZE
    ones = CompactRange(size, tuple(read(level, (size >> level) - 1) for level in reversed(range(63))))
    for index in (0, 1, size // 2, size - 1):
        proof = inclusion_proof(index, size, lambda level, at: read(level, at))
        assert len(proof) <= MAX_PROOF_HASHES
    # The last leaf's neighbours are the complete subtrees on the edge, so the edge proves it.
    last = inclusion_proof(size - 1, size, read)
    verify_inclusion(ones.hashes[-1], size - 1, size, last, ones.root())
    with pytest.raises(MalformedError):
        extend(ones, [LEAVES[0]])


def test_a_tree_grows_by_hashes_from_its_own_edge() -> None:
    compact, _ = extend(CompactRange(), LEAVES[:3])
    for bad in (CompactRange(3, compact.hashes[:1]), CompactRange(2, compact.hashes)):
        with pytest.raises(MalformedError):
            extend(bad, LEAVES[:1])
    for leaf in (b"", LEAVES[0][:-1], LEAVES[0] + b"\0"):
        with pytest.raises(MalformedError):
            extend(compact, [LEAVES[0], leaf])


def test_nothing_is_proven_outside_of_the_tree() -> None:
    for index, size in ((-1, 5), (5, 5), (0, 0), (0, MAX_TREE_SIZE + 1)):
        with pytest.raises(MalformedError):
            inclusion_proof(index, size, READ)
    for old, new in ((-1, 5), (6, 5), (0, MAX_TREE_SIZE + 1)):
        with pytest.raises(MalformedError):
            consistency_proof(old, new, READ)
    with pytest.raises(VerificationError):
        verify_inclusion(EMPTY_ROOT, 0, 0, (), EMPTY_ROOT)


def test_a_node_is_no_leaf() -> None:
    entry = LEAVES[0] + LEAVES[1]
    assert hash_leaf(entry) != hash_node(LEAVES[0], LEAVES[1])
    with pytest.raises(VerificationError):
        verify_inclusion(hash_leaf(entry), 0, 1, (), hash_node(LEAVES[0], LEAVES[1]))


def test_every_size_and_index_up_to_a_bound() -> None:
    for size in range(1, 34):
        root = model.root(LEAVES[:size])
        for index in range(size):
            verify_inclusion(LEAVES[index], index, size, inclusion_proof(index, size, READ), root)
        for old in range(size + 1):
            proof = consistency_proof(old, size, READ)
            verify_consistency(old, model.root(LEAVES[:old]), size, root, proof)
            if old:  # the same proof from another size is none
                for other in range(old):
                    with pytest.raises(VerificationError):
                        verify_consistency(other, model.root(LEAVES[:old]), size, root, proof)


def test_hashes_are_not_cut_elsewhere() -> None:
    """Two hashes side by side are 64 bytes wherever they are cut; only one cut is two hashes."""
    one, two = LEAVES[:2]
    root = hash_node(one, two)
    for cut in (31, 33):
        left, right = (one + two)[:cut], (one + two)[cut:]
        with pytest.raises(VerificationError):
            verify_inclusion(left, 0, 2, [right], root)
        with pytest.raises(VerificationError):
            verify_consistency(1, left, 2, root, [right])
