"""The strict readers at their limits (STM-02)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from placet.core import decode
from placet.core.errors import MalformedError, Reason

AT = "/a/path"
D = "0" * 64


ACCEPTED: list[tuple[Callable[..., Any], Any, dict[str, Any], Any]] = [
    (decode.read_object, {"a": 1}, {"required": ["a"], "optional": ["b"]}, {"a": 1}),
    (decode.read_object, {"a": 1, "b": 2}, {"required": ["a"], "optional": ["b"]}, {"a": 1, "b": 2}),
    (decode.read_map, {"a": 1, "b": 2}, {"max_items": 2}, {"a": 1, "b": 2}),
    (decode.read_list, [1, 2], {"max_items": 2, "min_items": 2}, [1, 2]),
    (decode.read_string, "é" * 1024, {}, "é" * 1024),
    (decode.read_string, "", {"min_length": 0}, ""),
    (decode.read_ascii, " ~", {"max_length": 2}, " ~"),
    (decode.read_name, "a-1", {}, "a-1"),
    (decode.read_name, "a" * 63, {}, "a" * 63),
    (decode.read_bool, False, {}, False),
    (decode.read_choice, "b", {"choices": ("a", "b")}, "b"),
    (decode.read_decimal, "0", {"minimum": 0, "maximum": 10}, 0),
    (decode.read_decimal, "10", {"minimum": 0, "maximum": 10}, 10),
    (decode.read_time, "1970-01-01T00:00:01Z", {}, 1),
    (decode.read_sha256, {"sha256": D}, {}, D),
    (decode.read_hex_digest, D, {}, D),
    (decode.read_key_id, D, {}, D),
    (decode.read_digest_set, {"sha512": "a" * 128}, {}, ("sha512", "a" * 128)),
    (decode.read_digest_set, {"gitCommit": "a" * 40}, {}, ("gitCommit", "a" * 40)),
]
REFUSED: list[tuple[Callable[..., Any], Any, dict[str, Any], Reason]] = [
    (decode.read_object, ["a"], {"required": ["a"]}, Reason.WRONG_TYPE),
    (decode.read_object, {}, {"required": ["a"]}, Reason.MISSING_MEMBER),
    (decode.read_object, {"a": 1, "c": 2}, {"required": ["a"], "optional": ["b"]}, Reason.UNKNOWN_MEMBER),
    (decode.read_map, [], {"max_items": 2}, Reason.WRONG_TYPE),
    (decode.read_map, {"a": 1, "b": 2, "c": 3}, {"max_items": 2}, Reason.TOO_MANY),
    (decode.read_list, {}, {"max_items": 2}, Reason.WRONG_TYPE),
    (decode.read_list, [1, 2, 3], {"max_items": 2}, Reason.TOO_MANY),
    (decode.read_list, [1], {"max_items": 2, "min_items": 2}, Reason.BAD_VALUE),
    (decode.read_string, 1, {}, Reason.WRONG_TYPE),
    (decode.read_string, None, {}, Reason.WRONG_TYPE),
    (decode.read_string, "", {}, Reason.BAD_VALUE),
    (decode.read_string, "x" * 1025, {}, Reason.BAD_VALUE),
    (decode.read_ascii, 1, {}, Reason.WRONG_TYPE),
    (decode.read_ascii, ["a"], {}, Reason.WRONG_TYPE),
    (decode.read_ascii, "", {}, Reason.BAD_VALUE),
    (decode.read_ascii, "abc", {"max_length": 2}, Reason.BAD_VALUE),
    (decode.read_ascii, "é", {}, Reason.BAD_VALUE),
    (decode.read_ascii, "\x7f", {}, Reason.BAD_VALUE),
    (decode.read_ascii, "a\n", {}, Reason.BAD_VALUE),
    *(
        (decode.read_name, t, {}, Reason.BAD_VALUE)
        for t in ("A", "a_b", "-a", "a-", "a.b", "a b", "a" * 64, "é")
    ),
    (decode.read_bool, 1, {}, Reason.WRONG_TYPE),
    (decode.read_bool, "true", {}, Reason.WRONG_TYPE),
    (decode.read_choice, "c", {"choices": ("a", "b")}, Reason.BAD_VALUE),
    (decode.read_choice, ["a"], {"choices": ("a", "b")}, Reason.WRONG_TYPE),
    (decode.read_decimal, 1, {"minimum": 0, "maximum": 10}, Reason.WRONG_TYPE),
    *(
        (decode.read_decimal, t, {"minimum": 1, "maximum": 10}, Reason.BAD_VALUE)
        for t in ("0", "11", "01", "+1", "-1", "1 ", "1.0", "١", "²", "x", "9" * 17)
    ),
    (decode.read_time, 0, {}, Reason.WRONG_TYPE),
    (decode.read_time, "now", {}, Reason.BAD_TIME),
    (decode.read_sha256, {"sha256": D, "sha512": D * 2}, {}, Reason.UNKNOWN_MEMBER),
    (decode.read_hex_digest, 0, {}, Reason.WRONG_TYPE),
    *(
        (decode.read_hex_digest, t, {}, Reason.BAD_DIGEST)
        for t in ("", D[1:], D + "0", "A" * 64, D[1:] + "\n")
    ),
    (decode.read_key_id, "g" * 64, {}, Reason.BAD_DIGEST),
    (decode.read_digest_set, [], {}, Reason.WRONG_TYPE),
    (decode.read_digest_set, {}, {}, Reason.BAD_DIGEST),
    (decode.read_digest_set, {"sha256": 1}, {}, Reason.BAD_DIGEST),
    (decode.read_digest_set, {"sha256": "a" * 40}, {}, Reason.BAD_DIGEST),
    (decode.read_digest_set, {"sha1": "a" * 40}, {}, Reason.BAD_DIGEST),
]


@pytest.mark.parametrize(("reader", "value", "limits", "expected"), ACCEPTED)
def test_a_reader_accepts(reader: Callable[..., Any], value: Any, limits: Any, expected: Any) -> None:
    assert reader(value, AT, **limits) == expected


@pytest.mark.parametrize(("reader", "value", "limits", "reason"), REFUSED)
def test_a_reader_refuses(reader: Callable[..., Any], value: Any, limits: Any, reason: Reason) -> None:
    with pytest.raises(MalformedError) as caught:
        reader(value, AT, **limits)
    assert caught.value.reason is reason
    assert caught.value.path.startswith(AT)
