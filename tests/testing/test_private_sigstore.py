"""The private Sigstore is one that sigstore-python, unmodified, signs with and verifies."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ExtensionNotFound, load_der_x509_certificate
from cryptography.x509.oid import ObjectIdentifier
from sigstore.dsse import DigestSet, StatementBuilder, Subject
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig, InvalidBundle
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy

from placet.core.encoding import sha256_hex
from placet.testing.private_sigstore import (
    GITHUB_ISSUER,
    PrivateSigstore,
    PrivateSigstoreServer,
    Refused,
    Shape,
    github_claims,
)

ARTIFACT = b"an artifact"
ALICE = "alice@example.com"
STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "app", "digest": {"sha256": sha256_hex(ARTIFACT)}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {},
}
NOW = 1_790_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"tests") as running:
        yield running


def verifier(sigstore: PrivateSigstore) -> Verifier:
    config = ClientTrustConfig.from_json(json.dumps(sigstore.client_trust_config()))
    return Verifier(trusted_root=config.trusted_root)


def said_by(sigstore: PrivateSigstore, who: str = ALICE) -> policy.Identity:
    return policy.Identity(identity=who, issuer=sigstore.base_url)


@pytest.mark.parametrize("rekor", [1, 2])
def test_sigstore_python_signs_against_it_and_verifies(
    server: PrivateSigstoreServer, rekor: Literal[1, 2]
) -> None:
    config = ClientTrustConfig.from_json(json.dumps(server.sigstore.client_trust_config(rekor)))
    token = IdentityToken(server.sigstore.token(ALICE))
    statement = (
        StatementBuilder()
        .subjects([Subject(name="app", digest=DigestSet(root={"sha256": sha256_hex(ARTIFACT)}))])
        .predicate_type("https://example.com/p/v1")
        .predicate({"a": "b"})
        .build()
    )
    with SigningContext.from_trust_config(config).signer(token) as signer:
        signed, attested = signer.sign_artifact(ARTIFACT), signer.sign_dsse(statement)
    who = said_by(server.sigstore, str(token.identity))
    check = Verifier(trusted_root=config.trusted_root)
    check.verify_artifact(ARTIFACT, Bundle.from_json(signed.to_json()), who)
    _, payload = check.verify_dsse(Bundle.from_json(attested.to_json()), who)
    assert json.loads(payload)["predicate"] == {"a": "b"}
    with pytest.raises(VerificationError):
        check.verify_artifact(b"another", signed, who)
    with pytest.raises(VerificationError):
        check.verify_artifact(ARTIFACT, signed, said_by(server.sigstore, "mallory@example.com"))


@pytest.mark.parametrize("rekor", ["v1", "v2"])
@pytest.mark.parametrize("timestamp", [True, False])
def test_bundles_made_in_process_are_accepted_by_sigstore_python(
    rekor: Literal["v1", "v2"], timestamp: bool
) -> None:
    sigstore = PrivateSigstore(b"in process", ca_curve="P-384", intermediate=True)
    shape = Shape(rekor=rekor, timestamp=timestamp)
    check = verifier(sigstore)
    if rekor == "v2" and not timestamp:  # Rekor v2 signs no time, and nobody else does either
        with pytest.raises(InvalidBundle):
            Bundle.from_json(sigstore.sign_artifact(ALICE, ARTIFACT, shape))
        return
    signed = Bundle.from_json(sigstore.sign_artifact(ALICE, ARTIFACT, shape))
    attested = Bundle.from_json(sigstore.sign_statement(ALICE, STATEMENT, shape))
    check.verify_artifact(ARTIFACT, signed, said_by(sigstore))
    assert json.loads(check.verify_dsse(attested, said_by(sigstore))[1]) == STATEMENT


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_every_version_of_the_format_is_read_by_sigstore_python(
    version: Literal["0.1", "0.2", "0.3"],
) -> None:
    sigstore = PrivateSigstore(b"versions", intermediate=True)
    bundle = Bundle.from_json(sigstore.sign_statement(ALICE, STATEMENT, Shape(rekor="v1", version=version)))
    verifier(sigstore).verify_dsse(bundle, said_by(sigstore))


def test_a_pipeline_gets_a_certificate_with_all_of_github_s_extensions() -> None:
    sigstore = PrivateSigstore(b"job")
    job = github_claims("octo/app", ref="refs/heads/main", commit="a" * 40)
    bundle = Bundle.from_json(sigstore.sign_statement(job, STATEMENT))
    workflow = "https://github.com/octo/app/.github/workflows/release.yml@refs/heads/main"
    expected = policy.AllOf(
        [
            policy.Identity(identity=workflow, issuer=GITHUB_ISSUER),
            policy.OIDCIssuerV2(GITHUB_ISSUER),
            policy.OIDCBuildSignerURI(workflow),
            policy.OIDCBuildSignerDigest("a" * 40),
            policy.OIDCRunnerEnvironment("github-hosted"),
            policy.OIDCSourceRepositoryURI("https://github.com/octo/app"),
            policy.OIDCSourceRepositoryDigest("a" * 40),
            policy.OIDCSourceRepositoryRef("refs/heads/main"),
            policy.OIDCSourceRepositoryOwnerURI("https://github.com/octo"),
            policy.OIDCBuildConfigURI(workflow),
            policy.OIDCBuildTrigger("push"),
            policy.OIDCRunInvocationURI("https://github.com/octo/app/actions/runs/4711/attempts/1"),
            policy.GitHubWorkflowTrigger("push"),
            policy.GitHubWorkflowSHA("a" * 40),
            policy.GitHubWorkflowRepository("octo/app"),
            policy.GitHubWorkflowRef("refs/heads/main"),
        ]
    )
    verifier(sigstore).verify_dsse(bundle, expected)


def test_the_same_seed_and_time_give_the_same_bytes() -> None:
    def make(seed: bytes) -> bytes:
        sigstore = PrivateSigstore(seed, clock=lambda: NOW)
        signed = sigstore.sign_statement(github_claims("octo/app"), STATEMENT, Shape(rekor="v1"))
        return json.dumps(sigstore.trusted_root()).encode() + signed

    assert make(b"one") == make(b"one")
    assert make(b"one") != make(b"two")


def test_a_fixed_time_is_verified_long_after() -> None:
    sigstore = PrivateSigstore(b"old", clock=lambda: NOW - 400 * 86_400)
    bundle = Bundle.from_json(sigstore.sign_statement(ALICE, STATEMENT))
    verifier(sigstore).verify_dsse(bundle, said_by(sigstore))


def test_another_private_sigstore_is_not_believed() -> None:
    bundle = Bundle.from_json(PrivateSigstore(b"theirs").sign_statement(ALICE, STATEMENT))
    ours = PrivateSigstore(b"ours")
    with pytest.raises(VerificationError):
        verifier(ours).verify_dsse(bundle, said_by(ours))


def test_github_s_own_instance_has_neither_log_nor_sct() -> None:
    sigstore = PrivateSigstore(b"github")
    raw = json.loads(sigstore.sign_statement(ALICE, STATEMENT, Shape(rekor="none", sct=False)))
    material = raw["verificationMaterial"]
    assert set(material) == {"certificate", "timestampVerificationData"}
    assert sigstore.trusted_root(like_github=True)["tlogs"] == []
    certificate = load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))
    with pytest.raises(ExtensionNotFound):
        certificate.extensions.get_extension_for_oid(ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"))


def test_bare_keys_and_the_older_kind_of_entry_are_made_too() -> None:
    sigstore = PrivateSigstore(b"others")
    key = ec.generate_private_key(ec.SECP256R1())
    bare = json.loads(sigstore.sign_statement_with_key(key, STATEMENT, hint="known"))
    assert bare["verificationMaterial"]["publicKey"] == {"hint": "known"}
    old = json.loads(sigstore.sign_statement(ALICE, STATEMENT, Shape(rekor="intoto", version="0.1")))
    (entry,) = old["verificationMaterial"]["tlogEntries"]
    assert entry["kindVersion"] == {"kind": "intoto", "version": "0.0.2"}


def test_a_false_token_gets_no_certificate(server: PrivateSigstoreServer) -> None:
    """The issuer's word counts by its key: what a job's issuer signs is never a person of ours."""
    sigstore = server.sigstore
    key = ec.generate_private_key(ec.SECP256R1())
    request = {"certificateSigningRequest": certificate_request(key)}
    assert sigstore.fulcio.answer(request, f"Bearer {sigstore.token(ALICE)}")
    head, body, signature = sigstore.token(github_claims("octo/app")).split(".")
    other_body = sigstore.token(ALICE).split(".")[1]
    expired = sigstore.token(ALICE, exp=NOW)
    elsewhere = sigstore.token(ALICE, aud="somebody else")
    for token in (f"{head}.{other_body}.{signature}", f"{head}.{body}.", expired, elsewhere, "", "a.b.c"):
        with pytest.raises(Refused):
            sigstore.fulcio.answer(request, f"Bearer {token}")


def certificate_request(key: ec.EllipticCurvePrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return base64.b64encode(pem).decode()


def test_a_signature_that_does_not_hold_is_not_logged() -> None:
    sigstore = PrivateSigstore(b"rekor")
    bundle = json.loads(sigstore.sign_statement(ALICE, STATEMENT, Shape(rekor="none")))
    certificate = bundle["verificationMaterial"]["certificate"]["rawBytes"]
    envelope = bundle["dsseEnvelope"]

    def propose(envelope: dict[str, Any]) -> dict[str, Any]:
        content = {
            "envelope": json.dumps(envelope),
            "verifiers": [base64.b64encode(as_pem(certificate)).decode()],
        }
        return sigstore.rekor_v1.add({"kind": "dsse", "spec": {"proposedContent": content}})

    assert propose(envelope)
    with pytest.raises(Refused):
        propose(envelope | {"payload": base64.b64encode(b"{}").decode()})
    with pytest.raises(Refused):  # as the real one answers sigstore-js
        sigstore.rekor_v2.add({"dsseRequestV002": {}})


def as_pem(raw: str) -> bytes:
    certificate = load_der_x509_certificate(base64.b64decode(raw))
    return certificate.public_bytes(serialization.Encoding.PEM)


def test_entries_are_found_again_by_index_and_by_id(server: PrivateSigstoreServer) -> None:
    server.sigstore.sign_statement(ALICE, STATEMENT, Shape(rekor="v1"))
    with httpx.Client(base_url=server.address) as client:
        (by_index,) = client.get("/api/v1/log/entries?logIndex=1").json().items()
        by_id = client.get(f"/api/v1/log/entries/{by_index[0]}").json()
        assert by_id[by_index[0]]["body"] == by_index[1]["body"]
        assert client.get("/api/v1/log/entries?logIndex=0").status_code == 404
        assert client.get("/api/v1/log").json()["treeSize"] >= 2
        assert client.get("/api/v1/log/publicKey").text.startswith("-----BEGIN PUBLIC KEY")
        assert client.post("/api/v1/log/entries", json={"kind": "rekord"}).status_code == 400
