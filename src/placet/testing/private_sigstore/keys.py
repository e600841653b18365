"""Keys and certificates from a seed: the same seed gives the same authority, byte for byte."""

from __future__ import annotations

import base64
import datetime
import hashlib
import secrets
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

Curve = Literal["P-256", "P-384"]

_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "P-256": (ec.SECP256R1(), hashes.SHA256()),
    "P-384": (ec.SECP384R1(), hashes.SHA384()),
}
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Seed:
    """Gives keys and numbers by name; two seeds of the same bytes give the same ones."""

    def __init__(self, value: bytes | None = None) -> None:
        self._value = secrets.token_bytes(32) if value is None else value

    def number(self, name: str, bits: int) -> int:
        """Returns the number of this name, of at most so many bits."""
        return int.from_bytes(hashlib.shake_256(self._value + b"\0" + name.encode()).digest(bits // 8), "big")

    def key(self, name: str, curve: Curve = "P-256") -> ec.EllipticCurvePrivateKey:
        """Returns the key of this name."""
        # The top bit stays clear, so the number is below the order of both curves; 0 is out of reach.
        bits = 248 if curve == "P-256" else 376
        return ec.derive_private_key(self.number(f"{curve} {name}", bits), _CURVES[curve][0])


def hash_of(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    """Returns the hash that goes with a key's curve."""
    return _CURVES["P-384" if key.curve.name == "secp384r1" else "P-256"][1]


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Returns the deterministic ECDSA signature (RFC 6979) over `data`."""
    return key.sign(data, ec.ECDSA(hash_of(key), deterministic_signing=True))


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the SHA-256 of the public key: the name of a log."""
    return hashlib.sha256(spki(key)).digest()


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the public key as PEM."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def der(certificate: x509.Certificate) -> bytes:
    """Returns the certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> str:
    """Returns the certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def b64(data: bytes) -> str:
    """Returns standard base64."""
    return base64.b64encode(data).decode()


def as_time(seconds: float) -> datetime.datetime:
    """Returns whole seconds as a moment in UTC."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def common_name(name: str) -> x509.Name:
    """Returns a certificate name of this private Sigstore."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "private sigstore"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def key_usage(*allowed: str) -> x509.KeyUsage:
    """Returns a key usage with the named ones allowed."""
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


class Authority:
    """A CA certificate with its key, and the certificates that lead to its root.

    Attributes:
        chain: itself first, its root last.
    """

    def __init__(
        self,
        seed: Seed,
        name: str,
        *,
        not_before: float,
        curve: Curve = "P-256",
        issuer: Authority | None = None,
        purpose: ObjectIdentifier | None = None,
        years: int = 10,
    ) -> None:
        self.key = seed.key(name, curve)
        builder = (
            start_certificate(self.key.public_key(), issuer.key if issuer else self.key)
            .subject_name(common_name(name))
            .issuer_name(issuer.certificate.subject if issuer else common_name(name))
            .serial_number(seed.number(f"serial {name}", 120) + 1)
            .not_valid_before(as_time(not_before))
            .not_valid_after(as_time(not_before) + datetime.timedelta(days=365 * years))
            .add_extension(x509.BasicConstraints(True, 0 if issuer else 1), critical=True)
            .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        )
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        self.certificate: x509.Certificate = issue(builder, issuer.key if issuer else self.key)
        self.chain: tuple[x509.Certificate, ...] = (
            self.certificate,
            *(issuer.chain if issuer else ()),
        )


def start_certificate(
    public_key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Returns a builder with the key and both key identifiers."""
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )


def issue(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Signs the certificate, deterministically."""
    digest = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
    return builder.sign(key, digest, ecdsa_deterministic=True)
