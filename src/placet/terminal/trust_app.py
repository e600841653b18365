"""The API of the page on which an administrator signs a change of the trust root."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from placet.adapters.tuf.signing import PendingRole, QuorumState
from placet.ceremony.fingerprint import fingerprint_words
from placet.ceremony.new_keys import NewKey
from placet.ceremony.trust_change import Change, split_facts, title_of, titles, visible
from placet.core.encoding import sha256_hex
from placet.terminal.desk_app import read_assertion, read_seen, request_options
from placet.terminal.screen import format_clock, group_digest
from placet.terminal.touch import DeskError
from placet.terminal.trust_desk import TrustDesk
from placet.terminal.web import Guard, api, create_app, read_text


def create_trust_app(desk: TrustDesk, guard: Guard) -> ASGIApp:
    """Builds the page."""
    return create_app(
        guard,
        "trust.html",
        [
            api("/api/change", "GET", lambda request, body: _describe(desk)),
            api("/api/fingerprint", "POST", lambda request, body: _type_fingerprint(desk, body)),
            api("/api/begin", "POST", lambda request, body: _begin(desk, body)),
            api("/api/finish", "POST", lambda request, body: _finish(desk, body)),
        ],
    )


def _describe(desk: TrustDesk) -> dict[str, Any]:
    changes = desk.changes()
    return {
        "person": desk.person,
        "deployment": desk.session.review.deployment.name,
        "comparedWith": list(desk.session.review.compared_with),
        "sections": [
            {
                "title": title,
                "changes": [
                    _change(at, change) for at, change in enumerate(changes) if title_of(change.kind) == title
                ],
            }
            for title in titles()
            if any(title_of(change.kind) == title for change in changes)
        ],
        "changeCount": len(changes),
        "notes": _notes(desk),
        "obstacles": {
            role: {"message": obstacle.message, "meaning": obstacle.meaning, "hint": obstacle.hint}
            for role, obstacle in desk.find_obstacles().items()
        },
        **_state(desk),
    }


def _change(at: int, change: Change) -> dict[str, Any]:
    before, after = split_facts(change.before), split_facts(change.after)
    return {
        "index": at,
        "kind": change.kind,
        "name": change.name,
        "before": [{"text": fact, "differs": fact not in after} for fact in before],
        "after": [{"text": fact, "differs": fact not in before} for fact in after],
    }


def _notes(desk: TrustDesk) -> list[str]:
    """Returns what was found out about keys that are not new."""
    new = {key.keyid for key in desk.session.fingerprints.keys}
    return [
        visible(" ".join((f"{found.kind}.", *found.sentences)))
        for keyid, found in desk.session.evidence.items()
        if keyid not in new
    ]


def _state(desk: TrustDesk) -> dict[str, Any]:
    """Returns what changes while the page is open: who has signed, and what was typed."""
    return {
        "left": list(desk.left()),
        "roles": [_role(item) for item in desk.session.pending()],
        "keys": [_key(desk, at, key) for at, key in enumerate(desk.session.fingerprints.keys)],
    }


def _role(item: PendingRole) -> dict[str, Any]:
    return {
        "role": item.role,
        "version": item.version,
        "until": format_clock(item.expires_at),
        "digestGroups": group_digest(sha256_hex(item.message)),
        "missing": item.missing,
        "quorums": [_quorum(quorum) for quorum in item.quorums],
    }


def _quorum(quorum: QuorumState) -> dict[str, Any]:
    return {
        "of": quorum.of,
        "threshold": quorum.threshold,
        "missing": quorum.missing,
        "signed": list(quorum.signed),
        "unsigned": list(quorum.unsigned),
    }


def _key(desk: TrustDesk, at: int, key: NewKey) -> dict[str, Any]:
    fingerprints, evidence = desk.session.fingerprints, desk.session.evidence_of(key)
    mine = desk.own_key()
    own = mine is not None and fingerprints.is_own(key, {mine})
    typed = key not in fingerprints.left()
    # Not while the same key is still to be typed for somebody else, who could not be asked any more.
    shown = own or key.keyid not in {other.keyid for other in fingerprints.left()}
    return {
        "index": at,
        "holder": visible(key.holder),
        "purpose": visible(key.purpose),
        "evidence": None if evidence is None else visible(evidence.kind),
        "sentences": [] if evidence is None else [visible(sentence) for sentence in evidence.sentences],
        "own": own,
        "typed": typed,
        "words": list(fingerprint_words(key.keyid)) if shown else [],
        "groups": group_digest(key.keyid) if shown else fingerprints.show(key).split(),
    }


def _type_fingerprint(desk: TrustDesk, body: dict[str, Any]) -> dict[str, Any]:
    index = body.get("key")
    if type(index) is not int:
        raise DeskError("bad-call", "The page named no key.", "Reload the page.")
    desk.type_fingerprint(index, read_text(body, "typed"))
    return _state(desk)


def _begin(desk: TrustDesk, body: dict[str, Any]) -> dict[str, Any]:
    touch = desk.begin(read_text(body, "role"), read_seen(body))
    return {"text": touch.text, "publicKey": request_options(touch)}


def _finish(desk: TrustDesk, body: dict[str, Any]) -> dict[str, Any]:
    desk.finish(read_text(body, "role"), read_assertion(body.get("assertion")))
    return _state(desk)
