"""Chains of X.509 certificates up to a root that somebody pinned.

For attestation certificates and for the signer of a FIDO metadata blob.  These are not the web's: vendors'
roots are old, lack extensions and name no host, so the web's rules would refuse honest ones.  Checked is that
each is issued by another of them, that whoever issues may issue, that all on the path are valid at the time,
and that it ends at a pinned root.  The path may be shorter than what was sent: FIDO's blob carries a new root
that the old one has signed, for those who pin either.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from placet.core.encoding import format_time
from placet.core.errors import MalformedError, PolicyError, Reason, visible

MAX_CHAIN = 6
MAX_CERTIFICATE_BYTES = 16 * 1024
_MAX_NAME = 120


def parse_certificate(der: bytes, what: str = "certificate") -> x509.Certificate:
    """Reads one certificate in DER.

    Raises:
        MalformedError: ATTESTATION_INVALID.
    """
    try:
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise ValueError("it is too large")
        certificate = x509.load_der_x509_certificate(der)
        # What is read lazily is read now: a broken certificate is refused here and not in the middle.
        _ = certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key()
    except Exception as e:  # the parser documents several types, and raises others on hostile input
        raise MalformedError(Reason.ATTESTATION_INVALID, f"The {what} cannot be read: {e}.") from e
    return certificate


def parse_root(data: bytes, what: str = "root certificate") -> bytes:
    """Reads one certificate in PEM or DER; returns it in DER.

    Raises:
        MalformedError: ATTESTATION_INVALID: it is neither, or there are several.
    """
    if b"-----BEGIN" not in data:
        return parse_certificate(data, what).public_bytes(Encoding.DER)
    try:
        (certificate,) = x509.load_pem_x509_certificates(data)
    except Exception as e:  # as above
        raise MalformedError(
            Reason.ATTESTATION_INVALID,
            f"The {what} is not one certificate in PEM or DER.",
            hint="Give each certificate a file of its own.",
        ) from e
    return parse_certificate(certificate.public_bytes(Encoding.DER), what).public_bytes(Encoding.DER)


def name_of(certificate: x509.Certificate) -> str:
    """Returns the subject as text that is fit to be shown."""
    return visible(certificate.subject.rfc4514_string()[:_MAX_NAME]) or "without a name"


def check_chain(chain: Sequence[bytes], roots: Sequence[bytes], *, at: int) -> x509.Certificate:
    """Checks that a chain, the leaf first, leads to one of `roots` at a time.

    A vendor may pin the leaf itself; then it is its own root.

    Returns:
        The root that it leads to.

    Raises:
        MalformedError: ATTESTATION_INVALID: a certificate cannot be read, or there are too many.
        PolicyError: MODEL_NOT_ALLOWED: one is out of its time, or the chain leads to no pinned root.
    """
    if not 0 < len(chain) <= MAX_CHAIN:
        raise MalformedError(Reason.ATTESTATION_INVALID, f"1 to {MAX_CHAIN} certificates are accepted.")
    sent = [parse_certificate(der) for der in chain]
    pinned = [parse_certificate(der, "pinned root certificate") for der in roots]
    path = [sent[0]]
    while True:
        current = path[-1]
        _check_time(current, at)
        ends = [root for root in pinned if root == current or _issued(current, root)]
        for root in ends:
            if _is_valid(root, at) or root == ends[-1]:
                _check_time(root, at)
                return root
        issuer = next((other for other in sent if other not in path and _issued(current, other)), None)
        if issuer is None:
            raise PolicyError(
                Reason.MODEL_NOT_ALLOWED,
                f"The certificate of {name_of(current)} leads to no root that is pinned.",
                expected=tuple(name_of(root) for root in pinned),
                actual=visible(current.issuer.rfc4514_string()[:_MAX_NAME]),
            )
        path.append(issuer)


def _issued(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tells whether a certificate is issued by another one, which may issue."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        # Some vendors' roots are of version 1 and say nothing; they are pinned, so that is enough.
        if issuer.issuer != issuer.subject:
            return False
    else:
        if not constraints.value.ca:
            return False
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _is_valid(certificate: x509.Certificate, at: int) -> bool:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def _check_time(certificate: x509.Certificate, at: int) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not _is_valid(certificate, at):
        raise PolicyError(
            Reason.MODEL_NOT_ALLOWED,
            f"The certificate of {name_of(certificate)} is not valid on {format_time(at)[:10]}.",
            expected=f"{first:%Y-%m-%d} to {last:%Y-%m-%d}",
            hint="Check this machine's clock. If it is right, the vendor has a newer root: pin that one.",
        )
