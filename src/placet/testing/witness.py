"""Witnesses on loopback: real ones, and ones that lie.

    with served_witness(folder, "w1.example") as witness:
        witness.add_log(log_key)
        policy = f"{witness.policy_line('w1')}\\n"

    with LyingWitness(wrong_time(signer, 3600)) as liar:
        …

A lie is a function from a call to its answer (`placet.testing.hostile_relay`); most are made with a key,
because a liar may well be a witness whom somebody trusts.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from placet.adapters.note_key import create_note_key, load_note_key
from placet.adapters.sqlite.witness import WitnessState
from placet.adapters.system_clock import SystemClock
from placet.adapters.witness_protocol import (
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    encode_add_checkpoint,
    encode_size,
    parse_add_checkpoint,
)
from placet.core.tlog.checkpoint import Checkpoint, encode_checkpoint, parse_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.merkle import CompactRange, consistency_proof, extend, hash_leaf
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    NoteSignature,
    NoteSigner,
    VerifierKey,
    encode_signatures,
    parse_note,
)
from placet.log.witness import Witness
from placet.log.witness_app import create_app
from placet.ports.clock import Clock
from placet.testing.hostile_relay.server import Forward, HostileRelay, Lie, Raw, Reply, Seen, head
from placet.testing.small_log import SmallLog

_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


class ServedWitness(NamedTuple):
    """A witness that listens."""

    url: str
    signer: NoteSigner
    state: WitnessState

    @property
    def key(self) -> VerifierKey:
        """Its key."""
        return self.signer.verifier_key

    def add_log(self, key: VerifierKey) -> None:
        """Cosigns for a log from now on."""
        self.state.add_log(key.name, key)

    def policy_line(self, name: str) -> str:
        """Returns its line of a log policy."""
        return f"witness {name} {self.key} {self.url}"


@contextmanager
def served_witness(
    folder: Path, name: str = "witness.example/w1", *, clock: Clock | None = None, port: int = 0
) -> Iterator[ServedWitness]:
    """Serves the witness in `folder`, by default on a free port; makes it where it is missing."""
    key_path, state_path = folder / "witness.key", folder / "witness.sqlite3"
    if key_path.exists():
        signer, state = load_note_key(key_path, COSIGNATURE_ED25519), WitnessState.open(state_path)
    else:
        signer = create_note_key(key_path, name, COSIGNATURE_ED25519)
        state = WitnessState.create(state_path, signer.verifier_key)
    app = create_app(Witness(state, signer, clock or SystemClock()), close=state.close)
    with _served(app, port) as url:
        yield ServedWitness(url, signer, state)


@contextmanager
def _served(app: Callable[..., object], port: int) -> Iterator[str]:
    import uvicorn

    class QuickServer(uvicorn.Server):
        async def main_loop(self) -> None:
            # uvicorn looks ten times a second whether it is to stop; tests stop dozens of witnesses.
            while not self.should_exit:
                await asyncio.sleep(0.005)

    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, ws="none")
        server = QuickServer(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the witness did not start")
                time.sleep(0.002)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def encode_request(log: SmallLog, old: int) -> bytes:
    """Returns the body that shows `log` to a witness that saw `old` of its leaves."""
    _, nodes = extend(CompactRange(), [hash_leaf(leaf) for leaf in log.leaves])
    known = {(level, at): value for level, at, value in nodes}
    proof = consistency_proof(old, len(log.leaves), lambda level, at: known[level, at]) if old else ()
    return encode_add_checkpoint(AddCheckpoint(old, proof, log.checkpoint(times={})))


class LyingWitness(HostileRelay):
    """A witness that tells lies; without any, it refuses every connection."""

    def __init__(self, *lies: Lie) -> None:
        # Nothing listens on port 9: whatever no lie takes up, fails.
        super().__init__("http://127.0.0.1:9", *lies)


def honest(signer: NoteSigner) -> Lie:
    """Cosigns whatever it is shown, at once, and remembers nothing."""
    return _signs(lambda text: cosign(text, signer, int(time.time())))


def wrong_key(signer: NoteSigner, other: NoteSigner) -> Lie:
    """Signs with another key in its own name and key ID."""

    def sign(text: bytes) -> NoteSignature:
        made = cosign(text, other, int(time.time()))
        return made._replace(name=signer.name, key_id=signer.verifier_key.key_id)

    return _signs(sign)


def wrong_time(signer: NoteSigner, offset: int) -> Lie:
    """Signs a time that is `offset` seconds from now."""
    return _signs(lambda text: cosign(text, signer, int(time.time()) + offset))


def other_root(signer: NoteSigner) -> Lie:
    """Cosigns another root hash of the same size, as if the log had shown it to somebody else."""

    def sign(text: bytes) -> NoteSignature:
        shown = parse_checkpoint(text)
        other = Checkpoint(shown.log_origin, shown.tree_size, bytes(32))
        return cosign(encode_checkpoint(other), signer, int(time.time()))

    return _signs(sign)


def replayed(signer: NoteSigner) -> Lie:
    """Cosigns the first checkpoint that it sees, and answers with that one ever after."""
    kept: list[NoteSignature] = []

    def sign(text: bytes) -> NoteSignature:
        if not kept:
            kept.append(cosign(text, signer, int(time.time())))
        return kept[0]

    return _signs(sign)


def conflict(tree_size: int, media_type: str = SIZE_MEDIA_TYPE) -> Lie:
    """Says that it saw another size."""
    return fixed(409, encode_size(tree_size), media_type)


def fixed(status: int, body: bytes = b"", media_type: str = "text/plain") -> Lie:
    """Answers always the same."""
    return lambda seen, forward: Reply(status, body, (("Content-Type", media_type),))


def garbage(seen: Seen, forward: Forward) -> Reply:
    """Answers with bytes that mean nothing."""
    return Reply(200, b"\x00\xff\n\n\xe2\x80\x94 x", _TEXT)


def huge(seen: Seen, forward: Forward) -> Raw:
    """Sends signature lines without end."""

    def send(write: Callable[[bytes], object]) -> None:
        write(head(200, *_TEXT))
        line = "\u2014 w AAAA\n".encode() * 1000
        for _ in range(10_000):
            write(line)

    return Raw(send)


def slow(seconds: float = 60.0) -> Lie:
    """Sends a byte from time to time."""

    def send(write: Callable[[bytes], object]) -> None:
        until = time.monotonic() + seconds
        write(head(200, *_TEXT, length=128))
        while time.monotonic() < until:
            write(b" ")
            time.sleep(0.05)

    return lambda seen, forward: Raw(send)


def _signs(sign: Callable[[bytes], NoteSignature]) -> Lie:
    def lie(seen: Seen, forward: Forward) -> Reply:
        note = parse_note(parse_add_checkpoint(seen.body).checkpoint)
        return Reply(200, encode_signatures((sign(note.text),)), _TEXT)

    return lie
