"""Software keys that sign exactly as a browser, a security key or a terminal would.

`SoftWebAuthn` plays the browser *and* the authenticator behind it, `SoftSk` an OpenSSH
security key spoken to directly, `SoftTerminalKey` a terminal's identity key. Their
signatures verify with stock ``ssh-keygen -Y verify`` and with `placet.core.sshsig`.

Every knob defaults to the honest value. Turning one gives the wrong thing on purpose:
flags, origin, RP ID, cross-origin, backup state, extra JSON members, trailing bytes and
counters are written as asked and are covered by a signature that is cryptographically good,
so a test that sees a refusal knows that the check under test made it.

Keys are random, or derived from ``seed``; with a seed ECDSA is deterministic (RFC 6979), so
test vectors can be generated again byte for byte. They live in memory and prove nothing.
"""

import secrets
from hashlib import sha256, sha512
from typing import Final, Literal, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from placet.core.encoding import KeyId, b64url_encode
from placet.core.sshsig import (
    SK_ECDSA,
    SK_ED25519,
    SSH_ED25519,
    WEBAUTHN_SK_ECDSA,
    encode_ed25519_key,
    encode_sk_ecdsa_key,
    encode_sk_ed25519_key,
    key_id,
    signed_data,
)
from placet.testing import _wire

UP: Final = 0x01
"""User presence: somebody touched the authenticator."""
UV: Final = 0x04
"""User verification: PIN or fingerprint."""
BE: Final = 0x08
"""Backup eligible: the key may be copied to other devices."""
BS: Final = 0x10
"""Backed up: the key has been copied."""
AT: Final = 0x40
"""Attested credential data follows; never in an assertion."""
ED: Final = 0x80
"""Extension data follows."""

DEFAULT_RP_ID: Final = "demo.placet.localhost"
DEFAULT_WEB_ORIGIN: Final = "http://t1.demo.placet.localhost:8470"
DEFAULT_APPLICATION: Final = "ssh:placet:demo"

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

SkType = Literal["ecdsa", "ed25519"]


class Assertion(NamedTuple):
    """What ``navigator.credentials.get()`` hands to the page.

    Attributes:
        authenticator_data: RP ID hash, flags, counter and extensions.
        client_data_json: The browser's JSON, which holds challenge and origin.
        signature: DER ECDSA over ``authenticator_data || SHA-256(client_data_json)``.
    """

    authenticator_data: bytes
    client_data_json: bytes
    signature: bytes


