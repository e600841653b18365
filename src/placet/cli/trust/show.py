"""``placet trust show``: the trust root in words."""

from __future__ import annotations

import argparse
import json
from typing import Any

from placet.adapters.paths import snapshot_path
from placet.adapters.tuf.owners import scope_owners
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import PendingRole, pending_roles, root_digests
from placet.adapters.tuf.state import state_lines, state_object
from placet.adapters.tuf.status import repository_dates, snapshot_dates
from placet.adapters.tuf.trust import ROOT, administrators_of
from placet.ceremony.trust_change import describe_credential, describe_rule, group_digits
from placet.ceremony.trust_status import TrustStatus, judge_trust, status_lines, status_object
from placet.cli._shared import load_trust, now
from placet.core.encoding import b64encode, format_time
from placet.core.policy import rule_to_object
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.trust import Trust, compile_trust, parse_trust


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.snapshot is not None or not args.repository.exists():
        trust = load_trust(args.snapshot, option="--snapshot")  # a gate has a snapshot and no repository
        if args.allowed_signers:
            return _print_allowed_signers(trust)
        print(
            json.dumps(_to_object(trust), indent=2) if args.json else "\n".join(_snapshot_lines(args, trust))
        )
        return 0
    repository = TrustRepository(args.repository)
    # Compiled as a gate would compile it; version and expiry of a draft are not yet anybody's.
    compiled = compile_trust(files=repository.draft_files(), versions={ROOT: 1}, expires_at=now())
    trust, pending = parse_trust(compiled), pending_roles(repository)
    if args.allowed_signers:
        return _print_allowed_signers(trust)
    if args.json:
        value = _to_object(trust) | _repository_object(repository, pending)
        value["status"] = status_object(_judge_dates(repository, trust), now=now())
        del value["versions"], value["expiresAt"]
        print(json.dumps(value, indent=2))
    else:
        dates = _judge_dates(repository, trust)
        print("\n".join(_repository_lines(repository, pending, dates) + _trust_lines(trust, draft=True)))
    return 0


def _snapshot_lines(args: argparse.Namespace, trust: Trust) -> list[str]:
    dates = snapshot_dates(trust, args.snapshot or snapshot_path())
    status = judge_trust(trust.deployment.name, dates, trust.people, now=now(), at_gate=True)
    return [*_trust_lines(trust), *(f"! {warning}" for warning in status.warnings)]


def _print_allowed_signers(trust: Trust) -> int:
    """Prints who may approve as `ssh-keygen -Y verify` reads it, one line per key."""
    for person, credential in trust.credentials.values():
        key = credential.public_key
        # Never another namespace: a signature over a report or an enrolment must not pass for an approval.
        print(f'{person.id} namespaces="{NAMESPACE_INTENT}" {key.key_type} {b64encode(key.wire)}')
    return 0


def _judge_dates(repository: TrustRepository, trust: Trust) -> TrustStatus:
    dates = repository_dates(repository)
    return judge_trust(trust.deployment.name, dates, trust.people, now=now(), at_gate=False)


def _repository_lines(
    repository: TrustRepository, pending: tuple[PendingRole, ...], dates: TrustStatus
) -> list[str]:
    root = repository.current_root()
    lines = [f"Repository {repository.path}", "", "Administrators"]
    for keyid, person in administrators_of(root).items():
        lines += [f"  {person}", f"    key {group_digits(keyid)}"]
    role = root.roles[ROOT]
    lines += [f"  {role.threshold} of {len(role.keyids)} must sign."]
    for owners in scope_owners(repository).values():
        lines += ["", f"Owners of the scope {owners.scope}"]
        for person, key in owners.owners:
            lines += [f"  {person}", f"    key {group_digits(key.keyid)}"]
        lines.append(f"  {owners.threshold} of {len(owners.owners)} must sign its rules.")
    lines += ["", "Signatures"]
    lines += [f"  {line}" for line in state_lines(pending)]
    if not pending:
        lines.append("  Nothing waits; what follows is published.")
    lines += ["  Root SHA-256 for enrolment or for gates:"]
    lines += [f"    {digest}" for digest in sorted(root_digests(repository))]
    if dates.roles:
        lines += ["", "Dates of what is published", *(f"  {line}" for line in status_lines(dates, now=now()))]
    return [*lines, ""]


