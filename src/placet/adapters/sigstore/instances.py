"""Sigstore instances: what a trusted root vouches for, prepared once and kept by its digest.

A trusted root names certificate authorities, certificate transparency logs, transparency logs and timestamp
authorities, each with the time in which it counts.  GitHub's own instance has no logs at all.

sigstore-python does not ask when an authority or a log counted; the Go and JavaScript clients do, and so
does this: a key that was retired vouches for nothing after that (both ends of the time belong to it).
"""

from __future__ import annotations

import json
import logging
import warnings
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.x509 import (
    AuthorityKeyIdentifier,
    Certificate,
    ExtensionNotFound,
    SubjectKeyIdentifier,
    load_der_x509_certificate,
)
from cryptography.x509.verification import Store
from rfc3161_client import Verifier as TimestampVerifier
from rfc3161_client import VerifierBuilder
from sigstore._internal.trust import CTKeyring, Keyring, RekorKeyring
from sigstore._internal.tuf import DEFAULT_TUF_URL
from sigstore._utils import read_embedded
from sigstore_models.common.v1 import PublicKey, TimeRange
from sigstore_models.trustroot.v1 import CertificateAuthority
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootModel

from placet.adapters.sigstore.refusals import detail, not_verified
from placet.core.encoding import parse_json

PUBLIC_GOOD = "public-good"
PUBLIC_GOOD_FILE = "sigstore/trusted_root.json"
# sigstore-python's logger has no handler of its own; what it warns of would reach people's screens.
logging.getLogger("sigstore").addHandler(logging.NullHandler())
# So would this one, of certificates that hostile timestamps carry.
warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive")

# The public good's root has 7 KiB; a private one with many generations has some times as much.
_MAX_ROOT_BYTES = 1024 * 1024


class Period(NamedTuple):
    """When something counts; both ends belong to it."""

    start: datetime
    end: datetime | None

    def __contains__(self, time: object) -> bool:
        return isinstance(time, datetime) and self.start <= time and (self.end is None or time <= self.end)


class Authority(NamedTuple):
    """A certificate authority: its certificates, and the names under which it issues."""

    period: Period
    store: Store
    issuers: tuple[tuple[bytes, bytes | None], ...]


class Instance(NamedTuple):
    """A Sigstore instance as its trusted root describes it."""

    name: str
    authorities: tuple[Authority, ...]
    timestamps: tuple[tuple[Period, TimestampVerifier], ...]
    logs: dict[bytes, Period]
    log_keys: RekorKeyring
    certificate_log_keys: CTKeyring | None
    certificate_logs: dict[bytes, Period]

    def authorities_of(self, certificate: Certificate) -> tuple[Authority, ...]:
        """Returns the authorities that a certificate names: by name, and by key where it has one."""
        name, key = certificate.issuer.public_bytes(), _identifier(certificate, AuthorityKeyIdentifier)
        return tuple(
            authority
            for authority in self.authorities
            if any(
                subject == name and (key is None or mine is None or mine == key)
                for subject, mine in authority.issuers
            )
        )


@lru_cache(maxsize=1)
def public_good() -> Instance:
    """Returns the public good's instance, with the root that sigstore-python carries."""
    return _read_instance(PUBLIC_GOOD, read_embedded("trusted_root.json", DEFAULT_TUF_URL))


def load_instance(file: str, content: bytes) -> Instance | None:
    """Loads an instance from a file of the trust root; None where the file describes no trusted root.

    Raises:
        IndeterminateError: EVIDENCE_NOT_VERIFIED: the file is broken.
    """
    try:
        return _read_instance(file, content)
    except _NoTrustedRoot:
        return None
    except Exception as e:  # the libraries name no closed set of what a bad root can raise
        raise not_verified(
            f"{file} of the trust root is no Sigstore trusted root that can be used: {detail(e)}.",
            "An administrator replaces it by the trusted_root.json of the Sigstore instance.",
        ) from e


class _NoTrustedRoot(Exception):
    """The file is something else of Sigstore's, such as a signing configuration."""


def _read_instance(name: str, content: bytes) -> Instance:
    top = parse_json(content, max_bytes=_MAX_ROOT_BYTES, what="trusted root")
    media_type = top.get("mediaType", "") if isinstance(top, dict) else ""
    if ".signingconfig" in media_type or ".clienttrustconfig" in media_type:
        raise _NoTrustedRoot
    # Writers of protobuf's JSON leave out what is empty.
    model = TrustedRootModel.from_json(json.dumps({"tlogs": [], "ctlogs": [], **top}))
    if not model.certificate_authorities:
        raise ValueError("it names no certificate authority")
    logs = {log.log_id.key_id: _period(_valid_for(log.public_key)) for log in model.tlogs}
    return Instance(
        name=name,
        authorities=tuple(_authority(authority) for authority in model.certificate_authorities),
        timestamps=tuple(_timestamp_authority(authority) for authority in model.timestamp_authorities),
        logs=logs,
        log_keys=RekorKeyring(_keyring([log.public_key for log in model.tlogs])),
        certificate_log_keys=(
            CTKeyring(_keyring([log.public_key for log in model.ctlogs])) if model.ctlogs else None
        ),
        certificate_logs={log.log_id.key_id: _period(_valid_for(log.public_key)) for log in model.ctlogs},
    )


def _keyring(keys: list[PublicKey]) -> Keyring:
    for key in keys:
        _valid_for(key)
    return Keyring(keys)  # it passes over keys of kinds that it does not know


def _valid_for(key: PublicKey) -> TimeRange:
    if key.valid_for is None:
        raise ValueError("a log's key has no time in which it counts")
    return key.valid_for


def _period(valid_for: TimeRange) -> Period:
    return Period(valid_for.start, valid_for.end)


def _authority(authority: CertificateAuthority) -> Authority:
    certificates = _certificates(authority)
    issuers = tuple((c.subject.public_bytes(), _identifier(c, SubjectKeyIdentifier)) for c in certificates)
    return Authority(_period(authority.valid_for), Store(certificates), issuers)


def _timestamp_authority(authority: CertificateAuthority) -> tuple[Period, TimestampVerifier]:
    certificates = _certificates(authority)
    if len(certificates) < 2:
        raise ValueError("a timestamp authority has no chain to its root")
    builder = VerifierBuilder().tsa_certificate(certificates[0]).add_root_certificate(certificates[-1])
    for certificate in certificates[1:-1]:
        builder = builder.add_intermediate_certificate(certificate)
    return _period(authority.valid_for), builder.build()


def _certificates(authority: CertificateAuthority) -> list[Certificate]:
    certificates = [load_der_x509_certificate(c.raw_bytes) for c in authority.cert_chain.certificates]
    if not certificates:
        raise ValueError("an authority has no certificate")
    return certificates


def _identifier(certificate: Certificate, kind: Any) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None
    key = found.digest if isinstance(found, SubjectKeyIdentifier) else found.key_identifier
    return key if isinstance(key, bytes) else None
