"""What a witness remembers, in SQLite: for each log the newest checkpoint that it cosigned.

A witness is worth as much as its memory: one that forgets can be shown another history.  So the state is made
once, with its key; a missing one is never made in passing, and one that was restored or copied is refused
until somebody says that it was moved whole.  Several processes may share it: every step forward compares and
swaps in one durable transaction.

Leaves out: a whole machine rolled back to a snapshot, which cannot be noticed from inside.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, NoReturn, Self
from urllib.parse import quote

from placet.adapters.sqlite._ledger_place import read_file_mark, sync_folder, writable_by_others
from placet.adapters.sqlite.errors import leaves_doubt, primary_code
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.checkpoint import Checkpoint
from placet.core.tlog.merkle import EMPTY_ROOT
from placet.core.tlog.note import VerifierKey, parse_verifier_key

# "plcw": tells a witness's state from any other database.
_APPLICATION_ID = 0x706C6377
_FORMAT = 1
_BUSY_SECONDS = 5.0
# Of each log and kind.  One fork says all; of what is only unproven, whoever has old checkpoints could send
# many, so the newest are kept.
MAX_EVIDENCE = 64
_NEW_KEY = (
    "A witness that forgot what it saw could cosign two histories: make a new one with `placet witness init` "
    "in another folder, and have those who trust this one change its key."
)
_SCHEMA = """
CREATE TABLE witness (
  key TEXT NOT NULL, url TEXT NOT NULL, file_mark TEXT NOT NULL, last_time INTEGER NOT NULL) STRICT;
CREATE TABLE log_keys (origin TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (origin, key)) STRICT;
CREATE TABLE seen (
  origin TEXT PRIMARY KEY, origin_hash BLOB NOT NULL UNIQUE, tree_size INTEGER NOT NULL,
  root_hash BLOB NOT NULL, checkpoint BLOB NOT NULL, cosigned_at INTEGER NOT NULL) STRICT;
CREATE TABLE evidence (
  number INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT NOT NULL, kind TEXT NOT NULL, text_hash BLOB NOT NULL,
  tree_size INTEGER NOT NULL, root_hash BLOB NOT NULL, seen_at INTEGER NOT NULL,
  submitted BLOB NOT NULL, known BLOB NOT NULL,
  UNIQUE (origin, text_hash)) STRICT;
