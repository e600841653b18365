"""The enrolment page's API."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from placet.ceremony.fingerprint import fingerprint_digits, fingerprint_words
from placet.terminal.desk_app import read_assertion
from placet.terminal.enrol_desk import NOTHING_ENROLLED, EnrolDesk
from placet.terminal.screen import group_digest
from placet.terminal.touch import DeskError
from placet.terminal.web import Guard, api, create_app, read_base64url


def create_enrol_app(desk: EnrolDesk, guard: Guard) -> ASGIApp:
    """Builds the enrolment page."""
    return create_app(
        guard,
        "enrol.html",
        [
            api("/api/enrolment", "GET", lambda request, body: _describe(desk), meaning=NOTHING_ENROLLED),
            api("/api/created", "POST", lambda request, body: _created(desk, body), meaning=NOTHING_ENROLLED),
            api("/api/proved", "POST", lambda request, body: _proved(desk, body), meaning=NOTHING_ENROLLED),
        ],
    )


def _describe(desk: EnrolDesk) -> dict[str, Any]:
    asked = desk.invitation
    return {
        "person": asked.person,
        "deployment": asked.deployment.name,
        "rootGroups": group_digest(asked.root_sha256),
        "origin": desk.web_origin,
        "done": desk.done is not None,
        "publicKey": desk.creation_options(),
    }


def _created(desk: EnrolDesk, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = body["credential"]["response"]
        client_data, made = response["clientDataJSON"], response["attestationObject"]
        transports = [t for t in response.get("transports", []) if isinstance(t, str)]
    except (KeyError, TypeError, AttributeError) as e:
        raise DeskError(
            "bad-call", "The browser gave no usable credential.", "Try again.", meaning=NOTHING_ENROLLED
        ) from e
    options = desk.keep_credential(
        client_data_json=read_base64url(client_data),
        attestation_object=read_base64url(made),
        transports=transports,
    )
    return {"publicKey": options}


def _proved(desk: EnrolDesk, body: dict[str, Any]) -> dict[str, Any]:
    keyid = desk.prove(read_assertion(body.get("assertion")))
    return {
        "keyGroups": fingerprint_digits(keyid).split(),
        "keyWords": " ".join(fingerprint_words(keyid)),
        "file": str(desk.out),
    }
