"""Tokens of OIDC issuers as proof of who asks, against a real issuer on loopback (REQ-04 to REQ-06)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OctKey

from placet.adapters.oidc.keys import KEEP_SECONDS, issuers_path, refresh_issuers
from placet.adapters.oidc.tokens import TokenVerifier
from placet.ceremony.decide import prepare
from placet.ceremony.publish import assemble
from placet.ceremony.request import attach_token, bind_nonce, token_audience
from placet.core.bundle import IntentRequest
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.statement import parse_statement
from placet.core.verify import UnsafeAnyAction, verify_for_use
from placet.documents.issuers import ISSUERS_FILE, Issuer, encode_issuers
from placet.testing.oidc import SoftIssuer
from placet.testing.world import ALICE, BOB, CAROL, GATE, NOW, World

SALT = bytes(32)
ORGANISATION = {"repository_owner_id": "4711"}


@pytest.fixture(scope="module")
def shared_issuer() -> Iterator[SoftIssuer]:
    with SoftIssuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(shared_issuer: SoftIssuer) -> SoftIssuer:
    shared_issuer.keys = shared_issuer.keys[:1]
    shared_issuer.broken, shared_issuer.discovery = False, {}
    return shared_issuer


class Deployment:
    """A world whose trust root believes one issuer about Alice, and its snapshot's folder."""

    def __init__(self, folder: Path, issuer: SoftIssuer, **settings: Any) -> None:
        self.issuer, self.snapshot = issuer, folder / "snapshot.json"
        self.world = World(seed=b"tokens", policy=settings.pop("policy", World().policy))
        self.world.evidence = TokenVerifier(self.snapshot)
        self.world.accounts = {ALICE: [{"issuer": issuer.address, "subject": "31"}]}
        believed = Issuer(issuer.address, "actor_id", ORGANISATION, (issuer.algorithm,), None)
        self.believe(believed._replace(**settings))
        self.refresh(NOW)

    def believe(self, issuer: Issuer) -> None:
        self.world.more_files[ISSUERS_FILE] = encode_issuers([issuer])

    def refresh(self, now: int) -> tuple[str, ...]:
        return refresh_issuers(self.snapshot, self.world.more_files[ISSUERS_FILE], now=now)

    def ask(self, **claims: Any) -> IntentRequest:
        bound = bind_nonce(self.world.request_deploy(), salt=SALT)
        said = {"aud": token_audience(bound), "actor_id": "31", **ORGANISATION} | claims
        return attach_token(bound, salt=SALT, token=self.issuer.token(said, now=NOW))

    def carry(self, token: str) -> IntentRequest:
        bound = bind_nonce(self.world.request_deploy(), salt=SALT)
        return attach_token(bound, salt=SALT, token=token)

    def requester(self, request: IntentRequest) -> str | None:
        trust = self.world.trust()
        return prepare(request, trust=trust, now=NOW + 30, evidence=self.world.evidence).requester


@pytest.fixture
def deployment(tmp_path: Path, issuer: SoftIssuer) -> Deployment:
    return Deployment(tmp_path, issuer)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "Ed25519"])
def test_the_person_of_the_token_is_the_requester(tmp_path: Path, algorithm: str) -> None:
    with SoftIssuer(algorithm) as issuer:
        deployment = Deployment(tmp_path, issuer)
        assert deployment.requester(deployment.ask()) == ALICE


def test_numbers_and_single_audience_lists_are_read_as_issuers_write_them(deployment: Deployment) -> None:
    assert deployment.requester(deployment.ask(actor_id=31)) == ALICE
    bound = bind_nonce(deployment.world.request_deploy(), salt=SALT)
    said = {"aud": [token_audience(bound)], "actor_id": "31", **ORGANISATION}
    token = deployment.issuer.token(said, now=NOW)
    assert deployment.requester(attach_token(bound, salt=SALT, token=token)) == ALICE


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"aud": "https://registry.example"}, "something else"),
        ({"aud": ["placet:request:x", "y"]}, "one audience"),
        ({"aud": None}, "one audience"),
        ({"actor_id": "32"}, "No person has the account"),
        ({"actor_id": None}, "no claim 'actor_id'"),
        ({"actor_id": True}, "no claim 'actor_id'"),
        ({"repository_owner_id": "9"}, "repository_owner_id"),
        ({"repository_owner_id": None}, "repository_owner_id"),
        ({"exp": NOW - 61}, "not valid when"),
        ({"nbf": NOW + 61}, "not valid when"),
        ({"exp": None}, "no time 'exp'"),
        ({"exp": "tomorrow"}, "no time 'exp'"),
        ({"iss": "https://evil.example"}, "does not name"),
    ],
)
def test_what_the_token_says_is_held_against_the_trust_root(
    deployment: Deployment, claims: dict[str, Any], words: str
) -> None:
    with pytest.raises(VerificationError, match=words) as refused:
        deployment.requester(deployment.ask(**claims))
    assert refused.value.reason == Reason.REQUEST_PROOF_INVALID


def test_an_attackers_key_under_the_issuers_name(deployment: Deployment) -> None:
    with SoftIssuer() as mallory:
        claims = {"iss": deployment.issuer.address, "actor_id": "31", **ORGANISATION}
        bound = bind_nonce(deployment.world.request_deploy(), salt=SALT)
        forged = mallory.token({**claims, "aud": token_audience(bound)}, now=NOW)
    with pytest.raises(VerificationError, match="signature is not one of"):
        deployment.requester(deployment.carry(forged))


