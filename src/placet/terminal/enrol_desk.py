"""The one-shot desk of enrolment: make a credential, prove that it answers the invite, write the file.

Two touches.  The first makes a non-discoverable credential for a challenge that commits to the invite; the
authenticator says what model it is.  The second signs the enrolment statement, which binds key, invite and
that attestation object.  The invite itself is in no file.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.private_file import write_atomically
from placet.ceremony.enrol import (
    Enrolment,
    check_invite,
    draft_enrolment,
    encode_enrolment,
    enrolment_message,
    verify_enrolment,
)
from placet.ceremony.enrol_evidence import registration_challenge
from placet.core.encoding import Digest, KeyId, b64url_encode
from placet.core.people import Deployment
from placet.core.sshsig import NAMESPACE_ENROL, encode_webauthn_sshsig, key_id, signed_data
from placet.ports.attestation_verifier import AttestationVerifier
from placet.terminal.credentials import TRANSPORTS, CredentialStore, KnownCredential
from placet.terminal.registration import NewCredential, read_registration
from placet.terminal.touch import Assertion, DeskError

_TIMEOUT_MILLISECONDS = 120_000
_ES256 = -7
NOTHING_ENROLLED = "Nothing was enrolled."


class Invitation(NamedTuple):
    """Whom an administrator invited, and under which trust root."""

    person: str
    deployment: Deployment
    root_sha256: Digest
    invite: str


class EnrolDesk:
    """One enrolment on this terminal; `on_done` is called when the file is written."""

    def __init__(
        self,
        invitation: Invitation,
        *,
        web_origin: str,
        verifier: AttestationVerifier,
        credentials: CredentialStore,
        out: Path,
        on_done: Callable[[], None],
        enrolled: Collection[KeyId] = (),
        allow_shared_key: bool = False,
    ) -> None:
        """Takes an invitation.

        Args:
            verifier: reads what the authenticator says about itself.
            enrolled: the keys that the trust root already has.
            allow_shared_key: accept an authenticator that somebody is enrolled with here already, as for a
                second credential of the same person, or a demonstration by one person.

        Raises:
            MalformedError: BAD_VALUE where the invite can be guessed.
        """
        check_invite(invitation.invite)
        self.invitation, self.web_origin, self.out = invitation, web_origin, out
        self._verifier, self._credentials, self._on_done = verifier, credentials, on_done
        self._enrolled, self._shared = enrolled, allow_shared_key
        self._lock = threading.Lock()
        self._made: tuple[NewCredential, tuple[str, ...], Enrolment] | None = None
        self.done: KeyId | None = None
        """The new key, once it is proven."""

    def creation_options(self) -> dict[str, Any]:
        """Returns ``PublicKeyCredentialCreationOptionsJSON`` for the first touch."""
        deployment = self.invitation.deployment
        return {
            "rp": {"id": deployment.rp_id, "name": f"placet {deployment.name}"},
            # Random: the key must not tell its finder whose it is.
            "user": {"id": b64url_encode(secrets.token_bytes(32)), "name": "placet", "displayName": "placet"},
            "challenge": b64url_encode(self._challenge()),
            "pubKeyCredParams": [{"type": "public-key", "alg": _ES256}],
            "timeout": _TIMEOUT_MILLISECONDS,
            "attestation": "direct",
            "authenticatorSelection": {
                "residentKey": "discouraged",
                "requireResidentKey": False,
                "userVerification": "required",
            },
            "excludeCredentials": [{"type": "public-key", "id": taken} for taken in self._taken()],
        }

    def _taken(self) -> list[str]:
        """Returns the credential IDs whose authenticators must make no second credential.

        One key here is one person's.  But what this person made and nobody recorded (the invite was wrong,
        the file was lost) must not bar their key from a second try.
        """
        if self._shared:
            return []
        return [
            known.credential_id
            for keyid, known in self._credentials.all().items()
            if keyid in self._enrolled or known.person not in (None, self.invitation.person)
        ]

    def keep_credential(
        self, *, client_data_json: bytes, attestation_object: bytes, transports: list[str]
    ) -> dict[str, Any]:
        """Checks the new credential; returns the options of the second touch.

        Raises:
            PlacetError: the credential is not one that can be enrolled.
        """
        made = read_registration(
            client_data_json=client_data_json,
            attestation_object=attestation_object,
            challenge=self._challenge(),
            web_origin=self.web_origin,
            rp_id=self.invitation.deployment.rp_id,
            verifier=self._verifier,
        )
        known = tuple(t for t in TRANSPORTS if t in transports)
        drafted = self._draft(made)
        with self._lock:
            self._made = (made, known, drafted)
        return {
            "challenge": b64url_encode(signed_data(NAMESPACE_ENROL, enrolment_message(drafted))),
            "rpId": self.invitation.deployment.rp_id,
            "userVerification": "required",
            "timeout": _TIMEOUT_MILLISECONDS,
            "allowCredentials": [
                {"type": "public-key", "id": b64url_encode(made.credential_id), "transports": list(known)}
            ],
        }

    def prove(self, assertion: Assertion) -> KeyId:
        """Checks the proof as the administrator will, keeps the credential and writes the file.

        Returns:
            The new key's ID, for reading aloud.

        Raises:
            DeskError: there is no new credential, or another key answered.
            PlacetError: the proof does not verify.
            OSError: a file cannot be written.
        """
        with self._lock:
            made, transports, drafted = self._made or (None, (), None)
        if made is None or drafted is None or assertion.credential_id != b64url_encode(made.credential_id):
            raise DeskError(
                "no-new-credential",
                "The key that answered is not the one whose credential was just made.",
                "Start again with the key that is to be enrolled.",
                meaning=NOTHING_ENROLLED,
            )
        enrolment = drafted._replace(sig=self._pack(made, assertion))
        verify_enrolment(
            enrolment,
            person=self.invitation.person,
            deployment=self.invitation.deployment,
            invite=self.invitation.invite,
            root_digests=[self.invitation.root_sha256],
            origins=[self.web_origin],
            require_uv=True,
        )
        keyid = key_id(made.public_key.wire)
        known = KnownCredential(b64url_encode(made.credential_id), transports, self.invitation.person)
        self._credentials.add(keyid, known)
        write_atomically(self.out, encode_enrolment(enrolment), mode=0o644)
        self.done = keyid
        self._on_done()
        return keyid

    def _challenge(self) -> bytes:
        asked = self.invitation
        return registration_challenge(asked.person, asked.deployment.name, asked.root_sha256, asked.invite)

    def _draft(self, made: NewCredential) -> Enrolment:
        asked = self.invitation
        return draft_enrolment(
            person=asked.person,
            deployment=asked.deployment.name,
            public_key=made.public_key,
            kind="webauthn",
            root_sha256=asked.root_sha256,
            invite=asked.invite,
            aaguid=made.aaguid,
            evidence=made.evidence,
        )

    def _pack(self, made: NewCredential, assertion: Assertion) -> bytes:
        return encode_webauthn_sshsig(
            key_wire=made.public_key.wire,
            namespace=NAMESPACE_ENROL,
            authenticator_data=assertion.authenticator_data,
            client_data_json=assertion.client_data_json,
            der_signature=assertion.signature,
            web_origin=self.web_origin,
        )
