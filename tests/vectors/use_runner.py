"""Runs the vectors of uses in the log: records, the leaves that they name, and gates whose log fails."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.adapters.use_key import UseKey
from placet.core.bundle import parse_bundle
from placet.core.encoding import encode_canonical, format_time
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.leaf import encode_leaf
from placet.core.tlog.note import parse_signer_key
from placet.core.tlog.records import leaf_of_record
from placet.core.tlog.uses import approval_leaves, verify_use_record
from placet.core.trust import Trust, parse_trust
from placet.core.verify import Expected, verify_for_use
from placet.gates.use_log import UseLog
from placet.gates.uses import consume_uses, record_outcomes
from placet.ports.use_ledger import NOT_EXECUTED
from placet.testing.small_log import SmallLog

_VECTORS = Path(__file__).resolve().parents[2] / "vectors"

Facts = dict[str, Any]


def _b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _trust(name: str) -> Trust:
    return parse_trust(encode_canonical(json.loads((_VECTORS / "trust" / f"{name}.json").read_text())))


def record(inputs: Any, now: int) -> Facts:
    """Verifies a record by the trust root."""
    use = verify_use_record(_b64(inputs["record"]), _trust(inputs["trust"]))
    return {
        "gate": use.gate,
        "unit": use.unit,
        "usedAt": format_time(use.used_at),
        "approvals": list(use.approvals),
    }


def leaves(inputs: Any, now: int) -> Facts:
    """Which leaves a use by these keys' decisions names."""
    return {"approvals": list(approval_leaves(parse_bundle(_b64(inputs["bundle"])), set(inputs["keyids"])))}


class _Log:
    """A log that fails at one step."""

    def __init__(self, signer_key: str, fails: str) -> None:
        self.small = SmallLog(quorum=0)
        self.small.signer = parse_signer_key(signer_key)
        self.impostor = SmallLog(seed=b"impostor", quorum=0)
        self.fails, self.held = fails, 0

    def _reach(self, step: str) -> None:
        if self.fails == step:
            raise IndeterminateError(Reason.LOG_UNAVAILABLE, "The log does not answer.")

    def fetch_checkpoint(self) -> bytes:
        self._reach("checkpoint")
        return (self.impostor if self.fails == "checkpoint-key" else self.small).checkpoint(times={})

    def append(self, record: bytes) -> object:
        self._reach("append")
        for log in (self.small, self.impostor):
            index = log.append(encode_leaf(leaf_of_record(record)))
        self.held += 1
        self._reach("appended")
        return index

    def fetch_proof(self, leaf: bytes) -> str:
        self._reach("proof")
        log = self.impostor if self.fails == "proof-key" else self.small
        return log.proof(len(log.leaves) - 1, times={})


def gate(inputs: Any, now: int) -> Facts:
    """Uses an approval as a gate does, and looks at what is left, whatever came of it."""
    trust, log = _trust(inputs["trust"]), _Log(inputs["log"]["key"], inputs["log"]["fails"])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "ledger" / "ledger.sqlite3"
        declare_new_birth(path, now=now - 3600)
        with SqliteLedger(path) as ledger:
            try:
                return _act(inputs, now, trust, log, ledger)
            finally:
                uses = ledger.list_latest(10)
                found = {"consumed": len(uses), "unlogged": ledger.count_unlogged().uses, "leaves": log.held}
                if any(use.exit_code == NOT_EXECUTED for use in uses):
                    found["notExecuted"] = True
                assert found == inputs["left"], (found, inputs["left"])


def _act(inputs: Any, now: int, trust: Trust, log: _Log, ledger: SqliteLedger) -> Facts:
    bundle, wanted = _b64(inputs["bundle"]), inputs["expected"]
    expected = Expected(
        wanted["target"], frozenset(wanted["subjects"]), wanted["actionType"], wanted["parameters"]
    )
    approval = verify_for_use(bundle, trust=trust, gate=inputs["gate"], expected=expected, now=now)
    use_log = UseLog(
        gate=inputs["gate"],
        trust=trust,
        bundle=parse_bundle(bundle),
        signer=UseKey(ec.derive_private_key(int(inputs["useKey"]), ec.SECP256R1())),
        open_log=lambda url, *, patient: log,
    )
    consumptions = consume_uses(approval, ledger, now, log=use_log)
    record_outcomes(ledger, consumptions, 0, now, log=use_log)
    return {"acted": True}


KINDS: dict[str, Callable[[Any, int], Facts]] = {
    "use-record": record,
    "use-leaves": leaves,
    "logged-use": gate,
}
