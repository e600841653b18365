"""SSHSIG: the one container of every signature in placet (spec/05-signature.md).

Formats: OpenSSH PROTOCOL.sshsig, PROTOCOL.u2f (`webauthn-sk-ecdsa`), PROTOCOL.certkeys.
A signature that stands here verifies with stock ``ssh-keygen -Y verify``; what stock
OpenSSH does not check (presence, verification, origin, backup flags) is checked by
`placet.core.signature`.

Parsing then encoding is the identity: canonical mpints, no trailing bytes, one hash.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

from placet.core.encoding import KeyId
from placet.core.errors import MalformedError, Reason

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

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASH = "sha512"
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

    `wire` is the SSH encoding; `raw` the X9.62 uncompressed point or the 32 Ed25519 bytes;
    `application` the RP ID or ``ssh:`` string, "" for a terminal's plain key.
    """

    wire: bytes
    key_type: str
    application: str
    raw: bytes


class SshSig(NamedTuple):
    """A parsed SSHSIG; `signature` is the Ed25519 signature or the two mpints as found."""

    public_key: bytes
    namespace: str
    inner_type: str
    signature: bytes
    flags: int
    counter: int
    web_origin: str | None
    client_data_json: bytes | None
    extensions: bytes


class _Reader:
    """Reads SSH wire primitives (RFC 4251 section 5)."""

    def __init__(self, data: bytes, reason: Reason) -> None:
        self._data, self._at, self._reason = data, 0, reason

    def take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._data):
            raise MalformedError(self._reason, "The SSH data ends too early.")
        return self._data[start : self._at]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        start = self._at + 4
        end = start + int.from_bytes(self._data[self._at : start], "big")
        if end > len(self._data) or start > len(self._data):
            raise MalformedError(self._reason, "The SSH data ends too early.")
        self._at = end
        return self._data[start:end]

    def text(self) -> str:
        text = self.string().decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise MalformedError(self._reason, "An SSH name must be printable ASCII.")
        return text

    def mpint(self) -> int:
        data = self.string()
        # SIG-06: one spelling per number, positive, no needless leading zero.
        if not data or data[0] & 0x80 or (data[0] == 0 and (len(data) == 1 or not data[1] & 0x80)):
            raise MalformedError(self._reason, "An SSH integer is not in its canonical form.")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise MalformedError(self._reason, "There are trailing bytes.")  # SIG-05


def _string(data: bytes | str) -> bytes:
    raw = data.encode("ascii") if isinstance(data, str) else data
    return len(raw).to_bytes(4, "big") + raw


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def key_id(wire: bytes) -> KeyId:
    """Returns hex(SHA256(wire key)): the hash that ``ssh-keygen -lf`` prints in base64 (SIG-02)."""
    return KeyId(hashlib.sha256(wire).hexdigest())


def parse_public_key(wire: bytes) -> PublicKey:
    """Parses an SSH wire key of one of the three key types that placet knows (SIG-01).

    Raises:
        MalformedError: BAD_KEY.
    """
    reader = _Reader(wire, Reason.BAD_KEY)
    key_type = reader.text()
    if key_type == SK_ECDSA:
        curve, raw = reader.string(), reader.string()
        well_formed = curve == _CURVE and len(raw) == _POINT_BYTES and raw[0] == 4
    elif key_type in (SK_ED25519, SSH_ED25519):
        raw = reader.string()
        well_formed = len(raw) == _ED25519_BYTES
    else:
        raise MalformedError(
            Reason.BAD_KEY,
            f"Keys of type {key_type[:64]!r} cannot be enrolled.",
            expected=(SK_ECDSA, SK_ED25519),
            hint="Create one with: ssh-keygen -t ed25519-sk -O verify-required",
        )
    application = "" if key_type == SSH_ED25519 else reader.text()
    reader.end()
    if not well_formed or (key_type != SSH_ED25519 and not application):
        raise MalformedError(Reason.BAD_KEY, "The public key is malformed.")
    return PublicKey(wire, key_type, application, raw)


def encode_sk_ecdsa_key(point: bytes, application: str) -> bytes:
    """Encodes a P-256 FIDO key: `point` has 65 bytes, `application` is the RP ID or ``ssh:`` string."""
    return _string(SK_ECDSA) + _string(_CURVE) + _string(point) + _string(application)


