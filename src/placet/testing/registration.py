"""Registrations of software keys, as a browser hands them to the enrolment page.

`registration_of` gives a `SoftWebAuthn`'s key the attestation ``none``; whoever needs a vendor's signature
uses `placet.testing.ctap`.
"""

from __future__ import annotations

import json
import uuid
from hashlib import sha256
from typing import Any

from fido2 import cbor

from placet.ceremony.enrol_evidence import registration_challenge
from placet.core.encoding import b64url_encode
from placet.ports.attestation_verifier import AttestationEvidence
from placet.testing.authenticator import AT, UP, UV, SoftWebAuthn


def attestation_object(
    key: SoftWebAuthn,
    *,
    aaguid: str = "",
    flags: int = UP | UV | AT,
    rp_id: str | None = None,
    cose: bytes | None = None,
) -> bytes:
    """Returns an ``attestationObject`` of format ``none`` for a software key.

    Args:
        key: the key.
        aaguid: the model that it claims to be.
        flags: authenticator flags, written as given.
        rp_id: the RP ID, by default the key's own.
        cose: the public key's bytes, by default in the one form that CTAP2 knows.
    """
    x, y = key.point[1:33], key.point[33:]
    if cose is None:
        cose = cbor.encode({1: 2, 3: -7, -1: 1, -2: x, -3: y})
    data = (
        sha256((key.rp_id if rp_id is None else rp_id).encode()).digest()
        + bytes([flags])
        + bytes(4)
        + (uuid.UUID(aaguid).bytes if aaguid else bytes(16))
        + len(key.credential_id).to_bytes(2, "big")
        + key.credential_id
        + cose
    )
    return cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})


def creation_client_data(asked: bytes, web_origin: str, **members: Any) -> bytes:
    """Returns client data JSON of ``navigator.credentials.create()``; `members` replace its own."""
    value = {
        "type": "webauthn.create",
        "challenge": b64url_encode(asked),
        "origin": web_origin,
        "crossOrigin": False,
    }
    return json.dumps(value | members).encode()


def registration_of(
    key: SoftWebAuthn, deployment: str, person: str, root_sha256: str, invite: str, *, aaguid: str = ""
) -> AttestationEvidence:
    """Returns the registration of a software key that answers an invite."""
    challenge = registration_challenge(person, deployment, root_sha256, invite)
    return AttestationEvidence(
        "webauthn",
        attestation_object(key, aaguid=aaguid),
        creation_client_data(challenge, key.web_origin),
    )
