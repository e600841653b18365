"""SSHSIG: the one container of every signature in placet (spec/05-signature.md).

Formats: OpenSSH PROTOCOL.sshsig, PROTOCOL.u2f (`webauthn-sk-ecdsa`), PROTOCOL.certkeys.
A signature that stands here verifies with stock ``ssh-keygen -Y verify`` (INV-9); what stock
OpenSSH does not check (presence, verification, origin, backup flags) is checked by
`placet.core.signature`.

Parsing then encoding is the identity: canonical mpints, no trailing bytes, one hash.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import NamedTuple

from placet.core.encoding import KeyId, b64encode
from placet.core.errors import MalformedError, Reason
from placet.core.sshwire import read_mpint, read_text, refuse_trailing, ssh_mpint, ssh_string, take_strings

NAMESPACE_INTENT = "intent-v1@placet.dev"
NAMESPACE_TRUST = "trust-v1@placet.dev"
NAMESPACE_LINK = "link-v1@placet.dev"
NAMESPACE_ENROL = "enrol-v1@placet.dev"
NAMESPACE_REQUEST = "request-v1@placet.dev"
NAMESPACE_REPORT = "report-v1@placet.dev"

SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
SK_ED25519 = "sk-ssh-ed25519@openssh.com"
WEBAUTHN_SK_ECDSA = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
SSH_ED25519 = "ssh-ed25519"

_INNER_TYPES = {name.encode(): name for name in (SK_ECDSA, SK_ED25519, WEBAUTHN_SK_ECDSA, SSH_ED25519)}

_MAGIC = b"SSHSIG"
_HEAD = _MAGIC + (1).to_bytes(4, "big")  # with the version
_HASH = b"sha512"
_CURVE = b"nistp256"
_POINT_BYTES = 65
_ED25519_BYTES = 32
_ED25519_SIGNATURE_BYTES = 64
_ARMOR_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_ARMOR_END = "-----END SSH SIGNATURE-----"
_ARMOR_WIDTH = 70
_AUTHENTICATOR_DATA_BYTES = 37


class PublicKey(NamedTuple):
    """An SSH public key in parts.

    `wire` is the SSH encoding and `keyid` its hash; `raw` the X9.62 uncompressed point or the 32
    Ed25519 bytes; `application` the RP ID or ``ssh:`` string, "" for a terminal's plain key, and
    `application_hash` its SHA-256, with which authenticator data begins.
    """

    wire: bytes
    keyid: KeyId
    key_type: str
    application: str
    application_hash: bytes
    raw: bytes


class SshSig(NamedTuple):
    """A parsed SSHSIG; `signature` is the Ed25519 signature or the two mpints as found, `numbers` the two."""

    public_key: bytes
    namespace: str
    inner_type: str
    signature: bytes
    flags: int
    counter: int
    web_origin: str | None
    client_data_json: bytes | None
    extensions: bytes
    numbers: tuple[int, int] | None = None


_FIXED_FIELDS = ssh_string(b"") + ssh_string(_HASH)  # nothing reserved, and the one hash
_DIGEST_LENGTH = (64).to_bytes(4, "big")


def key_id(wire: bytes) -> KeyId:
    """Returns hex(SHA256(wire key)): the hash that ``ssh-keygen -lf`` prints in base64 (SIG-02)."""
    return KeyId(hashlib.sha256(wire).hexdigest())


def parse_public_key(wire: bytes) -> PublicKey:
    """Parses an SSH wire key of one of the three key types that placet knows (SIG-01).

    Raises:
        MalformedError: BAD_KEY.
    """
    name, rest = take_strings(wire, 1, Reason.BAD_KEY)
    key_type, application = read_text(name, Reason.BAD_KEY), b""
    if key_type == SK_ECDSA:
        curve, raw, application, rest = take_strings(rest, 3, Reason.BAD_KEY)
        well_formed = curve == _CURVE and len(raw) == _POINT_BYTES and raw[0] == 4 and application != b""
    elif key_type == SK_ED25519:
        raw, application, rest = take_strings(rest, 2, Reason.BAD_KEY)
        well_formed = len(raw) == _ED25519_BYTES and application != b""
    elif key_type == SSH_ED25519:
        raw, rest = take_strings(rest, 1, Reason.BAD_KEY)
        well_formed = len(raw) == _ED25519_BYTES
    else:
        raise MalformedError(
            Reason.BAD_KEY,
            f"Keys of type {key_type[:64]!r} cannot be enrolled.",
            expected=(SK_ECDSA, SK_ED25519),
            hint="Create one with: ssh-keygen -t ed25519-sk -O verify-required",
        )
    refuse_trailing(rest, Reason.BAD_KEY)
    if not well_formed:
        raise MalformedError(Reason.BAD_KEY, "The public key is malformed.")
    return PublicKey(
        wire=wire,
        keyid=key_id(wire),
        key_type=key_type,
        application=read_text(application, Reason.BAD_KEY),
        application_hash=hashlib.sha256(application).digest(),
        raw=raw,
    )


def encode_sk_ecdsa_key(point: bytes, application: str) -> bytes:
    """Encodes a P-256 FIDO key: `point` has 65 bytes, `application` is the RP ID or ``ssh:`` string."""
    return ssh_string(SK_ECDSA) + ssh_string(_CURVE) + ssh_string(point) + ssh_string(application)


def encode_sk_ed25519_key(raw: bytes, application: str) -> bytes:
    """Encodes an Ed25519 FIDO key: `raw` has 32 bytes."""
    return ssh_string(SK_ED25519) + ssh_string(raw) + ssh_string(application)


def encode_ed25519_key(raw: bytes) -> bytes:
    """Encodes a plain Ed25519 key, which only terminals have: `raw` has 32 bytes."""
    return ssh_string(SSH_ED25519) + ssh_string(raw)


def signed_data(namespace: str, message: bytes) -> bytes:
    """Returns PROTOCOL.sshsig's data to be signed over `message` (SIG-03).

    These bytes themselves, not their hash, are the WebAuthn challenge.
    """
    digest = hashlib.sha512(message).digest()
    return _MAGIC + ssh_string(namespace) + _FIXED_FIELDS + _DIGEST_LENGTH + digest


def parse_sshsig(blob: bytes) -> SshSig:
    """Parses a binary SSHSIG.

    Raises:
        MalformedError: BAD_SSHSIG, SIGNATURE_KIND.
    """
    if not blob.startswith(_HEAD):
        raise MalformedError(Reason.BAD_SSHSIG, "This is not an SSHSIG of version 1.")
    fields = take_strings(blob[len(_HEAD) :], 5)
    public_key, namespace, reserved, hash_name, inner, trailing = fields
    if reserved or hash_name != _HASH:  # SIG-04
        raise MalformedError(Reason.BAD_SSHSIG, "An SSHSIG of placet has hash sha512 and nothing reserved.")
    kind, signature, rest = take_strings(inner, 2)
    inner_type, numbers = _INNER_TYPES.get(kind, ""), None
    if inner_type in (SK_ECDSA, WEBAUTHN_SK_ECDSA):
        r, s, extra = take_strings(signature, 2)
        refuse_trailing(extra)
        numbers = read_mpint(r), read_mpint(s)
    elif not inner_type:
        name = read_text(kind)[:64]
        raise MalformedError(Reason.SIGNATURE_KIND, f"Signatures of kind {name!r} are not accepted.")
    elif len(signature) != _ED25519_SIGNATURE_BYTES:
        raise MalformedError(Reason.BAD_SSHSIG, "An Ed25519 signature has 64 bytes.")
    flags, counter, web_origin, client_data_json, extensions = 0, 0, None, None, b""
    if inner_type != SSH_ED25519:
        flags, counter, rest = _take_presence(rest)
    if inner_type == WEBAUTHN_SK_ECDSA:
        origin, client_data_json, extensions, rest = take_strings(rest, 3)
        web_origin = read_text(origin)
    refuse_trailing(rest + trailing)
    return SshSig(
        public_key,
        read_text(namespace),
        inner_type,
        signature,
        flags,
        counter,
        web_origin,
        client_data_json,
        extensions,
        numbers,
    )


def _take_presence(data: bytes) -> tuple[int, int, bytes]:
    """Takes the authenticator's flags and counter off `data`; returns them and what follows."""
    if len(data) < 5:
        raise MalformedError(Reason.BAD_SSHSIG, "The SSH data ends too early.")
    return data[0], int.from_bytes(data[1:5], "big"), data[5:]


