"""A FIDO metadata service of tests: it signs blobs as the real one does, under a root of its own."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

START, END = (
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC),
)


def b64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class BlobSigner:
    """Whoever can sign a blob: `name` is what their certificate is for, `authority` whose root it is."""

    def __init__(
        self,
        *,
        name: str = "mds.fidoalliance.org",
        elliptic: bool = False,
        authority: BlobSigner | None = None,
    ) -> None:
        self.key: Any = (
            ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa.generate_private_key(65537, 2048)
        )
        self._root_key: Any = authority._root_key if authority else ec.generate_private_key(ec.SECP256R1())
        self._root: x509.Certificate = (
            authority._root if authority else self._certificate("Root R0", self._root_key, ca=True)
        )
        self._leaf = self._certificate(name, self.key, ca=False)
        self.root_pem = self._root.public_bytes(Encoding.PEM)

    def _certificate(self, name: str, key: Any, *, ca: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name or "somebody"))
            .issuer_name(named("Root R0"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(END)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if name and not ca:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._root_key, hashes.SHA256())

    def sign(
        self,
        entries: list[dict[str, Any]],
        *,
        number: int = 1,
        next_update: str = "2026-12-01",
        header: dict[str, Any] | None = None,
        payload: Any = None,
    ) -> bytes:
        """Returns a signed blob; `header` and `payload` replace its parts."""
        algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
        chain = [base64.b64encode(self._leaf.public_bytes(Encoding.DER)).decode()]
        head = {"alg": algorithm, "typ": "JWT", "x5c": chain} | (header or {})
        if payload is None:
            payload = {"legalHeader": "test", "no": number, "nextUpdate": next_update, "entries": entries}
        message = b64url(json.dumps(head).encode()) + b"." + b64url(json.dumps(payload).encode())
        return message + b"." + b64url(self._sign(message))

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
