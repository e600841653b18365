"""Tiles: paths and bytes in one spelling, and proofs from tiles that are those from the tree."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.errors import MalformedError
from placet.core.tlog.merkle import (
    MAX_TREE_SIZE,
    CompactRange,
    consistency_proof,
    extend,
    hash_leaf,
    inclusion_proof,
)
from placet.core.tlog.tiles import (
    MAX_ENTRY_BYTES,
    TILE_WIDTH,
    TilePath,
    encode_entries,
    entries_path,
    parse_entries,
    parse_tile,
    parse_tile_path,
    read_node_from_tiles,
    tile_path,
    tiles_of,
)

LEAVES = [hash_leaf(b"%d" % i) for i in range(1500)]
EDGE, MADE = extend(CompactRange(), LEAVES)
NODES = {(level, index): value for level, index, value in MADE}


def read(level: int, index: int) -> bytes:
    return NODES[level, index]


def read_tile(level: int, index: int, width: int) -> bytes:
    assert 1 <= width <= TILE_WIDTH
    return b"".join(NODES[8 * level, index * TILE_WIDTH + i] for i in range(width))


widths = st.integers(1, TILE_WIDTH)
levels = st.one_of(st.none(), st.integers(0, 63))


@given(levels, st.integers(0, MAX_TREE_SIZE), widths)
@settings(deadline=None)
def test_paths_read_as_they_were_written(level: int | None, index: int, width: int) -> None:
    path = entries_path(index, width) if level is None else tile_path(level, index, width)
    assert parse_tile_path(path) == TilePath(level, index, width)
    assert str(parse_tile_path(path)) == path


@given(st.data(), levels, st.integers(0, 10**9), widths)
@settings(deadline=None, max_examples=200)
def test_a_path_has_one_spelling(data: st.DataObject, level: int | None, index: int, width: int) -> None:
    path = str(TilePath(level, index, width))
    at = data.draw(st.integers(0, len(path) - 1))
    changed = path[:at] + data.draw(st.text("x0189/.p-\u0661\n", max_size=3)) + path[at + 1 :]
    try:
        assert str(parse_tile_path(changed)) == changed
    except MalformedError:
        assert changed != path


@given(st.lists(st.binary(max_size=50), max_size=TILE_WIDTH))
@settings(deadline=None, max_examples=50)
def test_entries_read_as_they_were_written(entries: list[bytes]) -> None:
    assert parse_entries(encode_entries(entries)) == tuple(entries)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_bundles_of_entries_have_one_spelling(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert encode_entries(parse_entries(data)) == data
    parse_entries(b"")


def test_entries_have_bounds() -> None:
    assert parse_entries(encode_entries([b"x" * MAX_ENTRY_BYTES])) == (b"x" * MAX_ENTRY_BYTES,)
    with pytest.raises(MalformedError):
        encode_entries([b"x" * (MAX_ENTRY_BYTES + 1)])
    with pytest.raises(MalformedError):
        encode_entries([b""] * 257)
    with pytest.raises(MalformedError):
        parse_entries(b"\0\0" * 257)


def test_tiles_have_their_width() -> None:
    assert parse_tile(b"a" * 32 + b"b" * 32, 2) == (b"a" * 32, b"b" * 32)
    for data, width in ((b"", 0), (b"a" * 31, 1), (b"a" * 64, 1), (b"a" * 32, 2), (b"a" * 32 * 257, 257)):
        with pytest.raises(MalformedError):
            parse_tile(data, width)


@given(st.integers(1, len(LEAVES)), st.data())
@settings(deadline=None, max_examples=60)
def test_proofs_from_tiles_are_those_from_the_tree(size: int, data: st.DataObject) -> None:
    from_tiles = read_node_from_tiles(read_tile, size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    assert inclusion_proof(index, size, from_tiles) == inclusion_proof(index, size, read)
    assert consistency_proof(old, size, from_tiles) == consistency_proof(old, size, read)


def test_only_tiles_of_the_tree_are_read() -> None:
    asked = []

    def reader(level: int, index: int, width: int) -> bytes:
        asked.append(TilePath(level, index, width))
        return read_tile(level, index, width)

    size = 1030
    have = set(tiles_of(0, size))
    for index in (0, 255, 256, 1023, 1024, 1029):
        inclusion_proof(index, size, read_node_from_tiles(reader, size))
    assert set(asked) <= have
    asked.clear()
    inclusion_proof(0, size, read_node_from_tiles(reader, size))
    assert len(asked) == len(set(asked)) == 3  # each tile once


@given(st.integers(-2, 70), st.integers(-2, 2**70), st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=200)
def test_nodes_that_a_tree_does_not_have(level: int, index: int, size: int) -> None:
    def never(*_: int) -> bytes:
        return b"z" * 32 * 256

    try:
        read_node_from_tiles(never, size)(level, index)
    except MalformedError:
        return
    assert (index + 1) << level <= size


def test_a_tile_that_is_too_short_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_node_from_tiles(lambda *_: b"x" * 31, 1)(0, 0)


@given(st.integers(0, 70_000), st.integers(0, 1500))
@settings(deadline=None, max_examples=60)
def test_new_tiles_are_all_that_changed(old: int, more: int) -> None:
    def tiles(size: int) -> set[TilePath]:
        found = set()
        for level, height in ((None, 0), (0, 0), (1, 8), (2, 16)):
            full, rest = divmod(size >> height, TILE_WIDTH)
            found |= {TilePath(level, index) for index in range(full)}
            found |= {TilePath(level, full, rest)} if rest else set()
        return found

    named = list(tiles_of(old, old + more))
    assert len(set(named)) == len(named)
    assert set(named) == tiles(old + more) - tiles(old)


def test_the_example_of_the_specification() -> None:
    # https://c2sp.org/tlog-tiles: "a tree of size 70,000 will be represented by …"
    found = list(tiles_of(0, 70_000))
    assert sum(t.level == 0 and t.width == TILE_WIDTH for t in found) == 273
    partial = {str(t) for t in found if t.level is not None and t.width < TILE_WIDTH}
    assert partial == {"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert {str(t) for t in tiles_of(0, 256)} == {"tile/entries/000", "tile/0/000", "tile/1/000.p/1"}
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    with pytest.raises(MalformedError):
        list(tiles_of(2, 1))
