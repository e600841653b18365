"""Every form of evidence, made by a private Sigstore: what is accepted, and what each attack comes to."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from evidence_world import (
    ARTIFACT,
    JOB,
    ROOT,
    STATEMENT,
    Case,
    edited,
    private_root,
    reason,
    refusal,
    verify,
)

from placet.adapters.sigstore.documents import parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.encoding import b64encode, encode_canonical, sha256_hex
from placet.core.errors import Reason
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, PROVENANCE, SIGNATURE, EvidenceFact
from placet.testing.private_sigstore import GITHUB_ISSUER, PrivateSigstore, Shape

SUBJECTS = {f"sha256:{sha256_hex(ARTIFACT)}"}
V1 = Shape(rekor="v1", timestamp=False)


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(b"forms")


def case_of(sigstore: PrivateSigstore, content: bytes, **root: Any) -> Case:
    return Case("private", content, files={ROOT: private_root(sigstore, **root)})


def fact_of(case: Case) -> EvidenceFact:
    (fact,) = verify(case)
    return fact


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        V1,
        Shape(rekor="v1"),
        Shape(rekor="v1", timestamp=False, version="0.2"),
        Shape(rekor="v1", timestamp=False, version="0.1"),
        Shape(rekor="intoto", timestamp=False, version="0.2"),
        Shape(rekor="intoto", timestamp=False, version="0.1"),
        Shape(rekor="intoto", version="0.3"),
    ],
    ids=str,
)
def test_statements_in_every_form(sigstore: PrivateSigstore, shape: Shape) -> None:
    before = int(time.time())
    fact = fact_of(case_of(sigstore, sigstore.sign_statement(JOB, STATEMENT, shape)))
    assert fact.signer is not None
    assert (fact.kind, fact.subjects, fact.logged) == (PROVENANCE, SUBJECTS, True)
    assert before - 2 <= fact.signed_at <= time.time() + 2
    assert fact.predicate == STATEMENT["predicate"]
    assert (fact.signer.kind, fact.signer.issuer, fact.signer.instance) == (
        "certificate",
        GITHUB_ISSUER,
        ROOT,
    )
    assert fact.signer.claims["sourceRepositoryUri"] == "https://github.com/octo/app"


@pytest.mark.parametrize("shape", [Shape(), V1], ids=str)
def test_signatures_name_the_artifact_by_its_digest(sigstore: PrivateSigstore, shape: Shape) -> None:
    bundle = sigstore.sign_artifact("alice@example.com", ARTIFACT, shape)
    fact = fact_of(case_of(sigstore, bundle))
    assert fact.signer is not None
    assert (fact.kind, fact.subjects, fact.predicate_type) == (SIGNATURE, SUBJECTS, "")
    assert fact.signer.identity == "alice@example.com"
    other = {"algorithm": "SHA2_256", "digest": b64encode(bytes.fromhex(sha256_hex(b"another")))}
    lied = edited(bundle, "messageSignature", "messageDigest", to=other)
    assert reason(case_of(sigstore, lied)) is Reason.EVIDENCE_INVALID


def test_a_signature_without_digest_is_about_what_was_logged(sigstore: PrivateSigstore) -> None:
    bundle = edited(
        sigstore.sign_artifact("alice@example.com", ARTIFACT, V1),
        "messageSignature",
        "messageDigest",
        to=None,
    )
    assert fact_of(case_of(sigstore, bundle)).subjects == SUBJECTS
    v2 = edited(
        sigstore.sign_artifact("alice@example.com", ARTIFACT), "messageSignature", "messageDigest", to=None
    )
    assert reason(case_of(sigstore, v2)) is Reason.EVIDENCE_UNSUPPORTED


def test_an_instance_without_logs_needs_its_timestamps_alone(sigstore: PrivateSigstore) -> None:
    files = {"sigstore/github.json": encode_canonical(sigstore.trusted_root(like_github=True))}
    bundle = sigstore.sign_statement(JOB, STATEMENT, Shape(rekor="none", sct=False))
    fact = fact_of(Case("like GitHub", bundle, files=files))
    assert fact.signer is not None
    assert (fact.logged, fact.signer.instance, fact.subjects) == (False, "sigstore/github.json", SUBJECTS)
    signed = sigstore.sign_artifact(JOB, ARTIFACT, Shape(rekor="none", sct=False))
    assert fact_of(Case("like GitHub", signed, files=files)).subjects == SUBJECTS
    untimed = sigstore.sign_statement(JOB, STATEMENT, Shape(rekor="none", sct=False, timestamp=False))
    assert reason(Case("no time", untimed, files=files)) is Reason.EVIDENCE_TIME


def test_a_log_that_the_instance_does_not_have_gives_no_time(sigstore: PrivateSigstore) -> None:
    """Otherwise whoever can write JSON chose when it was signed."""
    files = {"sigstore/github.json": encode_canonical(sigstore.trusted_root(like_github=True))}
    bundle = sigstore.sign_statement(JOB, STATEMENT, V1)
    assert reason(Case("log not here", bundle, files=files)) is Reason.EVIDENCE_TIME


def test_an_instance_may_have_logs_and_no_certificate_logs(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT, Shape(sct=False))
    assert fact_of(case_of(sigstore, bundle, ctlogs=[])).logged
    assert reason(case_of(sigstore, bundle)) is Reason.EVIDENCE_NOT_LOGGED


def test_what_was_not_logged_is_no_fact_where_the_instance_has_logs(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT, Shape(rekor="none"))
    assert reason(case_of(sigstore, bundle)) is Reason.EVIDENCE_NOT_LOGGED


def test_parts_of_two_bundles_make_none(sigstore: PrivateSigstore) -> None:
    """CVE-2022-36056: each part is genuine, and they are not about one another."""
    key = ec.generate_private_key(ec.SECP256R1())
    keys = {ROOT: private_root(sigstore), "keys/a.pub": _pem(key)}
    for shape in (Shape(), V1, Shape(rekor="intoto", timestamp=False)):
        mine = sigstore.sign_statement(JOB, STATEMENT, shape)
        other = sigstore.sign_statement(JOB, {**STATEMENT, "predicate": {}}, shape)
        entries = json.loads(other)["verificationMaterial"]["tlogEntries"]
        mixed = edited(mine, "verificationMaterial", "tlogEntries", to=entries)
        assert reason(case_of(sigstore, mixed)) is Reason.EVIDENCE_INVALID, shape
        by_key = edited(
            sigstore.sign_statement_with_key(key, STATEMENT, shape),
            "verificationMaterial",
            "tlogEntries",
            to=entries,
        )
        assert reason(Case("key", by_key, files=keys)) is Reason.EVIDENCE_INVALID, shape


def test_a_log_entry_by_another_key_is_refused(sigstore: PrivateSigstore) -> None:
    """Somebody else logged the same signature's payload; that says nothing of this signature."""
    one, two = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = {ROOT: private_root(sigstore), "keys/one.pub": _pem(one)}
    for shape in (Shape(), V1, Shape(rekor="intoto", timestamp=False)):
        mine = sigstore.sign_statement_with_key(one, STATEMENT, shape)
        other = sigstore.sign_statement_with_key(two, STATEMENT, shape)
        entries = json.loads(other)["verificationMaterial"]["tlogEntries"]
        mixed = edited(mine, "verificationMaterial", "tlogEntries", to=entries)
        assert fact_of(Case("own", mine, files=files)).logged
        assert reason(Case("mixed", mixed, files=files)) is Reason.EVIDENCE_INVALID, shape


