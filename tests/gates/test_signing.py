"""The signing gate against a private Sigstore: signs exactly what was approved, after the use is consumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from signing_world import (
    ARTIFACTS,
    SDIST,
    SERVICE,
    TARGET,
    WHEEL,
    Gate,
    approved,
    digests_of,
    request_signature,
    signing_world,
)
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier, policy
from use_log_world import down, name_log

from placet.adapters.sqlite.ledger import SqliteLedger
from placet.core.bundle import parse_bundle
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.evidence.facts import DSSE_MEDIA_TYPE
from placet.core.statement import parse_statement
from placet.documents.signing import (
    Artifact,
    build_statement,
    name_signatures,
    read_reference,
    read_statement,
)
from placet.gates.signing import Step
from placet.gates.signing_plan import plan_signing, prepare_signing
from placet.ports.artifact_signer import ArtifactSigner, SigningUnavailableError, SigningUnfinishedError
from placet.ports.use_ledger import NOT_EXECUTED
from placet.testing import world as worlds
from placet.testing.private_sigstore import PrivateSigstoreServer, github_claims
from placet.testing.world import ALICE, World

FORK = multiprocessing.get_context("fork")
SBOM_TYPE = "https://cyclonedx.org/bom"
SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "score": 7.5}'


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"signing gate") as running:
        yield running


@pytest.fixture
def world() -> World:
    world = signing_world()
    world.more_files["actions/sign/v1.json"] = (
        files("placet.actions").joinpath("sign", "v1.json").read_bytes()
    )
    return world


@pytest.fixture
def gate(world: World, tmp_path: Path, server: PrivateSigstoreServer) -> Gate:
    return Gate(world, tmp_path, server)


def refusal(call: Callable[[], object]) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value


def sigstore_python(server: PrivateSigstoreServer) -> Verifier:
    config = ClientTrustConfig.from_json(json.dumps(server.sigstore.client_trust_config()))
    return Verifier(trusted_root=config.trusted_root)


def by_service(server: PrivateSigstoreServer) -> policy.Identity:
    return policy.Identity(identity=SERVICE, issuer=server.address)


# What is signed


def test_each_artifact_gets_a_signature_and_a_reference_that_sigstore_python_accepts(
    world: World, gate: Gate, server: PrivateSigstoreServer
) -> None:
    bundle = approved(world, request_signature(world, ARTIFACTS))
    result = gate.sign(bundle, digests_of(WHEEL, SDIST))
    check, who = sigstore_python(server), by_service(server)
    assert result.signer is not None
    assert tuple(result.signer) == (SERVICE, server.address)
    assert len(result.signed) == 2
    for piece, data in zip(result.signed, (WHEEL, SDIST), strict=True):
        signature = Bundle.from_json(piece.bundle)
        assert json.loads(piece.bundle)["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        check.verify_artifact(data, signature, who)
        _, payload = check.verify_dsse(Bundle.from_json(piece.reference), who)
        attester, references, subjects = read_reference(payload)
        assert subjects == digests_of(data)
        envelope = parse_bundle(bundle).envelope
        assert ("application/vnd.in-toto+json", sha256_hex(envelope.payload)) in references
        assert DSSE_MEDIA_TYPE in {media_type for media_type, _ in references}
        assert attester == f"https://{world.rp_id}/gates/{worlds.GATE}"
    assert gate.outcomes(bundle) == [0, 0]
    assert gate.sign_ins == 1


def test_the_reference_statement_has_every_member_that_its_specification_requires(
    world: World, gate: Gate
) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    (piece,) = gate.sign(bundle, digests_of(WHEEL)).signed
    import base64

    statement = json.loads(base64.b64decode(json.loads(piece.reference)["dsseEnvelope"]["payload"]))
    assert statement["predicateType"] == "https://in-toto.io/attestation/reference/v0.1"
    assert statement["predicate"]["attester"]["id"].startswith("https://")
    for reference in statement["predicate"]["references"]:
        assert set(reference) == {"name", "digest", "downloadLocation", "mediaType"}


def test_a_statement_is_signed_byte_for_byte(world: World, gate: Gate, server: PrivateSigstoreServer) -> None:
    artifacts = tuple(Artifact(name, sha256_hex(data)) for name, data in ARTIFACTS.items())
    payload = build_statement(artifacts, SBOM_TYPE, SBOM)
    bundle = approved(world, request_signature(world, ARTIFACTS, statement=(SBOM_TYPE, payload)))
    result = gate.sign(bundle, digests_of(WHEEL, SDIST), statement=payload)
    (piece,) = result.signed
    _, signed = sigstore_python(server).verify_dsse(Bundle.from_json(piece.bundle), by_service(server))
    assert signed == payload
    assert read_statement(signed) == (SBOM_TYPE, digests_of(WHEEL, SDIST))
    assert gate.outcomes(bundle) == [0, 0]


def test_artifacts_of_one_approval_can_be_signed_one_after_the_other(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, ARTIFACTS))
    gate.sign(bundle, digests_of(WHEEL))
    gate.sign(bundle, digests_of(SDIST))
    assert refusal(lambda: gate.sign(bundle, digests_of(SDIST))).reason is Reason.ALREADY_USED


def test_the_container_names_the_signatures_and_keeps_what_was_signed(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    (piece,) = gate.sign(bundle, digests_of(WHEEL)).signed
    named = name_signatures(bundle, [piece.bundle, piece.reference])
    assert name_signatures(named, [piece.bundle]) == named
    before, after = parse_bundle(bundle), parse_bundle(named)
    assert [s.digest for s in after.signatures] == [sha256_hex(piece.bundle), sha256_hex(piece.reference)]
    assert after._replace(signatures=()) == before


# What is refused, and nothing is used


def test_another_artifact_is_refused(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    assert refusal(lambda: gate.sign(bundle, digests_of(b"evil"))).reason is Reason.ARTIFACT_MISMATCH
    both = digests_of(WHEEL, b"evil")
    assert refusal(lambda: gate.sign(bundle, both)).reason is Reason.ARTIFACT_MISMATCH
    assert refusal(lambda: gate.sign(bundle, frozenset())).reason is Reason.ARTIFACT_MISMATCH
    assert gate.outcomes(bundle) == [] and gate.sign_ins == 0
    plan = plan_signing(parse_statement(parse_bundle(bundle).envelope.payload))
    for digests in (digests_of(b"evil"), both, frozenset()):  # before anybody is asked to judge
        found = refusal(lambda d=digests: prepare_signing(plan, d, None))  # type: ignore[misc]
        assert found.reason is Reason.ARTIFACT_MISMATCH


def test_before_the_quorum_is_complete_nobody_signs_in(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}), [ALICE])
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.QUORUM_NOT_MET
    assert gate.sign_ins == 0


def test_an_approval_of_a_release_signs_nothing(world: World, gate: Gate) -> None:
    world.policy = world.policy.replace("actions/sign/v1", "actions/release/v1")
    bundle = world.bundle(world.request_release({"app.whl": WHEEL}, target=TARGET), ALICE)
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.ACTION_MISMATCH


def test_another_statement_is_refused(world: World, gate: Gate) -> None:
    app = (Artifact("app.whl", sha256_hex(WHEEL)),)
    payload = build_statement(app, SBOM_TYPE, SBOM)
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}, statement=(SBOM_TYPE, payload)))
    digests = digests_of(WHEEL)
    other = build_statement(app, SBOM_TYPE, b'{"bomFormat": "CycloneDX"}')
    for statement in (other, None, payload + b" "):
        found = refusal(lambda s=statement: gate.sign(bundle, digests, statement=s))  # type: ignore[misc]
        assert found.reason is Reason.EXECUTION_MISMATCH
    plain = approved(world, request_signature(world, {"app.whl": WHEEL}))
    found = refusal(lambda: gate.sign(plain, digests, statement=payload))
    assert found.reason is Reason.EXECUTION_MISMATCH
    assert gate.sign_ins == 0


@pytest.mark.parametrize("member", ["type", "subjects"])
def test_a_statement_that_says_otherwise_than_the_approval_is_refused(
    world: World, gate: Gate, member: str
) -> None:
    """Its digest was approved; but what people were shown, type and files, must be what it says."""
    named = (Artifact("app.whl", sha256_hex(b"evil" if member == "subjects" else WHEEL)),)
    payload = build_statement(named, "https://evil.example/v1" if member == "type" else SBOM_TYPE, SBOM)
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}, statement=(SBOM_TYPE, payload)))
    found = refusal(lambda: gate.sign(bundle, digests_of(WHEEL), statement=payload))
    assert found.reason is Reason.EXECUTION_MISMATCH and gate.sign_ins == 0


def test_only_the_approved_identity_signs(world: World, gate: Gate, server: PrivateSigstoreServer) -> None:
    bundle = approved(
        world, request_signature(world, {"app.whl": WHEEL}, signer=("release@example.com", server.address))
    )
    found = refusal(lambda: gate.sign(bundle, digests_of(WHEEL)))
    assert found.reason is Reason.EXECUTION_MISMATCH and gate.outcomes(bundle) == []
    pipeline = lambda: gate.open_signer(github_claims("octo/app"))  # noqa: E731
    found = refusal(lambda: gate.sign(bundle, digests_of(WHEEL), signer=pipeline))
    assert found.reason is Reason.EXECUTION_MISMATCH and gate.outcomes(bundle) == []
    right = gate.sign(bundle, digests_of(WHEEL), signer=lambda: gate.open_signer("release@example.com"))
    assert right.signer is not None and right.signer.identity == "release@example.com"


def test_an_approval_that_ends_while_somebody_signs_in_is_not_used(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))

    def slowly() -> ArtifactSigner:
        signer = gate.open_signer()
        gate.clock.at = worlds.NOW + 3600
        return signer

    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL), signer=slowly)).reason is Reason.EXPIRED
    assert gate.outcomes(bundle) == []


# What is in the way


def test_without_an_identity_nothing_is_used(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    sigstore = gate.server.sigstore
    from placet.adapters.sigstore.signing import SigstoreSigner, load_instance

    instance = load_instance(json.dumps(sigstore.client_trust_config()).encode())
    head, body, _ = sigstore.token(SERVICE).split(".")
    for token in ("", "a.b.c", sigstore.token(SERVICE, aud="another"), f"{head}.{body}.AAAA"):
        with pytest.raises(SigningUnavailableError) as caught:
            gate.sign(bundle, digests_of(WHEEL), signer=lambda t=token: SigstoreSigner(instance, t))  # type: ignore[misc]
        assert body not in str(caught.value)
    assert gate.outcomes(bundle) == []


def test_a_log_that_fails_leaves_the_use_consumed_with_an_unknown_outcome(
    world: World, gate: Gate, tmp_path: Path
) -> None:
    from placet.adapters.sigstore.signing import SigstoreSigner, load_instance

    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    config = gate.server.sigstore.client_trust_config()
    config["signingConfig"]["rekorTlogUrls"][0]["url"] = f"{gate.server.address}/nowhere"
    instance = load_instance(json.dumps(config).encode())

    def broken() -> ArtifactSigner:
        return SigstoreSigner(instance, gate.server.sigstore.token(SERVICE))

    with pytest.raises(SigningUnfinishedError):
        gate.sign(bundle, digests_of(WHEEL), signer=broken)
    assert gate.outcomes(bundle) == [None] and gate.kept == []
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.ALREADY_USED


def test_a_log_that_lies_is_found_out_before_anything_is_handed_out(
    world: World, gate: Gate, server: PrivateSigstoreServer
) -> None:
    """Its entry would be refused by everybody: here it is refused by us, first."""
    from placet.adapters.sigstore.signing import SigstoreSigner, load_instance

    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    config = server.sigstore.client_trust_config()
    with PrivateSigstoreServer(b"another log") as liar:
        config["signingConfig"]["rekorTlogUrls"] = liar.sigstore.signing_config()["rekorTlogUrls"]
        instance = load_instance(json.dumps(config).encode())
        signer = SigstoreSigner(instance, server.sigstore.token(SERVICE))
        with pytest.raises(SigningUnfinishedError):
            signer.sign_digest(sha256_hex(WHEEL))
        with pytest.raises(SigningUnfinishedError):
            signer.sign_statement(build_statement((Artifact("a", sha256_hex(WHEEL)),), SBOM_TYPE, SBOM))
        with pytest.raises(SigningUnfinishedError):
            gate.sign(bundle, digests_of(WHEEL), signer=lambda: signer)
    assert gate.kept == []


def test_a14_nobody_signs_in_while_the_log_that_must_hold_the_use_is_down(
    world: World, gate: Gate, tmp_path: Path
) -> None:
    gate.log = name_log(world, tmp_path)
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    gate.log.at = {"checkpoint": down}
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.LOG_UNAVAILABLE
    assert (gate.sign_ins, gate.outcomes(bundle)) == (0, [])


def test_a14_nothing_is_signed_that_the_log_does_not_hold(world: World, gate: Gate, tmp_path: Path) -> None:
    gate.log = name_log(world, tmp_path)
    bundle = approved(world, request_signature(world, ARTIFACTS))
    gate.log.at = {"proof": down}
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.LOG_UNAVAILABLE
    assert (gate.kept, gate.outcomes(bundle)) == ([], [NOT_EXECUTED])
    gate.log.at = {}
    gate.sign(bundle, digests_of(SDIST))
    assert (len(gate.kept), gate.outcomes(bundle)) == (1, [NOT_EXECUTED, 0])
    assert len(gate.log.leaves) == 2
    with SqliteLedger(gate.path) as ledger:
        assert ledger.count_unlogged().uses == 0  # the second act handed in what the first one left


def test_a18_a_log_that_is_slow_cannot_put_a_signature_off_beyond_its_window(
    world: World, gate: Gate, tmp_path: Path
) -> None:
    gate.log = name_log(world, tmp_path)
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    gate.log.at = {"proof": lambda: setattr(gate.clock, "at", gate.clock.at + 3600)}
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.EXPIRED
    assert (gate.kept, gate.outcomes(bundle)) == ([], [NOT_EXECUTED])


def test_the_same_event_signs_once(world: World, gate: Gate) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    first = gate.sign(bundle, digests_of(WHEEL), event_id="upload-1")
    second = gate.sign(bundle, digests_of(WHEEL), event_id="upload-1")
    assert len(first.signed) == 1 and second.signed == () and len(second.repeated) == 1
    assert (
        refusal(lambda: gate.sign(bundle, digests_of(WHEEL), event_id="upload-2")).reason
        is Reason.ALREADY_USED
    )


# Crashes


@pytest.mark.parametrize("step", list(Step))
def test_killed_after_each_step_nothing_is_ever_signed_twice(world: World, gate: Gate, step: Step) -> None:
    bundle = approved(world, request_signature(world, {"app.whl": WHEEL}))
    marks = gate.folder / "kept"

    def die(reached: Step) -> None:
        if reached is step:
            os.kill(os.getpid(), signal.SIGKILL)

    def keep(piece: Any) -> None:
        marks.write_bytes(piece.bundle)

    child = FORK.Process(
        target=gate.sign, args=(bundle, digests_of(WHEEL)), kwargs={"observe": die, "keep": keep}
    )
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    order = list(Step)
    if order.index(step) < order.index(Step.CONSUMED):
        assert gate.outcomes(bundle) == []
        assert len(gate.sign(bundle, digests_of(WHEEL)).signed) == 1
        return
    assert gate.outcomes(bundle) == [0 if step is Step.RECORDED else None]
    assert marks.exists() == (order.index(step) >= order.index(Step.KEPT))
    assert refusal(lambda: gate.sign(bundle, digests_of(WHEEL))).reason is Reason.ALREADY_USED


# Documents


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        (b'{"a":1,"a":2}', Reason.DUPLICATE_MEMBER),
        (b"[]", Reason.WRONG_TYPE),
        (b'{"a":NaN}', Reason.NUMBER_NOT_ALLOWED),
        (b"{", Reason.NOT_JSON),
        (b"\xff", Reason.NOT_UTF8),
        (b'{"a":"\\ud800"}', Reason.NOT_UTF8),
        (b'{"a":' * 100_000, Reason.NOT_JSON),
    ],
)
def test_a_predicate_that_could_be_read_in_two_ways_is_refused(predicate: bytes, reason: Reason) -> None:
    app = (Artifact("app.whl", sha256_hex(WHEEL)),)
    assert refusal(lambda: build_statement(app, SBOM_TYPE, predicate)).reason is reason


def test_a_predicate_gives_the_same_bytes_however_it_is_laid_out() -> None:
    app = (Artifact("app.whl", sha256_hex(WHEEL)),)
    one = build_statement(app, SBOM_TYPE, b'{"b": 1.50, "a": "\xc3\xa4"}')
    two = build_statement(app, SBOM_TYPE, b'{"a":"\\u00e4","b":1.5}')
    assert one == two
