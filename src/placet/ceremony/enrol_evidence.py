"""The registration: which challenge it answers, and what its attestation object must say.

The challenge commits to purpose, deployment, invite, person and trust root, so an attestation object that was
made for another enrolment is worth nothing here.  It cannot commit to the key, which does not exist yet: a
courier who saw one honest file can have another genuine authenticator answer the same challenge.  That is
caught by the enrolment statement (`placet.ceremony.enrol`), which binds invite and key together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from placet.core.encoding import b64url_encode, encode_canonical, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.signature import FLAG_BE, FLAG_UP, FLAG_UV
from placet.core.sshsig import PublicKey
from placet.ports.attestation_verifier import AttestationEvidence, AttestationFacts

REGISTRATION_TYPE = "https://placet.dev/registration/v1"
WEBAUTHN, SSH_SK = "webauthn", "ssh-sk"
EVIDENCE_KINDS = (WEBAUTHN, SSH_SK)
_MAX_CLIENT_DATA = 8 * 1024


def registration_challenge(person: str, deployment: str, root_sha256: str, invite: str) -> bytes:
    """Returns the 32 bytes that the authenticator is asked to make the credential for."""
    return hashlib.sha256(
        encode_canonical(
            {
                "_type": REGISTRATION_TYPE,
                "deployment": deployment,
                "invite": invite,
                "person": person,
                "rootSha256": root_sha256,
            }
        )
    ).digest()


def check_challenge(evidence: AttestationEvidence, challenge: bytes) -> None:
    """Checks that a registration answers this challenge, and so this invite.

    Raises:
        VerificationError: CHALLENGE_MISMATCH: it was made for another one.
        MalformedError: the client data is not what a browser makes.
    """
    if evidence.kind == WEBAUTHN:
        answered = _client_data(evidence.client_data).get("challenge") == b64url_encode(challenge)
    else:
        answered = evidence.client_data == challenge
    if not answered:
        raise VerificationError(
            Reason.CHALLENGE_MISMATCH,
            "The credential was made for another invite.",
            hint="Check the invite's spelling; if it is right, enrol again with a fresh one.",
        )


def check_registration(
    facts: AttestationFacts, evidence: AttestationEvidence, *, rp_id: str, origins: Collection[str]
) -> None:
    """Checks how a credential was made: for whom, on which page, by a person who was there.

    Args:
        rp_id: the RP ID, or the application of an OpenSSH key.
        origins: the web origins that are accepted; unused for OpenSSH keys.

    Raises:
        MalformedError: the client data is not what a browser makes.
        VerificationError: it was made for another relying party or on another page.
        PolicyError: nobody was there or verified, or the credential can be copied to other devices.
    """
    if facts.rp_id_hash != hashlib.sha256(rp_id.encode("utf-8")).digest():
        raise VerificationError(
            Reason.ORIGIN_NOT_ALLOWED, "The credential is for another relying party.", expected=rp_id
        )
    _check_flags(facts.flags, evidence.kind)
    if evidence.kind == WEBAUTHN:
        _check_page(_client_data(evidence.client_data), origins)


def check_same_key(facts: AttestationFacts, key: PublicKey) -> None:
    """Checks that an attestation object is about this very key.

    Raises:
        VerificationError: KEY_MISMATCH.
    """
    if (facts.key_type, facts.key_raw) != (key.key_type, key.raw):
        raise VerificationError(
            Reason.KEY_MISMATCH,
            "The attestation object is about another key than the one that is to be enrolled.",
            hint="Somebody put another key's attestation into the file. Ask the person to enrol again.",
        )


def _client_data(data: bytes) -> dict[str, Any]:
    value: Any = parse_json(data, max_bytes=_MAX_CLIENT_DATA, what="client data")
    if not isinstance(value, dict) or value.get("type") != "webauthn.create":
        raise MalformedError(Reason.CLIENT_DATA, "The browser did not make a credential.")
    return value


def _check_page(client_data: dict[str, Any], origins: Collection[str]) -> None:
    origin = client_data.get("origin")
    if not isinstance(origin, str) or origin not in origins:
        raise VerificationError(
            Reason.ORIGIN_NOT_ALLOWED,
            "The credential was made on another page than a terminal's of this deployment.",
            expected=tuple(sorted(origins)),
            actual=str(origin)[:200],
        )
    if client_data.get("crossOrigin") not in (None, False) or "topOrigin" in client_data:
        raise VerificationError(Reason.CROSS_ORIGIN, "The page stood inside another site's page.")


def _check_flags(flags: int, kind: str) -> None:
    # ssh-keygen asks for a PIN when the key wants one; that the person was verified is proven by the
    # signature over the enrolment statement, where OpenSSH always asks.
    if not flags & FLAG_UP or (kind == WEBAUTHN and not flags & FLAG_UV):
        raise PolicyError(
            Reason.USER_VERIFICATION_MISSING,
            "The key did not verify you with a PIN or fingerprint.",
            hint="Set a PIN on the key, and try again.",
        )
    if flags & FLAG_BE:
        raise PolicyError(
            Reason.BACKUP_NOT_ALLOWED,
            "This credential can be copied to other devices, so it proves no single one.",
            hint="Use a security key, not a synced passkey.",
        )
