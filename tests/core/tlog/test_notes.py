"""Notes, keys, checkpoints and cosignatures: one spelling, one meaning, nothing but refusals."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError
from placet.core.tlog.checkpoint import (
    Checkpoint,
    encode_checkpoint,
    parse_checkpoint,
    parse_number,
    sign_checkpoint,
    verify_checkpoint,
)
from placet.core.tlog.cosignature import MAX_TIME, cosign, verify_cosignature
from placet.core.tlog.merkle import MAX_TREE_SIZE
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    ED25519,
    NoteSignature,
    NoteSigner,
    SignedNote,
    VerifierKey,
    check_key_name,
    encode_note,
    encode_signatures,
    encode_signer_key,
    parse_note,
    parse_signatures,
    parse_signer_key,
    parse_verifier_key,
    verify_note,
)
from placet.testing.small_log import note_signer

LOG = note_signer("log.example/demo", ED25519, b"notes")
WITNESS = note_signer("w.example", COSIGNATURE_ED25519, b"notes")
STATE = Checkpoint("log.example/demo", 7, b"r" * 32)
SIGNED = sign_checkpoint(STATE, LOG)
COSIGNED = SIGNED + encode_signatures((cosign(parse_note(SIGNED).text, WITNESS, 1_700_000_000),))

names = st.text(min_size=1, max_size=20).filter(
    lambda name: not any(c.isspace() or c < " " or c in "+\x7f" or "\ud800" <= c < "\ue000" for c in name)
)
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\x7f", min_codepoint=32))
origins = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\x7f", min_codepoint=32),
    min_size=1,
    max_size=60,
)
numbers = st.integers(0, MAX_TREE_SIZE)


def is_same_or_refused(read_and_write: Callable[[bytes], bytes], data: bytes) -> None:
    try:
        again = read_and_write(data)
    except PlacetError:
        return
    assert again == data


@given(st.lists(lines, min_size=1, max_size=6), st.dictionaries(names, st.binary(min_size=5, max_size=90)))
@settings(deadline=None, max_examples=60)
def test_notes_read_as_they_were_written(text: list[str], signed: dict[str, bytes]) -> None:
    signatures = tuple(NoteSignature(name, blob[:4], blob[4:]) for name, blob in signed.items())
    note = SignedNote("".join(f"{line}\n" for line in text).encode(), signatures)
    if not signatures:
        with pytest.raises(MalformedError):
            parse_note(encode_note(note))
        return
    data = encode_note(note)
    assert parse_note(data) == note
    assert parse_signatures(encode_signatures(signatures)) == signatures


@given(names, st.sampled_from((ED25519, COSIGNATURE_ED25519)), st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=40)
def test_keys_read_as_they_were_written(name: str, algorithm: int, seed: bytes) -> None:
    signer = NoteSigner(name, algorithm, Ed25519PrivateKey.from_private_bytes(seed))
    assert parse_verifier_key(str(signer.verifier_key)) == signer.verifier_key
    text = encode_signer_key(signer)
    read = parse_signer_key(text)
    assert encode_signer_key(read) == text
    assert read.verifier_key == signer.verifier_key


@given(origins, numbers, st.binary(min_size=32, max_size=32), st.lists(lines.filter(bool), max_size=3))
@settings(deadline=None, max_examples=60)
def test_checkpoints_read_as_they_were_written(origin: str, size: int, root: bytes, more: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(more))
    data = encode_checkpoint(checkpoint)
    if size == 0:
        with pytest.raises(MalformedError):  # an empty log has one root only
            parse_checkpoint(data)
    else:
        assert parse_checkpoint(data) == checkpoint


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_every_change_of_a_byte_is_refused_or_is_another_value(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from((COSIGNED, encode_checkpoint(STATE))))
    at = data.draw(st.integers(0, len(source) - 1))
    changed = source[:at] + data.draw(st.binary(max_size=3)) + source[at + 1 :]
    is_same_or_refused(lambda d: encode_note(parse_note(d)), changed)
    is_same_or_refused(lambda d: encode_checkpoint(parse_checkpoint(d)), changed)


@given(st.integers(0, 8 * len(COSIGNED) - 1))
@settings(deadline=None, max_examples=300)
def test_one_bit_of_a_cosigned_checkpoint(bit: int) -> None:
    changed = bytearray(COSIGNED)
    changed[bit // 8] ^= 1 << bit % 8
    data = bytes(changed)
    verified = 0
    for verify in (
        lambda: verify_checkpoint(data, LOG.verifier_key),
        lambda: verify_cosignature(parse_note(data), WITNESS.verifier_key),
    ):
        try:
            verify()
            verified += 1
        except PlacetError:
            pass
    # A change of one signature line leaves the other one as it is, and nothing else leaves both.
    assert verified < 2


def test_private_keys_do_not_stand_in_refusals() -> None:
    text = encode_signer_key(LOG)
    for bad in (text[:-9], text[12:], text.replace("log.", "gol."), text + "x", "PRIVATE+KEY+" + text):
        with pytest.raises(MalformedError) as caught:
            parse_signer_key(bad)
        told = f"{caught.value} {caught.value.actual} {caught.value.expected} {caught.value.hint}"
        assert text.strip().rsplit("+", 1)[1][:20] not in told


@given(st.text(max_size=120))
@settings(deadline=None, max_examples=200)
def test_only_refusals_escape_from_keys(text: str) -> None:
    for parse in (parse_verifier_key, parse_signer_key, check_key_name):
        for given_ in (
            text,
            f"PRIVATE+KEY+{text}",
            f"{text}+00000000+AAAA",
            f"a+{text}",
            f"a+00000000+{text}",
        ):
            with contextlib.suppress(MalformedError):
                parse(given_)


def test_lone_surrogates_are_no_name() -> None:
    with pytest.raises(MalformedError):
        check_key_name("a\ud800")


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_only_refusals_escape_from_notes(data: bytes) -> None:
    for given_ in (data, data + b"\n\n\xe2\x80\x94 a AAAAAAAA\n"):
        is_same_or_refused(lambda d: encode_note(parse_note(d)), given_)
        is_same_or_refused(lambda d: encode_signatures(parse_signatures(d)), given_)
        is_same_or_refused(lambda d: encode_checkpoint(parse_checkpoint(d)), given_)


@given(st.text(max_size=25))
@settings(deadline=None)
def test_a_number_has_one_spelling(text: str) -> None:
    try:
        number = parse_number(text, "number")
    except MalformedError:
        return
    assert str(number) == text


def test_numbers_at_the_bounds() -> None:
    assert parse_number("0", "number") == 0
    assert parse_number(str(2**63 - 1), "number") == 2**63 - 1
    for text in ("", "-0", "00", str(2**63), "9" * 10_000, "1\n", "\u0663", "1_0", "1e3", " 1"):
        with pytest.raises(MalformedError):
            parse_number(text, "number")


@given(numbers)
@settings(deadline=None, max_examples=30)
def test_a_cosignature_carries_its_time(time: int) -> None:
    text = parse_note(SIGNED).text
    note = SignedNote(text, (cosign(text, WITNESS, time),))
    assert verify_cosignature(note, WITNESS.verifier_key) == time


def test_a_replayed_cosignature_does_not_hold_elsewhere() -> None:  # A14
    old = parse_note(COSIGNED)
    newer = parse_note(sign_checkpoint(STATE._replace(tree_size=8), LOG))
    for state in (newer, parse_note(sign_checkpoint(STATE._replace(root_hash=b"s" * 32), LOG))):
        with pytest.raises(VerificationError) as caught:
            verify_cosignature(SignedNote(state.text, old.signatures), WITNESS.verifier_key)
        assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_keys_sign_what_they_are_for() -> None:
    with pytest.raises(MalformedError):
        WITNESS.sign(b"text\n")
    with pytest.raises(MalformedError):
        cosign(b"text\n", LOG, 1)
    with pytest.raises(VerificationError):
        sign_checkpoint(STATE, LOG._replace(name="other.example"))
    for time in (-1, MAX_TIME + 1):
        with pytest.raises(MalformedError):
            cosign(b"text\n", WITNESS, time)
    # Even a signature that holds does not count under a key that is for something else.
    key = VerifierKey("w.example", ED25519, WITNESS.verifier_key.public_key)
    note = parse_note(COSIGNED)
    plain = NoteSigner("w.example", ED25519, WITNESS.private_key).sign(note.text)
    with pytest.raises(VerificationError):
        verify_cosignature(SignedNote(note.text, (plain,)), key)
    cosigning = LOG.verifier_key._replace(algorithm=COSIGNATURE_ED25519)
    claimed = NoteSignature(LOG.name, cosigning.key_id, LOG.sign(note.text).signature)
    with pytest.raises(VerificationError):
        verify_note(SignedNote(note.text, (claimed,)), cosigning)


def test_strangers_neither_count_nor_harm() -> None:
    note = parse_note(COSIGNED)
    key = LOG.verifier_key
    same_name = NoteSignature(key.name, b"\0\0\0\0", b"x" * 2420)
    same_id = NoteSignature("stranger.example", key.key_id, b"x")
    for more in (same_name, same_id):
        verify_note(SignedNote(note.text, (more, *note.signatures)), key)
        with pytest.raises(VerificationError):
            verify_note(SignedNote(note.text, (more,)), key)


def test_an_algorithm_that_is_not_read_is_named() -> None:
    from hashlib import sha256

    from placet.core.encoding import b64encode

    raw = bytes([6]) + bytes(1312)
    key_id = sha256(b"w.example\n" + raw).hexdigest()[:8]
    with pytest.raises(MalformedError) as caught:
        parse_verifier_key(f"w.example+{key_id}+{b64encode(raw)}")
    assert caught.value.reason is Reason.UNSUPPORTED_TYPE
    assert "ML-DSA-44" in caught.value.hint
