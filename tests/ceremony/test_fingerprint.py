"""Fingerprints read aloud and typed: one rule, and no refusal that gives the right word away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.ceremony.fingerprint import (
    check_typed_fingerprint,
    fingerprint_digits,
    fingerprint_words,
    spoken_fingerprint,
)
from placet.ceremony.voice_words import EVEN_WORDS, ODD_WORDS
from placet.core.encoding import KeyId, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError

keyids = st.binary(min_size=32, max_size=32).map(lambda data: KeyId(data.hex()))
KEYID = KeyId("e58294f2e9a227486e8b061b31cc528fd7fa3f19" + "ab" * 12)


def test_the_word_lists_are_the_published_ones() -> None:
    assert len(EVEN_WORDS) == len(ODD_WORDS) == 256
    everything = [word.lower() for word in (*EVEN_WORDS, *ODD_WORDS)]
    assert len(set(everything)) == 512
    assert all(word.isascii() and word.isalpha() for word in everything)
    assert list(EVEN_WORDS) == sorted(EVEN_WORDS, key=str.lower)
    # What is read aloud on one version and typed on another must mean the same for ever.
    assert sha256_hex(" ".join([*EVEN_WORDS, *ODD_WORDS]).encode()) == (
        "3e090850023f09a3bff58dbc9926ee0840dd829fa8198af8ceffd1b2280a7096"
    )
    # A word that is also hexadecimal digits would be read as those.
    assert not any(set(word) <= set("0123456789abcdef") for word in everything)
    # The example with which the list is published.
    said = "topmost Istanbul Pluto vagabond treadmill Pacific brackish dictator goldfish Medusa"
    assert " ".join(fingerprint_words(KEYID)) == said


def test_what_is_read_aloud_is_words_and_the_same_digits() -> None:
    assert spoken_fingerprint(KEYID).startswith("topmost Istanbul Pluto ")
    assert spoken_fingerprint(KEYID).endswith("Medusa (e582 94f2 e9a2 2748 6e8b)")


@given(keyids, st.sampled_from([" ", "-", "  ", " - ", "\t"]), st.sampled_from([str.lower, str.upper, str]))
def test_what_is_read_aloud_is_accepted(keyid: KeyId, between: str, case: type[str]) -> None:
    check_typed_fingerprint(case(between.join(fingerprint_words(keyid))), keyid)
    check_typed_fingerprint(case(between.join(fingerprint_digits(keyid).split())), keyid)
    check_typed_fingerprint(case(f" {keyid} "), keyid)


@given(keyids, keyids)
def test_another_key_is_refused(keyid: KeyId, other: KeyId) -> None:
    if keyid[:20] == other[:20]:
        return
    for typed in (" ".join(fingerprint_words(other)), fingerprint_digits(other), other):
        with pytest.raises(VerificationError) as refused:
            check_typed_fingerprint(typed, keyid)
        assert refused.value.reason is Reason.KEY_MISMATCH


@given(keyids, st.text(max_size=200))
def test_whatever_is_typed_is_a_named_refusal(keyid: KeyId, typed: str) -> None:
    with pytest.raises(PlacetError):
        check_typed_fingerprint(typed, keyid)


@given(keyids, st.integers(0, 9), st.integers(1, 255))
def test_the_wrong_word_is_named_and_the_right_one_is_not(keyid: KeyId, at: int, step: int) -> None:
    words = [word.lower() for word in fingerprint_words(keyid)]
    right, heard = words[at], (EVEN_WORDS, ODD_WORDS)[at % 2]
    lower = [word.lower() for word in heard]
    words[at] = wrong = lower[(lower.index(right) + step) % 256]
    with pytest.raises(VerificationError) as refused:
        check_typed_fingerprint(" ".join(words), keyid)
    assert f"Word {at + 1}, {wrong!r}, is not of this key." in str(refused.value)
    assert right not in f"{refused.value} {refused.value.hint}".lower().replace("'", " ").split()


@given(keyids, st.integers(0, 9))
def test_a_word_left_out_is_heard(keyid: KeyId, at: int) -> None:
    words = list(fingerprint_words(keyid))
    del words[at]
    with pytest.raises(MalformedError, match=r"9 words were typed|cannot stand there"):
        check_typed_fingerprint(" ".join(words), keyid)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "No fingerprint was typed"),
        (" - ", "No fingerprint was typed"),
        ("e582 94f2 e9a2 2748 6e8", "19 hexadecimal digits were typed; read aloud are 20, or all 64"),
        (KEYID + "0", "65 hexadecimal digits"),
        ("e582 94f2 e9a3 2748 6e8b", "Group 3, 'e9a3', is not of this key"),
        ("0082 94f2 e9a2 2748 6e8c", "Group 1, '0082', and group 5, '6e8c', are not of this key"),
        ("0082 00f2 e900 2748 6e8b", "another key: 3 of 5 parts differ"),
        (
            "topmost Istanbul Pluto vagabond treadmill Pacific brackish dictator goldfish",
            "9 words were typed",
        ),
        (" ".join([*fingerprint_words(KEYID), "aardvark"]), "11 words were typed"),
        ("topmost Istanbul bananas", "Word 3, 'bananas', is no word of the list"),
        ("Istanbul topmost Pluto", "Word 1, 'istanbul', cannot stand there"),
        ("topmost, Istanbul", "Word 1, 'topmost,', is no word of the list"),
        ("e582:94f2:e9a2:2748:6e8b", "is no word of the list"),
        ("x" * 1025, "longer than any fingerprint"),
        ("t\u043epmost Istanbul", "\\u043epmost"),
    ],
)
def test_a_refusal_says_what_is_wrong(typed: str, said: str) -> None:
    with pytest.raises(PlacetError) as refused:
        check_typed_fingerprint(typed, KEYID)
    assert said in str(refused.value)
    assert refused.value.hint


def test_where_most_differs_it_is_another_key() -> None:
    other = KeyId("00" * 32)
    with pytest.raises(
        VerificationError, match="fingerprint of another key: 10 of 10 parts differ"
    ) as refused:
        check_typed_fingerprint(" ".join(fingerprint_words(KEYID)), other)
    assert "sign nothing" in refused.value.hint
