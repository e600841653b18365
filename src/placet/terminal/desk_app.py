"""The approval page's API: each handler reads a call, asks the desk once, and describes the answer."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from placet.core.bundle import encode_answer
from placet.core.encoding import b64encode, format_time
from placet.core.errors import PlacetError
from placet.terminal.desk import Desk, Waiting
from placet.terminal.history import MAX_SHOWN, Decision, rate_notice
from placet.terminal.progress import describe_outcome
from placet.terminal.screen import group_digest
from placet.terminal.screen_parts import Block, Line, Screen, Section
from placet.terminal.second_touch import STANDS, LinkAsked, Outcome
from placet.terminal.touch import Assertion, DeskError, Touch
from placet.terminal.web import Guard, api, create_app, read_base64url, read_text

_LINK = "/api/views/{view}/link"


def create_desk_app(desk: Desk, guard: Guard) -> ASGIApp:
    """Builds the approval page of a desk."""
    return create_app(
        guard,
        "desk.html",
        [
            api("/api/inbox", "GET", lambda request, body: _inbox(desk)),
            api("/api/views", "POST", lambda request, body: _open(desk, body)),
            api("/api/views/{view}/begin", "POST", lambda request, body: _begin(desk, request, body)),
            api("/api/views/{view}/finish", "POST", lambda request, body: _finish(desk, request, body)),
            api(
                f"{_LINK}/begin",
                "POST",
                lambda request, body: _begin_link(desk, request, body),
                meaning=STANDS,
            ),
            api(
                f"{_LINK}/finish",
                "POST",
                lambda request, body: _finish_link(desk, request, body),
                meaning=STANDS,
            ),
            api(f"{_LINK}/skip", "POST", lambda request, body: _skip_link(desk, request), meaning=STANDS),
            api("/api/later", "POST", lambda request, body: _later(desk, body)),
            api("/api/history", "GET", lambda request, body: _history(desk)),
            api("/api/records/{record}", "GET", lambda request, body: _record(desk, request)),
        ],
    )


def _inbox(desk: Desk) -> dict[str, Any]:
    trouble: list[dict[str, str]] = []
    waiting: list[Waiting] = []
    deployment = ""
    try:
        trust, _ = desk.check_ready()
        deployment = trust.deployment.name
        waiting = desk.waiting()
    except PlacetError as e:
        meaning = "Nothing can be decided on this terminal until this is put right."
        trouble.append({"message": str(e), "meaning": meaning, "hint": e.hint, "reason": e.reason})
    for found in desk.source.troubles():
        trouble.append(
            {"message": found.message, "meaning": found.meaning, "hint": found.hint, "reason": "source"}
        )
    asked = [w.review.statement.issued_at for w in waiting if w.review is not None]
    decided = [d.decided_at for d in desk.history.decisions()]
    return {
        "terminal": desk.identity.terminal_id,
        "deployment": deployment,
        "source": desk.source.name,
        "troubles": trouble,
        "unsent": desk.source.unsent(),
        "notice": rate_notice(asked, decided, desk.now()),
        "requests": [_waiting(item, desk.now()) for item in waiting],
    }


def _waiting(item: Waiting, now: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": item.request_id,
        "putAside": item.put_aside,
        "decidedHere": list(item.decided_here),
        "done": item.done,
    }
    if item.review is None or item.progress is None:
        error = item.refusal
        return shown | {"refusal": {"message": str(error), "hint": error.hint if error else ""}}
    statement = item.review.statement
    return shown | {
        "text": item.review.view.text,
        "target": statement.target,
        "secondsLeft": max(0, statement.expires_at - now),
        "requester": item.review.requester,
        "claimed": next(
            row.value for row in item.review.view.rows if row.pointer == "/predicate/request/requestedBy"
        ),
        "approvals": len(item.progress.approvers),
        "denials": len(item.progress.denied_by),
        "enough": item.progress.refusal is None,
    }


def _open(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    view = desk.open(read_text(body, "request"))
    return {"view": view.view_id, "request": view.review.request.id, **describe_screen(view.screen)}


def describe_screen(screen: Screen) -> dict[str, Any]:
    """Returns a screen as JSON."""
    return {
        "headline": describe_line(screen.headline),
        "requestGroups": group_digest(screen.request_id),
        "secondsLeft": screen.seconds_left,
        "expiresAt": screen.expires_at,
        "decided": list(screen.decided),
        "sections": [_section(section) for section in screen.sections],
        "rowCount": screen.row_count,
        "secondTouch": screen.second_touch,
    }


def _section(section: Section) -> dict[str, Any]:
    return {"title": section.title, "blocks": [_block(block) for block in section.blocks]}


def _block(block: Block) -> dict[str, Any]:
    return {
        "notes": [{"kind": note.kind, "text": note.text} for note in block.notes],
        "lines": [describe_line(line) for line in block.lines],
    }


def describe_line(line: Line) -> dict[str, Any]:
    """Returns a line as JSON."""
    shown = {
        "index": line.row,
        "label": line.label,
        "form": line.form,
        "value": line.value,
        "hint": line.hint,
    }
    return shown | ({"groups": group_digest(line.value)} if line.form == "digest" else {})


def _begin(desk: Desk, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    decision = read_text(body, "decision", "approve", "deny")
    touch = desk.begin(request.path_params["view"], decision, read_seen(body))
    return {"text": touch.text, "publicKey": request_options(touch)}


def read_seen(body: dict[str, Any]) -> list[int]:
    """Reads the indexes of the rows that the page showed.

    Raises:
        DeskError: there are none.
    """
    seen = body.get("seen")
    if isinstance(seen, list) and all(type(index) is int for index in seen):
        return seen
    raise DeskError("bad-call", "The page did not say what it showed.", "Reload the page.")


def request_options(touch: Touch) -> dict[str, Any]:
    """Returns ``PublicKeyCredentialRequestOptionsJSON`` for a touch."""
    return {
        "challenge": touch.challenge,
        "rpId": touch.rp_id,
        "userVerification": "required",
        "timeout": touch.timeout_seconds * 1000,
        "allowCredentials": [
            {"type": "public-key", "id": credential_id, "transports": list(transports)}
            for credential_id, transports in touch.credentials
        ],
    }


def read_assertion(value: Any) -> Assertion:
    """Reads what ``PublicKeyCredential.toJSON()`` gave.

    Raises:
        DeskError: it is not an assertion.
    """
    try:
        response = value["response"]
        return Assertion(
            read_text(value, "id"),
            read_base64url(response["authenticatorData"]),
            read_base64url(response["clientDataJSON"]),
            read_base64url(response["signature"]),
        )
    except (KeyError, TypeError) as e:
        raise DeskError("bad-call", "The browser gave no usable answer of the key.", "Try again.") from e


def _finish(desk: Desk, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    decision = read_text(body, "decision", "approve", "deny")
    outcome = desk.finish(request.path_params["view"], decision, read_assertion(body.get("assertion")))
    return _outcome(outcome) if isinstance(outcome, Outcome) else _link_asked(outcome)


def _link_asked(asked: LinkAsked) -> dict[str, Any]:
    return {
        **_decision(asked.made),
        "link": _section(asked.section),
        "rowCount": sum(len(block.lines) for block in asked.section.blocks),
        "secondsLeft": asked.seconds_left,
    }


def _begin_link(desk: Desk, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    touch = desk.links.begin(request.path_params["view"], read_seen(body))
    return {"text": touch.text, "publicKey": request_options(touch)}


def _finish_link(desk: Desk, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    assertion = read_assertion(body.get("assertion"))
    return _outcome(desk.links.finish(request.path_params["view"], assertion))


def _skip_link(desk: Desk, request: Request) -> dict[str, Any]:
    return _outcome(desk.links.skip(request.path_params["view"]))


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        **_decision(outcome.decision),
        "linked": outcome.decision.answer.link is not None,
        "linkAsked": outcome.link_asked,
        "delivery": {"state": outcome.delivery.state, "text": outcome.delivery.text},
        "level": list(describe_outcome(outcome.decision.decision, outcome.progress)),
    }


def _later(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    desk.put_aside(read_text(body, "request"))
    return {}


def _history(desk: Desk) -> dict[str, Any]:
    decisions = desk.history.decisions()
    return {
        "decisions": [_decision(d) for d in reversed(decisions[-MAX_SHOWN:])],
        "total": len(decisions),
        "unreadable": desk.history.unreadable(),
    }


def _decision(made: Decision) -> dict[str, Any]:
    statement = made.statement()
    return {
        "record": made.record,
        "decision": made.decision,
        "text": statement.text,
        "target": statement.target,
        "person": made.person,
        "keyGroups": group_digest(made.keyid),
        "decidedAt": format_time(made.decided_at),
        "requestGroups": group_digest(made.request_id),
        # An approval signs the request's own bytes; a denial signs others, which have a digest of their own.
        "denialGroups": group_digest(statement.payload_digest) if made.decision == "deny" else None,
        "destination": made.destination,
    }


def _record(desk: Desk, request: Request) -> dict[str, Any]:
    made = desk.history.find(request.path_params["record"])
    if made is None:
        raise DeskError("no-record", "This terminal's history has no such record.", "Go back to the history.")
    return _decision(made) | {
        "file": f"{made.record[:16]}.answer.json",
        "content": b64encode(encode_answer(made.answer)),
    }
