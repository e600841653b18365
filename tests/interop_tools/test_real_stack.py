"""The same with a real Rekor v2 and a real timestamp authority: what we hold for their form is their form."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from exported_people import Export, export_signatures
from other_tools import VERIFIERS as OTHERS
from other_tools import OtherTools
from our_signer import SERVICE, sign_with_placet
from our_verifier import ask_placet, find_fact
from real_stack import RealWorkshop, RunningStack
from signing_people import PREDICATE, SLSA_V1

from placet.adapters.rekor import read_rekor_logs, submit
from placet.adapters.timestamp import fetch_timestamp, read_authorities, verify_timestamp
from placet.core.encoding import Digest, KeyId
from placet.core.errors import PolicyError, Reason
from placet.documents.rekor import LoggableSignature
from placet.documents.signing import REFERENCE_TYPE
from placet.testing.private_sigstore import PrivateSigstoreServer

pytestmark = pytest.mark.real_stack

VERIFIERS = OTHERS | {"placet": ask_placet}
MAKERS: dict[str, Callable[[RealWorkshop], Path]] = {
    "cosign": lambda shop: shop.sign_with_cosign("attest-blob", 2, key=False),
    "sigstore-python": lambda shop: shop.sign_with_sigstore_python(2),
}


@pytest.fixture(scope="module")
def real_workshop(tools: OtherTools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorkshop]:
    programs = tools.cache / "real-stack"
    if not (tools.cache / "real-stack.stamp").is_file():
        message = "the real Rekor and timestamp authority are not built; run: scripts/setup-real-stack"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with PrivateSigstoreServer(intermediate=True) as server:
        running = RunningStack(programs, server, tmp_path_factory.mktemp("real-stack"))
        with running.running():
            yield RealWorkshop(server, tools, tmp_path_factory.mktemp("workshop"), running)


@pytest.fixture(scope="module")
def bundles(real_workshop: RealWorkshop) -> dict[str, Path]:
    return {name: make(real_workshop) for name, make in MAKERS.items()}


@pytest.mark.parametrize("tool", VERIFIERS)
@pytest.mark.parametrize("maker", MAKERS)
def test_each_accepts_what_is_logged_in_the_real_rekor(
    real_workshop: RealWorkshop, bundles: dict[str, Path], tool: str, maker: str
) -> None:
    answer = VERIFIERS[tool](real_workshop.tools, real_workshop.question(bundles[maker]))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", [name for name in VERIFIERS if name != "gh"])
def test_each_accepts_what_placet_signs_into_the_real_rekor(
    real_workshop: RealWorkshop, tool: str, tmp_path: Path
) -> None:
    signed = sign_with_placet(real_workshop, tmp_path, PREDICATE)
    signer = {"identity": SERVICE, "issuer": real_workshop.server.address}
    for bundle, predicate_type in ((signed.signature, SLSA_V1), (signed.reference, REFERENCE_TYPE)):
        question = real_workshop.question(bundle, predicate_type=predicate_type, **signer)
        answer = VERIFIERS[tool](real_workshop.tools, question)
        assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", [name for name in VERIFIERS if name != "gh"])
@pytest.mark.parametrize("verb", ["attest-blob", "sign-blob"])
def test_each_accepts_a_plain_key_logged_in_the_real_rekor(
    real_workshop: RealWorkshop, tool: str, verb: str
) -> None:
    bundle = real_workshop.sign_with_cosign(verb, 2, key=True)
    question = real_workshop.question(
        bundle,
        key=real_workshop.cosign_key.with_suffix(".pub"),
        **({"predicate_type": ""} if verb == "sign-blob" else {}),
    )
    answer = VERIFIERS[tool](real_workshop.tools, question)
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", VERIFIERS)
def test_each_refuses_an_entry_with_the_proof_of_another(
    real_workshop: RealWorkshop, bundles: dict[str, Path], tool: str
) -> None:
    one, other = (json.loads(bundles[maker].read_text()) for maker in MAKERS)
    entries = one["verificationMaterial"]["tlogEntries"]
    entries[0]["inclusionProof"] = other["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    question = real_workshop.question(real_workshop.write(json.dumps(one).encode()))
    assert not VERIFIERS[tool](real_workshop.tools, question).accepted


def test_the_real_timestamp_is_the_time_that_is_found(
    real_workshop: RealWorkshop, bundles: dict[str, Path]
) -> None:
    fact = find_fact(real_workshop.question(bundles["cosign"]))
    assert fact.logged
    assert abs(fact.signed_at - bundles["cosign"].stat().st_mtime) < 60


@pytest.fixture(scope="module")
def exports(real_workshop: RealWorkshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    """Signatures of hardware keys, logged by `placet log export rekor` and checked by it once more."""
    root = real_workshop.files / "trusted_root.json"
    return export_signatures(tmp_path_factory.mktemp("exports"), real_workshop.rekor, real_workshop.tsa, root)


@pytest.mark.parametrize("tool", ["cosign", "sigstore-go", "sigstore-js"])
@pytest.mark.parametrize("key", ["webauthn", "openssh"])
def test_each_accepts_a_hardware_key_s_signature_logged_in_the_real_rekor(
    real_workshop: RealWorkshop, exports: dict[str, Export], tool: str, key: str
) -> None:
    answer = OTHERS[tool](real_workshop.tools, exports[key].question())
    assert answer.accepted, answer.said
    forged = real_workshop.write(exports[key].signed.read_bytes() + b"x", ".signed")
    assert not OTHERS[tool](real_workshop.tools, exports[key].question(artifact=forged)).accepted


def test_the_real_rekor_takes_no_signature_that_does_not_hold(
    real_workshop: RealWorkshop, exports: dict[str, Export], tmp_path: Path
) -> None:
    signed = exports["webauthn"]
    false = LoggableSignature(
        KeyId(""), Digest(""), signed.signed.read_bytes() + b"x", _signature(signed), _key(signed)
    )
    logs = read_rekor_logs((real_workshop.files / "trusted_root.json").read_bytes())
    with pytest.raises(PolicyError) as refused:
        submit(false, real_workshop.rekor, logs, now=int(time.time()))
    assert refused.value.reason is Reason.LOG_REFUSED


def test_the_real_authority_stamps_checkpoints(real_workshop: RealWorkshop) -> None:
    pinned = read_authorities((real_workshop.files / "trusted_root.json").read_bytes())
    message = b"log.example\n1\n"
    stamp, stamped = fetch_timestamp(message, real_workshop.tsa, pinned)
    assert verify_timestamp(stamp, message, pinned) == stamped
    assert abs(stamped.time - time.time()) < 60


def _signature(export: Export) -> bytes:
    return base64.b64decode(json.loads(export.file.read_text())["messageSignature"]["signature"])


def _key(export: Export) -> bytes:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return serialization.load_pem_public_key(export.key.read_bytes()).public_bytes(*form)
