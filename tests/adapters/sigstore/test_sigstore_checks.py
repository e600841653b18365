"""Each check of the full verifier alone: everything else about the evidence is genuine."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from evidence_world import (
    ARTIFACT,
    JOB,
    ROOT,
    STATEMENT,
    Case,
    edited,
    flipped,
    private_root,
    reason,
    refusal,
    verify,
)

from placet.adapters.sigstore.bundles import EvidenceBundle
from placet.adapters.sigstore.certificates import read_signer
from placet.adapters.sigstore.documents import parse_bundle
from placet.adapters.sigstore.entries import Signed, check_entry_body
from placet.core.encoding import b64encode, encode_canonical, sha256_hex
from placet.core.errors import Reason, VerificationError
from placet.testing.private_sigstore import PrivateSigstore, Shape

ENTRY = ("verificationMaterial", "tlogEntries", 0)
DSSE, INTOTO = Shape("v1", timestamp=False), Shape("intoto", timestamp=False)
# Which of what was signed each kind of log entry holds.
HELD = {
    "hashedrekord 0.0.1": {"signature", "verifier", "digest"},
    "hashedrekord 0.0.2": {"signature", "verifier", "digest"},
    "dsse 0.0.1": {"signature", "verifier", "payload"},
    "intoto 0.0.2": {"signature", "verifier", "payload", "payload_type"},
}


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(b"checks")


def _case(sigstore: PrivateSigstore, content: bytes) -> Case:
    return Case("private", content, files={ROOT: private_root(sigstore)})


def _like_github(sigstore: PrivateSigstore, content: bytes) -> Case:
    root = encode_canonical(sigstore.trusted_root(like_github=True))
    return Case("like GitHub", content, files={"sigstore/github.json": root})


@pytest.mark.parametrize("by_key", [True, False], ids=["key", "certificate"])
@pytest.mark.parametrize("kind", HELD)
def test_a_log_entry_is_about_one_signature(sigstore: PrivateSigstore, kind: str, by_key: bool) -> None:
    entry, signed = _entry(sigstore, kind, by_key=by_key)
    check_entry_body(entry, signed)
    other_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    changes: dict[str, Any] = {
        "signature": signed.signature[:-1] + bytes([signed.signature[-1] ^ 1]),
        "verifier": _der(other_key),
        "digest": bytes(32),
        "payload": b"{}",
        "payload_type": "text/plain",
    }
    refused = set()
    for member, value in changes.items():
        try:
            check_entry_body(entry, signed._replace(**{member: value}))
        except VerificationError as e:
            assert e.reason is Reason.EVIDENCE_INVALID
            refused.add(member)
    assert refused == HELD[kind]
    with pytest.raises(VerificationError, match="another"):  # the bundle's own word for the kind is unsigned
        entry._inner.kind_version.version = "0.0.1" if kind.endswith("2") else "0.0.2"
        entry._inner.kind_version.kind = "hashedrekord" if kind.startswith("hashed") else "intoto"
        check_entry_body(entry, signed)


def test_an_artifacts_signature_has_no_entry_about_an_envelope(sigstore: PrivateSigstore) -> None:
    entry, signed = _entry(sigstore, "dsse 0.0.1", by_key=True)
    with pytest.raises(VerificationError):
        check_entry_body(entry, signed._replace(payload=None))


def _entry(sigstore: PrivateSigstore, kind: str, *, by_key: bool) -> tuple[Any, Signed]:
    key = ec.generate_private_key(ec.SECP256R1())
    shape = {"hashedrekord 0.0.2": Shape(), "intoto 0.0.2": INTOTO}.get(kind, DSSE)
    if kind == "hashedrekord 0.0.1":
        content = (
            sigstore.sign_artifact_with_key(key, ARTIFACT, shape)
            if by_key
            else sigstore.sign_artifact(JOB, ARTIFACT, shape)
        )
    else:
        content = (
            sigstore.sign_statement_with_key(key, STATEMENT, shape)
            if by_key
            else sigstore.sign_statement(JOB, STATEMENT, shape)
        )
    bundle = EvidenceBundle(parse_bundle(content))
    assert " ".join(bundle.entry_kind) == kind
    der = (
        _der(key.public_key())
        if by_key
        else bundle.signing_certificate.public_bytes(serialization.Encoding.DER)
    )
    if bundle.envelope is None:
        return bundle.entry, Signed(bundle.signature, der, bytes.fromhex(sha256_hex(ARTIFACT)))
    digest = bytes.fromhex(sha256_hex(bundle.envelope.pae()))
    inner = bundle.envelope._inner
    return bundle.entry, Signed(bundle.signature, der, digest, inner.payload, inner.payload_type)


def test_every_time_must_fit_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stolen key signs later; an honest timestamp beside a late log entry does not help, or the reverse."""
    sigstore = PrivateSigstore(b"two times")
    monkeypatch.setattr(sigstore.rekor_v1, "_clock", lambda: time.time() + 3600)
    late_entry = sigstore.sign_statement(JOB, STATEMENT, Shape("v1"))
    assert reason(_case(sigstore, late_entry)) is Reason.EVIDENCE_TIME
    monkeypatch.undo()
    monkeypatch.setattr(sigstore.tsa, "_clock", lambda: time.time() + 3600)
    late_stamp = sigstore.sign_statement(JOB, STATEMENT, Shape("v1"))
    assert reason(_case(sigstore, late_stamp)) is Reason.EVIDENCE_TIME
    monkeypatch.undo()
    assert verify(_case(sigstore, sigstore.sign_statement(JOB, STATEMENT, Shape("v1"))))


