"""The API of the page on which an administrator signs a change of the trust root."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from placet.core.encoding import sha256_hex
from placet.terminal.desk_app import read_assertion, read_seen, request_options
from placet.terminal.screen import format_clock, group_digest
from placet.terminal.trust_desk import TrustDesk
from placet.terminal.web import Guard, api, create_app, read_text


def create_trust_app(desk: TrustDesk, guard: Guard) -> ASGIApp:
    """Builds the page."""
    return create_app(
        guard,
        "trust.html",
        [
            api("/api/change", "GET", lambda request, body: _describe(desk)),
            api("/api/begin", "POST", lambda request, body: _begin(desk, body)),
            api("/api/finish", "POST", lambda request, body: _finish(desk, body)),
        ],
    )


def _describe(desk: TrustDesk) -> dict[str, Any]:
    return {
        "person": desk.person,
        "left": list(desk.left()),
        "comparedWith": list(desk.shown.compared_with),
        "roles": [
            {
                "role": item.role,
                "version": item.version,
                "until": format_clock(item.expires_at),
                "digestGroups": group_digest(sha256_hex(item.message)),
                "signed": list(item.signed),
                "missing": item.missing,
            }
            for item in desk.shown.pending
        ],
        "changes": [
            {"kind": c.kind, "name": c.name, "before": c.before, "after": c.after} for c in desk.shown.changes
        ],
    }


def _begin(desk: TrustDesk, body: dict[str, Any]) -> dict[str, Any]:
    touch = desk.begin(read_text(body, "role"), read_seen(body))
    return {"text": touch.text, "publicKey": request_options(touch)}


def _finish(desk: TrustDesk, body: dict[str, Any]) -> dict[str, Any]:
    return {"left": list(desk.finish(read_text(body, "role"), read_assertion(body.get("assertion"))))}