"""


class EvidenceKind(StrEnum):
    """What a signed checkpoint that was not cosigned says about its log."""

    FORK = "fork"
    """The log signed two roots for one size.  Both notes together prove it to anybody."""
    UNPROVEN = "unproven"
    """It came with a proof that does not hold.  The log may have forked, or whoever sent it erred."""


class Seen(NamedTuple):
    """The newest checkpoint of a log that the witness cosigned."""

    tree_size: int = 0
    root_hash: bytes = EMPTY_ROOT
    checkpoint: bytes = b""
    """The signed note, or nothing for a log that never sent one."""
    cosigned_at: int = 0


class WitnessedLog(NamedTuple):
    """A log that the witness cosigns for."""

    origin: str
    keys: tuple[VerifierKey, ...]
    seen: Seen


class Evidence(NamedTuple):
    """A signed checkpoint that contradicts, or does not follow from, the one that was cosigned then."""

    number: int
    origin: str
    kind: EvidenceKind
    tree_size: int
    seen_at: int
    submitted: bytes
    known: bytes


class SeenMovedError(Exception):
    """Another request was quicker; `tree_size` is what the witness has cosigned meanwhile."""

    def __init__(self, tree_size: int) -> None:
        super().__init__(f"the witness has cosigned size {tree_size}")
        self.tree_size = tree_size


class WitnessState:
    """A witness's memory in one file; usable from any thread.

    Every method may raise IndeterminateError: LOG_UNAVAILABLE (locked, full, not accessible), LOG_DAMAGED.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, key: VerifierKey, url: str) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.Lock()
        self._failed = False
        self.key = key
        """The witness's own key."""
        self.url = url
        """Where logs reach it, or ""."""

    @classmethod
    def create(cls, path: Path, key: VerifierKey, url: str = "") -> Self:
        """Makes the state of a new witness, which has seen nothing.

        Raises:
            IndeterminateError: also where there is a file already.
        """
        with _named_failures(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # By hand, because SQLite would let everybody on the machine read it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            connection = _connect(path)
            try:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
                    f"PRAGMA user_version = {_FORMAT}; COMMIT;"
                )
                row = (str(key), url, read_file_mark(path))
                connection.execute("INSERT INTO witness VALUES (?, ?, ?, 0)", row)
                sync_folder(path.parent)
            except BaseException:
                connection.close()
                raise
            return cls(connection, path, key, url)

    @classmethod
    def open(cls, path: Path, *, moved: bool = False) -> Self:
        """Opens the state of a witness.

        Args:
            moved: somebody says that the file was moved here whole, and is used nowhere else.
        """
        with _named_failures(path):
            for place in (path.parent, path):
                if writable_by_others(place):
                    _fail(path, "can be changed by other users", f"Take it for yourself: chmod go-w {place}")
            connection = _connect(path)
            try:
                key, url = _check(connection, path, moved=moved)
            except BaseException:
                connection.close()
                raise
            return cls(connection, path, key, url)

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._connection.close()

    def add_log(self, origin: str, key: VerifierKey) -> bool:
        """Cosigns for a log from now on; returns False where it did so already."""
        with self._transaction() as connection:
            sql = "INSERT OR IGNORE INTO log_keys VALUES (?, ?)"
            return connection.execute(sql, (origin, str(key))).rowcount == 1

    def find_log(self, origin: str) -> WitnessedLog | None:
        """Returns what is known of the log with this origin, or None."""
        with self._transaction(write=False) as connection:
            rows = connection.execute("SELECT key FROM log_keys WHERE origin = ? ORDER BY key", (origin,))
            keys = tuple(parse_verifier_key(key) for (key,) in rows)
            return WitnessedLog(origin, keys, _read_seen(connection, origin)) if keys else None

    def find_seen(self, origin_hash: bytes) -> WitnessedLog | None:
        """Returns the log whose origin has this SHA-256, if something of it was cosigned, or None."""
        with self._transaction(write=False) as connection:
            sql = "SELECT origin FROM seen WHERE origin_hash = ?"
            row = connection.execute(sql, (origin_hash,)).fetchone()
        return None if row is None else self.find_log(row[0])

    def list_logs(self) -> tuple[WitnessedLog, ...]:
        """Returns all logs."""
        with self._transaction(write=False) as connection:
            origins = connection.execute("SELECT DISTINCT origin FROM log_keys ORDER BY origin").fetchall()
        return tuple(log for (origin,) in origins if (log := self.find_log(origin)) is not None)

    def advance(self, known: Seen, checkpoint: Checkpoint, note: bytes, now: int) -> int:
        """Makes `checkpoint` the newest one durably, if `known` still is; only then may it be cosigned.

        Returns:
            The time of the cosignature, which never goes back.

        Raises:
            SeenMovedError: `known` is not the newest one any more.
            IndeterminateError: TIME_UNPROVEN where the clock is behind a time that was signed.
        """
        with self._transaction() as connection:
            found = _read_seen(connection, checkpoint.log_origin)
            if (found.tree_size, found.root_hash) != (known.tree_size, known.root_hash):
                raise SeenMovedError(found.tree_size)
            (last,) = connection.execute("SELECT last_time FROM witness").fetchone()
            if now < last:
                raise IndeterminateError(
                    Reason.TIME_UNPROVEN,
                    f"The clock shows {format_time(now)}; this witness has signed at {format_time(last)}.",
                    hint="Set the witness's clock. If the later time was wrong, make a new witness.",
                )
            connection.execute("UPDATE witness SET last_time = ?", (now,))
            origin = checkpoint.log_origin
            connection.execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)",
                (origin, _hash(origin), checkpoint.tree_size, checkpoint.root_hash, note, now),
            )
            _resolve(connection, checkpoint, note)
            return now

    def keep_evidence(
        self, kind: EvidenceKind, checkpoint: Checkpoint, text: bytes, note: bytes, known: bytes, now: int
    ) -> bool:
        """Keeps a signed checkpoint that cannot be cosigned, and the one that was known then.

        Returns:
            False where it is known, or says nothing new.
        """
        origin, text_hash = checkpoint.log_origin, sha256(text).digest()
        with self._transaction() as connection:
            sql = "SELECT count(*) FROM evidence WHERE origin = ? AND kind = ?"
            (count,) = connection.execute(sql, (origin, kind)).fetchone()
            if kind is EvidenceKind.FORK and count >= MAX_EVIDENCE:
                return False
            made = connection.execute(
                "INSERT OR IGNORE INTO evidence (origin, kind, text_hash, tree_size, root_hash, seen_at,"
                " submitted, known) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (origin, kind, text_hash, checkpoint.tree_size, checkpoint.root_hash, now, note, known),
            )
            if made.rowcount and count >= MAX_EVIDENCE:
                connection.execute(
                    "DELETE FROM evidence WHERE number ="
                    " (SELECT min(number) FROM evidence WHERE origin = ? AND kind = ?)",
                    (origin, kind),
                )
            return made.rowcount == 1

    def list_evidence(self) -> tuple[Evidence, ...]:
        """Returns all evidence, oldest first."""
        with self._transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT number, origin, kind, tree_size, seen_at, submitted, known FROM evidence"
                " ORDER BY number"
            ).fetchall()
        return tuple(Evidence(row[0], row[1], EvidenceKind(row[2]), *row[3:]) for row in rows)

    def check_health(self) -> None:
        """Makes sure that the state can be read, and that nothing is in doubt."""
        with self._transaction(write=False) as connection:
            connection.execute("SELECT last_time FROM witness").fetchone()

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock, _named_failures(self._path):
            if self._failed:
                _fail(self._path, "failed while it was written", "Check the disk (dmesg), then start again.")
            try:
                self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as e:
                # After a failed sync nobody knows what is on the disk; only a restart reads it back.
                self._failed = leaves_doubt(e)
                raise
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a missing state is never made in passing.
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        # A cosignature leaves only after what it says is on the disk.
        connection.execute("PRAGMA synchronous = FULL")
        if journal != "wal":
            _fail(path, "does not support a write-ahead log", "Put the state on a local disk.")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, *, moved: bool) -> tuple[VerifierKey, str]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION_ID or version != _FORMAT:
        _fail(path, "is not a witness's state that this version understands", "Check path and version.")
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        _fail(path, "is damaged", _NEW_KEY, Reason.LOG_DAMAGED)
    row = connection.execute("SELECT key, url, file_mark FROM witness").fetchone()
    if row is None:
        _fail(path, "was never finished", "Remove it, and run `placet witness init` again.")
    mark = read_file_mark(path)
    if row[2] != mark:
        if not moved:
            _fail(
                path,
                "was restored or copied from elsewhere, so newer checkpoints may be missing from it",
                "If it was moved whole and is used nowhere else, say so: `placet witness moved`. "
                f"Otherwise: {_NEW_KEY[0].lower()}{_NEW_KEY[1:]}",
                Reason.LOG_DAMAGED,
            )
        connection.execute("UPDATE witness SET file_mark = ?", (mark,))
    return parse_verifier_key(row[0]), row[1]