def _trust_lines(trust: Trust, *, draft: bool = False) -> list[str]:
    lines = [f"Deployment {trust.deployment.name}, RP ID {trust.deployment.rp_id}"]
    if not draft:
        versions = ", ".join(f"{role} {version}" for role, version in trust.versions.items())
        expired = " (EXPIRED)" if trust.expires_at <= now() else ""
        lines.append(f"Valid until {format_time(trust.expires_at)}{expired}; {versions}")
    lines += ["", "People"]
    for person in trust.people:
        lines.append(f"  {person.id}: {', '.join(person.groups) or 'in no group'}")
        lines += [f"    account {a.subject} at {a.issuer}" for a in person.accounts]
        for credential in person.credentials:
            lines += [f"    key {group_digits(credential.keyid)}", f"      {describe_credential(credential)}"]
        if not person.credentials:
            lines.append("    no key yet")
    lines += ["", "Terminals"]
    for terminal in trust.terminals.values():
        lines += [
            f"  {terminal.id}: {', '.join(terminal.origins)}",
            f"    key {group_digits(terminal.keyid)}",
        ]
    lines += ["", "Gates"]
    for gate in trust.gates.values():
        lines += [f"  {gate.id}: ledger {gate.ledger}"]
        lines += [f"    signs verdicts with the key SHA-256 {key.digest}" for key in gate.verdict_keys]
        lines += [f"    logs its uses with the key SHA-256 {key.digest}" for key in gate.use_keys]
    lines += ["", "Rules (no matching rule means deny)"]
    for rule in trust.rules:
        lines += [f"  in {rule.scope}: {rule.action} on {rule.target}", f"    {describe_rule(rule)}"]
    lines += ["", "Scopes", *(f"  {name}: {', '.join(p)}" for name, p in trust.scopes.items())]
    lines += ["", "Actions", *(f"  {a.type}" for a in trust.actions.values())]
    return lines


def _to_object(trust: Trust) -> dict[str, Any]:
    return {
        "deployment": {"name": trust.deployment.name, "rpId": trust.deployment.rp_id},
        "versions": trust.versions,
        "expiresAt": format_time(trust.expires_at),
        "people": [
            {
                "id": person.id,
                "groups": list(person.groups),
                "accounts": [{"issuer": a.issuer, "subject": a.subject} for a in person.accounts],
                "credentials": [
                    {
                        "keyid": c.keyid,
                        "kind": c.kind,
                        "uv": c.uv,
                        "backup": c.backup,
                        "assurance": c.assurance,
                        "notBefore": format_time(c.not_before),
                        "notAfter": format_time(c.not_after),
                    }
                    for c in person.credentials
                ],
            }
            for person in trust.people
        ],
        "terminals": [
            {"id": t.id, "keyid": t.keyid, "origins": list(t.origins)} for t in trust.terminals.values()
        ],
        "gates": [
            {
                "id": gate.id,
                "ledger": gate.ledger,
                "verdictKeys": [key.digest for key in gate.verdict_keys],
                "useKeys": [key.digest for key in gate.use_keys],
            }
            for gate in trust.gates.values()
        ],
        "scopes": {name: list(patterns) for name, patterns in trust.scopes.items()},
        "rules": [rule_to_object(rule) for rule in trust.rules],
        "actions": sorted(trust.actions),
    }


def _repository_object(repository: TrustRepository, pending: tuple[PendingRole, ...]) -> dict[str, Any]:
    root = repository.current_root()
    return {
        "administrators": [{"id": p, "keyid": k} for k, p in administrators_of(root).items()],
        "threshold": root.roles[ROOT].threshold,
        "scopeOwners": {
            owners.scope: {
                "threshold": owners.threshold,
                "owners": [{"id": person, "keyid": key.keyid} for person, key in owners.owners],
            }
            for owners in scope_owners(repository).values()
        },
        "rootSha256": sorted(root_digests(repository)),
        "pending": state_object(pending),
    }
