"""Asking for an approval: from an action to the exact bytes that people will sign.

The requester admits its own statement and renders it, so that nothing is submitted which
a terminal would refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from placet.core.actions import ActionDefinition
from placet.core.bundle import IntentRequest
from placet.core.decode import Object
from placet.core.display import render_text, render_view
from placet.core.encoding import Digest, KeyId, b64encode, encode_canonical, format_time, sha256_hex
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.core.evidence.facts import Evidence
from placet.core.evidence.requester import (
    AUDIENCE_PREFIX,
    PROOF_MEDIA_TYPE,
    PROOF_NAME,
    TOKEN_MEDIA_TYPE,
    TOKEN_NAME,
    proof_message,
    token_nonce,
)
from placet.core.policy import Rule, select_rules
from placet.core.statement import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    action_subject,
    check_action,
    parse_statement,
)
from placet.core.trust import Trust


class Ask(NamedTuple):
    """What somebody wants approved.  Durations are in seconds, times in Unix seconds.

    `subjects` are in-toto resource descriptors; none means that the action itself is the subject.
    `nonce` has 16 to 64 fresh random bytes; `request_id` is a fresh UUIDv7.
    """

    action_type: str
    target: str
    parameters: Object
    subjects: Sequence[Object]
    gate: str
    requested_by: str
    request_id: str
    nonce: bytes
    now: int
    lifetime: int
    annotations: Object = {}  # noqa: RUF012 -- a NamedTuple's default; never mutated
    reason: str = ""
    max_uses: int = 1
    evidence: Sequence[tuple[str, Evidence]] = ()


def build_request(ask: Ask, *, trust: Trust) -> IntentRequest:
    """Builds and admits the statement for an ask.

    Raises:
        MalformedError: the action does not fit its definition, or the summary is too long.
        PolicyError: UNKNOWN_ACTION, UNKNOWN_GATE, NO_MATCHING_RULE, QUORUM_NOT_MET: nobody could approve it.
        IndeterminateError: TRUST_EXPIRED.
    """
    check_trust_is_current(trust, ask.now)
    definition = trust.actions.get(ask.action_type)
    if definition is None:
        known = ", ".join(sorted(trust.actions)) or "none"
        raise PolicyError(Reason.UNKNOWN_ACTION, f"Unknown action {ask.action_type}. Known: {known}.")
    if ask.gate not in trust.gates:
        known = ", ".join(sorted(trust.gates)) or "none"
        raise PolicyError(Reason.UNKNOWN_GATE, f"The trust root knows no gate {ask.gate!r}. Known: {known}.")
    policy_file, policy_digest = _policy_for(ask, trust)
    value = _statement_object(ask, definition, policy_file, policy_digest)
    value["predicate"]["display"]["text"] = render_text(value, definition)
    statement = parse_statement(encode_canonical(value))
    check_action(statement, definition)
    render_view(statement, definition)
    return IntentRequest(statement.payload, tuple(evidence for _, evidence in ask.evidence))


def _policy_for(ask: Ask, trust: Trust) -> tuple[str, Digest]:
    rules = find_open_rules(trust, action=ask.action_type, target=ask.target)
    shortest = min(rule.max_window for rule in rules)
    if ask.lifetime > shortest:
        raise PolicyError(
            Reason.WINDOW_TOO_LONG,
            f"The rule allows a window of {say_duration(shortest)} at most; {say_duration(ask.lifetime)} "
            "were asked for.",
            hint="Ask with a shorter --expires.",
        )
    file = rules[0].file
    return file, trust.files[file]


def check_trust_is_current(trust: Trust, now: int) -> None:
    """Refuses to ask by trust that has expired: people would be asked for what no gate can decide.

    Raises:
        IndeterminateError: TRUST_EXPIRED.
    """
    if now >= trust.expires_at:
        raise IndeterminateError(
            Reason.TRUST_EXPIRED,
            f"The trust snapshot of this machine was valid until {format_time(trust.expires_at)}; by it, "
            "nobody is asked.",
            hint="Refresh it: placet trust refresh. If that fails, an administrator must publish anew.",
        )


def find_open_rules(trust: Trust, *, action: str, target: str) -> tuple[Rule, ...]:
    """Returns the rules for an action, where people could satisfy them.

    Raises:
        PolicyError: NO_MATCHING_RULE where there is none; QUORUM_NOT_MET where the scope is closed.
    """
    rules = select_rules(trust.rules, trust.scopes, action=action, target=target)
    if not rules:
        raise PolicyError(
            Reason.NO_MATCHING_RULE,
            f"No rule allows {action} on {target}; nobody could approve it.",
            hint="Check the target, or ask an administrator for a rule (`placet trust set-policy`).",
        )
    for rule in rules:
        # A closed scope's rules ask for one whose name no person can have, and which says why
        # (spec/08-trust.md).
        (first, *others) = rule.quorum.of
        if isinstance(first, str) and first.startswith("person:") and " " in first and not others:
            why = first.removeprefix("person:(").removesuffix(")").partition(", since ")[2]
            raise PolicyError(
                Reason.QUORUM_NOT_MET,
                f"The scope {rule.scope} is closed{f', since {why}' if why else ''}; nobody can approve "
                f"anything on {target}.",
                hint="Its owners sign their rules anew, an administrator publishes them; then: placet trust "
                "refresh, and ask again.",
            )
    return rules


def say_duration(seconds: int) -> str:
    """Returns seconds as people write them: ``90s``, ``15m``, ``1h``, ``2d``."""
    for letter, unit in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s"


def _statement_object(ask: Ask, definition: ActionDefinition, file: str, digest: Digest) -> Object:
    target: Object = {"uri": ask.target}
    if ask.annotations:
        target["annotations"] = ask.annotations
    action: Object = {"type": ask.action_type, "target": target, "parameters": ask.parameters}
    request: Object = {
        "audience": f"gate:{ask.gate}",
        "expiresAt": format_time(ask.now + ask.lifetime),
        "id": ask.request_id,
        "issuedAt": format_time(ask.now),
        "maxUses": str(ask.max_uses),
        "nonce": b64encode(ask.nonce),
        "notBefore": format_time(ask.now),
        "requestedBy": ask.requested_by,
    }
    if ask.reason:
        request["reason"] = ask.reason
    return {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": list(ask.subjects) or [action_subject(action)],
        "predicate": {
            "decision": "approve",
            "action": action,
            "display": {
                "template": {"uri": definition.file, "digest": {"sha256": definition.digest}},
                "lang": "en",
                "text": "",
            },
            "request": request,
            "policy": {"uri": file, "digest": {"sha256": digest}},
            "evidence": [_evidence_entry(name, evidence) for name, evidence in ask.evidence],
        },
    }


def _evidence_entry(name: str, evidence: Evidence) -> Object:
    return {"name": name, "mediaType": evidence.media_type, "digest": {"sha256": evidence.digest}}


def with_evidence(request: IntentRequest, named: Sequence[tuple[str, Evidence]]) -> IntentRequest:
    """Returns a request that names and carries these pieces of evidence, and no others; its ID changes.

    Raises:
        MalformedError: DUPLICATE_VALUE, TOO_MANY.
    """
    value = parse_statement(request.payload).value
    payload = _with_predicate(value, evidence=[_evidence_entry(name, item) for name, item in named])
    return IntentRequest(payload, tuple(item for _, item in named))


def requester_message(request: IntentRequest) -> bytes:
    """Returns what the requester signs (namespace ``request-v1``) to prove who asks."""
    return proof_message(parse_statement(request.payload).value)


def attach_proof(request: IntentRequest, *, keyid: KeyId, sshsig: bytes) -> IntentRequest:
    """Adds the requester's proof to a request that carries none; the payload, and so the ID, changes."""
    content = encode_canonical({"keyid": keyid, "sig": b64encode(sshsig)})
    return _attach(request, PROOF_NAME, Evidence(sha256_hex(content), PROOF_MEDIA_TYPE, content))


