"""Attacks on intent that goes out: signatures, verdicts and links that say more than people approved.

Each of these was a hole, found by reading the code as an attacker would.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from placet.adapters.securesystemslib import SkKey
from placet.adapters.sigstore import sign_in
from placet.ceremony.link import link_message, link_payload
from placet.core.bundle import MAX_NAMED_SIGNATURES, SignatureRef, encode_bundle, parse_bundle
from placet.core.encoding import b64encode, encode_canonical, sha256_hex
from placet.core.errors import PolicyError, Reason
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE, SOURCE, EvidenceFact
from placet.core.evidence.matching import meet
from placet.core.policy import EvidenceRule
from placet.core.sshsig import NAMESPACE_LINK, NAMESPACE_TRUST
from placet.core.statement import EvidenceRef, parse_statement
from placet.core.verdict.levels import slsa_levels
from placet.ports.artifact_signer import SigningUnavailableError
from placet.terminal.credentials import KnownCredential
from placet.terminal.sign_desk import SignDesk
from placet.testing.private_sigstore import PrivateSigstoreServer
from placet.testing.world import ALICE, World

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
sys.path.insert(0, str(Path(__file__).parents[1] / "core/evidence"))

from signing_case import SigningCase
from test_other_evidence import SOURCE_RULE, vsa

WHEEL, OTHER = b"a wheel", b"another wheel"
ASKED = f"sha256:{sha256_hex(WHEEL)}"


@pytest.fixture
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"intent out") as running:
        yield running


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PrivateSigstoreServer) -> SigningCase:
    return SigningCase(tmp_path, monkeypatch, server)


@contextmanager
def http_server(answer: Callable[[str, bytes], Any]) -> Iterator[str]:
    """Serves JSON that `answer` makes of a path and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            data = json.dumps(answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


# -- placet sign


@pytest.mark.parametrize(("one", "two"), [("a/app.whl", "b/app.whl"), ("app", "app.reference")])
def test_no_signature_overwrites_another_after_both_uses_are_consumed(
    case: SigningCase, one: str, two: str
) -> None:
    for name, data in ((one, WHEEL), (two, OTHER)):
        (case.folder / name).parent.mkdir(exist_ok=True)
        case.add(name, data)
    (case.folder / "one.whl").write_bytes(WHEEL)
    (case.folder / "two.whl").write_bytes(OTHER)
    (case.folder / "out").mkdir()
    request = case.request("one.whl", "two.whl")
    case.approve(request)
    done = case.sign("--output", "out", one, two)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Two signatures would be written to" in done.stderr
    assert case.outcomes(request) == []
    assert list((case.folder / "out").iterdir()) == []


def test_a_container_that_the_courier_filled_up_does_not_swallow_signatures(case: SigningCase) -> None:
    """Its names of signatures are nobody's: 128 of them cost the use, and the answer was a refusal."""
    intent = case.approve(case.request("app.whl"))
    junk = tuple(
        SignatureRef(sha256_hex(b"%d" % n), SIGSTORE_MEDIA_TYPE) for n in range(MAX_NAMED_SIGNATURES)
    )
    full = encode_bundle(parse_bundle(intent.read_bytes())._replace(signatures=junk))
    with case.service() as url:
        body = {"intent": b64encode(full), "artifacts": [ASKED]}
        answer = httpx.post(f"{url}/v1/sign", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["signatures"]) == 1


HOSTILE: dict[str, Any] = {
    "nothing was signed": [],
    "a signature of another file": [{"artifacts": ["sha256:" + "0" * 64], "bundle": "{}", "reference": "{}"}],
    "more than was asked": [
        {
            "artifacts": [ASKED, "sha256:" + "0" * 64],
            "bundle": "{}",
            "reference": "{}",
        }
    ],
    "the same twice": [{"artifacts": [ASKED], "bundle": "{}", "reference": "{}"} for _ in range(2)],
    "no list": 7,
    "no signatures": [None],
    "no bundle": [{"artifacts": [ASKED], "bundle": 1, "reference": "{}"}],
    "a lone surrogate": [{"artifacts": [ASKED], "bundle": "\ud800", "reference": "{}"}],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_service_that_did_not_sign_what_was_asked_is_not_believed(case: SigningCase, what: str) -> None:
    case.approve(case.request("app.whl"))
    said = {"verdict": "allowed", "text": "x", "signer": None, "intent": "", "signatures": HOSTILE[what]}
    with http_server(lambda path, body: said) as url:
        done = case.call("sign", "--service", url, "--intent", "app.intent.json", "app.whl")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "SIGNED" not in done.stdout and "a bug of placet" not in done.stderr
    assert not (case.folder / "app.whl.sigstore.json").exists()


def test_what_was_approved_is_not_said_in_the_services_words(case: SigningCase) -> None:
    case.approve(case.request("app.whl"))
    piece = {"artifacts": [ASKED], "bundle": "{}", "reference": "{}"}
    lie = {
        "verdict": "allowed",
        "text": "\x1b[2JEverything is well",
        "signer": {"identity": "\x1b[2Jme", "issuer": "x"},
        "intent": "",
        "signatures": [piece],
    }
    with http_server(lambda path, body: lie) as url:
        done = case.call("sign", "--service", url, "--intent", "app.intent.json", "app.whl")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and "Everything is well" not in done.stdout


def test_one_identity_is_not_lent_to_every_scope(case: SigningCase) -> None:
    """Approvers of a weak scope name a target of theirs, and get the identity that stands for another."""
    scopes = {"scopes": {"default": ["pkg:**"], "playground": ["oci://dev/**"]}}
    case.world.more_files["scopes.json"] = encode_canonical(scopes)
    (case.folder / "snapshot.json").write_bytes(case.world.snapshot())
    refused = case.call("sign", "serve", "--port", "0", *case.options())
    assert refused.returncode == 2 and "--target" in refused.stderr
    case.approve(case.request("app.whl"))
    elsewhere = case.sign("--dry-run", "--target", "oci://dev/**", "app.whl")
    assert elsewhere.returncode == 1 and "target-mismatch" in elsewhere.stdout, elsewhere.stdout
    assert case.sign("--dry-run", "--target", "pkg:pypi/*", "app.whl").returncode == 0


def test_an_issuer_does_not_hold_a_gate_for_a_day() -> None:
    def answer(path: str, body: bytes) -> Any:
        if path.startswith("/.well-known"):
            return {"device_authorization_endpoint": f"{url}/device", "token_endpoint": f"{url}/token"}
        if path == "/device":
            return {
                "device_code": "d",
                "user_code": "u",
                "verification_uri": url,
                "expires_in": 60,
                "interval": 86_000,
            }
        return {"error": "authorization_pending"}

    now = [0.0]
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    with http_server(answer) as url, pytest.raises(SigningUnavailableError):
        sign_in.device_token(url, lambda prompt: None, sleep=sleep, clock=lambda: now[0])
    assert sum(waited) <= 60


@pytest.mark.parametrize("issuer", ["HTTPS://issuer.example", "https://issuer.example", "http://127.0.0.1:1"])
def test_codes_of_a_device_go_nowhere_in_the_clear(issuer: str) -> None:
    found = dict.fromkeys(("device_authorization_endpoint", "token_endpoint"), "http://elsewhere.example/t")
    with pytest.raises(SigningUnavailableError, match="without TLS"):
        sign_in._check_addresses(issuer, found)


# -- verdicts


def test_whoever_is_trusted_for_revisions_says_nothing_of_builds() -> None:
    """A source verifier's summary that names the artifact, too, and states a build level as well."""
    statement = parse_statement(World().request_deploy().payload)
    artifacts = frozenset(subject.digest for subject in statement.subjects)
    levels = ["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_3"]
    fact: EvidenceFact = vsa(
        subjects=artifacts | {"gitCommit:" + "a" * 40},
        verifiedLevels=levels,
        resourceUri=f"git+{SOURCE_RULE['source']}",
    )
    rule = SOURCE_RULE | {"signers": [{"key": fact.signer.key_digest}]} if fact.signer else SOURCE_RULE
    reference = EvidenceRef(SOURCE, SIGSTORE_MEDIA_TYPE, fact.digest)
    asked = EvidenceRule(SOURCE, rule)
    at = fact.signed_at or 1_800_000_000
    met = meet(asked, statement._replace(evidence=(reference,)), (fact,), at=at, who="The rule")
    assert slsa_levels(met, artifacts) == {"SOURCE": 3}


# -- the page for other tools


def desk(namespace: str, message: bytes) -> SignDesk:
    world = World()
    key = SkKey.from_wire(
        world.keys[ALICE].wire, kind="webauthn", origins=(world.origin("t1"),), namespace=namespace
    )
    return SignDesk(message, key, KnownCredential("", ()), world.origin("t1"))


def test_no_page_asks_for_the_link_of_an_approval_that_it_cannot_show() -> None:
    """A tool that asks for the link alone would have a person agree to a digest of an action."""
    payload = link_payload(parse_statement(World().request_deploy().payload))
    spelled = payload.replace(b"intent:", b"\\u0069ntent:")
    for message in (link_message(payload), payload, spelled, link_message(spelled)):
        with pytest.raises(PolicyError) as caught:
            desk(NAMESPACE_LINK, message)
        assert caught.value.reason is Reason.DISPLAY_INCOMPLETE
    other = {"_type": "link", "name": "test", "materials": {"app": {"sha256": "ab" * 32}}}
    assert desk(NAMESPACE_LINK, encode_canonical(other)).signable.rows
    # What is signed for another purpose is no link to anybody.
    assert desk(NAMESPACE_TRUST, payload).signable.rows
