"""Each check of the lean verifier on certificates and roots alone, without the others.

Here the attacker holds the keys of authorities and certificate logs, so that what is false is signed as if it
were true.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import time as now
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from evidence_world import JOB, ROOT, STATEMENT, Case, private_root
from test_sigstore_lean import Judged

from placet.adapters.sigstore import lean_certificates
from placet.adapters.sigstore.lean_roots import LeanInstance, load_lean_instance
from placet.adapters.sigstore.lean_shapes import Unusual
from placet.testing.private_sigstore import PrivateSigstore, Shape
from placet.testing.private_sigstore import fulcio as fulcio_module
from placet.testing.private_sigstore import keys as keys_module
from placet.testing.private_sigstore.keys import (
    Authority,
    as_time,
    b64,
    common_name,
    issue,
    key_usage,
    sign,
    start_certificate,
)
from placet.testing.private_sigstore.trust import describe_authority

SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def refused() -> Any:
    """Expects any error: all of them leave a bundle to sigstore-python."""
    return pytest.raises(Exception, match=r".*")


def judge(sigstore: PrivateSigstore, content: bytes) -> Judged:
    return Judged(Case("certificates", content, files={ROOT: private_root(sigstore)}))


def instance_of(sigstore: PrivateSigstore) -> LeanInstance:
    instance = load_lean_instance("x", private_root(sigstore))
    assert instance is not None
    return instance


def _issued(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> PrivateSigstore:
    """Returns a Sigstore whose authority issues, and whose certificate log signs, what it should not."""
    sigstore = PrivateSigstore(b"profile")
    describe = sigstore.fulcio._describe

    def describe_otherwise(*args: Any) -> Any:
        builder = describe(*args)
        builder._extensions = change(builder._extensions)
        return builder

    monkeypatch.setattr(sigstore.fulcio, "_describe", describe_otherwise)
    return sigstore


def _extension(value: x509.ExtensionType, *, critical: bool) -> Any:
    return x509.Extension(value.oid, critical, value)


def _instead(value: x509.ExtensionType, *, critical: bool) -> Callable[[Any], Any]:
    """Returns what puts this extension in the place of that of its kind, or adds it."""
    return lambda found: [e for e in found if e.oid != value.oid] + [_extension(value, critical=critical)]


_OTHER_PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
_TWO_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH])
_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0")
FALSE = {
    "no signing": _instead(key_usage("content_commitment"), critical=True),
    "no code signing": _instead(_OTHER_PURPOSE, critical=False),
    "loose constraints": _instead(x509.BasicConstraints(False, None), critical=False),
    "an authority": _instead(x509.BasicConstraints(True, None), critical=True),
}
UNUSUAL = {
    "two purposes": _instead(_TWO_PURPOSES, critical=False),
    "an unknown extension": _instead(_UNKNOWN, critical=False),
}


@pytest.mark.parametrize("name", FALSE)
def test_certificates_that_are_not_for_signing_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigstore = _issued(monkeypatch, FALSE[name])
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT))
    assert judged.facts is None and not judged.lean_said_yes


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_certificates_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sigstore = _issued(monkeypatch, UNUSUAL[name])
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT))
    assert judged.agrees and judged.facts and not judged.lean_said_yes


def test_plain_constraints_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sigstore = _issued(monkeypatch, _instead(x509.BasicConstraints(False, None), critical=True))
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT))
    assert judged.agrees and judged.lean_said_yes


@pytest.mark.parametrize(
    ("name", "change", "refused"),
    [
        ("twice", lambda scts: len(scts[2:] * 2).to_bytes(2, "big") + scts[2:] * 2, True),
        ("another hash", lambda scts: _sct_with(scts, b"\5\3"), True),
        ("another algorithm", lambda scts: _sct_with(scts, b"\4\1"), False),
    ],
)
def test_unusual_scts_are_left_alone(
    name: str, change: Callable[[bytes], bytes], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate log's signature is true of each."""
    sigstore = PrivateSigstore(b"scts")
    log = sigstore.fulcio._log_certificate
    monkeypatch.setattr(sigstore.fulcio, "_log_certificate", lambda tbs: change(log(tbs)))
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT))
    assert judged.agrees and not judged.lean_said_yes
    assert (judged.facts is None) == refused