class SoftWebAuthn:
    """A browser with one ES256 credential behind it.

    Attributes:
        rp_id: The RP ID of the credential, which is the application of its OpenSSH key.
        web_origin: The origin of the page that asks, unless a call says another.
        counter: The signature counter of the last assertion.
        point: The public key, an uncompressed P-256 point of 65 bytes.
        credential_id: 32 bytes; a secret of the terminal, as with real credentials.
        wire: The public key in SSH wire form.
        keyid: Lower hex SHA-256 of ``wire``.
        assurance: Always ``"software"``.
    """

    assurance: Final = "software"
    kind: Final = "webauthn"

    def __init__(
        self,
        *,
        rp_id: str = DEFAULT_RP_ID,
        web_origin: str = DEFAULT_WEB_ORIGIN,
        seed: bytes | None = None,
        private_scalar: int | None = None,
        counter: int = 0,
    ) -> None:
        """Make a credential.

        Args:
            rp_id: The RP ID that the credential belongs to.
            web_origin: The default origin of the asking page.
            seed: Derives key and credential ID; equal seeds give equal keys and signatures.
            private_scalar: The private key itself, instead of a seed.
            counter: The counter before the first assertion.
        """
        self._key = _p256_key("webauthn", seed, private_scalar)
        self._deterministic = seed is not None or private_scalar is not None
        self.rp_id = rp_id
        self.web_origin = web_origin
        self.counter = counter
        self.point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.credential_id = (
            sha256(b"placet testing credential id\0" + self.point).digest()
            if self._deterministic
            else secrets.token_bytes(32)
        )
        self.wire = encode_sk_ecdsa_key(self.point, rp_id)
        self.keyid: KeyId = key_id(self.wire)

    def get(
        self,
        challenge: bytes,
        *,
        rp_id: str | None = None,
        web_origin: str | None = None,
        flags: int = UP | UV,
        extensions: bytes = b"",
        cross_origin: bool = False,
        extra_members: str = "",
        client_data_override: bytes | None = None,
        counter: int | None = None,
    ) -> Assertion:
        """Answer ``navigator.credentials.get()``.

        Args:
            challenge: The bytes that the page asks to have signed.
            rp_id: The RP ID whose hash is signed, by default the credential's own.
            web_origin: The origin written into the client data.
            flags: Authenticator flags, written as given.
            extensions: CBOR put behind the counter. Set `ED` in ``flags`` yourself.
            cross_origin: The value of ``crossOrigin``.
            extra_members: Text put before the closing brace, as ``,"topOrigin":"https://x.example"``.
            client_data_override: Replaces the whole client data JSON.
            counter: The counter to sign; by default one more than the last.
        """
        self.counter = self.counter + 1 if counter is None else counter
        client_data = client_data_override
        if client_data is None:
            client_data = encode_client_data(
                challenge, _default(web_origin, self.web_origin), cross_origin, extra_members
            )
        data = _wire.authenticator_data(_default(rp_id, self.rp_id), flags, self.counter, extensions)
        signature = _sign_p256(self._key, data + sha256(client_data).digest(), self._deterministic)
        return Assertion(data, client_data, signature)

    def sign(
        self,
        namespace: str,
        message: bytes,
        *,
        rp_id: str | None = None,
        web_origin: str | None = None,
        claimed_origin: str | None = None,
        flags: int = UP | UV,
        extensions: bytes = b"",
        cross_origin: bool = False,
        extra_members: str = "",
        client_data_override: bytes | None = None,
        counter: int | None = None,
        trailing: bytes = b"",
    ) -> bytes:
        """Sign ``message`` and return a binary SSHSIG.

        Args:
            namespace: The SSHSIG namespace.
            message: The message itself, for placet a DSSE pre-authentication encoding.
            rp_id: See `get`.
            web_origin: See `get`.
            claimed_origin: The origin beside the client data; by default the one inside it.
            flags: See `get`.
            extensions: See `get`.
            cross_origin: See `get`.
            extra_members: See `get`.
            client_data_override: See `get`.
            counter: See `get`.
            trailing: Bytes put behind the inner signature, where no byte belongs.
        """
        assertion = self.get(
            signed_data(namespace, message),
            rp_id=rp_id,
            web_origin=web_origin,
            flags=flags,
            extensions=extensions,
            cross_origin=cross_origin,
            extra_members=extra_members,
            client_data_override=client_data_override,
            counter=counter,
        )
        origin = _default(claimed_origin, _default(web_origin, self.web_origin))
        return sshsig_of_assertion(self.wire, namespace, assertion, origin, trailing=trailing)


class SoftSk:
    """An OpenSSH security key (``sk-ecdsa-…`` or ``sk-ssh-ed25519@openssh.com``) in software.

    Attributes:
        key_type: The SSH key type name, which is its signature type too.
        application: What the key is bound to, ``ssh:placet:<deployment>``.
        counter: The signature counter of the last signature.
        wire: The public key in SSH wire form.
        keyid: Lower hex SHA-256 of ``wire``.
        assurance: Always ``"software"``.
    """

    assurance: Final = "software"
    kind: Final = "sk"

    def __init__(
        self,
        sk_type: SkType = "ecdsa",
        *,
        application: str = DEFAULT_APPLICATION,
        seed: bytes | None = None,
        counter: int = 0,
    ) -> None:
        self._ecdsa = _p256_key("sk-ecdsa", seed) if sk_type == "ecdsa" else None
        self._ed25519 = _ed25519_key("sk-ed25519", seed) if sk_type == "ed25519" else None
        self._deterministic = seed is not None
        self.application = application
        self.counter = counter
        if self._ecdsa is not None:
            point = self._ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self.key_type = SK_ECDSA
            self.wire = encode_sk_ecdsa_key(point, application)
        elif self._ed25519 is not None:
            self.key_type = SK_ED25519
            self.wire = encode_sk_ed25519_key(self._ed25519.public_key().public_bytes_raw(), application)
        else:
            raise ValueError(f"sk_type is 'ecdsa' or 'ed25519', not {sk_type!r}")
        self.keyid: KeyId = key_id(self.wire)

    def sign(
        self,
        namespace: str,
        message: bytes,
        *,
        flags: int = UP | UV,
        application: str | None = None,
        counter: int | None = None,
        trailing: bytes = b"",
    ) -> bytes:
        """Sign ``message`` and return a binary SSHSIG.

        Args:
            namespace: The SSHSIG namespace.
            message: The message itself.
            flags: Authenticator flags, written as given.
            application: The application whose hash is signed, by default the key's own.
            counter: The counter to sign; by default one more than the last.
            trailing: Bytes put behind the inner signature, where no byte belongs.
        """
        self.counter = self.counter + 1 if counter is None else counter
        data = _wire.authenticator_data(_default(application, self.application), flags, self.counter)
        signed = data + sha256(signed_data(namespace, message)).digest()
        if self._ecdsa is not None:
            raw = _wire.ecdsa_pair(_sign_p256(self._ecdsa, signed, self._deterministic))
        else:
            assert self._ed25519 is not None  # Set in the constructor when there is no ECDSA key.
            raw = self._ed25519.sign(signed)
        inner = _wire.sk_signature(self.key_type, raw, flags, self.counter) + trailing
        return _wire.sshsig(self.wire, namespace, inner)


