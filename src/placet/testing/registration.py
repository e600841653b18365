"""Registrations of software keys, as a browser hands them to the enrolment page.

`registration_of` gives a `SoftWebAuthn`'s key the attestation ``none``.  `SoftEnrolment` is a whole enrolment
by the software CTAP authenticator, whose vendor is one of tests.
"""

from __future__ import annotations

import json
import uuid
from hashlib import sha256
from typing import Any

from fido2 import cbor

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.fido.ctap_client import CtapClient
from placet.ceremony.enrol import Enrolment, draft_enrolment, encode_enrolment, enrolment_message
from placet.ceremony.enrol_evidence import registration_challenge
from placet.core.encoding import b64url_encode
from placet.core.sshsig import (
    NAMESPACE_ENROL,
    encode_sk_ecdsa_key,
    encode_webauthn_sshsig,
    parse_public_key,
    signed_data,
)
from placet.ports.attestation_verifier import AttestationEvidence
from placet.testing.authenticator import AT, DEFAULT_RP_ID, DEFAULT_WEB_ORIGIN, UP, UV, SoftWebAuthn
from placet.testing.ctap import SoftAuthenticator, SoftCtapDevice


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


class SoftEnrolment:
    """A person who enrols a software CTAP authenticator, with python-fido2's own client.

    Every knob defaults to what an honest person and an honest authenticator do.
    """

    def __init__(
        self,
        authenticator: SoftAuthenticator,
        *,
        person: str,
        root_sha256: str,
        invite: str,
        deployment: str = "demo",
        web_origin: str = DEFAULT_WEB_ORIGIN,
        rp_id: str = DEFAULT_RP_ID,
        challenge: bytes | None = None,
    ) -> None:
        """Makes the credential.

        Args:
            authenticator: what the person holds.
            person: the person's ID.
            root_sha256: what the person was told.
            invite: what the person was told.
            deployment: what the person was told.
            web_origin: the terminal's page.
            rp_id: the RP ID that is asked for.
            challenge: what is asked for, by default the one that answers the invite.
        """
        self.person, self.deployment, self.root_sha256 = person, deployment, root_sha256
        self.invite, self.web_origin, self.rp_id = invite, web_origin, rp_id
        self._device = SoftCtapDevice(authenticator)
        self._client = CtapClient(self._device, web_origin, say=lambda text: None)
        asked = challenge or registration_challenge(person, deployment, root_sha256, invite)
        made = self._client.create(creation_options(asked, rp_id))
        self.evidence = AttestationEvidence("webauthn", made.attestation_object, made.client_data_json)
        self.facts = FidoAttestationVerifier().read(self.evidence)
        self.public_key = parse_public_key(encode_sk_ecdsa_key(self.facts.key_raw, rp_id))

    def draft(self, **changes: Any) -> Enrolment:
        """Returns the enrolment before it is signed; `changes` replace its parts."""
        parts: dict[str, Any] = {
            "person": self.person,
            "deployment": self.deployment,
            "public_key": self.public_key,
            "kind": "webauthn",
            "root_sha256": self.root_sha256,
            "invite": self.invite,
            "aaguid": self.facts.aaguid,
            "evidence": self.evidence,
        }
        return draft_enrolment(**(parts | changes))

    def move_to(self, web_origin: str) -> None:
        """Goes to another page for the second touch."""
        self.web_origin = web_origin
        self._client = CtapClient(self._device, web_origin, say=lambda text: None)

    def sign(self, drafted: Enrolment) -> bytes:
        """Signs a drafted enrolment with the new key; returns the file."""
        answer = self._client.get(
            {
                "challenge": b64url_encode(signed_data(NAMESPACE_ENROL, enrolment_message(drafted))),
                "rpId": self.rp_id,
                "userVerification": "required",
                "allowCredentials": [{"type": "public-key", "id": b64url_encode(self.facts.credential_id)}],
            }
        )
        sig = encode_webauthn_sshsig(
            key_wire=self.public_key.wire,
            namespace=NAMESPACE_ENROL,
            authenticator_data=answer.authenticator_data,
            client_data_json=answer.client_data_json,
            der_signature=answer.signature,
            web_origin=self.web_origin,
        )
        return encode_enrolment(drafted._replace(sig=sig))

    def file(self, **changes: Any) -> bytes:
        """Returns the enrolment file."""
        return self.sign(self.draft(**changes))


def creation_options(challenge: bytes, rp_id: str) -> dict[str, Any]:
    """Returns what an enrolment page asks ``navigator.credentials.create()`` for."""
    return {
        "rp": {"id": rp_id, "name": "placet"},
        "user": {"id": b64url_encode(b"somebody"), "name": "placet", "displayName": "placet"},
        "challenge": b64url_encode(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "attestation": "direct",
        "authenticatorSelection": {"residentKey": "discouraged", "userVerification": "required"},
    }
