"""Trusted roots for the lean verifier: read without Sigstore's libraries, checked once, never changed.

A root that is unusual in any way is refused as a whole; sigstore-python then reads it.  What is read here
must be read alike there, so this knows fewer members, kinds of keys and spellings, and nothing else.

Leaves out: what a root that cannot be used means for people; that is `instances`.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    KeyUsage,
    SubjectKeyIdentifier,
    Version,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store
from rfc3161_client import VerifierBuilder

from placet.adapters.sigstore.lean_shapes import raw, require
from placet.core.decode import Object
from placet.core.encoding import parse_json

PUBLIC_GOOD = "public-good"
_PUBLIC_GOOD_URL = "https://tuf-repo-cdn.sigstore.dev"
MAX_ROOT_BYTES = 1024 * 1024
_MEDIA_TYPES = frozenset(
    {
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    }
)
_ALGORITHMS = {
    "PKIX_ECDSA_P256_SHA_256": (ec.SECP256R1, ec.ECDSA(hashes.SHA256())),
    "PKIX_ECDSA_P384_SHA_384": (ec.SECP384R1, ec.ECDSA(hashes.SHA384())),
}
_ED25519 = "PKIX_ED25519"
_OLD_RSA = "PKCS1_RSA_PKCS1V5"  # a certificate log's of some years ago, which roots still name
_time = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z").fullmatch


def read_members(value: Any, required: frozenset[str], optional: frozenset[str] = frozenset()) -> Object:
    """Returns an object that has these members and no others."""
    require(type(value) is dict and required <= value.keys() <= required | optional)
    return value  # type: ignore[no-any-return]  # asked above


class LogKey(NamedTuple):
    """A log's key; `algorithm` is None for Ed25519, `key` for RSA, with which nothing is verified here."""

    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | None
    algorithm: ec.ECDSA | None

    def verify(self, signature: bytes, data: bytes) -> None:
        """Verifies a signature of the log.

        Raises:
            InvalidSignature: the log did not make it.
        """
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            self.key.verify(signature, data)
        else:
            require(self.key and self.algorithm)
            self.key.verify(signature, data, self.algorithm)  # type: ignore[union-attr, arg-type]  # asked above


class Period(NamedTuple):
    """When something counts.  The end is left to sigstore-python, which differs there from other clients."""

    start: datetime
    end: datetime | None

    def __contains__(self, time: object) -> bool:
        return isinstance(time, datetime) and self.start <= time and (self.end is None or time < self.end)


Name = tuple[bytes, bytes | None]
"""A certificate's subject, and its key's identifier where it has one."""


class Authority(NamedTuple):
    """A certificate authority: the certificate that issues, how to find a path to it, its key's hash.

    The certificates above it were verified when the root was read: they never change.  `period` is when the
    root counts the authority and every one of its certificates is valid.  `names` are those of all its
    certificates: sigstore-python finds paths to each of them.
    """

    period: Period
    issuer: Certificate
    builder: PolicyBuilder
    key_hash: bytes
    names: tuple[Name, ...]


class TimestampAuthority:
    """A timestamp authority; `is_proven` once rfc3161-client has found its certificates to hold."""

    def __init__(self, period: Period, chain: list[Certificate]) -> None:
        """Prepares an authority, whose certificates go from its own to the root's."""
        builder = VerifierBuilder().tsa_certificate(chain[0]).add_root_certificate(chain[-1])
        for certificate in chain[1:-1]:
            builder = builder.add_intermediate_certificate(certificate)
        self.verifier = builder.build()
        self.is_proven = False
        self.period = period
        self.while_valid = _while_valid(period, chain)
        self.certificate = chain[0].public_bytes(Encoding.DER)
        self.issuer, self.serial = chain[0].issuer.public_bytes(), chain[0].serial_number
        key = chain[0].public_key()
        require(isinstance(key, ec.EllipticCurvePublicKey))
        self.key = cast(ec.EllipticCurvePublicKey, key)


class LeanInstance(NamedTuple):
    """A Sigstore instance; authorities are found by the name and the key identifier of who issues."""

    name: str
    issuers: dict[Name, Authority]
    names: frozenset[Name]
    timestamps: tuple[TimestampAuthority, ...]
    logs: dict[bytes, tuple[Period, LogKey]]
    certificate_logs: dict[bytes, tuple[Period, LogKey]]


