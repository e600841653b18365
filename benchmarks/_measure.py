"""What the verifier's benchmarks share: the scene, the bare signature checks, and interleaving."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import IntentBundle, encode_bundle, parse_bundle
from placet.core.dsse import pae
from placet.core.sshsig import parse_public_key, parse_sshsig, signed_data
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import parse_proof
from placet.core.trust import Trust, parse_trust
from placet.core.verify import Expected
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, GATE, World, expected_of

# A small company's approvers.
APPROVERS = 25
WINDOW_SECONDS = 3600

__all__ = [
    "APPROVERS",
    "GATE",
    "Scene",
    "interleave",
    "make_scene",
    "medians",
    "signature_checks",
    "verify_arguments",
    "verify_calls",
    "whole_checks",
]


class Scene(NamedTuple):
    """Everything a gate has at hand when it decides about a deployment that two people approved."""

    bundle: bytes
    snapshot: bytes
    trust: Trust
    expected: Expected
    now: int


def make_scene(action: str = "deploy", *, logged: bool = False, now: int | None = None) -> Scene:
    """Makes a request and approves it, each of two people on a terminal of their own.

    Args:
        action: `deploy` or `run`.
        logged: whether both decisions are proven to be in a log of a million, cosigned by one witness.
        now: the gate's time; by default the clock's, so that a process started next accepts it.
    """
    now = int(time.time()) if now is None else now
    world = World()
    world.expires_at = now + 7 * 86_400
    for number in range(len(world.keys), APPROVERS):
        person = f"approver-{number}@example.com"
        world.keys[person] = SoftWebAuthn(
            rp_id=world.rp_id, web_origin=world.origin("t1"), seed=person.encode()
        )
        world.groups[person] = ["release"]
    if action == "deploy":
        request = world.request_deploy(now=now - 120)
    else:
        request = world.request_run(argv=["/bin/true"], now=now - 120)
    bundle = empty_bundle(request)
    for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
        bundle = add_answer(bundle, world.approve(request, person, terminal=terminal, decided_at=now - 60))
    if logged:
        log = SmallLog(quorum=1)
        world.more_files["log-policy"] = log.policy()
        log.leaves = [b"%d" % i for i in range(2**20)]
        bundle = log.prove(bundle, at=now - 30, witnesses=("w1",))
    snapshot = world.snapshot()
    return Scene(encode_bundle(bundle), snapshot, parse_trust(snapshot), expected_of(request), now)


def verify_arguments(folder: Path) -> list[str]:
    """Writes a scene's files and returns the arguments of the `placet verify` that allows it."""
    scene = make_scene()
    (folder / "app.intent.json").write_bytes(scene.bundle)
    (folder / "snapshot.json").write_bytes(scene.snapshot)
    arguments = ["verify", str(folder / "app.intent.json"), "--trust", str(folder / "snapshot.json")]
    arguments += ["--gate", GATE, "--action", scene.expected.action_type, "--target", scene.expected.target]
    return arguments + [f"--artifact={digest}" for digest in scene.expected.subjects]


class SignatureCheck(NamedTuple):
    """One signature check in two halves: `prepare` hashes and puts together, `verify` is one call."""

    prepare: Callable[[], tuple[bytes, bytes]]
    verify: Callable[[bytes, bytes], None]


def signature_checks(bundle: bytes) -> list[SignatureCheck]:
    """Returns every signature check inside a bundle, made with `hashlib` and `cryptography` alone.

    Keys are loaded and containers are parsed beforehand.
    """
    parsed = parse_bundle(bundle)
    message = pae(parsed.envelope.payload_type, parsed.envelope.payload)
    checks = [_webauthn_check(signature.sig, message) for signature in parsed.envelope.signatures]
    for report in parsed.reports:
        message = pae(report.payload_type, report.payload)
        checks.append(_terminal_check(report.signatures[0].sig, message))
    return checks + _log_checks(parsed)


def _log_checks(bundle: IntentBundle) -> list[SignatureCheck]:
    """Returns the log's and the witness's checks of the one checkpoint that all proofs share."""
    if not bundle.log:
        return []
    proofs = [parse_proof(proof.proof) for proof in bundle.log]
    (checkpoint,) = {proof.checkpoint for proof in proofs}
    note, log = parse_note(checkpoint), SmallLog(quorum=1)

    def hash_paths() -> None:
        for proof in proofs:
            node = hashlib.sha256(b"a leaf").digest()
            for sibling in proof.hashes:
                node = hashlib.sha256(b"\x01" + node + sibling).digest()

    checks = []
    for signer in (log.signer, log.witnesses["w1"]):
        found = note.signature_by(signer.verifier_key)
        assert found is not None
        key = ed25519.Ed25519PublicKey.from_public_bytes(signer.verifier_key.public_key)
        message, signature = note.text, found.signature
        if signer is not log.signer:
            stamp, signature = signature[:8], signature[8:]
            message = b"cosignature/v1\ntime %d\n" % int.from_bytes(stamp, "big") + note.text
        checks.append(SignatureCheck(lambda s=signature, m=message: (s, m), key.verify))
    first = checks[0]

    def with_paths() -> tuple[bytes, bytes]:
        hash_paths()
        return first.prepare()

    return [first._replace(prepare=with_paths), *checks[1:]]


def _webauthn_check(blob: bytes, message: bytes) -> SignatureCheck:
    sshsig = parse_sshsig(blob)
    key = parse_public_key(sshsig.public_key)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw)
    client_data, numbers = sshsig.client_data_json, sshsig.numbers
    assert client_data is not None and numbers is not None
    application, algorithm = key.application.encode(), ec.ECDSA(hashes.SHA256())
    middle = bytes([sshsig.flags]) + sshsig.counter.to_bytes(4, "big") + sshsig.extensions

    def prepare() -> tuple[bytes, bytes]:
        # SHA-512 of the message is in the challenge, which is in the client data.
        hashlib.sha512(message).digest()
        client_hash = hashlib.sha256(client_data).digest()
        signed = hashlib.sha256(application).digest() + middle + client_hash
        return encode_dss_signature(*numbers), signed

    return SignatureCheck(prepare, lambda signature, signed: point.verify(signature, signed, algorithm))


def _terminal_check(blob: bytes, message: bytes) -> SignatureCheck:
    sshsig = parse_sshsig(blob)
    key = ed25519.Ed25519PublicKey.from_public_bytes(parse_public_key(sshsig.public_key).raw)
    return SignatureCheck(lambda: (sshsig.signature, signed_data(sshsig.namespace, message)), key.verify)


def verify_calls(checks: list[SignatureCheck]) -> Callable[[], None]:
    """Returns one call that makes every check, hashes and DER prepared beforehand."""
    prepared = [(check.verify, *check.prepare()) for check in checks]

    def run() -> None:
        for verify, signature, signed in prepared:
            verify(signature, signed)

    return run


def whole_checks(checks: list[SignatureCheck]) -> Callable[[], None]:
    """Returns one call that makes every check from the message on: hashes, DER, and the verify calls."""

    def run() -> None:
        for prepare, verify in checks:
            verify(*prepare())

    return run


def interleave(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Calls every side once per round, in turn; returns each call's seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(max(3, rounds // 20)):  # to warm up
        for side in sides.values():
            side()
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Returns the median of each side."""
    return {name: statistics.median(values) for name, values in seconds.items()}
