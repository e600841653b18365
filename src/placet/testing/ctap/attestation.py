"""An attestation vendor that exists only in tests.

Issues what a security key vendor issues (WebAuthn level 2, section 8.2.1): a leaf whose
subject says "Authenticator Attestation" and which carries the AAGUID in an extension.
"""

import datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

SOFTWARE_AAGUID: Final = bytes.fromhex("706c6163657400004000800000000001")
"""AAGUID of the software authenticator: "placet" in ASCII, then a version 4 shape."""

ROOT_NAME: Final = "placet testing, software authenticators, do not trust"

_AAGUID_EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
_DER_OCTET_STRING_16: Final = b"\x04\x10"
_NOT_BEFORE: Final = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
_LIFETIME: Final = datetime.timedelta(days=9000)


class AttestationIdentity(NamedTuple):
    """What one model of authenticator holds: its certificate and the key to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate in DER, as it goes into ``x5c``."""
        return self.certificate.public_bytes(Encoding.DER)


class AttestationCa:
    """A root certificate and the right to issue under it.

    Attributes:
        root: The self-signed root certificate.
    """

    def __init__(self, name: str = ROOT_NAME) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.root = self._build(self._name, self._key.public_key(), is_ca=True).sign(
            self._key, hashes.SHA256()
        )

    @property
    def root_der(self) -> bytes:
        """The root certificate in DER."""
        return self.root.public_bytes(Encoding.DER)

    @property
    def root_pem(self) -> bytes:
        """The root certificate in PEM."""
        return self.root.public_bytes(Encoding.PEM)

    def issue(self, aaguid: bytes) -> AttestationIdentity:
        """Issue the identity of the authenticator model ``aaguid``.

        An authenticator may be given the identity of another model, to test that a verifier
        compares the AAGUID in the certificate with the one in the authenticator data.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "SE"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "placet testing"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Authenticator Attestation"),
                x509.NameAttribute(NameOID.COMMON_NAME, "software authenticator"),
            ]
        )
        extension = x509.UnrecognizedExtension(_AAGUID_EXTENSION, _DER_OCTET_STRING_16 + aaguid)
        builder = self._build(subject, key.public_key(), is_ca=False).add_extension(extension, critical=False)
        return AttestationIdentity(builder.sign(self._key, hashes.SHA256()), key)

    def _build(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *, is_ca: bool
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_BEFORE + _LIFETIME)
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