def test_without_a_log_the_signature_is_checked_all_the_same(sigstore: PrivateSigstore) -> None:
    shape = Shape("none", sct=False)
    statement = sigstore.sign_statement(JOB, STATEMENT, shape)
    artifact = sigstore.sign_artifact(JOB, ARTIFACT, shape)
    assert verify(_like_github(sigstore, statement))
    assert verify(_like_github(sigstore, artifact))
    # The signature stays, so the timestamp of it holds; what it is said to be over does not.
    for changed in (
        edited(statement, "dsseEnvelope", "payload", to=b64encode(b"{}")),
        edited(statement, "dsseEnvelope", "payloadType", to="text/plain"),
        flipped(artifact, "messageSignature", "messageDigest", "digest"),
    ):
        assert reason(_like_github(sigstore, changed)) is Reason.EVIDENCE_INVALID


def test_old_entries_cover_what_the_signature_covers(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT, INTOTO)
    for changed in (
        edited(bundle, "dsseEnvelope", "payload", to=b64encode(b"{}")),
        flipped(bundle, "dsseEnvelope", "signatures", 0, "sig"),
    ):
        assert reason(_case(sigstore, changed)) is Reason.EVIDENCE_INVALID


@pytest.mark.parametrize("shape", [DSSE, INTOTO], ids=str)
def test_a_promise_alone_must_be_the_logs(sigstore: PrivateSigstore, shape: Shape) -> None:
    """Bundles of version 0.1 have nothing else that shows that the log knows them."""
    whole = sigstore.sign_statement(JOB, STATEMENT, shape._replace(version="0.1"))
    bundle = edited(whole, *ENTRY, "inclusionProof", to=None)
    assert verify(_case(sigstore, bundle))[0].logged
    logged_at = int(json.loads(bundle)["verificationMaterial"]["tlogEntries"][0]["integratedTime"])
    for changed in (
        flipped(bundle, *ENTRY, "inclusionPromise", "signedEntryTimestamp"),
        edited(bundle, *ENTRY, "integratedTime", to=str(logged_at + 1)),
        edited(bundle, *ENTRY, "logIndex", to="4711"),
    ):
        assert reason(_case(sigstore, changed)) is Reason.EVIDENCE_INVALID
    for missing in ("inclusionPromise", "integratedTime"):
        unproven = edited(bundle, *ENTRY, missing, to=None)
        assert reason(_case(sigstore, unproven)) is Reason.EVIDENCE_NOT_LOGGED
    newer = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    assert reason(_case(sigstore, edited(bundle, "mediaType", to=newer))) is Reason.EVIDENCE_NOT_LOGGED


