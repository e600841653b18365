"""Opening the log in a SQLite file, and what its operator can declare of one that was moved or restored."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from placet.adapters.log_tree import TreeEdge, first_head, log_damaged, open_head, sign_edge
from placet.adapters.sqlite._ledger_place import read_file_mark
from placet.adapters.sqlite._log_index import LogIndex
from placet.adapters.sqlite._log_place import CheckpointFile, check_continues, check_new_place, check_place
from placet.adapters.sqlite._log_tables import (
    read_cosigned,
    read_edge,
    read_full_tile,
    tile_reader,
)
from placet.adapters.sqlite._log_writer import LogWriter
from placet.adapters.sqlite.database import DEFAULT_MAX_BYTES, open_database, take_lock
from placet.adapters.sqlite.errors import translate
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.tlog.checkpoint import parse_checkpoint, verify_checkpoint
from placet.core.tlog.note import NoteSigner, encode_note, parse_note, parse_verifier_key
from placet.core.tlog.tiles import TILE_WIDTH, parse_tile


class _Row(NamedTuple):
    log_key: str
    place: str
    indexed: int
    checkpoint: bytes


def open_log_writer(connection: sqlite3.Connection, database: Path, signer: NoteSigner) -> LogWriter:
    """Opens the log in a database, or starts one where it has none.

    Raises:
        IndeterminateError: LOG_DAMAGED where it is not what `signer` signed last; LOG_UNAVAILABLE.
        sqlite3.Error: the database failed.
    """
    try:
        row = _read_row(connection)
        if row is None:
            return _start(connection, database, signer)
        if row.log_key != str(signer.verifier_key):
            raise log_damaged(
                f"The log in {database} is signed by {row.log_key}, and not by {signer.verifier_key}. "
                "Give its own key, or declare the change with `placet log declare`."
            )
        edge = read_edge(connection, _size_of(row.checkpoint))
        head = open_head(edge, row.checkpoint, signer.verifier_key)
        read = tile_reader(connection, edge)
        check_place(database, row.place, edge, read, signer.verifier_key)
        cosigned = read_cosigned(connection)
        for note in cosigned.values():
            check_continues(encode_note(note), edge, read, signer.verifier_key)
        beside = CheckpointFile(database)
        beside.write(head.checkpoint)
        return LogWriter(head, signer, _read_index(connection, row.indexed, edge), beside, cosigned)
    except OSError as e:
        raise _unusable(database, e) from e


def _read_row(connection: sqlite3.Connection) -> _Row | None:
    row = connection.execute("SELECT log_key, place, indexed, checkpoint FROM log").fetchone()
    return None if row is None else _Row(*row)


def _size_of(checkpoint: bytes) -> int:
    try:
        return parse_checkpoint(parse_note(checkpoint).text).tree_size
    except PlacetError as e:
        raise log_damaged(f"The log's newest checkpoint is damaged in its database: {e}") from e


def _start(connection: sqlite3.Connection, database: Path, signer: NoteSigner) -> LogWriter:
    check_new_place(database, signer.verifier_key)
    head, beside = first_head(signer), CheckpointFile(database)
    # The mark first: dying before the row is there leaves a mark of nothing, and not a log without one.
    beside.write(head.checkpoint)
    beside.sync()
    connection.execute(
        "INSERT INTO log (id, log_key, place, indexed, checkpoint) VALUES (1, ?, ?, 0, ?)",
        (str(signer.verifier_key), read_file_mark(database), head.checkpoint),
    )
    return LogWriter(head, signer, LogIndex(0, {}), beside, {})


def _read_index(connection: sqlite3.Connection, indexed: int, edge: TreeEdge) -> LogIndex:
    size = edge.compact.size
    if indexed % TILE_WIDTH or not 0 <= indexed <= size:
        raise log_damaged("The log's index is damaged in its database.")
    recent: dict[bytes, int] = {}
    for tile_index in range(indexed // TILE_WIDTH, size // TILE_WIDTH):
        hashes = parse_tile(read_full_tile(connection, 0, tile_index), TILE_WIDTH)
        recent.update(zip(hashes, range(tile_index * TILE_WIDTH, size), strict=False))
    tail = edge.tiles[0] if edge.tiles else ()
    recent.update(zip(tail, range(size - len(tail), size), strict=True))
    return LogIndex(indexed, recent)


def declare_log(database: Path, signer: NoteSigner) -> bytes:
    """Declares that a log which was moved, copied or restored may go on from what is in its file.

    With the log's own key, its operator vouches that nothing later was signed anywhere.  With another key,
    the leaves become those of another log, of whose name nobody has seen a history: the way on after a loss.
    Where the mark beside the file shows that the key has signed more than is there, either is refused.

    The log must not be running.

    Returns:
        The newest checkpoint.

    Raises:
        IndeterminateError: LOG_DAMAGED where the file is not whole, or older than what the key signed;
            LOG_UNAVAILABLE.
        RequestStoreError: the database cannot be used.
    """
    lock = take_lock(database)
    try:
        connection, _ = open_database(database, DEFAULT_MAX_BYTES)
        with closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            checkpoint = _declare(connection, database, signer)
            connection.execute("COMMIT")
            return checkpoint
    except sqlite3.Error as e:
        raise translate(e, str(database)) from e
    except OSError as e:
        raise _unusable(database, e) from e
    finally:
        os.close(lock)


def _declare(connection: sqlite3.Connection, database: Path, signer: NoteSigner) -> bytes:
    row, beside = _read_row(connection), CheckpointFile(database)
    if row is None:
        head, old_key = first_head(signer), None
    else:
        old_key = parse_verifier_key(row.log_key)
        head = open_head(read_edge(connection, _size_of(row.checkpoint)), row.checkpoint, old_key)
    newest = beside.read()
    if newest is not None and _is_signed(newest, signer):
        check_continues(newest, head.edge, tile_reader(connection, head.edge), signer.verifier_key)
    if old_key != signer.verifier_key:
        head = sign_edge(head.edge, signer)
        connection.execute("DELETE FROM log_cosigned")
    values = (str(signer.verifier_key), read_file_mark(database), head.checkpoint)
    if row is None:
        connection.execute("INSERT INTO log VALUES (1, ?, ?, 0, ?)", values)
    else:
        connection.execute("UPDATE log SET log_key = ?, place = ?, checkpoint = ?", values)
    beside.write(head.checkpoint)
    beside.close()
    return head.checkpoint


def _is_signed(checkpoint: bytes, signer: NoteSigner) -> bool:
    try:
        verify_checkpoint(checkpoint, signer.verifier_key)
    except PlacetError:
        return False
    return True


def _unusable(database: Path, error: OSError) -> IndeterminateError:
    return IndeterminateError(
        Reason.LOG_UNAVAILABLE,
        f"The log in {database} cannot be used: {error.strerror or error}.",
        hint="Check the folder, its owner and mode, and the disk.",
    )
