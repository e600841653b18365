"""Certificates for the lean verifier: the path to an authority, the purpose, the certificate log's proof.

Paths are found by `cryptography`, as sigstore-python has it find them.

Leaves out: whom the certificate names.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from cryptography.hazmat.primitives import hashes
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    Certificate,
    ExtendedKeyUsage,
    KeyUsage,
    PrecertificateSignedCertificateTimestamps,
    Version,
)
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp
from cryptography.x509.certificate_transparency import SignatureAlgorithm as SctAlgorithm
from cryptography.x509.certificate_transparency import Version as SctVersion
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from placet.adapters.sigstore.lean_roots import Authority, LeanInstance, LogKey, Period, issuer_of
from placet.adapters.sigstore.lean_shapes import require

_SCT = ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS
_FULCIO = "1.3.6.1.4.1.57264.1."
_KNOWN = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        _SCT,
    }
)

CertificateLogs = dict[bytes, tuple[Period, LogKey]]


def find_instance(
    certificate: Certificate, instances: Sequence[LeanInstance]
) -> tuple[LeanInstance, Authority]:
    """Returns the one instance, and its authority, that a certificate names.

    Where another instance has the issuer as well, above an authority of its own perhaps, sigstore-python
    asks each in turn.
    """
    key = certificate.extensions.get_extension_for_class(AuthorityKeyIdentifier).value
    issuer = issuer_of(certificate, key)
    anybody = issuer[0], None
    (instance,) = (i for i in instances if issuer in i.names or anybody in i.names)
    return instance, instance.issuers[issuer]


def check_certificate(
    certificate: Certificate, authority: Authority, times: Sequence[datetime], logs: CertificateLogs
) -> None:
    """Checks that the authority issued the certificate for signing, when it signed, and that a log knows."""
    require(times)
    for time in times:
        require(time in authority.period)
        require(certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc)
        path = authority.builder.time(time).build_client_verifier().verify(certificate, []).chain
        require(path == [certificate, authority.issuer])
    extensions = {extension.oid: extension for extension in certificate.extensions}
    require(all(oid in _KNOWN or oid.dotted_string.startswith(_FULCIO) for oid in extensions))
    require(certificate.version is Version.v3)
    usage = cast(KeyUsage, extensions[ExtensionOID.KEY_USAGE].value)
    require(usage.digital_signature and not usage.key_cert_sign)
    purposes = cast(ExtendedKeyUsage, extensions[ExtensionOID.EXTENDED_KEY_USAGE].value)
    require(list(purposes) == [ExtendedKeyUsageOID.CODE_SIGNING])
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if constraints is not None:
        require(constraints.critical and not cast(BasicConstraints, constraints.value).ca)
    scts = cast(PrecertificateSignedCertificateTimestamps, extensions[_SCT].value)
    require(len(scts) == 1)
    _check_sct(certificate, scts[0], authority.key_hash, logs)


def _check_sct(
    certificate: Certificate, sct: SignedCertificateTimestamp, issuer: bytes, logs: CertificateLogs
) -> None:
    """Checks what a certificate log signed of the certificate (RFC 6962, section 3.2)."""
    require(sct.version is SctVersion.v1 and sct.entry_type is LogEntryType.PRE_CERTIFICATE)
    require(isinstance(sct.signature_hash_algorithm, hashes.SHA256))
    require(sct.signature_algorithm is SctAlgorithm.ECDSA)
    body, extensions = certificate.tbs_precertificate_bytes, sct.extension_bytes
    period, key = logs[sct.log_id]
    time = sct.timestamp.replace(tzinfo=UTC)
    require(time in period)
    signed = (
        b"\x00\x00"  # version 1, a certificate's timestamp
        + int(time.timestamp() * 1000).to_bytes(8, "big")
        + b"\x00\x01"  # of a precertificate
        + issuer
        + len(body).to_bytes(3, "big")
        + body
        + len(extensions).to_bytes(2, "big")
        + extensions
    )
    key.verify(sct.signature, signed)