@pytest.mark.parametrize("rekor", ["v1", "v2", "intoto", "none"])
def test_statements_by_a_plain_key(sigstore: PrivateSigstore, rekor: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    shape = Shape(rekor=rekor, timestamp=rekor == "v2")
    case = Case(
        "key",
        sigstore.sign_statement_with_key(key, STATEMENT, shape),
        files={ROOT: private_root(sigstore), "keys/build.pub": _pem(key)},
    )
    fact = fact_of(case)
    assert fact.signer is not None
    assert (fact.kind, fact.subjects, fact.logged) == (PROVENANCE, SUBJECTS, rekor != "none")
    assert (fact.signer.kind, fact.signer.key_digest, fact.signer.instance) == ("key", _digest(key), "")
    assert (fact.signed_at > 0) == (rekor != "none")


def test_artifacts_signed_by_plain_keys(sigstore: PrivateSigstore) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    files = {ROOT: private_root(sigstore), "keys/build.pub": _pem(key)}
    for shape in (Shape(), V1, Shape(rekor="none")):
        fact = fact_of(Case("key", sigstore.sign_artifact_with_key(key, ARTIFACT, shape), files=files))
        assert (fact.kind, fact.subjects, fact.logged) == (SIGNATURE, SUBJECTS, shape.rekor != "none")


def test_a_key_that_the_trust_root_has_not_is_nobody(sigstore: PrivateSigstore) -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    bundle = sigstore.sign_statement_with_key(key, STATEMENT)
    root = {ROOT: private_root(sigstore)}
    assert reason(Case("no keys", bundle, files=root)) is Reason.EVIDENCE_NOT_VERIFIED
    assert reason(Case("other", bundle, files=root | {"keys/o.pub": _pem(other)})) is Reason.EVIDENCE_INVALID
    # A key of layouts signs layouts, and no evidence.
    layouts = root | {"layouts/keys/k.pub": _pem(key)}
    assert reason(Case("layouts", bundle, files=layouts)) is Reason.EVIDENCE_NOT_VERIFIED


def test_a_key_bundles_timestamp_must_be_true(sigstore: PrivateSigstore) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = sigstore.sign_statement_with_key(key, STATEMENT, Shape(rekor="none"))
    files = {ROOT: private_root(PrivateSigstore(b"another")), "keys/build.pub": _pem(key)}
    assert reason(Case("foreign stamp", bundle, files=files)) is Reason.EVIDENCE_TIME


def test_plain_keys_of_every_kind_sign_envelopes() -> None:
    payload = encode_canonical(STATEMENT)
    message = pae(PAYLOAD_TYPE, payload)
    p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    edwards, old = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    signatures = {
        p256: p256.sign(message, ec.ECDSA(SHA256())),
        p384: p384.sign(message, ec.ECDSA(SHA256())),
        edwards: edwards.sign(message),
        old: old.sign(message, padding.PKCS1v15(), SHA256()),
    }
    for key, signature in signatures.items():
        case = Case("bare", envelope(payload, signature), DSSE_MEDIA_TYPE, {"keys/k.pub": _pem(key)})
        fact = fact_of(case)
        assert fact.signer is not None
        assert (fact.signer.key_digest, fact.logged, fact.signed_at) == (_digest(key), False, 0)
        assert fact.subjects == SUBJECTS


def test_an_envelope_of_several_signers_has_a_fact_for_each() -> None:
    payload = encode_canonical(STATEMENT)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    signatures = [key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(SHA256())) for key in keys]
    files = {f"keys/{i}.pub": _pem(key) for i, key in enumerate(keys[:2])}
    facts = verify(Case("several", envelope(payload, *signatures), DSSE_MEDIA_TYPE, files))
    assert [f.signer.key_digest for f in facts if f.signer] == [_digest(key) for key in keys[:2]]


