"""Leaves without names or content, as functions of records."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.bundle import encode_answer
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature, envelope_digest
from placet.core.encoding import Digest, KeyId, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError
from placet.core.tlog.leaf import (
    DecisionLeaf,
    Leaf,
    TrustLeaf,
    UseLeaf,
    encode_leaf,
    leaf_hash,
    parse_leaf,
)
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.records import (
    MAX_METADATA_BYTES,
    Use,
    UseRecord,
    encode_trust_record,
    encode_use_record,
    in_lower_half,
    leaf_of_record,
    parse_trust_record,
    parse_use_record,
    use_message,
    verify_use,
)
from placet.core.verdict.keys import parse_gate_key
from placet.testing.world import ALICE, BOB, NOW, World

WORLD = World(seed=b"leaves")
REQUEST = WORLD.request_deploy(reason="the reason of a person")
ANSWER = WORLD.approve(REQUEST, ALICE)
RECORD = encode_answer(ANSWER)

digests = st.binary(min_size=32, max_size=32).map(lambda value: Digest(value.hex()))
key_ids = digests.map(KeyId)
leaves: st.SearchStrategy[Leaf] = st.one_of(
    st.builds(DecisionLeaf, st.sampled_from(("approved", "denied")), key_ids, digests, digests, digests),
    st.builds(
        UseLeaf, st.sets(digests, max_size=16).map(sorted).map(tuple), key_ids, digests, digests, digests
    ),
    st.builds(TrustLeaf, st.sets(key_ids, min_size=1, max_size=8).map(sorted).map(tuple), digests),
)


@given(leaves)
@settings(deadline=None, max_examples=60)
def test_leaves_read_as_they_were_written(leaf: Leaf) -> None:
    data = encode_leaf(leaf)
    assert parse_leaf(data) == leaf
    assert leaf_hash(leaf) == hash_leaf(data)


@given(leaves, st.data())
@settings(deadline=None, max_examples=200)
def test_a_leaf_has_one_spelling(leaf: Leaf, data: st.DataObject) -> None:
    source = encode_leaf(leaf)
    at = data.draw(st.integers(0, len(source) - 1))
    changed = source[:at] + data.draw(st.binary(max_size=2)) + source[at + 1 :]
    try:
        assert encode_leaf(parse_leaf(changed)) == changed
    except MalformedError:
        assert changed != source


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_no_name_and_no_content_stands_in_a_leaf() -> None:
    told = set(strings(json.loads(REQUEST.payload))) | {ALICE, BOB, "t1"}
    told = {text for text in told if len(text) > 3 and text != "approve"}
    assert "the reason of a person" in told
    leaf = encode_leaf(leaf_of_record(RECORD)).decode()
    assert [text for text in told if text in leaf] == []
    use = encode_leaf(leaf_of_record(use_record()[0])).decode()
    assert [text for text in ("prod-eu", "action", "2026") if text in use] == []


def test_the_leaf_of_a_decision_is_made_of_its_record() -> None:
    (signature,) = ANSWER.envelope.signatures
    leaf = leaf_of_record(RECORD)
    assert leaf == DecisionLeaf(
        "approved",
        signature.keyid,
        sha256_hex(REQUEST.payload),
        sha256_hex(signature.sig),
        envelope_digest(ANSWER.report),
    )
    assert leaf_of_record(encode_answer(WORLD.approve(REQUEST, BOB))) != leaf


@given(st.integers(0, 8 * len(RECORD) - 1))
@settings(deadline=None, max_examples=300)
def test_every_bit_of_a_decision_is_in_its_leaf(bit: int) -> None:
    changed = bytearray(RECORD)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        leaf = leaf_of_record(bytes(changed))
    except PlacetError:
        return
    assert leaf != leaf_of_record(RECORD)


def gate_key(number: int) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    private = ec.derive_private_key(number, ec.SECP256R1())
    return private, private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


USE = Use(
    Digest("aa" * 32), (Digest("01" * 32), Digest("02" * 32)), "prod-eu", b"0123456789abcdef", "action", NOW
)


def use_record(use: Use = USE, number: int = 5) -> tuple[bytes, bytes]:
    private, der = gate_key(number)
    payload, message = use_message(use)
    made = in_lower_half(private.sign(message, ec.ECDSA(hashes.SHA256())))
    signature = Signature(KeyId(sha256_hex(der)), made)
    return encode_use_record(Envelope(payload, PAYLOAD_TYPE, (signature,))), der


@given(
    digests,
    st.sets(digests, max_size=16).map(sorted).map(tuple),
    st.sampled_from(("prod-eu", "Gate 7", "x" * 190)),
    st.binary(min_size=16, max_size=16),
    st.one_of(st.just("action"), digests.map(lambda digest: f"sha256:{digest}")),
    st.integers(0, 4_000_000_000),
)
@settings(deadline=None, max_examples=30)
def test_uses_read_as_they_were_written(
    payload: Digest, approvals: tuple[Digest, ...], gate: str, use_id: bytes, unit: str, at: int
) -> None:
    use = Use(payload, approvals, gate, use_id, unit, at)
    record, der = use_record(use)
    parsed = parse_use_record(record)
    assert parsed.use == use
    assert encode_use_record(parsed.envelope) == record
    assert use_message(parsed.use)[0] == parsed.envelope.payload
    assert verify_use(parsed, [parse_gate_key(der)]) == use
    leaf = leaf_of_record(record)
    assert isinstance(leaf, UseLeaf)
    assert (leaf.approvals, leaf.keyid) == (approvals, sha256_hex(der))


def test_a_use_is_its_gates() -> None:
    record, der = use_record()
    parsed = parse_use_record(record)
    other = gate_key(6)[1]
    with pytest.raises(VerificationError) as caught:
        verify_use(parsed, [parse_gate_key(other)])
    assert caught.value.reason is Reason.UNKNOWN_KEY
    (signature,) = parsed.envelope.signatures
    claimed = parsed.envelope._replace(signatures=(signature._replace(keyid=KeyId(sha256_hex(other))),))
    with pytest.raises(VerificationError) as caught:
        verify_use(UseRecord(claimed, parsed.use), [parse_gate_key(der), parse_gate_key(other)])
    assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert "use" in caught.value.message


def test_trust_changes_in_the_spelling_that_was_published() -> None:
    files = {
        b'{"signatures":[{"keyid":"%s","sig":""}],"signed":{}}' % (b"ab" * 32): ("ab" * 32,),
        b' {"signed" : {"x":"\\u00e9"}, "signatures": [{"sig":"0","keyid":"%s"},{"keyid":"%s"}]}\n'
        % (b"cd" * 32, b"ab" * 32): ("ab" * 32, "cd" * 32),
    }
    for metadata, keyids in files.items():
        record = encode_trust_record(metadata)
        assert parse_trust_record(record) == metadata
        assert leaf_of_record(record) == TrustLeaf(tuple(map(KeyId, keyids)), sha256_hex(metadata))


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=150)
def test_only_refusals_escape(data: bytes) -> None:
    for given_ in (data, encode_trust_record(data), RECORD[:-1] + data):
        for parse in (leaf_of_record, parse_leaf, parse_use_record, parse_trust_record):
            try:
                parse(given_)
            except PlacetError:
                continue


def test_trust_files_have_a_size() -> None:
    largest = b'{"signatures":[{"keyid":"%s","sig":""}],"signed":{}}' % (b"ab" * 32)
    largest += b" " * (MAX_METADATA_BYTES - len(largest))
    assert leaf_of_record(encode_trust_record(largest))
    for parse in (leaf_of_record, parse_trust_record):
        with pytest.raises(MalformedError):
            parse(encode_trust_record(largest + b" " * 3))


def test_records_have_one_kind() -> None:
    record, _ = use_record()
    for parse, given_ in ((parse_use_record, RECORD), (parse_trust_record, record)):
        with pytest.raises(MalformedError):
            parse(given_)
    with pytest.raises(VerificationError) as caught:
        leaf_of_record(RECORD.replace(ANSWER.envelope.signatures[0].keyid.encode(), b"0" * 64))
    assert caught.value.reason is Reason.KEY_MISMATCH