def _hash(origin: str) -> bytes:
    return sha256(origin.encode()).digest()


def _read_seen(connection: sqlite3.Connection, origin: str) -> Seen:
    row = connection.execute(
        "SELECT tree_size, root_hash, checkpoint, cosigned_at FROM seen WHERE origin = ?", (origin,)
    ).fetchone()
    return Seen(*row) if row else Seen()


def _resolve(connection: sqlite3.Connection, checkpoint: Checkpoint, note: bytes) -> None:
    """Says of unproven checkpoints of the size that was just proven what they were."""
    where = "WHERE origin = ? AND kind = ? AND tree_size = ? AND root_hash"
    which = (checkpoint.log_origin, EvidenceKind.UNPROVEN, checkpoint.tree_size, checkpoint.root_hash)
    # The same root: an honest checkpoint with a wrong proof.  Another root: the log signed both.
    connection.execute(f"DELETE FROM evidence {where} = ?", which)  # noqa: S608 (our own constant)
    connection.execute(
        f"UPDATE evidence SET kind = ?, known = ? {where} != ?",  # noqa: S608 (our own constant)
        (EvidenceKind.FORK, note, *which),
    )
    # A log that forks at each size must not fill the disk; the first forks say as much as all.
    connection.execute(
        "DELETE FROM evidence WHERE origin = ? AND kind = ? AND number NOT IN"
        " (SELECT number FROM evidence WHERE origin = ? AND kind = ? ORDER BY number LIMIT ?)",
        (checkpoint.log_origin, EvidenceKind.FORK, checkpoint.log_origin, EvidenceKind.FORK, MAX_EVIDENCE),
    )


@contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        problem, hint, reason = _PROBLEMS.get(primary_code(e), (f"failed: {e}", "", Reason.LOG_UNAVAILABLE))
        _fail(path, problem, hint, reason, e)
    except FileExistsError as e:
        _fail(path, "exists already", "Use it, or name another folder.", cause=e)
    except FileNotFoundError as e:
        _fail(path, "is missing", f"For a new witness: `placet witness init`. {_NEW_KEY}", cause=e)
    except OSError as e:
        _fail(path, f"cannot be used: {e.strerror or e}", "Check path, owner, mode and disk.", cause=e)


_LOCKED = ("is locked by another program", "Try again in a moment.", Reason.LOG_UNAVAILABLE)
_LOST = ("is damaged", _NEW_KEY, Reason.LOG_DAMAGED)
_CLOSED = ("cannot be opened for writing", "Check its owner and mode, and the disk.", Reason.LOG_UNAVAILABLE)
_PROBLEMS = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Make room on the disk.", Reason.LOG_UNAVAILABLE),
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_CORRUPT: _LOST,
    sqlite3.SQLITE_NOTADB: _LOST,
}


def _fail(
    path: Path,
    problem: str,
    hint: str,
    reason: Reason = Reason.LOG_UNAVAILABLE,
    cause: BaseException | None = None,
) -> NoReturn:
    raise IndeterminateError(reason, f"The witness's state {path} {problem}.", hint=hint) from cause