@pytest.mark.parametrize("place", ["rootHash", "hashes", "promise", "checkpoint"])
def test_a_plain_keys_log_entry_is_proven(sigstore: PrivateSigstore, place: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for _ in range(2):  # a tree of several leaves has hashes to change
        bundle = sigstore.sign_statement_with_key(key, STATEMENT, DSSE)
    files = {ROOT: private_root(sigstore), "keys/k.pub": _pem(key)}
    assert verify(Case("key", bundle, files=files))[0].logged
    if place == "hashes":
        changed = flipped(bundle, *ENTRY, "inclusionProof", "hashes", 0)
    elif place == "promise":
        changed = flipped(bundle, *ENTRY, "inclusionPromise", "signedEntryTimestamp")
    elif place == "checkpoint":
        proof = json.loads(bundle)["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
        text = proof["checkpoint"]["envelope"].replace("\n", "\nx", 1)
        changed = edited(bundle, *ENTRY, "inclusionProof", "checkpoint", "envelope", to=text)
    else:
        changed = flipped(bundle, *ENTRY, "inclusionProof", place)
    assert reason(Case("key", changed, files=files)) is Reason.EVIDENCE_INVALID


def test_a_plain_keys_entry_in_a_retired_or_unknown_log_is_refused(sigstore: PrivateSigstore) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = sigstore.sign_statement_with_key(key, STATEMENT, DSSE)
    past = {"start": "2020-01-01T00:00:00Z", "end": "2020-12-31T00:00:00Z"}
    logs = sigstore.trusted_root()["tlogs"]
    retired = [{**log, "publicKey": {**log["publicKey"], "validFor": past}} for log in logs]
    keys = {"keys/k.pub": _pem(key)}
    assert (
        reason(Case("retired", bundle, files=keys | {ROOT: private_root(sigstore, tlogs=retired)}))
        is Reason.EVIDENCE_TIME
    )
    other = private_root(PrivateSigstore(b"another"))
    assert reason(Case("unknown", bundle, files=keys | {ROOT: other})) is Reason.EVIDENCE_INVALID


def test_a_key_that_can_be_factored_is_no_key(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement_with_key(ec.generate_private_key(ec.SECP256R1()), STATEMENT, DSSE)
    files = {ROOT: private_root(sigstore), "keys/short.pub": _pem(rsa.generate_private_key(65537, 1024))}
    assert "too short" in refusal(Case("short", bundle, files=files)).message


def test_a_bundle_without_entry_is_said_to_be_unlogged_whatever_else_is_missing(
    sigstore: PrivateSigstore,
) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT, Shape("none"))
    case = Case("unlogged", bundle, files={ROOT: private_root(sigstore, timestampAuthorities=[])})
    assert reason(case) is Reason.EVIDENCE_NOT_LOGGED


@pytest.mark.parametrize(
    "purpose", [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], ids=str
)
def test_a_certificate_for_something_else_signs_nothing(
    sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch, purpose: Any
) -> None:
    """The authority may issue certificates for other ends; those are not Fulcio's word on who signs code."""
    monkeypatch.setattr("placet.testing.private_sigstore.fulcio.ExtendedKeyUsageOID", _Purposes(purpose))
    bundle = sigstore.sign_statement(JOB, STATEMENT, Shape("v1"))
    monkeypatch.undo()
    error = refusal(_case(sigstore, bundle))
    assert error.reason is Reason.EVIDENCE_INVALID


class _Purposes:
    def __init__(self, purpose: Any) -> None:
        self.CODE_SIGNING = purpose


def test_the_names_of_a_certificate() -> None:
    other_issuer = "https://ghes.example/_services/token"
    old = {1: "https://token.actions.githubusercontent.com", 5: "octo/app", 3: "f" * 40, 4: "release"}
    signer = read_signer(_certificate(old), "x")
    assert signer.claims == {
        "sourceRepositoryUri": "https://github.com/octo/app",
        "sourceRepositoryDigest": "f" * 40,
        "workflowName": "release",
    }
    # On which server `octo/app` is, only GitHub's own issuer says.
    assert "sourceRepositoryUri" not in read_signer(_certificate(old | {1: other_issuer}), "x").claims
    both = read_signer(_certificate(old, new={8: other_issuer, 12: "https://ghes.example/octo/app"}), "x")
    assert both.issuer == other_issuer
    assert both.claims["sourceRepositoryUri"] == "https://ghes.example/octo/app"
    both = read_signer(_certificate(old | {2: "push"}, new={20: "release", 13: "e" * 40}), "x")
    assert (both.claims["buildTrigger"], both.claims["sourceRepositoryDigest"]) == ("release", "e" * 40)
    for names in ([], ["https://a.example", "https://b.example"]):
        with pytest.raises(VerificationError, match="exactly one"):
            read_signer(_certificate(old, names=names), "x")
    for broken in (b"", b"\x0c", b"\x0c\x05ab", b"\x04\x01a", b"\x0c\x83\x00\x00\x01a", b"\x0c\x01\xff"):
        with pytest.raises(VerificationError, match="no text"):
            read_signer(_certificate(old, raw={8: broken}), "x")


def _certificate(
    old: dict[int, str],
    *,
    new: dict[int, str] | None = None,
    raw: dict[int, bytes] | None = None,
    names: list[str] | None = None,
) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(minutes=10))
    )
    values = {number: text.encode() for number, text in old.items()} | (raw or {})
    values |= {number: b"\x0c" + bytes([len(text)]) + text.encode() for number, text in (new or {}).items()}
    for number, value in values.items():
        oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    uris = [
        x509.UniformResourceIdentifier(name) for name in (["https://a.example"] if names is None else names)
    ]
    if uris:
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=True)
    return builder.sign(key, hashes.SHA256())


def _pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


def _der(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))
