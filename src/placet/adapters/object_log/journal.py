"""The journal: all that the newest round adds to the log, in one object, which is the log's one fence.

{"base":{"rootHash":…,"treeSize":"5"},…,"lengths":["120 4000",…],"sha256":…}    canonical JSON
the leaf and the record of each entry, one behind the other
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from placet.core.decode import read_decimal, read_hex_digest, read_list, read_object, read_string
from placet.core.encoding import b64encode, encode_canonical, parse_canonical_json
from placet.core.errors import MalformedError, Reason
from placet.core.tlog.checkpoint import parse_hash, parse_number
from placet.core.tlog.merkle import MAX_TREE_SIZE
from placet.ports.log_store import MAX_APPENDED, MAX_LEAF_BYTES, MAX_RECORD_BYTES, LogEntry

JOURNAL = "private/journal"
# Each entry takes two lengths, with their quotes and comma.
_MAX_HEAD_BYTES = 4096 + MAX_APPENDED * 20
MAX_JOURNAL_BYTES = _MAX_HEAD_BYTES + MAX_APPENDED * (MAX_LEAF_BYTES + MAX_RECORD_BYTES)


class TreeState(NamedTuple):
    """Which tree."""

    tree_size: int
    root_hash: bytes


class Journal(NamedTuple):
    """One round.

    Args:
        key: the log's key, as a vkey.
        place: the address of the bucket; one that was copied carries another one.
        writer: made anew by each process, so that no two journals are alike.
        base: the tree that the round begins with.
        tree: the tree that it ends with.
    """

    key: str
    place: str
    writer: str
    base: TreeState
    tree: TreeState
    entries: tuple[LogEntry, ...]


def encode_journal(journal: Journal) -> bytes:
    """Encodes a journal."""
    body = b"".join(part for entry in journal.entries for part in entry)
    head = {
        "base": _encode_state(journal.base),
        "key": journal.key,
        "lengths": [f"{len(entry.leaf)} {len(entry.record)}" for entry in journal.entries],
        "place": journal.place,
        "sha256": hashlib.sha256(body).hexdigest(),
        "tree": _encode_state(journal.tree),
        "writer": journal.writer,
    }
    return encode_canonical(head) + b"\n" + body


def parse_journal(data: bytes) -> Journal:
    """Parses a journal.

    Raises:
        MalformedError: it is none, or not whole.
    """
    first, _, body = data.partition(b"\n")
    head = read_object(
        parse_canonical_json(first, max_bytes=_MAX_HEAD_BYTES, what="journal"),
        "",
        ("base", "key", "lengths", "place", "sha256", "tree", "writer"),
    )
    if hashlib.sha256(body).hexdigest() != read_hex_digest(head["sha256"], "/sha256"):
        raise MalformedError(
            Reason.BAD_DIGEST, "The journal's entries are not those that it was written with."
        )
    journal = Journal(
        read_string(head["key"], "/key"),
        read_string(head["place"], "/place"),
        read_string(head["writer"], "/writer"),
        _parse_state(head["base"], "/base"),
        _parse_state(head["tree"], "/tree"),
        _split(read_list(head["lengths"], "/lengths", max_items=MAX_APPENDED), body),
    )
    if journal.tree.tree_size - journal.base.tree_size != len(journal.entries):
        raise MalformedError(Reason.BAD_VALUE, "The journal does not lead from its base to its tree.")
    return journal


def _split(lengths: list[object], body: bytes) -> tuple[LogEntry, ...]:
    entries, start = [], 0
    for text in lengths:
        leaf, _, record = read_string(text, "/lengths").partition(" ")
        middle = start + parse_number(leaf, "length")
        end = middle + parse_number(record, "length")
        entries.append(LogEntry(body[start:middle], body[middle:end]))
        start = end
    if start != len(body):
        raise MalformedError(Reason.BAD_VALUE, "The journal's entries do not have their lengths.")
    return tuple(entries)


def _encode_state(state: TreeState) -> dict[str, str]:
    return {"rootHash": b64encode(state.root_hash), "treeSize": str(state.tree_size)}


def _parse_state(value: object, path: str) -> TreeState:
    state = read_object(value, path, ("rootHash", "treeSize"))
    size = read_decimal(state["treeSize"], f"{path}/treeSize", minimum=0, maximum=MAX_TREE_SIZE)
    return TreeState(size, parse_hash(read_string(state["rootHash"], f"{path}/rootHash"), "root hash"))
