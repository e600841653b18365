"""A small world with a log: people decide, gates use, and a monitor follows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from placet.adapters.log_client import LogClient
from placet.adapters.sqlite.audit import AuditStore, StoredCheckpoint
from placet.ceremony.decide import deny, make_answer, message, prepare
from placet.core.bundle import Answer, IntentRequest, encode_answer
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature
from placet.core.encoding import KeyId, b64encode, encode_canonical, parse_json, sha256_hex
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.tlog.leaf import encode_leaf
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.records import Use, encode_use_record, in_lower_half, leaf_of_record, use_message
from placet.core.trust import Trust
from placet.log.monitor import Audit, Audited, Settings, WatchedLog
from placet.log.monitor_source import LogSource, ServedLog
from placet.log.monitor_telling import Recipient
from placet.testing.scripted_log import TOKEN, ScriptedLog
from placet.testing.world import GATE, World


def gate_key(name: str = GATE) -> ec.EllipticCurvePrivateKey:
    """A gate's use key, the same in every run."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") % (2**255) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class LogWorld(World):
    """A world whose gates have use keys."""

    def files(self) -> dict[str, bytes]:
        files = super().files()
        gates = parse_json(files["gates.json"], max_bytes=10**6, what="gates")
        for gate in gates["gates"]:
            gate["useKeys"] = [b64encode(spki(gate_key(gate["id"])))]
        return files | {"gates.json": encode_canonical(gates)}

    def deny(self, request: IntentRequest, person: str, *, terminal: str = "t1") -> Answer:
        """Denies as an honest terminal would."""
        trust = self.trust()
        review = deny(prepare(request, trust=trust, now=self.now + 60, evidence=self.evidence))
        sig = self.keys[person].sign(NAMESPACE_INTENT, message(review), web_origin=self.origin(terminal))
        answer, _, _ = make_answer(
            review,
            sshsig=sig,
            trust=trust,
            terminal=self.terminals[terminal],
            decided_at=self.now + 60,
            seconds_on_screen=31,
            renderer="placet-testing/1",
            changes="first time for this target",
        )
        return answer


def log_answer(log: ScriptedLog, answer: Answer) -> str:
    """Logs a decision; returns its leaf hash."""
    return log_record(log, encode_answer(answer))


def log_record(log: ScriptedLog, record: bytes) -> str:
    return log.add(encode_leaf(leaf_of_record(record)), record).hex()


def use_record(
    payload_digest: str,
    approvals: Iterable[str],
    *,
    at: int,
    gate: str = GATE,
    unit: str = "action",
    number: int = 0,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """A gate's record of one use."""
    use: Any = Use(payload_digest, tuple(sorted(approvals)), gate, number.to_bytes(16, "big"), unit, at)  # type: ignore[arg-type]
    payload, signed = use_message(use)
    private = key or gate_key(gate)
    sig = in_lower_half(private.sign(signed, ec.ECDSA(hashes.SHA256())))
    envelope = Envelope(payload, PAYLOAD_TYPE, (Signature(KeyId(sha256_hex(spki(private))), sig),))
    return encode_use_record(envelope)


class Monitor:
    """A monitor with its state in a folder."""

    def __init__(self, folder: Path, policy: LogPolicy, trust: Trust | None = None, *, now: int) -> None:
        self.folder, self.policy, self.trust, self.now = folder, policy, trust, now
        self.recipients: tuple[Recipient, ...] = ()
        self.max_age: int | None = None

    def store(self) -> AuditStore:
        return AuditStore(self.folder / "audit.sqlite")

    def run(
        self,
        url: str,
        *,
        against: Sequence[LogSource] = (),
        others: Sequence[StoredCheckpoint] = (),
        records: bool = True,
        full: bool = False,
        origin: str = "log.example",
    ) -> Audited:
        settings = Settings(
            self.policy,
            self.trust,
            self.folder / "snapshot.json",
            self.recipients,
            self.now,
            self.max_age,
            full,
        )
        client = LogClient(url, tries=1)
        source = ServedLog(client, TOKEN if records else None)
        with self.store() as store:
            return Audit(store, settings).run(
                [WatchedLog(origin, source, records)], against=against, others=others
            )

    def open_findings(self) -> list[str]:
        with self.store() as store:
            return [finding.name for finding in store.list_findings()]


def names(audited: Audited) -> list[str]:
    return [str(finding.name) for finding in audited.news]
