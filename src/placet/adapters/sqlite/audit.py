"""What a monitor remembers of the logs that it follows: one SQLite file, one process at a time.

Everything that one step of an audit learns is one transaction: the verified checkpoint, the leaves under
it, and later what was found in them together with whom to tell.  A process that is killed anywhere has
either done a step or not; nothing is told that is not stored, and nothing is stored as told before it was.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from placet.adapters.sqlite._audit_file import AuditStateError as AuditStateError
from placet.adapters.sqlite._audit_file import open_file, take_lock

_PAGE = 1024
# How far a leaf has come: it was verified to be in the log; its record was read; uses were held against
# approvals.
NEW, READ, DONE = 0, 1, 2


class FollowedLog(NamedTuple):
    """How far a log was verified.  `nodes` are the hashes of its compact range, largest subtree first."""

    origin: str
    tree_size: int
    root: bytes
    nodes: tuple[bytes, ...]
    checkpoint: bytes
    witnessed_at: int
    checked_at: int


class StoredLeaf(NamedTuple):
    """A leaf with what is known of it; `event` are members that JSON can say."""

    origin: str
    leaf_index: int
    leaf_hash: bytes
    leaf: bytes
    record: bytes | None
    event: dict[str, Any]


class StoredFinding(NamedTuple):
    """A finding.  `settled_at` is None while it is open."""

    id: str
    name: str
    subject: str
    message: str
    origin: str
    leaf_index: int | None
    first_at: int
    last_at: int
    settled_at: int | None
    settled_because: str


class StoredCheckpoint(NamedTuple):
    """A checkpoint of a log that came from elsewhere, such as from a bundle."""

    origin: str
    tree_size: int
    root: bytes
    source: str
    checkpoint: bytes


class StoredMetadata(NamedTuple):
    """A file of the trust root that a log holds."""

    role: str
    version: int
    digest: str
    data: bytes
    verified: bool


class AuditStore:
    """The monitor's memory.  Use it as a context manager, in one thread.

    Raises:
        AuditStateError: the file cannot be used, or another audit uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = take_lock(path)
        try:
            self._db = open_file(path)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise AuditStateError(
                f"The monitor's state {self.path} failed: {error}.",
                "Check the disk and the file's owner. If it is damaged, remove it: the next audit reads the "
                "logs from their beginning, and tells people again.",
            ) from error

    def close(self) -> None:
        """Closes the file and gives the lock back."""
        self._db.close()
        os.close(self._lock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it, durably, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # -- logs and leaves

    def followed(self, origin: str) -> FollowedLog | None:
        """Returns how far a log was verified; None where it is new."""
        row = self._db.execute("SELECT * FROM logs WHERE origin = ?", (origin,)).fetchone()
        if row is None:
            return None
        nodes = tuple(row[3][i : i + 32] for i in range(0, len(row[3]), 32))
        return FollowedLog(row[0], row[1], row[2], nodes, *row[4:])

    def list_followed(self) -> tuple[FollowedLog, ...]:
        """Returns all logs."""
        origins = self._db.execute("SELECT origin FROM logs ORDER BY origin").fetchall()
        return tuple(log for (origin,) in origins if (log := self.followed(origin)) is not None)

    def keep_followed(self, log: FollowedLog) -> None:
        """Keeps how far a log was verified."""
        row = log._replace(nodes=b"".join(log.nodes))  # type: ignore[arg-type]  # as the table holds it
        self._db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def put_leaves(self, leaves: Iterable[StoredLeaf], *, state: int) -> None:
        """Adds leaves, or replaces what is known of them; `state` is how far they have come."""
        self._db.executemany(
            "INSERT OR REPLACE INTO leaves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_leaf_row(leaf, state) for leaf in leaves),
        )

    def leaf_hashes(self, origin: str, stop: int) -> Iterator[bytes]:
        """Yields the hashes of a log's leaves below `stop`, in order."""
        rows = self._db.execute(
            "SELECT leaf_hash FROM leaves WHERE origin = ? AND leaf_index < ? ORDER BY leaf_index",
            (origin, stop),
        )
        return (row[0] for row in rows)

    def leaf(self, origin: str, leaf_index: int) -> StoredLeaf | None:
        """Returns one leaf."""
        found = self._leaves("WHERE origin = ? AND leaf_index = ?", (origin, leaf_index))
        return next(found, None)

    def find_leaves(self, leaf_hash: bytes) -> tuple[StoredLeaf, ...]:
        """Returns the leaves of all logs that have this hash."""
        return tuple(self._leaves("WHERE leaf_hash = ?", (leaf_hash,)))

    def leaves_in(self, origin: str, state: int) -> tuple[StoredLeaf, ...]:
        """Returns the first leaves that have come so far and no further: `NEW` or `READ`."""
        where = f"WHERE origin = ? AND state = {state:d} ORDER BY leaf_index LIMIT {_PAGE}"
        return tuple(self._leaves(where, (origin,)))

    def first_without_record(self, origin: str, start: int) -> int | None:
        """Returns the index of the first leaf from `start` on whose record is not here."""
        row = self._db.execute(
            "SELECT min(leaf_index) FROM leaves WHERE origin = ? AND leaf_index >= ? AND record IS NULL",
            (origin, start),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def put_records(self, origin: str, records: Sequence[tuple[int, bytes]]) -> None:
        """Keeps records; their leaves are to be read again."""
        self._db.executemany(
            "UPDATE leaves SET record = ?, state = 0 WHERE origin = ? AND leaf_index = ?",
            [(record, origin, index) for index, record in records],
        )

    def count_uses(self, payload: str, unit: str, *, before: StoredLeaf) -> int:
        """Returns how often a unit of an approval was used, that use and those before it.

        One use that stands twice, in one log or in several, is one use: each has an ID of its own.
        """
        return int(
            self._db.execute(
                "SELECT count(DISTINCT leaf_hash) FROM leaves "
                "WHERE payload = ? AND kind = 'used' AND unit = ? AND NOT (origin = ? AND leaf_index > ?)",
                (payload, unit, before.origin, before.leaf_index),
            ).fetchone()[0]
        )

    def unused_approvals(self, since: int, until: int) -> Iterator[StoredLeaf]:
        """Yields approvals that expired in this time and whose payload was never used."""
        return self._leaves(
            "WHERE kind = 'approved' AND expires_at > ? AND expires_at <= ? AND NOT EXISTS "
            "(SELECT 1 FROM leaves AS used WHERE used.payload = leaves.payload AND used.kind = 'used')",
            (since, until),
        )

    def leaves_between(self, since: int, until: int) -> Iterator[StoredLeaf]:
        """Yields the leaves of what happened in this time, oldest first."""
        return self._leaves(
            "WHERE happened_at >= ? AND happened_at < ? ORDER BY happened_at, origin, leaf_index",
            (since, until),
        )

    def _leaves(self, where: str, values: tuple[Any, ...]) -> Iterator[StoredLeaf]:
        names = "origin, leaf_index, leaf_hash, leaf, record, event"
        rows = self._db.execute(f"SELECT {names} FROM leaves {where}", values)  # noqa: S608 (our own text)
        return (StoredLeaf(row[0], row[1], row[2], row[3], row[4], json.loads(row[5])) for row in rows)

    # -- findings

    def put_finding(self, finding: StoredFinding, *, reopens: bool) -> bool:
        """Keeps a finding; tells whether it is news: never seen, or settled and back where it `reopens`."""
        row = self._db.execute("SELECT settled_at FROM findings WHERE id = ?", (finding.id,)).fetchone()
        if row is None:
            self._db.execute("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", finding)
            return True
        is_news = reopens and row[0] is not None
        self._db.execute(
            "UPDATE findings SET message = ?, last_at = ? WHERE id = ?",
            (finding.message, finding.last_at, finding.id),
        )
        if is_news:
            self._db.execute(
                "UPDATE findings SET settled_at = NULL, settled_because = '', first_at = ? WHERE id = ?",
                (finding.last_at, finding.id),
            )
        return is_news

    def list_findings(self, *, settled: bool = False) -> tuple[StoredFinding, ...]:
        """Returns the open findings, oldest first; with `settled` all."""
        where = "" if settled else "WHERE settled_at IS NULL"
        rows = self._db.execute(f"SELECT * FROM findings {where} ORDER BY first_at, id")  # noqa: S608 (ours)
        return tuple(StoredFinding(*row) for row in rows)

    def settle(self, finding_id: str, *, because: str, at: int) -> bool:
        """Settles an open finding; False where there is none of that ID."""
        done = self._db.execute(
            "UPDATE findings SET settled_at = ?, settled_because = ? WHERE id = ? AND settled_at IS NULL",
            (at, because, finding_id),
        )
        return done.rowcount == 1

    # -- messages

    def enqueue(self, recipient: str, about: str, line: str) -> None:
        """Notes what to tell somebody; what they were told, or are to be told, stays as it is."""
        self._db.execute(
            "INSERT OR IGNORE INTO messages VALUES (?, ?, ?, 'waiting')", (recipient, about, line)
        )

    def forget_message(self, recipient: str, about: str) -> None:
        """Lets somebody be told again of what came back."""
        self._db.execute("DELETE FROM messages WHERE recipient = ? AND about = ?", (recipient, about))

    def messages_for(self, recipient: str) -> tuple[tuple[str, str, str], ...]:
        """Returns what somebody is to be told: about, line, state."""
        return tuple(
            self._db.execute(
                "SELECT about, line, state FROM messages WHERE recipient = ? AND state != 'sent' "
                "ORDER BY rowid",
                (recipient,),
            ).fetchall()
        )

    def mark_messages(self, recipient: str, abouts: Iterable[str], state: str) -> None:
        """Marks messages, durably: ``sending`` before, ``sent`` or ``waiting`` after."""
        with self.transaction():
            self._db.executemany(
                "UPDATE messages SET state = ? WHERE recipient = ? AND about = ?",
                [(state, recipient, about) for about in abouts],
            )

    # -- checkpoints, cosignatures, trust

    def cosignature_seen(self, signature: bytes) -> tuple[str, str, int] | None:
        """Returns witness, log and tree size of a cosignature that was valid before."""
        found: tuple[str, str, int] | None = self._db.execute(
            "SELECT witness, origin, tree_size FROM cosignatures WHERE signature = ?", (signature,)
        ).fetchone()
        return found

    def keep_cosignature(self, signature: bytes, witness: str, origin: str, tree_size: int) -> None:
        """Keeps a valid cosignature."""
        self._db.execute(
            "INSERT OR IGNORE INTO cosignatures VALUES (?, ?, ?, ?)", (signature, witness, origin, tree_size)
        )

    def keep_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Keeps a checkpoint that came from elsewhere until it can be compared."""
        self._db.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?, ?, ?)", checkpoint)

    def list_checkpoints(self, origin: str) -> tuple[StoredCheckpoint, ...]:
        """Returns the checkpoints that wait to be compared."""
        rows = self._db.execute("SELECT * FROM checkpoints WHERE origin = ? ORDER BY tree_size", (origin,))
        return tuple(StoredCheckpoint(*row) for row in rows)

    def drop_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Drops a checkpoint that was compared."""
        self._db.execute(
            "DELETE FROM checkpoints WHERE origin = ? AND tree_size = ? AND root = ?", checkpoint[:3]
        )

    def keep_metadata(self, item: StoredMetadata) -> None:
        """Keeps a file of the trust root that a log holds."""
        self._db.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?, ?)", item)

    def list_metadata(self) -> tuple[StoredMetadata, ...]:
        """Returns the files of the trust root that logs hold, in the order in which they were seen."""
        rows = self._db.execute("SELECT * FROM metadata ORDER BY rowid")
        return tuple(StoredMetadata(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows)


def _leaf_row(leaf: StoredLeaf, state: int) -> tuple[Any, ...]:
    event = leaf.event
    return (
        *leaf[:5],
        state,
        event.get("kind", ""),
        event.get("payload", ""),
        event.get("unit", ""),
        event.get("at") or event.get("seen_at", 0),
        event.get("expires_at", 0),
        json.dumps(event, sort_keys=True),
    )