def _sct_with(scts: bytes, algorithms: bytes) -> bytes:
    """Returns the list with other names for how it was signed: after version, log, time and no extensions."""
    at = 4 + 1 + 32 + 8 + 2
    assert scts[at : at + 2] == b"\4\3"
    return scts[:at] + algorithms + scts[at + 2 :]


def test_extensions_of_an_sct_are_signed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    sigstore = PrivateSigstore(b"scts")
    monkeypatch.setattr(sigstore.fulcio, "_log_certificate", _logged_with_extensions(sigstore, b"ab"))
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT))
    assert judged.agrees and judged.lean_said_yes
    monkeypatch.setattr(sigstore.fulcio, "_log_certificate", _logged_with_extensions(sigstore, b"ab", b"cd"))
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT))
    assert judged.facts is None and not judged.lean_said_yes


def _logged_with_extensions(
    sigstore: PrivateSigstore, extensions: bytes, signed: bytes | None = None
) -> Callable[[bytes], bytes]:
    def log(tbs: bytes) -> bytes:
        issuer = hashlib.sha256(keys_module.spki(sigstore.fulcio.authority.key)).digest()
        time = int(now() * 1000).to_bytes(8, "big")
        covered = extensions if signed is None else signed
        data = b"\0\0" + time + b"\0\1" + issuer + len(tbs).to_bytes(3, "big") + tbs
        signature = sign(sigstore.fulcio.ct_key, data + len(covered).to_bytes(2, "big") + covered)
        sct = b"\0" + keys_module.key_id(sigstore.fulcio.ct_key) + time
        sct += len(extensions).to_bytes(2, "big") + extensions
        sct += b"\4\3" + len(signature).to_bytes(2, "big") + signature
        return (len(sct) + 2).to_bytes(2, "big") + len(sct).to_bytes(2, "big") + sct

    return log


def _leaf(sigstore: PrivateSigstore) -> x509.Certificate:
    return sigstore._certified(JOB, Shape()).chain[0]


def test_the_certificate_counts_at_times_and_only_while_it_is_valid() -> None:
    sigstore = PrivateSigstore(b"times")
    certificate, instance = _leaf(sigstore), instance_of(sigstore)
    _, authority = lean_certificates.find_instance(certificate, [instance])
    check = functools.partial(lean_certificates.check_certificate, certificate, authority)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    check([start, end], instance.certificate_logs)
    for times in ([], [start, end + timedelta(milliseconds=1)], [start - timedelta(seconds=1), end]):
        with refused():
            check(times, instance.certificate_logs)
    late = authority._replace(period=authority.period._replace(start=end))
    with pytest.raises(Unusual):
        lean_certificates.check_certificate(certificate, late, [start, end], instance.certificate_logs)


def test_the_path_leads_to_the_issuer_that_the_certificate_names() -> None:
    sigstore, other = PrivateSigstore(b"paths"), PrivateSigstore(b"paths", ca_curve="P-384")
    certificate, instance = _leaf(sigstore), instance_of(sigstore)
    _, authority = lean_certificates.find_instance(certificate, [instance])
    swapped = authority._replace(issuer=other.fulcio.authority.certificate)
    with pytest.raises(Unusual):
        lean_certificates.check_certificate(
            certificate, swapped, [certificate.not_valid_before_utc], instance.certificate_logs
        )


def test_leaves_on_other_curves_that_sign_sha_256_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """sigstore-python verifies any curve with SHA-256 where Rekor v1 has the envelope."""
    for module in ("bundles", "rekor", "keys"):
        monkeypatch.setattr(f"placet.testing.private_sigstore.{module}.hash_of", lambda key: SHA256())
    sigstore = PrivateSigstore(b"curves", leaf_curve="P-384")
    judged = judge(sigstore, sigstore.sign_statement(JOB, STATEMENT, Shape(rekor="v1")))
    assert judged.agrees and not judged.lean_said_yes


# Roots

Root = dict[str, Any]


def _root(change: Callable[[Root], object] = lambda root: None) -> LeanInstance | None:
    root = _private().trusted_root()
    change(root)
    return load_lean_instance("x", json.dumps(root).encode())


