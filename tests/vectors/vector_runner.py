"""Runs one vector against placet: returns the facts of what was accepted, or raises the refusal."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evidence_runner
import log_runner
import use_runner
import verdict_runner

from placet.adapters.sqlite._ledger_place import stamp_path
from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.core.actions import parse_action
from placet.core.admission import admit
from placet.core.approvals import Approver
from placet.core.bundle import (
    encode_answer,
    encode_bundle,
    encode_request,
    parse_answer,
    parse_bundle,
    parse_request,
)
from placet.core.display import Row, check_complete, check_text, render_view
from placet.core.dsse import encode_envelope, pae, parse_envelope
from placet.core.encoding import Digest, KeyId, encode_canonical, format_time, parse_time
from placet.core.errors import PlacetError
from placet.core.evidence.requester import verify_requester
from placet.core.policy import parse_policy, rule_from_object, rule_to_object
from placet.core.report import encode_report, verify_report
from placet.core.rules import check_rule_quorum
from placet.core.signature import verify_sshsig
from placet.core.sshsig import key_id, parse_public_key, signed_data
from placet.core.statement import check_action, parse_statement
from placet.core.trust import Trust, compile_trust, parse_trust
from placet.core.verify import Expected, VerifiedApproval, verify_for_audit, verify_for_use
from placet.core.webauthn import check_client_data
from placet.gates.command import plan_command, prepare_command
from placet.gates.private_folder import open_private_folder
from placet.ports.use_ledger import ApproverMark, Use

VECTORS = Path(__file__).resolve().parents[2] / "vectors"

Facts = dict[str, Any]


def load_vectors() -> list[dict[str, Any]]:
    """Returns every vector of every file."""
    return [
        vector
        for path in sorted(VECTORS.glob("*.json"))
        if path.name != "schema.json"
        for vector in json.loads(path.read_text())["vectors"]
    ]


def run_vector(vector: dict[str, Any]) -> Facts:
    """Runs a vector.

    Raises:
        PlacetError: it was refused.
    """
    return _KINDS[vector["kind"]](vector["inputs"], parse_time(vector["now"]))


def load_trust(name: str) -> Trust:
    """Returns a trust snapshot that vectors refer to by name."""
    text = (VECTORS / "trust" / f"{name}.json").read_text()
    return parse_trust(encode_canonical(json.loads(text)))


def _b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _admission(inputs: Any, now: int) -> Facts:
    payload = _b64(inputs["payload"])
    assert encode_canonical(admit(payload)) == payload
    return {}


def _statement(inputs: Any, now: int) -> Facts:
    statement = parse_statement(_b64(inputs["payload"]))
    definition = load_trust(inputs["trust"]).actions[statement.action_type]
    check_action(statement, definition)
    check_text(statement, definition)
    return {"decision": statement.decision, "subjects": len(statement.subjects)}


def _definition(inputs: Any, now: int) -> Facts:
    parse_action(inputs["content"].encode(), file=inputs["file"])
    return {}


def _display(inputs: Any, now: int) -> Facts:
    statement = parse_statement(_b64(inputs["payload"]))
    definition = load_trust(inputs["trust"]).actions[statement.action_type]
    check_action(statement, definition)
    view = render_view(statement, definition)
    return {"text": view.text, "rows": {row.pointer: [row.label, row.value] for row in view.rows}}


def _display_rows(inputs: Any, now: int) -> Facts:
    rows = [Row("", "", value, pointer) for pointer, value in inputs["rows"]]
    check_complete(rows, json.loads(inputs["document"]))
    return {}


def _pae(inputs: Any, now: int) -> Facts:
    return {"pae": base64.b64encode(pae(inputs["payloadType"], _b64(inputs["payload"]))).decode()}


def _envelope(inputs: Any, now: int) -> Facts:
    envelope = parse_envelope(inputs["envelope"])
    assert encode_envelope(envelope) == encode_canonical(inputs["envelope"])
    return {"signatures": len(envelope.signatures)}


def _signed_data(inputs: Any, now: int) -> Facts:
    data = signed_data(inputs["namespace"], _b64(inputs["message"]))
    return {"signedData": base64.b64encode(data).decode()}


def _public_key(inputs: Any, now: int) -> Facts:
    key = parse_public_key(_b64(inputs["publicKey"]))
    return {"keyid": key_id(key.wire), "type": key.key_type, "application": key.application}


def _sshsig(inputs: Any, now: int) -> Facts:
    facts = verify_sshsig(
        _b64(inputs["signature"]),
        message=_b64(inputs["message"]),
        namespace=inputs["namespace"],
        key=parse_public_key(_b64(inputs["publicKey"])),
        kind=inputs["kind"],
        origins=inputs["origins"],
        require_uv=inputs["requireUserVerification"],
        allow_backup=inputs["allowBackup"],
    )
    return {
        "keyid": facts.keyid,
        "userVerified": facts.user_verified,
        "counter": facts.counter,
        "webOrigin": facts.web_origin,
    }


def _client_data(inputs: Any, now: int) -> Facts:
    check_client_data(
        _b64(inputs["clientDataJSON"]), challenge=_b64(inputs["challenge"]), web_origin=inputs["webOrigin"]
    )
    return {}


def _trust(inputs: Any, now: int) -> Facts:
    snapshot = compile_trust(
        files={name: text.encode() for name, text in inputs["files"].items()},
        versions=inputs["versions"],
        expires_at=parse_time(inputs["expiresAt"]),
    )
    return _trust_facts(parse_trust(snapshot))


def _snapshot(inputs: Any, now: int) -> Facts:
    return _trust_facts(parse_trust(inputs["snapshot"].encode()))


def _trust_facts(trust: Trust) -> Facts:
    return {
        "people": len(trust.people),
        "credentials": len(trust.credentials),
        "rules": len(trust.rules),
        "actions": sorted(trust.actions),
    }


def _policy(inputs: Any, now: int) -> Facts:
    rules = parse_policy(inputs["toml"].encode(), scope=inputs["scope"], file=inputs["file"])
    objects = [rule_to_object(rule) for rule in rules]
    assert tuple(rule_from_object(o, "") for o in objects) == rules
    return {"rules": objects}


def _quorum(inputs: Any, now: int) -> Facts:
    approvers = tuple(
        Approver(
            person_id=a["person"],
            groups=tuple(a["groups"]),
            keyid=KeyId(""),
            kind="sk",
            assurance="attested",
            level=a["level"],
            missing=(),
            counter=0,
            decided_at=0,
            terminal_id=a["terminal"],
        )
        for a in inputs["approvers"]
    )
    check_rule_quorum(rule_from_object(inputs["rule"], ""), approvers, (), inputs["requester"])
    return {}


def _request(inputs: Any, now: int) -> Facts:
    data = _b64(inputs["container"])
    request = parse_request(data)
    assert encode_request(request) == data
    return {"id": request.id}


def _answer(inputs: Any, now: int) -> Facts:
    data = _b64(inputs["container"])
    assert encode_answer(parse_answer(data)) == data
    return {}


def _bundle(inputs: Any, now: int) -> Facts:
    data = _b64(inputs["container"])
    bundle = parse_bundle(data)
    assert encode_bundle(bundle) == data
    return {"signatures": len(bundle.envelope.signatures)}


def _report(inputs: Any, now: int) -> Facts:
    envelope = parse_envelope(inputs["envelope"])
    report, terminal = verify_report(
        envelope, trust=load_trust(inputs["trust"]), payload_digest=inputs["payloadDigest"]
    )
    assert encode_report(report) == envelope.payload
    return {"terminal": terminal.id, "decidedAt": format_time(report.decided_at)}


def _requester(inputs: Any, now: int) -> Facts:
    request = parse_request(_b64(inputs["request"]))
    statement = parse_statement(request.payload)
    requester = verify_requester(
        statement,
        request.evidence,
        trust=load_trust(inputs["trust"]),
        at=now,
        facts=tuple(evidence_runner.fact_of(fact) for fact in inputs.get("evidence", [])),
    )
    return {"requester": requester}


def _verify_for_use(inputs: Any, now: int) -> Facts:
    wanted = inputs["expected"]
    approval = verify_for_use(
        _b64(inputs["bundle"]),
        trust=load_trust(inputs["trust"]),
        gate=inputs["gate"],
        expected=Expected(
            wanted["target"], frozenset(wanted["subjects"]), wanted["actionType"], wanted["parameters"]
        ),
        now=now,
        evidence=[evidence_runner.fact_of(fact) for fact in inputs.get("evidence", [])],
    )
    return _approval_facts(approval)


def _verify_for_audit(inputs: Any, now: int) -> Facts:
    logged = inputs["loggedAt"]
    approval = verify_for_audit(
        _b64(inputs["bundle"]),
        trust=load_trust(inputs["trust"]),
        logged_at=None if logged is None else parse_time(logged),
    )
    return _approval_facts(approval)


def _approval_facts(approval: VerifiedApproval) -> Facts:
    return {
        "people": list(approval.people),
        "level": approval.level,
        "requester": approval.requester,
        "ignored": [ignored.error.reason.value for ignored in approval.ignored],
        "useUnits": list(approval.use_units),
        "missing": len(approval.missing_for_next_level),
    }


def _run(inputs: Any, now: int) -> Facts:
    """Prepares a command from real files; the program's path, which differs everywhere, is put in."""
    plan = plan_command(parse_statement(_b64(inputs["payload"])))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in inputs["files"].items():
            (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "in" / name).write_text(content)
        (folder / "in").mkdir(exist_ok=True)
        (folder / "program").write_text(inputs["program"])
        plan = plan._replace(program=str(folder / "program"))
        (folder / "private").mkdir(mode=0o700)
        with open_private_folder(folder / "private") as private:
            prepare_command(plan, private, folder / "in")
    return {"argv": list(plan.argv)}


