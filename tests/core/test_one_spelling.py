"""Every document has one accepted spelling (ADM-09), also on the short way that good documents take.

The short way compares a document with its own encoding, by an encoder that writes plain ASCII
faster; each case here is one that a careless short way would accept, or refuse.
"""

from __future__ import annotations

import pytest

from placet.core.encoding import parse_canonical_json
from placet.core.errors import MalformedError, Reason

ONE_SPELLING = {
    b'{"a":"\xc3\xa9"}': {"a": "\u00e9"},
    b'{"a":"\x7f"}': {"a": "\x7f"},
    b'{"a":"\\n\\u001f"}': {"a": "\n\x1f"},
    b'{"a":"\\\\"}': {"a": "\\"},
    b'{"A":1,"a":-9007199254740991}': {"A": 1, "a": -9007199254740991},
    b"5": 5,
}

ANOTHER_SPELLING = {
    "an escaped letter": (b'{"a":"\\u00e9"}', Reason.NOT_CANONICAL),
    "an escaped DEL": (b'{"a":"\\u007f"}', Reason.NOT_CANONICAL),
    "an escaped slash": (b'{"a":"\\/"}', Reason.NOT_CANONICAL),
    "a long escape": (b'{"a":"\\u000a"}', Reason.NOT_CANONICAL),
    "an escape in capitals": (b'{"a":"\\u001F"}', Reason.NOT_CANONICAL),
    "white space before": (b' {"a":1}', Reason.NOT_CANONICAL),
    "white space after": (b'{"a":1}\n', Reason.NOT_CANONICAL),
    "something after": (b'{"a":1}x', Reason.NOT_JSON),
    "members out of order": (b'{"b":1,"a":2}', Reason.NOT_CANONICAL),
    "a member twice": (b'{"a":1,"a":1}', Reason.DUPLICATE_MEMBER),
    "a negative zero": (b'{"a":-0}', Reason.NOT_CANONICAL),
    "an integer too large": (b'{"a":9007199254740992}', Reason.NUMBER_NOT_ALLOWED),
    "an integer of many digits": (b'{"a":' + b"9" * 5000 + b"}", Reason.NUMBER_NOT_ALLOWED),
    "a lone surrogate": (b'"\\ud800"', Reason.TEXT_NOT_ALLOWED),
}


@pytest.mark.parametrize("data", ONE_SPELLING)
def test_a_canonical_document_is_read(data: bytes) -> None:
    assert parse_canonical_json(data, max_bytes=10_000, what="x") == ONE_SPELLING[data]


@pytest.mark.parametrize("case", ANOTHER_SPELLING)
def test_another_spelling_is_refused(case: str) -> None:
    data, reason = ANOTHER_SPELLING[case]
    with pytest.raises(MalformedError) as refused:
        parse_canonical_json(data, max_bytes=10_000, what="x")
    assert refused.value.reason is reason