def test_algorithm_none_and_the_public_key_as_a_secret(deployment: Deployment) -> None:
    claims = json.dumps({"iss": deployment.issuer.address, "actor_id": "31"}).encode()
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    public = deployment.issuer.keys[0].as_pem(private=False)
    confused = jws.serialize_compact(
        {"alg": "HS256", "kid": "1"}, claims, OctKey.import_key(public.hex()), ["HS256"]
    )
    for token in (f"{header}.{body}.", confused, "a.b.c", f"{header}.{body}.AAAA"):
        with pytest.raises(VerificationError) as refused:
            deployment.requester(deployment.carry(token))
        assert refused.value.reason == Reason.REQUEST_PROOF_INVALID


def test_a_claim_that_stands_there_twice(deployment: Deployment) -> None:
    bound = bind_nonce(deployment.world.request_deploy(), salt=SALT)
    said = {
        "iss": deployment.issuer.address,
        "aud": token_audience(bound),
        **ORGANISATION,
        "iat": NOW,
        "exp": NOW + 9,
    }
    text = json.dumps(said)[:-1] + ',"actor_id":"32","actor_id":"31"}'
    with pytest.raises(VerificationError, match="no signed JWT"):
        deployment.requester(deployment.carry(deployment.issuer.sign(text.encode())))


def test_a_token_on_another_request(deployment: Deployment) -> None:
    token = deployment.ask().evidence[0]
    other = bind_nonce(deployment.world.request_deploy(b"another image"), salt=SALT)
    value = json.loads(token.content)["token"]
    moved = attach_token(other, salt=SALT, token=value)
    with pytest.raises(VerificationError, match="something else"):
        deployment.requester(moved)


def test_a_machine_that_verified_nothing_is_undecided(deployment: Deployment) -> None:
    with pytest.raises(IndeterminateError, match="nothing here verified"):
        prepare(deployment.ask(), trust=deployment.world.trust(), now=NOW + 30)


def test_keys_of_another_version_of_the_trust_root(deployment: Deployment) -> None:
    request = deployment.ask()
    deployment.believe(Issuer(deployment.issuer.address, "sub", ORGANISATION, ("RS256",), None))
    with pytest.raises(IndeterminateError, match="another version"):
        deployment.requester(request)
    issuers_path(deployment.snapshot).write_bytes(b"damaged")
    with pytest.raises(IndeterminateError, match="cannot be read"):
        deployment.requester(request)


def test_key_rotation_keeps_requests_that_wait(deployment: Deployment) -> None:
    old = deployment.ask()
    deployment.issuer.keys = [deployment.issuer.make_key("2")]
    new = deployment.ask()
    with pytest.raises(IndeterminateError, match="not known here"):
        deployment.requester(new)
    assert deployment.refresh(NOW + 60) == ()
    assert deployment.requester(new) == deployment.requester(old) == ALICE
    deployment.refresh(NOW + KEEP_SECONDS)
    with pytest.raises(IndeterminateError, match="not known here"):
        deployment.requester(old)


@pytest.mark.parametrize("fault", ["broken", "other-issuer", "elsewhere", "not-a-list"])
def test_an_issuer_that_answers_badly_leaves_what_was_known(deployment: Deployment, fault: str) -> None:
    match fault:
        case "broken":
            deployment.issuer.broken = True
        case "other-issuer":
            deployment.issuer.discovery = {"issuer": "https://evil.example"}
        case "elsewhere":
            deployment.issuer.discovery = {"jwks_uri": "file:///etc/passwd"}
        case _:
            deployment.issuer.discovery = {
                "jwks_uri": f"{deployment.issuer.address}/.well-known/openid-configuration"
            }
    (note,) = deployment.refresh(NOW + 60)
    assert deployment.issuer.address in note
    assert deployment.requester(deployment.ask()) == ALICE


def test_pinned_keys_ask_nobody(tmp_path: Path, issuer: SoftIssuer) -> None:
    deployment = Deployment(tmp_path, issuer, keys=tuple(issuer.jwks()["keys"]))
    issuer.broken = True
    assert deployment.refresh(NOW) == ()
    assert deployment.requester(deployment.ask()) == ALICE


def test_a_private_key_is_not_pinned(tmp_path: Path, issuer: SoftIssuer) -> None:
    with pytest.raises(PlacetError, match="private key"):
        Deployment(tmp_path, issuer, keys=(issuer.keys[0].as_dict(private=True),))


def test_a11_the_requester_whom_a_token_names_cannot_approve(tmp_path: Path, issuer: SoftIssuer) -> None:
    policy = World().policy.replace("exclude_requester = false", "exclude_requester = true")
    assert "exclude_requester = true" in policy
    deployment = Deployment(tmp_path, issuer, policy=policy)
    request, world = deployment.ask(), deployment.world

    def refusal(*people: str) -> PlacetError | None:
        answers = [world.approve(request, person) for person in people]
        trust = world.trust()
        return assemble(request, answers, trust=trust, now=NOW + 90, evidence=world.evidence).refusal

    refused = refusal(ALICE, BOB)
    assert isinstance(refused, PolicyError)
    assert refused.reason == Reason.QUORUM_NOT_MET
    assert refusal(BOB, CAROL) is None
    facts = world.evidence.verify(parse_statement(request.payload), request.evidence, trust=world.trust())
    expected = UnsafeAnyAction("the test looks at people only")
    judge = partial(
        verify_for_use, trust=world.trust(), gate=GATE, expected=expected, now=NOW + 90, evidence=facts
    )
    with pytest.raises(PolicyError) as denied:
        judge(world.bundle(request, ALICE, BOB))
    assert denied.value.reason == Reason.QUORUM_NOT_MET
    assert judge(world.bundle(request, BOB, CAROL)).requester == ALICE