def encode_sk_ed25519_key(raw: bytes, application: str) -> bytes:
    """Encodes an Ed25519 FIDO key: `raw` has 32 bytes."""
    return _string(SK_ED25519) + _string(raw) + _string(application)


def encode_ed25519_key(raw: bytes) -> bytes:
    """Encodes a plain Ed25519 key, which only terminals have: `raw` has 32 bytes."""
    return _string(SSH_ED25519) + _string(raw)


def signed_data(namespace: str, message: bytes) -> bytes:
    """Returns PROTOCOL.sshsig's data to be signed over `message` (SIG-03).

    These bytes themselves, not their hash, are the WebAuthn challenge.
    """
    digest = hashlib.sha512(message).digest()
    return _MAGIC + _string(namespace) + _string(b"") + _string(_HASH) + _string(digest)


def parse_sshsig(blob: bytes) -> SshSig:
    """Parses a binary SSHSIG.

    Raises:
        MalformedError: BAD_SSHSIG, SIGNATURE_KIND.
    """
    reader = _Reader(blob, Reason.BAD_SSHSIG)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
        raise MalformedError(Reason.BAD_SSHSIG, "This is not an SSHSIG of version 1.")
    public_key, namespace = reader.string(), reader.text()
    reserved, hash_name = reader.string(), reader.text()
    inner = _Reader(reader.string(), Reason.BAD_SSHSIG)
    reader.end()
    if reserved or hash_name != _HASH:  # SIG-04
        raise MalformedError(
            Reason.BAD_SSHSIG, "An SSHSIG of placet has hash sha512 and nothing reserved.", actual=hash_name
        )
    inner_type, signature = inner.text(), inner.string()
    if inner_type == SSH_ED25519:
        inner.end()
        _check_ed25519_length(signature)
        return SshSig(public_key, namespace, inner_type, signature, 0, 0, None, None, b"")
    if inner_type == SK_ED25519:
        _check_ed25519_length(signature)
    elif inner_type in (SK_ECDSA, WEBAUTHN_SK_ECDSA):
        ecdsa_numbers(signature)
    else:
        raise MalformedError(
            Reason.SIGNATURE_KIND, f"Signatures of kind {inner_type[:64]!r} are not accepted."
        )
    flags, counter = inner.take(1)[0], inner.uint32()
    web_origin, client_data_json, extensions = None, None, b""
    if inner_type == WEBAUTHN_SK_ECDSA:
        web_origin, client_data_json, extensions = inner.text(), inner.string(), inner.string()
    inner.end()
    return SshSig(
        public_key, namespace, inner_type, signature, flags, counter, web_origin, client_data_json, extensions
    )


def _check_ed25519_length(signature: bytes) -> None:
    if len(signature) != _ED25519_SIGNATURE_BYTES:
        raise MalformedError(Reason.BAD_SSHSIG, "An Ed25519 signature has 64 bytes.")


def ecdsa_numbers(signature: bytes) -> tuple[int, int]:
    """Reads the two canonical mpints of an ECDSA signature.

    Raises:
        MalformedError: BAD_SSHSIG.
    """
    reader = _Reader(signature, Reason.BAD_SSHSIG)
    r, s = reader.mpint(), reader.mpint()
    reader.end()
    return r, s


def encode_sshsig(sshsig: SshSig) -> bytes:
    """Encodes a parsed SSHSIG; the inverse of `parse_sshsig`."""
    inner = _string(sshsig.inner_type) + _string(sshsig.signature)
    if sshsig.inner_type != SSH_ED25519:
        inner += bytes([sshsig.flags]) + sshsig.counter.to_bytes(4, "big")
    if sshsig.client_data_json is not None and sshsig.web_origin is not None:
        inner += _string(sshsig.web_origin) + _string(sshsig.client_data_json) + _string(sshsig.extensions)
    return (
        _MAGIC
        + _VERSION.to_bytes(4, "big")
        + _string(sshsig.public_key)
        + _string(sshsig.namespace)
        + _string(b"")
        + _string(_HASH)
        + _string(inner)
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
            signature=_mpint(r) + _mpint(s),
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
    body = base64.b64encode(blob).decode("ascii")
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
        return base64.b64decode("".join(lines[1:-1]).encode("ascii"), validate=True)
    except (ValueError, UnicodeEncodeError) as e:
        raise MalformedError(Reason.BAD_SSHSIG, "The SSH signature is not base64.") from e