class _LedgerRun:
    """Plays the steps of a `use` vector against a real ledger file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger" / "ledger.sqlite3"
        self.backup = folder / "backup.sqlite3"
        self.stamp = folder / "backup.stamp"
        self.last: Any = None

    def play(self, step: Any) -> Facts:
        now = parse_time(step["now"])
        if step["do"] == "birth":
            declare_new_birth(self.path, now=now)
            return {}
        if step["do"] == "lose":
            shutil.rmtree(self.path.parent)
            return {}
        if step["do"] == "copy":
            shutil.copy(self.path, self.backup)
            shutil.copy(stamp_path(self.path), self.stamp)
            return {}
        if step["do"] == "restore":
            self.path.write_bytes(self.backup.read_bytes())
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            return {}
        with SqliteLedger(self.path) as ledger:  # each step opens it anew, as another process would
            if step["do"] == "outcome":
                ledger.record_outcome(self.last, step["exitCode"], now=now)
                return {}
            if step["do"] == "unknown":
                return {"unknown": len(ledger.list_unknown())}
            if step["do"] == "unlogged":
                return {"unlogged": ledger.count_unlogged().uses}
            if step["do"] == "logged":
                ledger.mark_logged(self.last.use_id, step["leafIndex"])
                return {}
            use = _use_of(step, now)
            if step["do"] == "rehearse":
                ledger.check_available(use)
                return {}
            self.last = ledger.consume(use)
            return {
                "ordinal": self.last.ordinal,
                "repeated": self.last.repeated,
                "exitCode": self.last.exit_code,
            }


def _use_of(step: Any, now: int) -> Use:
    return Use(
        payload_digest=Digest(step["payloadDigest"]),
        use_unit=step.get("useUnit", "action"),
        max_uses=step.get("maxUses", 1),
        issued_at=parse_time(step["issuedAt"]),
        now=now,
        event_id=step.get("eventId"),
        approvers=tuple(
            ApproverMark(
                mark["keyid"],
                mark["counter"],
                parse_time(mark["decidedAt"]) if mark["decidedAt"] else None,
            )
            for mark in step.get("approvers", [])
        ),
        record=_b64(step.get("record", "")),
    )


def _use(inputs: Any, now: int) -> Facts:
    """Every step but the last must give what it says; the last one's outcome is the vector's."""
    with tempfile.TemporaryDirectory() as place:
        run = _LedgerRun(Path(place))
        *before, last = inputs["steps"]
        for step in before:
            expected = step.get("expect", {})
            try:
                facts = run.play(step)
            except PlacetError as e:
                assert e.reason == expected.get("reason"), (step, e)
            else:
                assert facts | expected == facts, (step, facts)
        return run.play(last)


_KINDS: dict[str, Callable[[Any, int], Facts]] = {
    "admission": _admission,
    "statement": _statement,
    "action-definition": _definition,
    "display": _display,
    "display-rows": _display_rows,
    "pae": _pae,
    "envelope": _envelope,
    "signed-data": _signed_data,
    "public-key": _public_key,
    "sshsig": _sshsig,
    "client-data": _client_data,
    "trust": _trust,
    "snapshot": _snapshot,
    "policy": _policy,
    "quorum": _quorum,
    "request": _request,
    "answer": _answer,
    "bundle": _bundle,
    "report": _report,
    "requester": _requester,
    "verify-for-use": _verify_for_use,
    "verify-for-audit": _verify_for_audit,
    "run": _run,
    "use": _use,
    **evidence_runner.KINDS,
    **verdict_runner.KINDS,
    **log_runner.KINDS,
    **use_runner.KINDS,
}
KINDS = tuple(_KINDS)
