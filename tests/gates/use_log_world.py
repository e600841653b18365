"""A log in a file, with real leaves, checkpoints and proofs, that can be down, lie or kill at every step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from command_world import GATE, POLICY, CommandWorld
from cryptography.hazmat.primitives.asymmetric import ec

from placet.adapters.use_key import UseKey
from placet.core.bundle import parse_bundle
from placet.core.encoding import b64encode, encode_canonical
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.tlog.leaf import encode_leaf
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.records import leaf_of_record
from placet.core.tlog.uses import verify_use_record
from placet.core.trust import Trust
from placet.gates.use_log import UseLog
from placet.testing.small_log import SmallLog
from placet.testing.world import World

URL = "http://log.example"
# What a gate does with a log, in this order; "appended" and "answered" are after the log has stored the leaf.
STEPS = ("checkpoint", "append", "appended", "proof", "answered")
QUEUED = POLICY.replace("level = 1", 'level = 1\nuses = "queued"')


def use_key(number: int) -> UseKey:
    """Returns a use key that follows from a number."""
    return UseKey(ec.derive_private_key(number, ec.SECP256R1()))


class FileLog:
    """A log whose leaves outlive the process that appended them.

    Args:
        path: where they are.
        trust: returns by whose gates records must be.
    """

    def __init__(self, path: Path, trust: Callable[[], Trust]) -> None:
        self.path, self._trust = path, trust
        self.small = SmallLog(url=URL, quorum=0)
        self.at: dict[str, Callable[[], object]] = {}
        self.opened: list[bool] = []

    def open(self, url: str, *, patient: bool) -> FileLog:
        """Satisfies `placet.ports.log_appender.LogOpener`."""
        assert url == URL
        self.opened.append(patient)
        return self

    @property
    def leaves(self) -> list[bytes]:
        """The leaves that were handed in."""
        lines = self.path.read_text().split() if self.path.exists() else []
        return [bytes.fromhex(line) for line in lines]

    def _log(self) -> SmallLog:
        self.small.leaves = [b"filler %d" % i for i in range(5)] + self.leaves
        return self.small

    def _reach(self, step: str) -> None:
        if step in self.at:
            self.at[step]()

    def fetch_checkpoint(self) -> bytes:
        self._reach("checkpoint")
        return self._log().checkpoint(times={})

    def append(self, record: bytes) -> object:
        self._reach("append")
        try:
            verify_use_record(record, self._trust())
        except PlacetError as e:
            raise PolicyError(Reason.LOG_REFUSED, f"The log refused: {e}") from e
        leaf = encode_leaf(leaf_of_record(record))
        if leaf not in self.leaves:
            with self.path.open("a") as file:
                file.write(f"{leaf.hex()}\n")
        self._reach("appended")
        return None

    def fetch_proof(self, leaf_hash: bytes) -> str:
        self._reach("proof")
        log = self._log()
        index = [hash_leaf(leaf) for leaf in log.leaves].index(leaf_hash)
        proof = log.proof(index, times={})
        self._reach("answered")
        return proof


class FixedClock:
    """The gate's clock; tests move it."""

    def __init__(self, now: int) -> None:
        self.at = now

    def now(self) -> int:
        """Returns Unix seconds."""
        return self.at


def down() -> None:
    """What a dead log does."""
    raise IndeterminateError(Reason.LOG_UNAVAILABLE, "The log cannot be reached: connection refused.")


def die() -> None:
    """What kills the gate."""
    os.kill(os.getpid(), signal.SIGKILL)


class LoggedWorld(CommandWorld):
    """A command gate under a trust root that names a log."""

    def __init__(self, folder: Path, *, policy: str = POLICY) -> None:
        self.key = use_key(7)
        self.log = FileLog(folder / "leaves", lambda: self.trust)
        super().__init__(
            folder, policy=policy, log_policy=self.log.small.policy(), use_key=self.key.public.der
        )

    def use_log(self, bundle: bytes, key: UseKey | None = None) -> UseLog:
        """Returns what tells the log of uses of this approval."""
        return UseLog(
            gate=GATE,
            trust=self.trust,
            bundle=parse_bundle(bundle),
            signer=key or self.key,
            open_log=self.log.open,
        )


def name_log(world: World, folder: Path) -> FileLog:
    """Has a world's trust root name a log, and the use key 7 of its first gate."""
    first, *others = world.gates
    gates = [{"id": first, "ledger": first, "useKeys": [b64encode(use_key(7).public.der)]}]
    gates += [{"id": gate, "ledger": gate} for gate in others]
    world.more_files["gates.json"] = encode_canonical({"gates": gates})
    log = FileLog(folder / "leaves", world.trust)
    world.more_files["log-policy"] = log.small.policy()
    return log


def use_log_of(world: World, log: FileLog | None, bundle: bytes) -> UseLog | None:
    """Returns what tells that log of uses of an approval."""
    if log is None:
        return None
    return UseLog(
        gate=world.gates[0],
        trust=world.trust(),
        bundle=parse_bundle(bundle),
        signer=use_key(7),
        open_log=log.open,
    )