def bind_nonce(request: IntentRequest, *, salt: bytes) -> IntentRequest:
    """Makes the nonce a salted digest of everything else, so that a token can stand for this request alone.

    Args:
        salt: 32 fresh random bytes; `attach_token` needs them again.
    """
    value = parse_statement(request.payload).value
    nonce = b64encode(token_nonce(value, salt))
    return request._replace(
        payload=_with_predicate(value, request={**value["predicate"]["request"], "nonce": nonce})
    )


def token_audience(request: IntentRequest) -> str:
    """Returns the audience for which the requester asks an issuer for a token."""
    nonce: str = parse_statement(request.payload).value["predicate"]["request"]["nonce"]
    return AUDIENCE_PREFIX + nonce


def attach_token(request: IntentRequest, *, salt: bytes, token: str) -> IntentRequest:
    """Adds a token as the requester's proof to a request whose nonce `bind_nonce` made.

    Raises:
        PolicyError: REQUEST_PROOF_INVALID: the nonce is of another request or salt.
    """
    value = parse_statement(request.payload).value
    if b64encode(token_nonce(value, salt)) != value["predicate"]["request"]["nonce"]:
        raise PolicyError(
            Reason.REQUEST_PROOF_INVALID,
            "The request is not the one for which the token's audience was made.",
            hint="Begin again: make the request, then ask for the token.",
        )
    content = encode_canonical({"salt": b64encode(salt), "token": token})
    return _attach(request, TOKEN_NAME, Evidence(sha256_hex(content), TOKEN_MEDIA_TYPE, content))


def _attach(request: IntentRequest, name: str, proof: Evidence) -> IntentRequest:
    value = parse_statement(request.payload).value
    entries = [*value["predicate"]["evidence"], _evidence_entry(name, proof)]
    return IntentRequest(_with_predicate(value, evidence=entries), (*request.evidence, proof))


def _with_predicate(value: Object, **changes: object) -> bytes:
    payload = encode_canonical({**value, "predicate": {**value["predicate"], **changes}})
    return parse_statement(payload).payload