def test_an_ed25519_key_signs_no_digests(sigstore: PrivateSigstore) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = sigstore.sign_artifact_with_key(key, ARTIFACT, Shape(rekor="none"))
    files = {ROOT: private_root(sigstore), "keys/e.pub": _pem(ed25519.Ed25519PrivateKey.generate())}
    assert reason(Case("Ed25519", bundle, files=files)) is Reason.EVIDENCE_UNSUPPORTED
    # Beside the key that did sign, it does not matter.
    assert fact_of(Case("both", bundle, files=files | {"keys/z.pub": _pem(key)})).subjects == SUBJECTS


def test_the_longer_curves_are_said_to_be_unsupported() -> None:
    sigstore = PrivateSigstore(b"long", leaf_curve="P-384")
    bundle = sigstore.sign_statement(JOB, STATEMENT, V1)
    assert reason(case_of(sigstore, bundle)) is Reason.EVIDENCE_UNSUPPORTED


def test_what_is_no_statement_is_unsupported(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, b"hello", Shape(payload_type="text/plain"))
    assert reason(case_of(sigstore, bundle)) is Reason.EVIDENCE_UNSUPPORTED


def test_the_instance_that_verifies_is_named(sigstore: PrivateSigstore) -> None:
    other = PrivateSigstore(b"other")
    files = {"sigstore/a.json": private_root(other), "sigstore/b.json": private_root(sigstore)}
    fact = fact_of(Case("two instances", sigstore.sign_statement(JOB, STATEMENT), files=files))
    assert fact.signer is not None
    assert fact.signer.instance == "sigstore/b.json"
    # The same authority in two roots: the one whose logs have the entry counts.
    logless = {"sigstore/a.json": private_root(sigstore, tlogs=other.trusted_root()["tlogs"])}
    fact = fact_of(Case("two roots", sigstore.sign_statement(JOB, STATEMENT), files=files | logless))
    assert fact.signer is not None
    assert fact.signer.instance == "sigstore/b.json"


def test_another_instance_with_the_same_names_is_another_instance() -> None:
    """Names cost nothing; the keys differ."""
    mine, theirs = PrivateSigstore(b"one"), PrivateSigstore(b"two")
    bundle = theirs.sign_statement(JOB, STATEMENT)
    assert "trust root names" in refusal(case_of(mine, bundle)).message
    assert reason(case_of(mine, bundle)) is Reason.EVIDENCE_INVALID


def test_retired_services_vouch_for_nothing(sigstore: PrivateSigstore) -> None:
    past = {"start": "2020-01-01T00:00:00Z", "end": "2020-12-31T00:00:00Z"}
    root = sigstore.trusted_root()
    bundle = sigstore.sign_statement(JOB, STATEMENT)
    for member in ("certificateAuthorities", "timestampAuthorities"):
        retired = [{**service, "validFor": past} for service in root[member]]
        assert reason(case_of(sigstore, bundle, **{member: retired})) is Reason.EVIDENCE_TIME, member
    retired = [{**log, "publicKey": {**log["publicKey"], "validFor": past}} for log in root["tlogs"]]
    assert reason(case_of(sigstore, bundle, tlogs=retired)) is Reason.EVIDENCE_TIME