@functools.cache
def _private() -> PrivateSigstore:
    return PrivateSigstore(b"roots", ca_curve="P-384", intermediate=True)


def _spki(key: Any) -> str:
    return b64(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _key(group: str, **members: Any) -> Callable[[Root], object]:
    return lambda root: root[group][0]["publicKey"].update(members)


def _log(group: str, **members: Any) -> Callable[[Root], object]:
    return lambda root: root[group][0].update(members)


def _authority(group: str, **members: Any) -> Callable[[Root], object]:
    return lambda root: root[group][0].update(members)


def _chain(group: str, *chain: x509.Certificate) -> Callable[[Root], object]:
    described = describe_authority(chain, "https://sigstore.test", 0)
    return _authority(group, certChain=described["certChain"])


P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
COMPRESSED = (
    b"0"
    + bytes([0x39])
    + bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107032200")
    + P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
)


def _other_log_id(root: Root) -> None:
    """The first log takes the name that the second one's key has."""
    root["tlogs"][0]["logId"], root["tlogs"][1]["logId"] = (
        root["tlogs"][1]["logId"],
        {"keyId": b64(b"another name" * 2)},
    )


BROKEN: dict[str, Callable[[Root], object]] = {
    "media type": lambda root: root.update(mediaType="application/json"),
    "no authorities": lambda root: root.update(certificateAuthorities=[]),
    "logs are no list": lambda root: root.update(tlogs={}),
    "no text": _log("tlogs", baseUrl=1),
    "hash": _log("tlogs", hashAlgorithm="SHA2_512"),
    "checkpoint name": _log("tlogs", checkpointKeyId={"keyId": ""}),
    "checkpoint name of another shape": _log("tlogs", checkpointKeyId={"keyId": "YQ==", "more": 1}),
    "a second spelling of a key": _key("tlogs", rawBytes=b64(COMPRESSED)),
    "no Ed25519": _key("tlogs", keyDetails="PKIX_ED25519"),
    "no RSA": _key("ctlogs", keyDetails="PKCS1_RSA_PKCS1V5"),
    "another curve": _key("tlogs", rawBytes=_spki(P384)),
    "another curve of a certificate log": _key("ctlogs", rawBytes=_spki(P384)),
    "no curve": _key("tlogs", rawBytes=_spki(rsa.generate_private_key(65537, 2048))),
    "unknown algorithm": _key("tlogs", keyDetails="PKIX_ECDSA_P521_SHA_512"),
    "no time": lambda root: root["tlogs"][0]["publicKey"].pop("validFor"),
    "time of another spelling": _key("tlogs", validFor={"start": "2025-01-01T00:00:00+00:00"}),
    "another's name": _other_log_id,
    "certificate log twice": lambda root: root["ctlogs"].append(root["ctlogs"][0]),
    "subject": _authority("certificateAuthorities", subject={"organization": 1, "commonName": ""}),
    "no certificates": _chain("certificateAuthorities"),
    "no certificates of a timestamp authority": _chain("timestampAuthorities"),
    "no chain of a timestamp authority": _chain("timestampAuthorities", _private().tsa.chain[0]),
    "a chain that does not hold": _chain(
        "certificateAuthorities",
        _private().fulcio.authority.chain[0],
        PrivateSigstore(b"stranger", ca_curve="P-384", intermediate=True).fulcio.authority.chain[1],
    ),
    "authority twice": lambda root: root["certificateAuthorities"].append(root["certificateAuthorities"][0]),
}


def test_the_root_itself_is_read() -> None:
    assert _root() is not None
    name = {"keyId": "YQ=="}
    assert _root(_log("tlogs", checkpointKeyId=name, operator="somebody")) is not None
    old = rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert _root(_key("ctlogs", rawBytes=b64(old), keyDetails="PKCS1_RSA_PKCS1V5")) is not None


@pytest.mark.parametrize("name", BROKEN)
def test_unusual_roots_are_left_alone(name: str) -> None:
    assert _root(BROKEN[name]) is None


def _certificate(*extensions: tuple[x509.ExtensionType, bool], key: Any = P256) -> x509.Certificate:
    builder = (
        start_certificate(key.public_key(), key)
        .subject_name(common_name("odd"))
        .issuer_name(common_name("odd"))
        .serial_number(1)
        .not_valid_before(as_time(1_700_000_000))
        .not_valid_after(as_time(2_000_000_000))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical=critical)
    if isinstance(key, rsa.RSAPrivateKey):
        return builder.sign(key, SHA256())
    return issue(builder, key)


IS_CA, SIGNS = (x509.BasicConstraints(True, None), True), (key_usage("key_cert_sign"), True)
PRECERTIFICATES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CERTIFICATE_TRANSPARENCY])
ODD = {
    "loose constraints": _certificate((IS_CA[0], False), SIGNS),
    "no authority": _certificate((x509.BasicConstraints(False, None), True), SIGNS),
    "no constraints": _certificate(SIGNS),
    "no usage": _certificate(IS_CA),
    "no signing of certificates": _certificate(IS_CA, (key_usage("digital_signature"), True)),
    "precertificates only": _certificate(IS_CA, SIGNS, (PRECERTIFICATES, False)),
    "no curve": _certificate(IS_CA, SIGNS, key=rsa.generate_private_key(65537, 2048)),
}


