"""What a signature proves, beyond what stock OpenSSH checks (spec/05-signature.md, spec/06-webauthn.md).

``ssh-keygen -Y verify`` accepts a signature without touch, without PIN and from any
origin.  This module does not (INV-3): it checks kind, presence, verification, backup state,
challenge and origin, then the signature itself.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from placet.core.encoding import KeyId
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.sshsig import (
    SK_ECDSA,
    SSH_ED25519,
    WEBAUTHN_SK_ECDSA,
    PublicKey,
    SshSig,
    parse_sshsig,
    signed_data,
)
from placet.core.webauthn import check_client_data

# WebAuthn Level 3, section 6.1, "flags".
FLAG_UP, FLAG_UV, FLAG_BE, FLAG_BS, FLAG_AT, FLAG_ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
_FLAGS_KNOWN = FLAG_UP | FLAG_UV | FLAG_BE | FLAG_BS | FLAG_AT | FLAG_ED

# Ed25519 points of order 1, 2, 4 and 8 (RFC 8032 section 5.1 has the curve): OpenSSL takes them as keys, and
# signatures verify under them that no private key made.
_ED25519_PRIME = 2**255 - 19
_ED25519_Y = 2**255 - 1
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _ED25519_PRIME - 1, _ORDER_8, _ED25519_PRIME - _ORDER_8})


class _EcdsaSha256(ec.ECDSA):
    """ECDSA over SHA-256, for verifying.

    The inherited constructor asks whether this OpenSSL can sign deterministically; to answer, it
    loads ciphers, RSA and threads, which would cost a cold verification a tenth of its time.
    """

    algorithm = hashes.SHA256()
    deterministic_signing = False

    def __init__(self) -> None:
        """Asks nothing."""


_ECDSA_SHA256 = _EcdsaSha256()


class SignatureFacts(NamedTuple):
    """What a verified signature says about the moment it was made."""

    keyid: KeyId
    kind: str
    """``webauthn`` or ``sk``."""
    user_verified: bool
    backup_eligible: bool
    counter: int
    web_origin: str | None


def verify_sshsig(
    blob: bytes,
    *,
    message: bytes,
    namespace: str,
    key: PublicKey,
    kind: str,
    origins: Collection[str],
    require_uv: bool = True,
    allow_backup: bool = False,
) -> SignatureFacts:
    """Verifies one hardware-key signature completely.

    Args:
        blob: the binary SSHSIG.
        message: what was signed, such as a DSSE PAE.
        namespace: the one meaning that is accepted.
        key: the enrolled key.
        kind: ``webauthn`` or ``sk``: the credential's one kind.
        origins: the exact web origins that are accepted; unused for ``sk``.
        require_uv: refuse signatures without user verification.
        allow_backup: accept synced (backup-eligible) credentials.

    Raises:
        MalformedError: the blob is not an SSHSIG, or its client data is not what a browser makes.
        VerificationError: it is not this key's signature over this message, made for this meaning.
        PolicyError: presence, verification, origin or backup state are not acceptable.
    """
    sshsig = parse_sshsig(blob)
    _check_binding(sshsig, key, namespace, kind)
    to_be_signed = signed_data(namespace, message)
    signed_message = to_be_signed
    if sshsig.client_data_json is not None and sshsig.web_origin is not None:
        check_client_data(sshsig.client_data_json, challenge=to_be_signed, web_origin=sshsig.web_origin)
        signed_message = sshsig.client_data_json
    _check_cryptography(sshsig, key, hashlib.sha256(signed_message).digest())
    # The signature is genuine from here on; what follows judges how it was made.
    _check_flags(sshsig, require_uv=require_uv, allow_backup=allow_backup)
    if sshsig.web_origin is not None and sshsig.web_origin not in origins:  # WAN-05
        raise PolicyError(
            Reason.ORIGIN_NOT_ALLOWED,
            "The signature was made on a web page that is no enrolled terminal of this deployment.",
            expected=tuple(sorted(origins)),
            actual=sshsig.web_origin,
        )
    return SignatureFacts(
        keyid=key.keyid,
        kind=kind,
        user_verified=bool(sshsig.flags & FLAG_UV),
        backup_eligible=bool(sshsig.flags & FLAG_BE),
        counter=sshsig.counter,
        web_origin=sshsig.web_origin,
    )


def _check_binding(sshsig: SshSig, key: PublicKey, namespace: str, kind: str) -> None:
    if sshsig.public_key != key.wire:  # SIG-07
        raise VerificationError(Reason.KEY_MISMATCH, "The signature names another key.")
    if sshsig.namespace != namespace:  # SIG-08: a git or login signature is no approval.
        raise VerificationError(
            Reason.NAMESPACE_MISMATCH,
            "The signature was made for another purpose.",
            expected=namespace,
            actual=sshsig.namespace,
        )
    # SIG-09: a credential has one kind, so a page cannot pose as a command line or the reverse.
    expected = WEBAUTHN_SK_ECDSA if kind == "webauthn" else key.key_type
    if sshsig.inner_type != expected or key.key_type == SSH_ED25519:
        raise VerificationError(
            Reason.SIGNATURE_KIND,
            "The signature is of another kind than this credential makes.",
            expected=expected,
            actual=sshsig.inner_type,
        )


def _check_cryptography(sshsig: SshSig, key: PublicKey, message_hash: bytes) -> None:
    signed = (
        key.application_hash  # WAN-07: the RP ID is part of the key
        + bytes([sshsig.flags])
        + sshsig.counter.to_bytes(4, "big")
        + sshsig.extensions
        + message_hash
    )
    try:
        if sshsig.numbers is not None:
            _load_p256(key.raw).verify(encode_dss_signature(*sshsig.numbers), signed, _ECDSA_SHA256)
        else:
            _load_ed25519(key.raw).verify(sshsig.signature, signed)
    except (InvalidSignature, ValueError) as e:  # SIG-10
        raise VerificationError(
            Reason.SIGNATURE_INVALID, "The signature does not match these bytes and this key."
        ) from e


def _check_flags(sshsig: SshSig, *, require_uv: bool, allow_backup: bool) -> None:
    flags = sshsig.flags
    if not flags & FLAG_UP:  # WAN-01: clients send preflight assertions without touch, and keys sign them.
        raise PolicyError(
            Reason.USER_PRESENCE_MISSING,
            "Nobody touched the authenticator for this signature.",
            hint="Approve again and touch the key when it blinks.",
        )
    if require_uv and not flags & FLAG_UV:  # WAN-02
        raise PolicyError(
            Reason.USER_VERIFICATION_MISSING,
            "The authenticator did not verify its user (PIN or fingerprint).",
            hint="Set a PIN on the key; an SSH key must be made anew with -O verify-required.",
        )
    # WAN-03: attested credential data belongs to registrations; extension data and its flag come together.
    if flags & FLAG_AT or flags & ~_FLAGS_KNOWN or bool(flags & FLAG_ED) != bool(sshsig.extensions):
        raise PolicyError(Reason.FLAGS_INVALID, "The authenticator's flags contradict its data.")
    # WAN-04: a synced passkey is on more machines than the one that was enrolled.
    if (flags & FLAG_BS and not flags & FLAG_BE) or (flags & FLAG_BE and not allow_backup):
        raise PolicyError(
            Reason.BACKUP_NOT_ALLOWED,
            "The credential is synced or can be; only device-bound keys are accepted here.",
        )


def verify_terminal_signature(blob: bytes, *, message: bytes, namespace: str, key: PublicKey) -> None:
    """Verifies a terminal's plain Ed25519 SSHSIG (RPT-02).

    Raises:
        MalformedError: BAD_SSHSIG.
        VerificationError: KEY_MISMATCH, NAMESPACE_MISMATCH, SIGNATURE_KIND, SIGNATURE_INVALID.
    """
    sshsig = parse_sshsig(blob)
    if sshsig.public_key != key.wire:
        raise VerificationError(Reason.KEY_MISMATCH, "The report names another key.")
    if sshsig.namespace != namespace:
        raise VerificationError(Reason.NAMESPACE_MISMATCH, "The report was signed for another purpose.")
    if sshsig.inner_type != SSH_ED25519 or key.key_type != SSH_ED25519:
        raise VerificationError(Reason.SIGNATURE_KIND, "A terminal signs with a plain Ed25519 key.")
    try:
        _load_ed25519(key.raw).verify(sshsig.signature, signed_data(namespace, message))
    except (InvalidSignature, ValueError) as e:
        raise VerificationError(Reason.SIGNATURE_INVALID, "The report's signature does not match.") from e


def check_key_usable(key: PublicKey) -> None:
    """Loads the key once, so that an invalid point is refused when trust is compiled, not when it is used.

    Raises:
        MalformedError: BAD_KEY.
    """
    try:
        (_load_p256 if key.key_type == SK_ECDSA else _load_ed25519)(key.raw)
    except ValueError as e:
        raise MalformedError(Reason.BAD_KEY, "The public key is not a point of its curve.") from e
    if key.key_type != SK_ECDSA:
        y = int.from_bytes(key.raw, "little") & _ED25519_Y
        if y >= _ED25519_PRIME or y in _SMALL_ORDER:
            raise MalformedError(Reason.BAD_KEY, "The public key is one for which anybody can sign.")


# Loading a point costs a tenth of a signature check; a gate sees the same few keys again and again.
@functools.lru_cache(maxsize=256)
def _load_p256(point: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


@functools.lru_cache(maxsize=256)
def _load_ed25519(raw: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)
