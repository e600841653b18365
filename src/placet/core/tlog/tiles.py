"""The tree and its entries as static files (https://c2sp.org/tlog-tiles; LOG-09).

tile/0/x001/067        256 leaf hashes: the leaves from 256 * 1067
tile/1/000.p/8         8 roots of full tiles of level 0
tile/entries/000       256 entries, each behind its length in two bytes
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from placet.core.errors import MalformedError, Reason
from placet.core.tlog.merkle import HASH_BYTES, MAX_TREE_SIZE, NodeReader, complete_root

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_LEVEL = 63
# The length of an entry stands in two bytes.
MAX_ENTRY_BYTES = 65_535
MAX_BUNDLE_BYTES = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
# The tiles that one proof reads in the largest tree, twice.
_KEPT_TILES = 16

_PATH = re.compile(
    r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:[.]p/([1-9][0-9]{0,2}))?", re.ASCII
)

ReadTile = Callable[[int, int, int], bytes]
"""Returns the bytes of the tile of that level, index and width."""


class TilePath(NamedTuple):
    """Where a tile stands; `level` is None for a bundle of entries."""

    level: int | None
    tile_index: int
    width: int = TILE_WIDTH

    def __str__(self) -> str:
        if self.level is None:
            return entries_path(self.tile_index, self.width)
        return tile_path(self.level, self.tile_index, self.width)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Returns the path of a tile of hashes."""
    return f"tile/{level}/{_path(index, width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Returns the path of a bundle of entries."""
    return f"tile/entries/{_path(index, width)}"


def _path(index: int, width: int) -> str:
    path = f"{index % 1000:03d}"
    while index := index // 1000:
        path = f"x{index % 1000:03d}/{path}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def parse_tile_path(text: str) -> TilePath:
    """Parses the path of a tile or of a bundle of entries.

    Raises:
        MalformedError: BAD_VALUE for anything that `tile_path` and `entries_path` do not write.
    """
    match = _PATH.fullmatch(text)
    if match is not None:
        level, index, width = match.groups()
        found = TilePath(
            None if level == "entries" else int(level),
            int(index.replace("x", "").replace("/", "")),
            int(width) if width else TILE_WIDTH,
        )
        # Printing it again refuses needless zeros, and a partial tile that is full.
        if str(found) == text and (found.level or 0) <= MAX_LEVEL and found.tile_index <= MAX_TREE_SIZE:
            return found
    raise MalformedError(Reason.BAD_VALUE, "This is not the path of a tile.", actual=text[:80])


def tiles_of(old_size: int, new_size: int) -> Iterator[TilePath]:
    """Yields what a tree of `new_size` has and one of `old_size` did not, partial tiles included.

    Raises:
        MalformedError: BAD_VALUE where the older tree is the larger one.
    """
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE:
        raise MalformedError(Reason.BAD_VALUE, "The older tree is the larger one.", actual=old_size)
    levels: list[tuple[int | None, int]] = [(None, 0)]
    levels += [(level, TILE_HEIGHT * level) for level in range(MAX_LEVEL // TILE_HEIGHT + 1)]
    for level, height in levels:
        old, new = old_size >> height, new_size >> height
        if old < new:
            for index in range(old // TILE_WIDTH, (new - 1) // TILE_WIDTH + 1):
                yield TilePath(level, index, min(TILE_WIDTH, new - index * TILE_WIDTH))


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Encodes a bundle of entries.

    Raises:
        MalformedError: TOO_MANY, TOO_LARGE.
    """
    if len(entries) > TILE_WIDTH:
        raise MalformedError(Reason.TOO_MANY, f"A bundle has at most {TILE_WIDTH} entries.")
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise MalformedError(Reason.TOO_LARGE, "A log entry is too long.", expected=MAX_ENTRY_BYTES)
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_entries(data: bytes) -> tuple[bytes, ...]:
    """Parses a bundle of entries.

    Raises:
        MalformedError: BAD_VALUE where it ends too early, TOO_MANY.
    """
    entries: list[bytes] = []
    start = 0
    while start < len(data):
        if len(entries) == TILE_WIDTH:
            raise MalformedError(Reason.TOO_MANY, f"A bundle has at most {TILE_WIDTH} entries.")
        begin = start + 2
        end = begin + int.from_bytes(data[start:begin], "big")
        if max(begin, end) > len(data):
            raise MalformedError(Reason.BAD_VALUE, "The bundle of entries ends too early.")
        entries.append(data[begin:end])
        start = end
    return tuple(entries)


def parse_tile(data: bytes, width: int) -> tuple[bytes, ...]:
    """Parses a tile of hashes.

    Raises:
        MalformedError: BAD_VALUE where it does not have this width.
    """
    if not 1 <= width <= TILE_WIDTH or len(data) != width * HASH_BYTES:
        raise MalformedError(Reason.BAD_VALUE, "The tile does not have its width.", expected=width)
    return tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))


def read_node_from_tiles(read_tile: ReadTile, tree_size: int) -> NodeReader:
    """Returns a reader of a tree's nodes that fetches the tiles of a tree of `tree_size`.

    The nodes are as good as the tiles: what is proven with them holds only if it verifies.  The reader
    raises BAD_VALUE (MalformedError) for a node that the tree does not have and for tiles that are none.
    """
    read_again = functools.lru_cache(maxsize=_KEPT_TILES)(read_tile)

    def read(level: int, index: int) -> bytes:
        # Asked before anything is shifted: no tree has such a level.
        if not 0 <= level <= MAX_LEVEL or not 0 <= index << level < tree_size:
            raise MalformedError(Reason.BAD_VALUE, "The tree has no such node.", actual=(level, index))
        tile_level, row = divmod(level, TILE_HEIGHT)
        tile, offset = divmod(index << row, TILE_WIDTH)
        width = min(TILE_WIDTH, (tree_size >> tile_level * TILE_HEIGHT) - tile * TILE_WIDTH)
        if offset + (1 << row) > width:
            raise MalformedError(
                Reason.BAD_VALUE, "The tree has no such complete node.", actual=(level, index)
            )
        hashes = parse_tile(read_again(tile_level, tile, width), width)
        return complete_root(hashes[offset : offset + (1 << row)])

    return read
