"""The lean verifier says yes where the other one does, to the same facts; how false evidence is named."""

from __future__ import annotations

import base64
import builtins
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from placet.adapters.sigstore import lean
from placet.core.encoding import encode_canonical
from placet.core.errors import Reason
from placet.testing.private_sigstore import PrivateSigstore, Shape
from placet.testing.private_sigstore.keys import common_name, der, issue, key_usage, start_certificate

sys.path.append(str(Path(__file__).parents[1] / "adapters" / "sigstore"))
from evidence_world import ARTIFACT, JOB, ROOT, STATEMENT, Case, edited, flipped, private_root, reason, verify

SIGNATURES = (
    ("dsseEnvelope", "signatures", 0, "sig"),
    ("messageSignature", "signature"),
)


def _above_another(sigstore: PrivateSigstore, key: ec.EllipticCurvePrivateKey, *, named: bool) -> bytes:
    """Returns a root of another instance, whose authority the first one's issuer has certified."""
    top = sigstore.trusted_root()
    authority = top["certificateAuthorities"][0]
    (link,) = authority["certChain"]["certificates"]
    above = x509.load_der_x509_certificate(base64.b64decode(link["rawBytes"]))
    below = ec.generate_private_key(ec.SECP256R1())
    if not named:  # the same issuer, whose certificate does not say which key it has
        plain = (
            x509.CertificateBuilder()
            .public_key(key.public_key())
            .subject_name(above.subject)
            .issuer_name(above.subject)
            .serial_number(7)
            .not_valid_before(above.not_valid_before_utc)
            .not_valid_after(above.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(True, 1), critical=True)
            .add_extension(key_usage("key_cert_sign"), critical=True)
        )
        link = {"rawBytes": base64.b64encode(der(issue(plain, key))).decode()}
    builder = (
        start_certificate(below.public_key(), key)
        .subject_name(common_name("below"))
        .issuer_name(above.subject)
        .serial_number(5)
        .not_valid_before(above.not_valid_before_utc + datetime.timedelta(seconds=1))
        .not_valid_after(above.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(key_usage("key_cert_sign"), critical=True)
    )
    first = {"rawBytes": base64.b64encode(der(issue(builder, key))).decode()}
    authority["certChain"]["certificates"] = [first, link]
    return encode_canonical(top)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("rekor", ["v1", "v2"])
def test_an_issuer_above_another_instances_authority_counts_in_both(
    rekor: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which instance vouches is part of the fact, and rules ask for it."""
    sigstore = PrivateSigstore(b"above")
    bundle = sigstore.sign_statement(JOB, STATEMENT, Shape(rekor=rekor))  # type: ignore[arg-type]
    files = {
        "sigstore/a.json": _above_another(sigstore, sigstore.fulcio.authority.key, named=named),
        "sigstore/b.json": private_root(sigstore),
    }
    case = Case("above", bundle, files=files)
    facts = verify(case)
    monkeypatch.setattr(lean, "verify_lean", lambda *_: None)
    assert facts == verify(case)


def _like_github(sigstore: PrivateSigstore) -> dict[str, bytes]:
    return {"sigstore/github.json": encode_canonical(sigstore.trusted_root(like_github=True))}


def test_a_false_signature_is_no_matter_of_time() -> None:
    """The timestamp is over the signature: another signature has no timestamp, but it is false first."""
    sigstore = PrivateSigstore(b"unlogged")
    shape = Shape(rekor="none", sct=False)
    bundles = sigstore.sign_statement(JOB, STATEMENT, shape), sigstore.sign_artifact(JOB, ARTIFACT, shape)
    for bundle, place in zip(bundles, SIGNATURES, strict=True):
        case = Case("tampered", flipped(bundle, *place), files=_like_github(sigstore))
        assert reason(case) is Reason.EVIDENCE_INVALID
    # A true signature with another's timestamp stays a matter of time.
    other = json.loads(sigstore.sign_statement(JOB, STATEMENT | {"predicate": {}}, shape))
    stamps = other["verificationMaterial"]["timestampVerificationData"]
    mixed = edited(bundles[0], "verificationMaterial", "timestampVerificationData", to=stamps)
    assert reason(Case("mixed", mixed, files=_like_github(sigstore))) is Reason.EVIDENCE_TIME


@pytest.mark.parametrize("broken", ["lean", "bundles", "verifier", "instances"])
def test_a_library_that_cannot_be_loaded_says_nothing_of_the_artifact(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigstore = PrivateSigstore(b"broken")
    bundle = flipped(sigstore.sign_statement(JOB, STATEMENT), *SIGNATURES[0])
    real = builtins.__import__

    def load(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == f"placet.adapters.sigstore.{broken}":
            raise ImportError(f"cannot load what {name} needs")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", load)
    assert (
        reason(Case("broken", bundle, files={ROOT: private_root(sigstore)})) is Reason.EVIDENCE_NOT_VERIFIED
    )


def test_a_library_that_breaks_in_one_instance_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from placet.adapters.sigstore.verifier import InstanceVerifier

    def broken(*_: Any) -> Any:
        raise ImportError("a part of the library is missing")

    sigstore = PrivateSigstore(b"broken")
    monkeypatch.setattr(InstanceVerifier, "check_chain", broken)
    monkeypatch.setattr(lean, "verify_lean", lambda *_: None)
    bundle = sigstore.sign_statement(JOB, STATEMENT)
    assert (
        reason(Case("broken", bundle, files={ROOT: private_root(sigstore)})) is Reason.EVIDENCE_NOT_VERIFIED
    )
