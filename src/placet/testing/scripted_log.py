"""A log that signs whatever it is told to, on a real loopback server: for tests of who must not believe it.

    log = ScriptedLog("log.example")
    log.add(leaf, record)
    with log.served() as url:
        …
    other = log.fork(keep=3)          # the same key and name, another tree from leaf 3 on

Its witnesses cosign what they are asked to, too: honest ones are the business of the test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.core.encoding import b64encode
from placet.core.errors import MalformedError
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.log_policy import LogEntryKey, LogPolicy, Witness
from placet.core.tlog.merkle import CompactRange, extend, hash_leaf, inclusion_proof
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    ED25519,
    NoteSigner,
    SignedNote,
    encode_note,
    parse_note,
)
from placet.core.tlog.proof import TlogProof, encode_proof
from placet.core.tlog.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    encode_entries,
    parse_tile_path,
    tiles_of,
)

TOKEN = "a-monitor-of-tests"


def signer(name: str, algorithm: int = ED25519) -> NoteSigner:
    """Returns a key made from its name: the same in every run."""
    seed = hashlib.sha256(f"{name} {algorithm}".encode()).digest()
    return NoteSigner(name, algorithm, Ed25519PrivateKey.from_private_bytes(seed))


class ScriptedLog:
    """A log in memory.

    Attributes:
        leaves: the entries; change them to make a tree that never was.
        records: what it hands to monitors, by index.
        shown: answers it gives instead of the right ones, by path; None stands for "not found".
        checkpoint: the newest signed state; `publish` makes one, and so does `add`.
        now: the witnesses' time, in Unix seconds.
    """

    def __init__(
        self,
        origin: str = "log.example",
        *,
        witnesses: Sequence[str] = ("w1.example", "w2.example"),
        now: int = 1_795_428_000,
    ) -> None:
        self.origin = origin
        self.signer = signer(origin)
        self.witnesses = [signer(name, COSIGNATURE_ED25519) for name in witnesses]
        self.leaves: list[bytes] = []
        self.records: dict[int, bytes] = {}
        self.shown: dict[str, bytes | None] = {}
        self.asked: list[str] = []
        self.now = now
        self.checkpoint = self.publish()

    def policy(self, quorum: str | None = None, *, url: str = "") -> LogPolicy:
        """Returns the policy that names this log and its witnesses; by default the first is the quorum."""
        witnesses = tuple(Witness(key.name, key.verifier_key) for key in self.witnesses)
        first = self.witnesses[0].name if self.witnesses else "none"
        return LogPolicy((LogEntryKey(self.signer.verifier_key, url),), witnesses, (), quorum or first)

    def add(self, leaf: bytes, record: bytes | None = None) -> bytes:
        """Appends a leaf, publishes, and returns the leaf's hash."""
        if record is not None:
            self.records[len(self.leaves)] = record
        self.leaves.append(leaf)
        self.publish()
        return hash_leaf(leaf)

    def root(self, size: int | None = None) -> bytes:
        """Returns the root hash over the first leaves, by default all."""
        hashes = [hash_leaf(leaf) for leaf in self.leaves[:size]]
        return extend(CompactRange(), hashes)[0].root()

    def publish(self, *, size: int | None = None, cosigned: bool = True) -> bytes:
        """Signs the tree as it is, or its first leaves, and has it cosigned."""
        size = len(self.leaves) if size is None else size
        note = sign_checkpoint(Checkpoint(self.origin, size, self.root(size)), self.signer)
        self.checkpoint = self.cosign(note) if cosigned else note
        return self.checkpoint

    def cosign(self, note: bytes, *, time: int | None = None) -> bytes:
        """Returns a note with the cosignatures of all witnesses."""
        parsed = parse_note(note)
        times = self.now if time is None else time
        more = tuple(cosign(parsed.text, key, times) for key in self.witnesses)
        return encode_note(SignedNote(parsed.text, (*parsed.signatures, *more)))

    def fork(self, *, keep: int | None = None) -> ScriptedLog:
        """Returns a log of the same name and keys, with the first `keep` leaves."""
        other = ScriptedLog(self.origin, witnesses=[key.name for key in self.witnesses], now=self.now)
        other.leaves = self.leaves[:keep]
        other.records = {i: record for i, record in self.records.items() if i < len(other.leaves)}
        other.publish()
        return other

    def prove(self, leaf_index: int) -> str:
        """Returns the proof of a leaf under the newest checkpoint."""
        size = len(self.leaves)
        return encode_proof(
            TlogProof(leaf_index, inclusion_proof(leaf_index, size, self._node), self.checkpoint)
        )

    def export(self, folder: Path) -> None:
        """Writes the tree as static files."""
        for path in tiles_of(0, len(self.leaves)):
            place = folder / str(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self._tile(str(path)) or b"")
        (folder / "checkpoint").write_bytes(self.checkpoint)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serves the log on a free loopback port; yields its address."""
        with serving(self.answer) as url:
            yield url

    def answer(self, target: str, token: str) -> tuple[int, bytes]:
        """Answers one GET."""
        url = urlsplit(target)
        path = url.path.lstrip("/")
        self.asked.append(path)
        if path in self.shown:
            data = self.shown[path]
            return (404, b"") if data is None else (200, data)
        if path == "checkpoint":
            return 200, self.checkpoint
        if path == "v1/records":
            return self._answer_records(parse_qs(url.query), token)
        found = self._tile(path)
        return (404, b"") if found is None else (200, found)

    def _answer_records(self, query: dict[str, list[str]], token: str) -> tuple[int, bytes]:
        if token != f"Bearer {TOKEN}":
            return 403, b'{"error":{"reason":"unknown-monitor","message":"no","hint":""}}'
        start, limit = int(query["from"][0]), int(query["limit"][0])
        found = []
        for index in range(start, min(start + limit, len(self.leaves))):
            if index not in self.records:
                break
            found.append({"leafIndex": str(index), "record": b64encode(self.records[index])})
        return 200, json.dumps({"records": found}).encode()

    def _tile(self, path: str) -> bytes | None:
        try:
            level, tile_index, width = parse_tile_path(path)
        except MalformedError:
            return None
        first = tile_index * TILE_WIDTH
        if level is None:
            entries = self.leaves[first : first + width]
            return encode_entries(entries) if len(entries) == width else None
        height = level * TILE_HEIGHT
        if len(self.leaves) >> height < first + width:
            return None
        return b"".join(self._node(height, index) for index in range(first, first + width))

    def _node(self, level: int, index: int) -> bytes:
        leaves = self.leaves[index << level : index + 1 << level]
        return extend(CompactRange(), [hash_leaf(leaf) for leaf in leaves])[0].root()


@contextmanager
def serving(answer: Callable[[str, str], tuple[int, bytes]]) -> Iterator[str]:
    """Serves GETs on a free loopback port; `answer` gets the target and the authorization."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