def test_a_signature_made_outside_its_certificates_minutes_is_refused() -> None:
    clock = [time.time()]
    sigstore = PrivateSigstore(b"late", clock=lambda: clock[0])
    token_holder = sigstore.sign_statement(JOB, STATEMENT)
    certificate = json.loads(token_holder)["verificationMaterial"]["certificate"]
    clock[0] += 3600
    late = edited(
        sigstore.sign_statement(JOB, STATEMENT), "verificationMaterial", "certificate", to=certificate
    )
    assert reason(case_of(sigstore, late)) is Reason.EVIDENCE_TIME


def test_a_broken_trusted_root_is_the_administrators_to_repair(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT)
    for broken in (b"{}", b"[]", b"\xff", private_root(sigstore, certificateAuthorities=[])):
        error = refusal(Case("broken root", bundle, files={ROOT: broken}))
        assert error.reason is Reason.EVIDENCE_NOT_VERIFIED
        assert "administrator" in error.hint
    # A signing configuration lies beside the roots, and is none.
    config = encode_canonical(sigstore.signing_config())
    files = {ROOT: private_root(sigstore), "sigstore/signing_config.json": config}
    assert fact_of(Case("beside", bundle, files=files)).logged


def test_limits_come_before_the_libraries(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT)
    entries = json.loads(bundle)["verificationMaterial"]["tlogEntries"]
    stamps = json.loads(bundle)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    material, proof = "verificationMaterial", ("tlogEntries", 0, "inclusionProof")
    limited = {
        "size": (b" " * (4 * 1024 * 1024) + bundle, Reason.TOO_LARGE),
        "entries": (edited(bundle, material, "tlogEntries", to=entries * 2), Reason.EVIDENCE_UNSUPPORTED),
        "stamps": (
            edited(bundle, material, "timestampVerificationData", "rfc3161Timestamps", to=stamps * 9),
            Reason.TOO_MANY,
        ),
        "same stamp": (
            edited(bundle, material, "timestampVerificationData", "rfc3161Timestamps", to=stamps * 2),
            Reason.EVIDENCE_INVALID,
        ),
        "hashes": (edited(bundle, material, *proof, "hashes", to=["AA=="] * 65), Reason.TOO_MANY),
        "checkpoint": (
            edited(bundle, material, *proof, "checkpoint", "envelope", to="a" * 70_000),
            Reason.TOO_LARGE,
        ),
        "second spelling": (edited(bundle, material, "tlog_entries", to=[]), Reason.UNKNOWN_MEMBER),
        "duplicate": (
            bundle.replace(b'{"mediaType"', b'{"mediaType":"","mediaType"', 1),
            Reason.DUPLICATE_MEMBER,
        ),
        "unknown member": (edited(bundle, "more", to=1), Reason.EVIDENCE_INVALID),
        "other version": (edited(bundle, "mediaType", to="text/plain"), Reason.EVIDENCE_UNSUPPORTED),
    }
    found = {name: reason(case_of(sigstore, content)) for name, (content, _) in limited.items()}
    assert found == {name: expected for name, (_, expected) in limited.items()}


def test_what_protobufs_json_leaves_out_is_read_as_its_default(sigstore: PrivateSigstore) -> None:
    bundle = sigstore.sign_statement(JOB, STATEMENT, V1)
    entry = json.loads(bundle)["verificationMaterial"]["tlogEntries"][0]
    entry["logIndex"] = int(entry["logIndex"])
    entry["inclusionProof"]["treeSize"] = int(entry["inclusionProof"]["treeSize"])
    spelled = edited(bundle, "verificationMaterial", "tlogEntries", to=[entry | {"extra": None}])
    assert fact_of(case_of(sigstore, spelled)).logged
    # The first entry of a log has index 0; Go leaves it out, and the hashes of a proof that has none.
    first = {"logIndex": None, "inclusionProof": entry["inclusionProof"] | {"hashes": None}}
    document = parse_bundle(edited(bundle, "verificationMaterial", "tlogEntries", to=[entry | first]))
    assert document.entry is not None
    assert document.entry["logIndex"] == "0"
    assert document.entry["inclusionProof"]["hashes"] == []


def envelope(payload: bytes, *signatures: bytes) -> bytes:
    """Returns a DSSE envelope as others write it."""
    return json.dumps(
        {
            "payloadType": PAYLOAD_TYPE,
            "payload": b64encode(payload),
            "signatures": [{"keyid": "", "sig": b64encode(signature)} for signature in signatures],
        }
    ).encode()


def _pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _digest(key: Any) -> str:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256_hex(der)