def load_lean_instance(name: str, content: bytes) -> LeanInstance | None:
    """Loads a trusted root; None where sigstore-python is to read it."""
    try:
        return _read_root(name, parse_json(content, max_bytes=MAX_ROOT_BYTES, what="trusted root"))
    except Exception:  # whatever is wrong with it, the other verifier says it in words
        return None


@lru_cache(maxsize=1)
def lean_public_good() -> LeanInstance | None:
    """Returns the public good's instance, with the root that sigstore-python carries."""
    import sigstore  # only its name and version; the verifiers are elsewhere

    folder = Path(sigstore.__path__[0], "_store", quote(_PUBLIC_GOOD_URL, safe=""))
    try:
        return load_lean_instance(PUBLIC_GOOD, (folder / "trusted_root.json").read_bytes())
    except OSError:
        return None


_ROOT = frozenset({"mediaType", "certificateAuthorities"})
_ROOT_LISTS = frozenset({"tlogs", "ctlogs", "timestampAuthorities"})


def _read_root(name: str, value: Any) -> LeanInstance:
    top = read_members(value, _ROOT, _ROOT_LISTS)
    require(top["mediaType"] in _MEDIA_TYPES)
    authorities = [_read_authority(item) for item in _list(top["certificateAuthorities"])]
    issuers = [(authority.names[0], authority) for authority in authorities]
    require(all(identifier for (_, identifier), _ in issuers))
    logs = [read_log(item) for item in _list(top.get("tlogs", []))]
    certificate_logs = [read_log(item) for item in _list(top.get("ctlogs", []))]
    by_log_id = {log_id: (period, key) for log_id, _, period, key in logs}
    by_key = {key_id: log_id for log_id, key_id, _, _ in logs}
    # A log may be named otherwise than by its key, but not by another log's: sigstore-python asks the key.
    require(all(log_id == key_id or log_id not in by_key for log_id, key_id, _, _ in logs))
    instance = LeanInstance(
        name=name,
        issuers=dict(issuers),
        names=frozenset(name for authority in authorities for name in authority.names),
        timestamps=tuple(
            _read_timestamp_authority(item) for item in _list(top.get("timestampAuthorities", []))
        ),
        logs=by_log_id,
        certificate_logs={key_id: (period, key) for _, key_id, period, key in certificate_logs},
    )
    counts = (len(issuers), len(logs), len(logs), len(certificate_logs))
    found = (len(instance.issuers), len(by_log_id), len(by_key), len(instance.certificate_logs))
    require(bool(issuers) and counts == found)  # each has a name of its own
    return instance


def _list(value: Any) -> list[Any]:
    require(type(value) is list)
    return value  # type: ignore[no-any-return]  # asked above


_LOG = frozenset({"baseUrl", "hashAlgorithm", "publicKey", "logId"})
_KEY = frozenset({"rawBytes", "keyDetails", "validFor"})
_LOG_ID = frozenset({"keyId"})
_LOG_OPTIONAL = frozenset({"operator", "checkpointKeyId"})


def read_log(value: Any) -> tuple[bytes, bytes, Period, LogKey]:
    """Returns a log of a trusted root: its name, the hash of its key, when it counts, and the key."""
    log = read_members(value, _LOG, _LOG_OPTIONAL)
    require(_texts(log["baseUrl"], log.get("operator", "")) and log["hashAlgorithm"] == "SHA2_256")
    if "checkpointKeyId" in log:  # sigstore-python takes the log's own name for this one, too
        require(raw(read_members(log["checkpointKeyId"], _LOG_ID)["keyId"]))
    public_key = read_members(log["publicKey"], _KEY)
    der, details = raw(public_key["rawBytes"]), public_key["keyDetails"]
    key = load_der_public_key(der)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # One key has one spelling, since logs are named by its hash.
    require(spki == der or details == _OLD_RSA)
    if details == _OLD_RSA:
        require(isinstance(key, rsa.RSAPublicKey))
        found = LogKey(None, None)
    elif details == _ED25519:
        require(isinstance(key, ed25519.Ed25519PublicKey))
        found = LogKey(key, None)  # type: ignore[arg-type]  # asked above
    else:
        curve, algorithm = _ALGORITHMS[details]
        require(isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curve))
        found = LogKey(key, algorithm)  # type: ignore[arg-type]  # asked above
    log_id = raw(read_members(log["logId"], _LOG_ID)["keyId"])
    return log_id, hashlib.sha256(spki).digest(), _read_period(public_key["validFor"]), found


_AUTHORITY = frozenset({"subject", "certChain", "validFor"})
_AUTHORITY_OPTIONAL = frozenset({"uri", "operator"})
_SUBJECT = frozenset({"organization", "commonName"})
_CERTIFICATES = frozenset({"certificates"})
RAW_BYTES = frozenset({"rawBytes"})


