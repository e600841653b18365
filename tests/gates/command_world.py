"""A small deployment for the command gate's tests: one person, one terminal, two gates, one rule."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.core.actions import parse_action
from placet.core.bundle import IntentBundle, encode_bundle
from placet.core.display import render_text
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from placet.core.encoding import b64encode, encode_canonical, format_time, sha256_hex
from placet.core.report import Report, encode_report
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_REPORT
from placet.core.statement import PREDICATE_TYPE, STATEMENT_TYPE, action_subject, parse_statement
from placet.core.trust import compile_trust, parse_trust
from placet.core.verify import Expected, VerifiedApproval, verify_for_use
from placet.gates.command import RUN_ACTION, CommandPlan, PreparedCommand, plan_command
from placet.testing.authenticator import DEFAULT_RP_ID, DEFAULT_WEB_ORIGIN, SoftTerminalKey, SoftWebAuthn

TARGET = "host://build-1"
GATE, OTHER_GATE = "prod", "staging"
SHELL = str(Path("/bin/sh").resolve())
ACTION_FILE = "actions/run/v1.json"
POLICY_FILE = "policy/all.toml"
POLICY = f"""
[[rule]]
action = "{RUN_ACTION}"
target = "host://**"
level = 1
quorum = {{ threshold = 1, of = ["person:alice@example.com"] }}
exclude_requester = false
"""
YEAR = 365 * 86_400


class CommandWorld:
    """Files in `folder`: trust snapshot, ledger, inputs, bundles."""

    def __init__(
        self,
        folder: Path,
        *,
        pin_ledger: bool = False,
        policy: str = POLICY,
        log_policy: bytes | None = None,
        use_key: bytes | None = None,
    ) -> None:
        """`log_policy` is a file of the trust root; `use_key` the gate's public use key, in DER."""
        self.policy, self.log_policy, self.use_key = policy, log_policy, use_key
        self.now = int(time.time())
        self.inputs = folder / "inputs"
        self.inputs.mkdir()
        self.state = folder / "state"
        self.folders = self.state / "placet" / "gate" / "runs"
        self.ledger_path = self.state / "placet" / "gate" / "ledger.sqlite3"
        self.folder = folder
        self.alice = SoftWebAuthn()
        self.terminal = SoftTerminalKey()
        self.action = files("placet").joinpath(ACTION_FILE).read_bytes()
        birth = declare_new_birth(self.ledger_path, now=self.now - 100)
        self.ledger_name = f"placet-ledger:{birth.ledger_id}" if pin_ledger else "local"
        snapshot = compile_trust(
            files=self._trust_files(), versions={"root": 1, "targets": 1}, expires_at=self.now + YEAR
        )
        self.trust = parse_trust(snapshot)
        self.trust_path = folder / "snapshot.json"
        self.trust_path.write_bytes(snapshot)

    def _trust_files(self) -> dict[str, bytes]:
        credential = {
            "keyid": self.alice.keyid,
            "publicKey": b64encode(self.alice.wire),
            "kind": "webauthn",
            "uv": True,
            "backup": "forbid",
            "assurance": "software",
            "notBefore": format_time(self.now - YEAR),
            "notAfter": format_time(self.now + YEAR),
        }
        terminal = {
            "id": "t1",
            "keyid": self.terminal.keyid,
            "publicKey": b64encode(self.terminal.wire),
            "origins": [DEFAULT_WEB_ORIGIN],
        }
        documents: dict[str, Any] = {
            "deployment.json": {"name": "demo", "rpId": DEFAULT_RP_ID},
            "people.json": {
                "people": [
                    {"id": "alice@example.com", "groups": [], "accounts": [], "credentials": [credential]}
                ]
            },
            "terminals.json": {"terminals": [terminal]},
            "gates.json": {
                "gates": [
                    {"id": gate, "ledger": self.ledger_name}
                    | ({"useKeys": [b64encode(self.use_key)]} if self.use_key and gate == GATE else {})
                    for gate in (GATE, OTHER_GATE)
                ]
            },
            "scopes.json": {"scopes": {"all": ["host://**"]}},
        }
        encoded = {name: encode_canonical(document) for name, document in documents.items()}
        more = {} if self.log_policy is None else {"log-policy": self.log_policy}
        return encoded | more | {POLICY_FILE: self.policy.encode(), ACTION_FILE: self.action}

    def add_input(self, name: str, content: bytes) -> Path:
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def approve(
        self,
        *argv: str,
        program: str | None = None,
        inputs: Mapping[str, bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        working_directory: str = ".",
        issued_at: int | None = None,
        expires_at: int | None = None,
        max_uses: int = 1,
    ) -> bytes:
        """Returns the bundle of an approved command."""
        program = program or str(Path("/usr/bin", argv[0]).resolve())
        action = {
            "type": RUN_ACTION,
            "target": {"uri": TARGET},
            "parameters": {
                "argv": list(argv),
                "workingDirectory": working_directory,
                "environment": dict(environment or {}),
                "executable": {
                    "path": program,
                    "digest": {"sha256": hashlib.sha256(Path(program).read_bytes()).hexdigest()},
                },
            },
        }
        subjects = [
            {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
            for name, content in (inputs or {}).items()
        ]
        definition = parse_action(self.action, file=ACTION_FILE)
        display = {"lang": "en", "template": _pin(ACTION_FILE, definition.digest), "text": "-"}
        statement: dict[str, Any] = {
            "_type": STATEMENT_TYPE,
            "predicateType": PREDICATE_TYPE,
            "subject": subjects or [action_subject(action)],
            "predicate": {
                "decision": "approve",
                "action": action,
                "display": display,
                "evidence": [],
                "policy": _pin(POLICY_FILE, sha256_hex(self.policy.encode())),
                "request": {
                    "id": _uuid7(),
                    "nonce": b64encode(secrets.token_bytes(16)),
                    "requestedBy": "test",
                    "issuedAt": format_time(issued_at or self.now - 10),
                    "notBefore": format_time(issued_at or self.now - 10),
                    "expiresAt": format_time(expires_at or self.now + 3600),
                    "maxUses": str(max_uses),
                    "audience": f"gate:{GATE}",
                },
            },
        }
        display["text"] = render_text(statement, definition)
        return self._sign(encode_canonical(statement))

    def _sign(self, payload: bytes) -> bytes:
        signature = self.alice.sign(NAMESPACE_INTENT, pae(PAYLOAD_TYPE, payload))
        report = encode_report(
            Report(
                terminal_id="t1",
                payload_digest=sha256_hex(payload),
                signature_keyid=self.alice.keyid,
                signature_digest=sha256_hex(signature),
                decided_at=self.now - 5,
                seconds_on_screen=4,
                renderer="test",
                changes="not known",
                evidence=(),
                trust_versions={"root": 1, "targets": 1},
            )
        )
        about = self.terminal.sign(NAMESPACE_REPORT, pae(PAYLOAD_TYPE, report))
        return encode_bundle(
            IntentBundle(
                envelope=Envelope(payload, PAYLOAD_TYPE, (Signature(self.alice.keyid, signature),)),
                reports=(Envelope(report, PAYLOAD_TYPE, (Signature(self.terminal.keyid, about),)),),
                evidence=(),
                trust_versions={"root": 1, "targets": 1},
            )
        )

    def save(self, bundle: bytes) -> Path:
        path = self.folder / f"{hashlib.sha256(bundle).hexdigest()[:16]}.intent.json"
        path.write_bytes(bundle)
        return path

    def open_ledger(self) -> SqliteLedger:
        return SqliteLedger(self.ledger_path)

    def approval_count(self, bundle: bytes) -> int:
        with self.open_ledger() as ledger:
            return len(ledger.uses(sha256_hex(payload_of(bundle))))


def payload_of(bundle: bytes) -> bytes:
    from placet.core.bundle import parse_bundle

    return parse_bundle(bundle).envelope.payload


def plan_of(bundle: bytes) -> CommandPlan:
    return plan_command(parse_statement(payload_of(bundle)))


class Verifier:
    """What `placet run` does: the real core, with what was really prepared."""

    def __init__(self, world: CommandWorld, bundle: bytes, gate: str = GATE) -> None:
        self.world, self.bundle, self.gate = world, bundle, gate

    def __call__(self, prepared: PreparedCommand, now: int) -> VerifiedApproval:
        return verify_for_use(
            self.bundle,
            trust=self.world.trust,
            gate=self.gate,
            expected=Expected(
                target=TARGET,
                subjects=frozenset(f"sha256:{copy.digest}" for copy in prepared.inputs),
                action_type=RUN_ACTION,
                parameters=prepared.parameters,
            ),
            now=now,
        )


def _pin(file: str, digest: str) -> dict[str, Any]:
    return {"uri": file, "digest": {"sha256": digest}}


def _uuid7() -> str:
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-8{text[17:20]}-{text[20:]}"