class SoftTerminalKey:
    """A plain ``ssh-ed25519`` key: the identity of a terminal, never of a person.

    It doubles as the attacker's ordinary software key: placet must refuse it as an approver.

    Attributes:
        wire: The public key in SSH wire form.
        keyid: Lower hex SHA-256 of ``wire``.
    """

    assurance: Final = "software"

    def __init__(self, *, seed: bytes | None = None) -> None:
        self._key = _ed25519_key("terminal", seed)
        self.wire = encode_ed25519_key(self._key.public_key().public_bytes_raw())
        self.keyid: KeyId = key_id(self.wire)

    def sign(self, namespace: str, message: bytes, *, trailing: bytes = b"") -> bytes:
        """Sign ``message`` and return a binary SSHSIG."""
        raw = self._key.sign(signed_data(namespace, message))
        inner = _wire.string(SSH_ED25519.encode()) + _wire.string(raw) + trailing
        return _wire.sshsig(self.wire, namespace, inner)


def encode_client_data(
    challenge: bytes, web_origin: str, cross_origin: bool = False, extra_members: str = ""
) -> bytes:
    """Write client data JSON as browsers do (WebAuthn level 2, section 5.8.1.1)."""
    return (
        f'{{"type":"webauthn.get","challenge":"{b64url_encode(challenge)}","origin":"{web_origin}",'
        f'"crossOrigin":{"true" if cross_origin else "false"}{extra_members}}}'
    ).encode()


def sshsig_of_assertion(
    key_wire: bytes, namespace: str, assertion: Assertion, claimed_origin: str, *, trailing: bytes = b""
) -> bytes:
    """Pack an assertion as a ``webauthn-sk-ecdsa-sha2-nistp256@openssh.com`` SSHSIG, unchecked.

    Production code uses `placet.core.sshsig.encode_webauthn_sshsig`; this one adds trailing bytes.
    """
    data = assertion.authenticator_data
    inner = (
        _wire.sk_signature(
            WEBAUTHN_SK_ECDSA,
            _wire.ecdsa_pair(assertion.signature),
            data[32],
            int.from_bytes(data[33:37], "big"),
        )
        + _wire.string(claimed_origin.encode())
        + _wire.string(assertion.client_data_json)
        + _wire.string(data[37:])
        + trailing
    )
    return _wire.sshsig(key_wire, namespace, inner)


def _default(given: str | None, default: str) -> str:
    """Return ``given`` unless it is None: an empty string is a wrong value worth testing."""
    return default if given is None else given


def _p256_key(use: str, seed: bytes | None, private_scalar: int | None = None) -> ec.EllipticCurvePrivateKey:
    if private_scalar is None and seed is None:
        return ec.generate_private_key(ec.SECP256R1())
    if private_scalar is None:
        digest = sha512(f"placet testing {use}\0".encode() + (seed or b"")).digest()
        private_scalar = int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(private_scalar, ec.SECP256R1())


def _ed25519_key(use: str, seed: bytes | None) -> ed25519.Ed25519PrivateKey:
    if seed is None:
        return ed25519.Ed25519PrivateKey.generate()
    digest = sha256(f"placet testing {use}\0".encode() + seed).digest()
    return ed25519.Ed25519PrivateKey.from_private_bytes(digest)


def _sign_p256(key: ec.EllipticCurvePrivateKey, data: bytes, deterministic: bool) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=deterministic))