def encode_sshsig(sshsig: SshSig) -> bytes:
    """Encodes a parsed SSHSIG; the inverse of `parse_sshsig`."""
    inner = ssh_string(sshsig.inner_type) + ssh_string(sshsig.signature)
    if sshsig.inner_type != SSH_ED25519:
        inner += bytes([sshsig.flags]) + sshsig.counter.to_bytes(4, "big")
    if sshsig.client_data_json is not None and sshsig.web_origin is not None:
        inner += (
            ssh_string(sshsig.web_origin)
            + ssh_string(sshsig.client_data_json)
            + ssh_string(sshsig.extensions)
        )
    return (
        _HEAD
        + ssh_string(sshsig.public_key)
        + ssh_string(sshsig.namespace)
        + _FIXED_FIELDS
        + ssh_string(inner)
    )


def encode_webauthn_sshsig(
    *,
    key_wire: bytes,
    namespace: str,
    authenticator_data: bytes,
    client_data_json: bytes,
    der_signature: bytes,
    web_origin: str,
) -> bytes:
    """Packs a browser's WebAuthn assertion as an SSHSIG.

    Args:
        key_wire: the credential's SSH wire key.
        namespace: what the challenge was made for.
        authenticator_data: at least 37 bytes, as the authenticator returned them.
        client_data_json: the bytes that the browser made.
        der_signature: the ASN.1 DER ECDSA signature.
        web_origin: the page's origin.

    Raises:
        MalformedError: BAD_SSHSIG.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if len(authenticator_data) < _AUTHENTICATOR_DATA_BYTES:
        raise MalformedError(Reason.BAD_SSHSIG, "The authenticator data is too short.")
    try:
        r, s = decode_dss_signature(der_signature)
    except ValueError as e:
        raise MalformedError(Reason.BAD_SSHSIG, "The assertion's signature is not DER.") from e
    return encode_sshsig(
        SshSig(
            public_key=key_wire,
            namespace=namespace,
            inner_type=WEBAUTHN_SK_ECDSA,
            signature=ssh_mpint(r) + ssh_mpint(s),
            flags=authenticator_data[32],
            counter=int.from_bytes(authenticator_data[33:37], "big"),
            web_origin=web_origin,
            client_data_json=client_data_json,
            extensions=authenticator_data[_AUTHENTICATOR_DATA_BYTES:],
        )
    )


def encode_ed25519_sshsig(*, key_wire: bytes, namespace: str, raw_signature: bytes) -> bytes:
    """Packs a plain Ed25519 signature, made over `signed_data`, as an SSHSIG."""
    return encode_sshsig(SshSig(key_wire, namespace, SSH_ED25519, raw_signature, 0, 0, None, None, b""))


def armor(blob: bytes) -> str:
    """Returns the PEM-like text that ``ssh-keygen -Y verify`` reads."""
    body = b64encode(blob)
    lines = [body[i : i + _ARMOR_WIDTH] for i in range(0, len(body), _ARMOR_WIDTH)]
    return "\n".join([_ARMOR_BEGIN, *lines, _ARMOR_END, ""])


def dearmor(text: str) -> bytes:
    """Reads the text that ``ssh-keygen -Y sign`` writes.

    Raises:
        MalformedError: BAD_SSHSIG.
    """
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != _ARMOR_BEGIN or lines[-1] != _ARMOR_END:
        raise MalformedError(Reason.BAD_SSHSIG, "This is not an armored SSH signature.")
    try:
        return binascii.a2b_base64("".join(lines[1:-1]), strict_mode=True)
    except ValueError as e:
        raise MalformedError(Reason.BAD_SSHSIG, "The SSH signature is not base64.") from e
