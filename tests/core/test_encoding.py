"""One spelling for each value: JSON against rfc8785, time against datetime, base64 against itself."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.admission import admit
from placet.core.encoding import (
    MAX_INTEGER,
    b64decode_strict,
    b64encode,
    b64url_encode,
    encode_canonical,
    format_time,
    is_hex,
    parse_canonical_json,
    parse_json,
    parse_time,
)
from placet.core.errors import MalformedError, PlacetError, Reason

ADMITTED_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
ASCII_NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | ADMITTED_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII_NAMES, inner, max_size=4),
    max_leaves=12,
)
LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z


@given(VALUES)
@settings(max_examples=500, deadline=None)
def test_encoding_is_rfc_8785(value: object) -> None:
    assert encode_canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_parsing_what_was_encoded_gives_the_value(value: object) -> None:
    data = encode_canonical(value)
    assert parse_canonical_json(data, max_bytes=1 << 20, what="x") == value
    assert parse_json(data, max_bytes=1 << 20, what="x") == value


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_what_is_admitted_is_rfc_8785(value: object) -> None:
    data = encode_canonical(value)
    try:
        assert rfc8785.dumps(admit(data)) == data
    except PlacetError as e:
        assert e.reason in (Reason.TEXT_NOT_ALLOWED, Reason.NOT_NFC)


@given(st.integers(0, LAST_SECOND))
@settings(max_examples=500, deadline=None)
def test_time_is_datetimes(seconds: int) -> None:
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    assert format_time(seconds) == text
    assert parse_time(text) == seconds


@given(st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z"))
@settings(max_examples=500, deadline=None)
def test_times_that_are_no_times_are_refused(text: str) -> None:
    try:
        expected = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        expected = -1
    if expected < 0:
        with pytest.raises(MalformedError) as caught:
            parse_time(text, "/at")
        assert (caught.value.reason, caught.value.path) == (Reason.BAD_TIME, "/at")
    else:
        assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text", ["2026-11-23T10:00:00Z\n", "２026-11-23T10:00:00Z", "1969-12-31T23:59:59Z", ""]
)
def test_other_spellings_of_times_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_time(text)


@given(st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_base64_is_the_standard_librarys(data: bytes) -> None:
    text = b64encode(data)
    assert text == base64.b64encode(data).decode()
    assert b64decode_strict(text) == data
    assert b64url_encode(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.text("ABab01+/=-_ \n", max_size=12))
@settings(max_examples=1000, deadline=None)
def test_base64_has_one_spelling(text: str) -> None:
    try:
        data = b64decode_strict(text, "/sig")
    except MalformedError as e:
        assert (e.reason, e.path) == (Reason.BAD_BASE64, "/sig")
    else:
        assert b64encode(data) == text


def test_depth_counts_brackets_outside_strings_only() -> None:
    limit = b"[" * 15 + b'"[]{}[["' + b"]" * 15
    assert parse_json(limit, max_bytes=1000, what="x")
    for deep in (
        b"[" * 17 + b"]" * 17,
        b'["]",' * 20 + b'"e"' + b',"["]' * 20,
        b'["\\"]",' * 20 + b"1" + b"]" * 20,
    ):
        for parse in (parse_json, parse_canonical_json):
            with pytest.raises(MalformedError) as caught:
                parse(deep, max_bytes=1000, what="x")
            assert caught.value.reason is Reason.TOO_DEEP


def test_hex_is_lower_case_and_ascii() -> None:
    assert is_hex("0af", 3)
    assert not any(is_hex(text, 3) for text in ("0aF", "0a", "0a\n", "0a٣", "0afa"))