def _read_certificates(value: Any) -> tuple[Period, list[Certificate]]:
    authority = read_members(value, _AUTHORITY, _AUTHORITY_OPTIONAL)
    subject = read_members(authority["subject"], _SUBJECT)
    require(_texts(*subject.values(), authority.get("uri", ""), authority.get("operator", "")))
    items = _list(read_members(authority["certChain"], _CERTIFICATES)["certificates"])
    ders = [raw(read_members(item, RAW_BYTES)["rawBytes"]) for item in items]
    chain = [load_der_x509_certificate(der) for der in ders]
    require(bool(chain))
    for certificate, issuer in itertools.pairwise(chain):
        certificate.verify_directly_issued_by(issuer)
    return _read_period(authority["validFor"]), chain


def _read_authority(value: Any) -> Authority:
    period, chain = _read_certificates(value)
    policies = {
        # Fulcio's certificates are for signing code; the defaults of web clients want another purpose.
        "ca_policy": ExtensionPolicy.webpki_defaults_ca().may_be_present(
            ExtendedKeyUsage, Criticality.NON_CRITICAL, None
        ),
        "ee_policy": ExtensionPolicy.webpki_defaults_ee().may_be_present(
            ExtendedKeyUsage, Criticality.NON_CRITICAL, None
        ),
    }
    # The issuer is the anchor of a path; what it rests on was verified just now, and is asked again only
    # for the time: no certificate counts before or after its own.
    builder = PolicyBuilder().store(Store(chain[:1])).extension_policies(**policies)
    key_hashes = [_key_hash(certificate) for certificate in chain]
    names = tuple(_name(certificate) for certificate in chain)
    return Authority(_while_valid(period, chain), chain[0], builder, key_hashes[0], names)


def _while_valid(period: Period, chain: list[Certificate]) -> Period:
    ends = [certificate.not_valid_after_utc for certificate in chain]
    starts = [certificate.not_valid_before_utc for certificate in chain]
    return Period(max(period.start, *starts), min(ends if period.end is None else [*ends, period.end]))


def _key_hash(issuer: Certificate) -> bytes:
    """Returns what a certificate log signs of the issuer."""
    extensions = {extension.oid: extension for extension in issuer.extensions}
    constraints, usage = extensions[ExtensionOID.BASIC_CONSTRAINTS], extensions[ExtensionOID.KEY_USAGE]
    require(issuer.version is Version.v3 and constraints.critical)
    require(isinstance(constraints.value, BasicConstraints) and constraints.value.ca)
    require(isinstance(usage.value, KeyUsage) and usage.value.key_cert_sign)
    if ExtensionOID.EXTENDED_KEY_USAGE in extensions:
        purposes = extensions[ExtensionOID.EXTENDED_KEY_USAGE].value
        # An issuer for certificate logs alone would have another's key signed (RFC 6962, section 3.1).
        require(isinstance(purposes, ExtendedKeyUsage))
        require(ExtendedKeyUsageOID.CERTIFICATE_TRANSPARENCY not in purposes)
    key = issuer.public_key()
    require(isinstance(key, ec.EllipticCurvePublicKey))
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _name(certificate: Certificate) -> Name:
    try:
        identifier = certificate.extensions.get_extension_for_class(SubjectKeyIdentifier).value.digest
    except ExtensionNotFound:
        identifier = None
    return certificate.subject.public_bytes(), identifier


def issuer_of(certificate: Certificate, key: AuthorityKeyIdentifier) -> Name:
    """Returns which authority a certificate names."""
    require(type(key.key_identifier) is bytes)
    return certificate.issuer.public_bytes(), key.key_identifier or b""


def _read_timestamp_authority(value: Any) -> TimestampAuthority:
    period, chain = _read_certificates(value)
    require(len(chain) >= 2)
    return TimestampAuthority(period, chain)


_START, _END = frozenset({"start"}), frozenset({"end"})


def _read_period(value: Any) -> Period:
    valid_for = read_members(value, _START, _END)
    return Period(
        _read_time(valid_for["start"]), _read_time(valid_for["end"]) if "end" in valid_for else None
    )


def _read_time(value: Any) -> datetime:
    require(type(value) is str and bool(_time(value)))
    return datetime.fromisoformat(value)


def _texts(*values: Any) -> bool:
    return all(type(value) is str and value.isprintable() for value in values)
