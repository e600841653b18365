"""The certificate authority: a verified token in, a short-lived certificate with an SCT out."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import struct
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from placet.testing.private_sigstore.identities import CertificateIdentity, identify, proof_subject
from placet.testing.private_sigstore.keys import (
    Authority,
    Curve,
    Seed,
    as_time,
    hash_of,
    issue,
    key_id,
    key_usage,
    pem,
    sign,
    spki,
    start_certificate,
)

_ARC = "1.3.6.1.4.1.57264.1"
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_VALID_MINUTES = 10


class Refused(Exception):
    """The private Sigstore says no, as the real one would."""


class Fulcio:
    """Certificate authority and certificate transparency log.

    Attributes:
        authority: the CA that signs leaves; its chain leads to the root.
        ct_key: the key of the CT log.
    """

    def __init__(
        self,
        seed: Seed,
        clock: Callable[[], float],
        read_token: Callable[[str], dict[str, Any]],
        *,
        not_before: float,
        curve: Curve = "P-256",
        intermediate: bool = False,
    ) -> None:
        self._seed = seed
        self._clock = clock
        self._read_token = read_token
        self._issued = 0
        root = Authority(seed, "fulcio", not_before=not_before, curve=curve)
        self.authority = root
        if intermediate:
            purpose = ExtendedKeyUsageOID.CODE_SIGNING
            self.authority = Authority(
                seed, "fulcio intermediate", not_before=not_before, curve=curve, issuer=root, purpose=purpose
            )
        self.ct_key = seed.key("ct log")

    def answer(self, request: dict[str, Any], authorization: str = "") -> dict[str, Any]:
        """Answers POST /api/v2/signingCert.

        Raises:
            Refused: the token is false, or the client does not hold the key.
        """
        token = (request.get("credentials") or {}).get("oidcIdentityToken")
        claims = self._read_token(token or authorization.removeprefix("Bearer "))
        certificate = self.certify(claims, _read_key(request, claims))
        chain = [pem(certificate), *(pem(link) for link in self.authority.chain)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def certify(
        self, claims: dict[str, Any], public_key: ec.EllipticCurvePublicKey, *, with_sct: bool = True
    ) -> x509.Certificate:
        """Returns a certificate for whom the claims describe."""
        self._issued += 1
        key = self.authority.key
        builder = self._describe(identify(claims), public_key)
        if with_sct:
            # Precertificate and certificate differ in the SCT alone; the CT log signs the former's contents.
            sct = self._log_certificate(issue(builder, key).tbs_certificate_bytes)
            extension = x509.UnrecognizedExtension(_SCT_LIST, _octet_string(sct))
            builder = builder.add_extension(extension, critical=False)
        return issue(builder, key)

    def _describe(
        self, identity: CertificateIdentity, public_key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = as_time(self._clock())
        san: x509.GeneralName = (
            x509.UniformResourceIdentifier(identity.name)
            if "://" in identity.name
            else x509.RFC822Name(identity.name)
        )
        builder = (
            start_certificate(public_key, self.authority.key)
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.certificate.subject)
            .serial_number(self._seed.number(f"leaf {self._issued}", 120) + 1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(minutes=_VALID_MINUTES))
            .add_extension(key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([san]), critical=True)
        )
        values = [(number, value.encode()) for number, value in identity.legacy]
        values += [(number, _utf8_string(value)) for number, value in identity.extensions]
        for number, value in values:
            extension = x509.UnrecognizedExtension(ObjectIdentifier(f"{_ARC}.{number}"), value)
            builder = builder.add_extension(extension, critical=False)
        return builder

    def _log_certificate(self, precertificate: bytes) -> bytes:
        """Returns the list with one signed certificate timestamp (RFC 6962 section 3.2)."""
        milliseconds = int(self._clock() * 1000)
        issuer = hashlib.sha256(spki(self.authority.key)).digest()
        length = struct.pack(">I", len(precertificate))[1:]
        signed = struct.pack(">BBQH", 0, 0, milliseconds, 1) + issuer + length + precertificate + b"\0\0"
        signature = sign(self.ct_key, signed)
        sct = struct.pack(">B32sQH", 0, key_id(self.ct_key), milliseconds, 0)
        sct += b"\x04\x03" + struct.pack(">H", len(signature)) + signature  # SHA-256, ECDSA
        return struct.pack(">HH", len(sct) + 2, len(sct)) + sct


def _read_key(request: dict[str, Any], claims: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    """Returns the key to certify, once the client has proven that it holds it."""
    try:
        if "certificateSigningRequest" in request:
            csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
            if not csr.is_signature_valid:
                raise Refused("the signature of the certificate request is false")
            key: object = csr.public_key()
        else:
            asked = request["publicKeyRequest"]
            key = serialization.load_pem_public_key(asked["publicKey"]["content"].encode())
            if isinstance(key, ec.EllipticCurvePublicKey):
                proof = base64.b64decode(asked["proofOfPossession"])
                key.verify(proof, proof_subject(claims).encode(), ec.ECDSA(hash_of(key)))
    except InvalidSignature:
        raise Refused("the proof of possession is false") from None
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Refused(f"no key can be read from the request: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused("only keys on elliptic curves are certified")
    return key


def _der(tag: int, value: bytes) -> bytes:
    if len(value) < 128:
        return bytes([tag, len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def _octet_string(value: bytes) -> bytes:
    return _der(0x04, value)


def _utf8_string(value: str) -> bytes:
    return _der(0x0C, value.encode())
