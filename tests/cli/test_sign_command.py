"""`placet sign` as its user meets it: on a terminal, as a service, and for whoever checks afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dead_log import name_dead_log
from signing_case import SERVICE, TARGET, SigningCase
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier, policy

from placet.cli._sign_files import Outputs, Writer
from placet.cli._sign_serve import KeptSignatures
from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.encoding import b64decode_strict, b64encode, sha256_hex
from placet.documents.signing import Artifact
from placet.gates.signing import SignedPiece
from placet.gates.signing_plan import Piece
from placet.ports.artifact_signer import SigningUnfinishedError
from placet.testing.private_sigstore import PrivateSigstoreServer
from placet.testing.world import ALICE


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"placet sign") as running:
        yield running


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PrivateSigstoreServer) -> SigningCase:
    return SigningCase(tmp_path, monkeypatch, server)


def verify(case: SigningCase, data: bytes, bundle: Path) -> None:
    config = ClientTrustConfig.from_json((case.folder / "sigstore/trust_config_v2.json").read_text())
    who = policy.Identity(identity=SERVICE, issuer=case.server.address)
    Verifier(trusted_root=config.trusted_root).verify_artifact(
        data, Bundle.from_json(bundle.read_bytes()), who
    )


def check_words(case: SigningCase, *more: str) -> list[str]:
    return [
        *("sign", "check", "app.whl", "--intent", "app.intent.json"),
        *("--sigstore-config", "sigstore/trust_config_v2.json"),
        *("--identity", SERVICE, "--issuer", case.server.address),
        *more,
    ]


def test_a_file_is_signed_once_and_everything_that_belongs_to_it_is_written(case: SigningCase) -> None:
    request = case.request("app.whl", "--signer", SERVICE, case.server.address)
    intent = case.approve(request)
    dry = case.sign("app.whl", "--dry-run")
    assert dry.returncode == 0 and dry.stdout.startswith("ALLOWED"), dry.stderr
    assert case.outcomes(request) == []
    done = case.sign("app.whl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == f"SIGNED: Sign artifact for {TARGET}: app.whl"
    assert f"Signed by {SERVICE}" in done.stdout
    token = (case.folder / "token").read_text()
    assert token not in done.stdout + done.stderr
    signature = case.folder / "app.whl.sigstore.json"
    reference = case.folder / "app.whl.reference.sigstore.json"
    verify(case, b"a wheel", signature)
    named = {ref.digest for ref in parse_bundle(intent.read_bytes()).signatures}
    assert named == {sha256_hex(signature.read_bytes()), sha256_hex(reference.read_bytes())}
    assert case.outcomes(request) == [0]
    again = case.sign("app.whl", "--output", str(case.folder / "sigstore"))
    assert again.returncode == 1 and "already-used" in again.stdout
    assert not (case.folder / "sigstore/app.whl.sigstore.json").exists()


def test_file_signature_reference_and_approval_belong_together_or_not(case: SigningCase) -> None:
    case.add("other.whl", b"another wheel")
    case.approve(case.request("app.whl", "other.whl"))
    assert case.sign("app.whl", "other.whl").returncode == 0
    good = case.call(*check_words(case))
    assert good.returncode == 0, good.stdout + good.stderr
    named = (case.folder / "app.intent.json").read_bytes()
    bare = parse_bundle(named)._replace(signatures=())
    case.add("app.intent.json", encode_bundle(bare))
    unnamed = case.call(*check_words(case))
    assert unnamed.returncode == 1 and "does not name this Sigstore bundle" in unnamed.stdout
    case.add("app.intent.json", named)
    assert good.stdout.startswith("VALID: File, signature, reference and approval belong together.")
    for words, reason in (
        (("--bundle", "other.whl.sigstore.json"), "evidence-invalid"),
        (("--reference", "other.whl.reference.sigstore.json"), "evidence-mismatch"),
        (("--reference", "app.whl.sigstore.json"), "evidence-invalid"),
        (("--identity", "mallory@example.com"), "evidence-invalid"),
    ):
        bad = case.call(*check_words(case, *words))
        assert bad.returncode == 1 and reason in bad.stdout, (words, bad.stdout, bad.stderr)
    case.approve(case.request("app.whl", "--reason", "another"))  # over the bundle that named them
    swapped = case.call(*check_words(case))
    assert swapped.returncode == 1 and "names another approval" in swapped.stdout
    case.add("broken.json", b"{}")
    broken = case.call(*check_words(case, "--sigstore-config", "broken.json"))
    assert broken.returncode == 3 and "configuration cannot be used" in broken.stderr
    assert "a bug of placet" not in broken.stderr
    case.add("app.whl", b"evil")
    assert "for other files" in case.call(*check_words(case)).stdout


def test_a_statement_is_signed_from_the_predicate_that_was_approved(case: SigningCase) -> None:
    case.add("app.cdx.json", b'{"bomFormat": "CycloneDX", "score": 7.5}')
    kind = "https://cyclonedx.org/bom"
    request = case.request("app.whl", "--predicate", "app.cdx.json", "--predicate-type", kind)
    case.approve(request)
    bare = case.sign("app.whl")
    assert bare.returncode == 1 and "execution-mismatch" in bare.stdout
    case.add("evil.cdx.json", b'{"bomFormat": "CycloneDX", "score": 0.1}')
    other = case.sign("app.whl", "--predicate", "evil.cdx.json")
    assert other.returncode == 1 and "execution-mismatch" in other.stdout
    done = case.sign("app.whl", "--predicate", "app.cdx.json")
    assert done.returncode == 0, done.stdout + done.stderr
    good = case.call(*check_words(case))
    assert good.returncode == 0, good.stdout + good.stderr


def test_an_approver_signs_in_on_another_device_and_no_secret_is_printed(case: SigningCase) -> None:
    request = case.request("app.whl", "--signer", ALICE, case.server.address)
    case.approve(request)
    words = ["sign", "--intent", "app.intent.json", *case.options()[:-2], "--sign-in", "device", "app.whl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "placet", *words],
        cwd=case.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    shown = [process.stderr.readline() for _ in range(3)]
    people = case.server.people
    devices = list(people._devices)
    people.enter_code(shown[2].split()[-1], ALICE)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, out + err
    assert f"Signed by {ALICE}" in out
    said = "".join(shown) + out + err
    assert "eyJ" not in said and not [code for code in devices if code in said]


def test_before_the_quorum_nothing_is_signed(case: SigningCase) -> None:
    request = case.request("app.whl")
    case.approve(request, [ALICE])
    done = case.sign("app.whl", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == "quorum-not-met"
    assert case.outcomes(request) == []


def test_every_mistake_is_said_in_words_and_uses_nothing(case: SigningCase) -> None:
    request = case.request("app.whl")
    case.approve(request)
    case.add("app.whl.sigstore.json", b"{}")
    taken = case.sign("app.whl")
    assert taken.returncode == 2 and "is there already" in taken.stderr
    (case.folder / "app.whl.sigstore.json").unlink()
    gone = case.sign("app.whl", "--output", "nowhere")
    assert gone.returncode == 2 and "cannot be written" in gone.stderr
    nobody = case.call(
        *("sign", "--intent", "app.intent.json", *case.options()[:-2], "app.whl"),
    )
    assert nobody.returncode == 3 and "signing-unavailable" in nobody.stdout
    case.add("token", b"not a token")
    wrong = case.sign("app.whl")
    assert wrong.returncode == 3 and "not a token" not in wrong.stdout
    offline = case.sign("app.whl", "--sigstore-config", "app.whl")
    assert offline.returncode == 3 and "signing-unavailable" in offline.stdout
    assert case.call("sign", "app.whl").returncode == 2
    assert case.call("sign", "check", "app.whl", "--intent", "app.intent.json").returncode == 2
    assert case.outcomes(request) == []


def test_the_service_signs_for_whoever_brings_an_approval(case: SigningCase) -> None:
    request = case.request("app.whl")
    intent = case.approve(request)
    with case.service() as url, httpx.Client(base_url=url) as client:
        assert client.get("/healthz").json() == {"ok": True}
        ask = ("sign", "--service", url, "--intent", "app.intent.json", "app.whl")
        asked = case.call(*ask, "--event-id", "e1")
        assert asked.returncode == 0, asked.stdout + asked.stderr
        verify(case, b"a wheel", case.folder / "app.whl.sigstore.json")
        assert case.call(*check_words(case)).returncode == 0
        body = {
            "intent": b64encode(intent.read_bytes()),
            "artifacts": [f"sha256:{sha256_hex(b'a wheel')}"],
        }
        # The answer was lost: the same event gets the same signature, and nobody else gets one.
        again = client.post("/v1/sign", json=body | {"event": "e1"}).json()
        (kept,) = again["signatures"]
        assert kept["bundle"].encode() == (case.folder / "app.whl.sigstore.json").read_bytes()
        assert parse_bundle(b64decode_strict(again["intent"], "/intent")).signatures
        replay = client.post("/v1/sign", json=body)
        assert (replay.status_code, replay.json()["reason"]) == (403, "already-used")
        denied = case.call(*ask, "--output", "sigstore")
        assert denied.returncode == 1 and "already-used" in denied.stderr
    assert case.outcomes(request) == [0]


def test_the_service_refuses_nonsense_and_never_shows_a_traceback(case: SigningCase) -> None:
    intent = b64encode(case.approve(case.request("app.whl")).read_bytes())
    digest = f"sha256:{sha256_hex(b'a wheel')}"
    with case.service() as url, httpx.Client(base_url=url) as client:
        for body, status in (
            (b"", 400),
            (b"{", 400),
            (b"[]", 400),
            (b'{"intent":1,"artifacts":[]}', 400),
            (json.dumps({"intent": "AAAA", "artifacts": [digest]}).encode(), 400),
            (json.dumps({"intent": intent, "artifacts": ["sha1:00"]}).encode(), 400),
            (json.dumps({"intent": intent, "artifacts": [digest], "more": 1}).encode(), 400),
            (json.dumps({"intent": intent, "artifacts": [f"sha256:{'0' * 64}"]}).encode(), 403),
            (b"[" * 100_000, 400),
            (b"a" * (13 * 1024 * 1024), 413),
        ):
            answer = client.post("/v1/sign", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == status, (body[:80], answer.text)
            assert {"verdict", "reason", "message", "hint"} <= answer.json().keys()
            assert "Traceback" not in answer.text
        assert client.post("/v1/sign", content=b"{}").status_code == 400
        assert client.get("/v1/sign").status_code == 405
        config = case.folder / "sigstore/trust_config_v2.json"
        config.rename(case.folder / "moved.json")
        moved = client.post("/v1/sign", json={"intent": intent, "artifacts": [digest]})
        assert (moved.status_code, moved.json()["reason"]) == (503, "signing-unavailable")
        (case.folder / "moved.json").rename(config)
        (case.folder / "token").unlink()
        body = json.dumps({"intent": intent, "artifacts": [digest]}).encode()
        nobody = client.post("/v1/sign", content=body, headers={"Content-Type": "application/json"})
        assert (nobody.status_code, nobody.json()["reason"]) == (503, "signing-unavailable")
        (case.folder / "snapshot.json").unlink()
        blind = client.post("/v1/sign", content=body, headers={"Content-Type": "application/json"})
        assert (blind.status_code, blind.json()["reason"]) == (503, "trust-unavailable")


def test_a_service_without_identity_or_ledger_does_not_start(case: SigningCase) -> None:
    words = ["sign", "serve", "--port", "0", *case.options()]
    nobody = case.call(*words[:-2])
    assert nobody.returncode == 2 and "no identity" in nobody.stderr
    (case.folder / "ledger.sqlite3").unlink()
    blank = case.call(*words)
    assert blank.returncode == 3 and "ledger-unavailable" in blank.stderr
    assert case.call("sign", "serve", "app.whl").returncode == 2


def test_a14_nothing_is_signed_while_the_log_that_must_hold_the_use_is_down(case: SigningCase) -> None:
    request = case.request("app.whl")
    name_dead_log(case.world, case.folder / "use.pem")
    (case.folder / "snapshot.json").write_bytes(case.world.snapshot())
    case.approve(request)
    key = {"PLACET_USE_KEY": "use.pem"}
    for more in ((), ("--dry-run",)):
        words = ("sign", "--intent", "app.intent.json", *case.options(), "app.whl", *more)
        down = case.call(*words, variables=key)
        assert (down.returncode, "log-unavailable" in down.stdout) == (3, True), down.stderr
        keyless = case.call(*words)
        assert (keyless.returncode, "placet ledger use-key" in keyless.stdout) == (3, True), keyless.stderr
    assert case.outcomes(request) == []
    service = case.call("sign", "serve", "--port", "0", *case.options())
    assert (service.returncode, "placet ledger use-key" in service.stderr) == (3, True)


def test_a_full_disk_after_signing_is_said_as_what_it_is(case: SigningCase) -> None:
    digest = sha256_hex(b"a wheel")
    gone = case.folder / "gone"
    piece = SignedPiece(Piece((Artifact("app.whl", digest),), None), b"{}", b"{}")
    outputs = {digest: Outputs(gone / "a", gone / "b")}
    with pytest.raises(SigningUnfinishedError, match="cannot be written"):
        Writer(None, outputs).keep(piece)
    case.add("state", b"a file where a folder should be")
    with pytest.raises(SigningUnfinishedError, match="cannot be kept"):
        KeptSignatures(case.folder / "state" / "x").keep(piece)


def test_a_client_says_when_there_is_no_service(case: SigningCase) -> None:
    case.approve(case.request("app.whl"))
    ask = ("--intent", "app.intent.json", "app.whl")
    nobody = case.call("sign", "--service", "http://127.0.0.1:9", *ask)
    assert nobody.returncode == 3 and "reached" in nobody.stderr
    other = case.call("sign", "--service", case.server.address, *ask)
    assert other.returncode == 3 and "does not answer as a signing service" in other.stderr