def test_an_authority_is_one() -> None:
    assert _root(_chain("certificateAuthorities", _certificate(IS_CA, SIGNS))) is not None


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_authority_makes_no_root(name: str) -> None:
    assert _root(_chain("certificateAuthorities", ODD[name])) is None


def test_what_an_rsa_key_signed_is_left_alone() -> None:
    key = rsa.generate_private_key(65537, 2048)
    raw_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    instance = _root(_key("ctlogs", rawBytes=b64(raw_key), keyDetails="PKCS1_RSA_PKCS1V5"))
    assert instance is not None
    for _, log in instance.certificate_logs.values():
        with pytest.raises(Unusual):
            log.verify(b"", b"")


def test_a_timestamp_authority_signs_on_a_curve() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert _root(_chain("timestampAuthorities", *[_certificate(IS_CA, SIGNS)] * 2)) is not None
    assert _root(_chain("timestampAuthorities", *[_certificate(IS_CA, SIGNS, key=key)] * 2)) is None


def test_an_issuer_without_a_name_for_its_key_is_left_alone() -> None:
    builder = (
        x509.CertificateBuilder()
        .public_key(P256.public_key())
        .subject_name(common_name("nameless"))
        .issuer_name(common_name("nameless"))
        .serial_number(1)
        .not_valid_before(as_time(1_700_000_000))
        .not_valid_after(as_time(2_000_000_000))
        .add_extension(IS_CA[0], critical=True)
        .add_extension(SIGNS[0], critical=True)
    )
    assert _root(_chain("certificateAuthorities", issue(builder, P256))) is None


def test_a_root_counts_while_all_of_its_certificates_are_valid() -> None:
    young = Authority(keys_module.Seed(b"young"), "young", not_before=1_800_000_000, years=1)
    old = Authority(keys_module.Seed(b"old"), "old", not_before=1_700_000_000, years=10)
    below = Authority(keys_module.Seed(b"below"), "below", not_before=1_700_000_000, issuer=young)
    for chain, start, end in (
        (below.chain, 1_800_000_000, 1_800_000_000 + 365 * 86_400),
        (old.chain, 1_700_000_000, 1_700_000_000 + 3650 * 86_400),
    ):
        root = _private().trusted_root()
        root["certificateAuthorities"] = [describe_authority(chain, "https://sigstore.test", 0)]
        instance = load_lean_instance("x", json.dumps(root).encode())
        assert instance is not None
        (authority,) = instance.issuers.values()
        for seconds, counts in ((start - 1, False), (start, True), (end - 1, True), (end, False)):
            assert (datetime.fromtimestamp(seconds, UTC) in authority.period) == counts


def test_the_private_fulcio_is_the_one_that_is_patched_here() -> None:
    """The list of SCTs is where these tests change it."""
    extension = _leaf(PrivateSigstore(b"place")).extensions.get_extension_for_oid(SCT_LIST)
    assert len(extension.value) == 1  # type: ignore[arg-type]
    assert fulcio_module._SCT_LIST == SCT_LIST
