"""A new credential, as a browser hands it over, checked and turned into an SSH key.

Read by hand, byte by byte: CTAP2 writes an ES256 key in exactly one way, so nothing here needs CBOR.
Leaves out the attestation statement: an administrator vouches for the hardware in the trust root.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, NamedTuple

from placet.core.encoding import b64url_encode, encode_canonical, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.signature import FLAG_AT, FLAG_BE, FLAG_UP, FLAG_UV, check_key_usable
from placet.core.sshsig import PublicKey, encode_sk_ecdsa_key, parse_public_key

REGISTRATION_TYPE = "https://placet.dev/registration/v1"
_MAX_CLIENT_DATA = 8 * 1024
# CTAP2 canonical COSE_Key: map of 5, kty EC2, alg ES256, crv P-256, then x and y of 32 bytes each.
_COSE_HEAD = bytes.fromhex("a5010203262001215820")
_COSE_MIDDLE = bytes.fromhex("225820")
_FIXED_BYTES = 37
_AAGUID_BYTES = 16


class NewCredential(NamedTuple):
    """A credential that was just made."""

    credential_id: bytes
    public_key: PublicKey
    aaguid: str


def registration_challenge(person: str, deployment: str, root_sha256: str, invite: str) -> bytes:
    """Returns the challenge of the registration; it commits to invite, person and trust root."""
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


def read_registration(
    *, client_data_json: bytes, authenticator_data: bytes, challenge: bytes, web_origin: str, rp_id: str
) -> NewCredential:
    """Checks a registration and returns the new credential.

    Raises:
        MalformedError: it is not what a browser and an authenticator make.
        VerificationError: it answers another challenge or page.
        PolicyError: nobody was verified, or the credential can be copied to other devices.
    """
    _check_client_data(client_data_json, challenge, web_origin)
    if len(authenticator_data) < _FIXED_BYTES + _AAGUID_BYTES + 2:
        raise MalformedError(Reason.BAD_VALUE, "The authenticator data holds no credential.")
    if authenticator_data[:32] != hashlib.sha256(rp_id.encode("ascii")).digest():
        raise VerificationError(Reason.ORIGIN_NOT_ALLOWED, "The credential is for another relying party.")
    _check_flags(authenticator_data[32])
    at = _FIXED_BYTES + _AAGUID_BYTES
    aaguid = str(uuid.UUID(bytes=authenticator_data[_FIXED_BYTES:at]))
    size = int.from_bytes(authenticator_data[at : at + 2], "big")
    credential_id = authenticator_data[at + 2 : at + 2 + size]
    point = _read_cose_key(authenticator_data[at + 2 + size :])
    key = parse_public_key(encode_sk_ecdsa_key(point, rp_id))
    check_key_usable(key)
    return NewCredential(credential_id, key, aaguid)


def _check_client_data(data: bytes, challenge: bytes, web_origin: str) -> None:
    value: Any = parse_json(data, max_bytes=_MAX_CLIENT_DATA, what="client data")
    if not isinstance(value, dict) or value.get("type") != "webauthn.create":
        raise MalformedError(Reason.CLIENT_DATA, "The browser did not make a credential.")
    if value.get("challenge") != b64url_encode(challenge):
        raise VerificationError(Reason.CHALLENGE_MISMATCH, "The credential was made for another invite.")
    if value.get("origin") != web_origin:
        raise VerificationError(Reason.ORIGIN_NOT_ALLOWED, "The credential was made on another page.")
    if value.get("crossOrigin") not in (None, False) or "topOrigin" in value:
        raise VerificationError(Reason.CROSS_ORIGIN, "The page stood inside another site's page.")


def _check_flags(flags: int) -> None:
    if not flags & FLAG_AT:
        raise MalformedError(Reason.FLAGS_INVALID, "The authenticator data holds no credential.")
    if not flags & FLAG_UP or not flags & FLAG_UV:
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


def _read_cose_key(data: bytes) -> bytes:
    x_at = len(_COSE_HEAD)
    y_at = x_at + 32 + len(_COSE_MIDDLE)
    if data[:x_at] != _COSE_HEAD or data[x_at + 32 : y_at] != _COSE_MIDDLE or len(data) < y_at + 32:
        raise MalformedError(Reason.BAD_KEY, "The new key is not an ES256 key in its canonical form.")
    return b"\x04" + data[x_at : x_at + 32] + data[y_at : y_at + 32]
