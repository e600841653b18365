"""The thesis, for signatures: a pipeline that holds every CI secret gets none without the touch.

The attacker has the pipeline's OIDC tokens for any audience, its relay token, the requester's key, the
request and its own real Sigstore certificate.  It has no person's hardware key and no place on the gate.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from signing_case import SERVICE, SigningCase

from placet.core.bundle import parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, Signature, pae
from placet.core.encoding import b64encode, sha256_hex
from placet.core.sshsig import NAMESPACE_INTENT
from placet.testing.authenticator import SoftSk
from placet.testing.private_sigstore import PrivateSigstoreServer, Refused, github_claims
from placet.testing.world import ALICE, BOB

WHEEL, EVIL = b"a wheel", b"a wheel with a worm in it"
JOB = github_claims("octo/app", ref="refs/heads/main")


class Pipeline:
    """What the attacker holds, and what it can ask for with that."""

    def __init__(self, server: PrivateSigstoreServer, url: str) -> None:
        self.server, self.url = server, url
        self.token = server.sigstore.token(JOB)
        self.relay_token = "relay-token-of-the-pipeline"
        self.requester_key = SoftSk(application="ssh:placet:demo", seed=b"requester")

    def ask_service(self, intent: bytes, *artifacts: bytes, **more: Any) -> httpx.Response:
        body = {
            "intent": b64encode(intent),
            "artifacts": [f"sha256:{sha256_hex(data)}" for data in artifacts],
            **more,
        }
        headers = {"Authorization": f"Bearer {self.token}", "X-Relay-Token": self.relay_token}
        return httpx.post(f"{self.url}/v1/sign", json=body, headers=headers, timeout=60)

    def reason(self, intent: bytes, *artifacts: bytes) -> str:
        answer = self.ask_service(intent, *artifacts)
        assert answer.status_code == 403, answer.text
        assert "bundle" not in answer.text
        return str(answer.json()["reason"])

    def sign_alone(self, data: bytes) -> Bundle:
        """Signs with the pipeline's own identity: it needs nobody for that."""
        config = ClientTrustConfig.from_json(json.dumps(self.server.sigstore.client_trust_config()))
        with SigningContext.from_trust_config(config).signer(IdentityToken(self.token)) as signer:
            return signer.sign_artifact(data)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"thesis") as running:
        yield running


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PrivateSigstoreServer) -> SigningCase:
    return SigningCase(tmp_path, monkeypatch, server)


def verify_as_users_do(server: PrivateSigstoreServer, data: bytes, bundle: Bundle) -> None:
    """Users accept what the signing service signed, and nobody else."""
    config = ClientTrustConfig.from_json(json.dumps(server.sigstore.client_trust_config()))
    who = policy.Identity(identity=SERVICE, issuer=server.address)
    Verifier(trusted_root=config.trusted_root).verify_artifact(data, bundle, who)


def signatures_logged(server: PrivateSigstoreServer) -> int:
    """Counts what the transparency log holds: a signature that left by another door would be there."""
    return len(server.sigstore.rekor_v2.log.bodies)


def approve_oneself(intent: bytes, key: SoftSk) -> bytes:
    """Puts the pipeline's own signature into the envelope, as if it were a person's."""
    from placet.core.bundle import encode_bundle

    bundle = parse_bundle(intent)
    payload = bundle.envelope.payload
    forged = Signature(key.keyid, key.sign(NAMESPACE_INTENT, pae(PAYLOAD_TYPE, payload)))
    envelope = bundle.envelope._replace(signatures=(*bundle.envelope.signatures, forged))
    return encode_bundle(bundle._replace(envelope=envelope))


def test_a_pipeline_with_every_ci_secret_gets_no_signature_without_the_touch(
    case: SigningCase, server: PrivateSigstoreServer
) -> None:
    before = signatures_logged(server)
    request = case.request("app.whl")
    unapproved = case.approve(request, []).read_bytes()
    by_one = case.approve(request, [ALICE]).read_bytes()
    with case.service() as url:
        pipeline = Pipeline(server, url)
        assert pipeline.reason(unapproved, WHEEL) == "quorum-not-met"
        assert pipeline.reason(by_one, WHEEL) == "quorum-not-met"
        assert pipeline.reason(approve_oneself(by_one, pipeline.requester_key), WHEEL) == "quorum-not-met"
    assert signatures_logged(server) == before
    assert case.outcomes(request) == []


def test_with_the_touch_it_gets_exactly_one(case: SigningCase, server: PrivateSigstoreServer) -> None:
    request = case.request("app.whl")
    intent = case.approve(request, [ALICE, BOB]).read_bytes()
    before = signatures_logged(server)
    with case.service() as url:
        pipeline = Pipeline(server, url)
        # Another artifact under a true approval; then everything at once; then again, later.
        assert pipeline.reason(intent, EVIL) == "artifact-mismatch"
        assert pipeline.reason(intent, WHEEL, EVIL) == "artifact-mismatch"
        with ThreadPoolExecutor(4) as crowd:
            answers = list(crowd.map(lambda _: pipeline.ask_service(intent, WHEEL), range(4)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses.count(200) == 1 and set(statuses) <= {200, 403, 503}, statuses
        assert pipeline.reason(intent, WHEEL) == "already-used"
        (good,) = (answer.json() for answer in answers if answer.status_code == 200)
    (signed,) = good["signatures"]
    verify_as_users_do(server, WHEEL, Bundle.from_json(signed["bundle"]))
    # The signature, and the statement that names the approval: nothing else is in the log.
    assert signatures_logged(server) == before + 2
    assert case.outcomes(request) == [0]


def test_the_identity_that_users_trust_cannot_be_had_with_the_pipeline_s_tokens(
    case: SigningCase, server: PrivateSigstoreServer
) -> None:
    pipeline = Pipeline(server, "")
    worm = pipeline.sign_alone(EVIL)
    with pytest.raises(VerificationError):
        verify_as_users_do(server, EVIL, worm)
    # Sigstore itself accepts it, as the pipeline's; that is the point of not trusting that identity alone.
    config = ClientTrustConfig.from_json(json.dumps(server.sigstore.client_trust_config()))
    own = policy.Identity(identity=f"https://github.com/{JOB['job_workflow_ref']}", issuer=JOB["iss"])
    Verifier(trusted_root=config.trusted_root).verify_artifact(EVIL, worm, own)
    # A token whose claims say the service, under the job issuer's key, and with the service's issuer named.
    head, _, signature = pipeline.token.split(".")
    service_claims = server.sigstore.token(SERVICE).split(".")[1]
    with pytest.raises(Refused):
        server.sigstore.issuers.read(f"{head}.{service_claims}.{signature}")
    as_service = server.sigstore.token({**JOB, "sub": SERVICE})
    assert server.sigstore.issuers.read(as_service)["iss"] == JOB["iss"] != server.address
