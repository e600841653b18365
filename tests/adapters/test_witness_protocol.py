"""Each request to a witness has one spelling: what is read prints again as it was."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from placet.adapters.witness_protocol import (
    AddCheckpoint,
    encode_add_checkpoint,
    encode_size,
    parse_add_checkpoint,
    parse_conflict,
)
from placet.core.errors import MalformedError
from placet.core.tlog.merkle import MAX_TREE_SIZE

SIZES = st.integers(0, MAX_TREE_SIZE)
REQUESTS = st.builds(
    AddCheckpoint,
    SIZES,
    st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    st.binary(max_size=200),
)


@given(REQUESTS)
def test_what_is_written_is_read(request: AddCheckpoint) -> None:
    assert parse_add_checkpoint(encode_add_checkpoint(request)) == request


@given(REQUESTS, st.data())
def test_what_is_read_prints_again_as_it_was(request: AddCheckpoint, data: st.DataObject) -> None:
    body = bytearray(encode_add_checkpoint(request))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not body:
            return
    with suppress(MalformedError):
        assert encode_add_checkpoint(parse_add_checkpoint(bytes(body))) == body


@given(st.binary(max_size=24))
def test_sizes_have_one_spelling(body: bytes) -> None:
    with suppress(MalformedError):
        assert encode_size(parse_conflict(body)) == body


@given(SIZES)
def test_every_size_is_read(size: int) -> None:
    assert parse_conflict(encode_size(size)) == size
